"""The schema of a file format: a pydantic model, strict, and an error that names file and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from vlcls.errors import VlclsError
from vlcls.files.terminal import shortened

Schema = TypeVar("Schema", bound="FileModel")


class FileModel(BaseModel):
    """One object of a file: no field unknown, none of another type, no number that is not finite."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


def validated(schema: type[Schema], content: Any, where: str | Path, error: type[VlclsError]) -> Schema:
    """Content of a file as an object of its schema, by JSON's rules (a list may fill a tuple).

    Raises:
        error: Names `where`, the field and what is wrong with it.
    """
    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    # Dates out of YAML, numbers that are not finite.
    except (TypeError, ValueError, RecursionError) as reason:
        raise error(f"{where}: {reason}") from reason
    try:
        return schema.model_validate_json(text.encode("utf-8", "surrogatepass"))
    except ValidationError as reason:
        raise error(f"{where}: {_first(reason)}") from reason


def _first(reason: ValidationError) -> str:
    faults = reason.errors(include_url=False, include_context=False, include_input=False)
    fault = faults[0]
    field = ".".join(map(str, fault["loc"]))
    message = fault["msg"][:1].lower() + fault["msg"][1:]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return shortened(f"{field}: {message}{more}" if field else f"{message}{more}", 300)
