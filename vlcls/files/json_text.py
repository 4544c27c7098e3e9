"""Strict JSON: what other programs would read differently, or what no number can hold, is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from vlcls.errors import VlclsError
from vlcls.files.reading import MAX_BYTES
from vlcls.files.text import decode_text, read_text

#: Levels of lists and objects in one another.
MAX_DEPTH = 100
#: Digits of a whole number: more than any id has, few enough to be quick.
MAX_DIGITS = 400

if TYPE_CHECKING:
    from vlcls.files.schema import FileModel

Schema = TypeVar("Schema", bound="FileModel")


def parse_json(text: str | bytes, where: str | Path, error: type[VlclsError]) -> Any:
    """Content of a JSON text.

    Raises:
        error: Not JSON; a key that is there twice; NaN, Infinity or a number that float64 cannot hold; nested
            deeper than `MAX_DEPTH`; half of a surrogate pair. Names `where`.
    """
    if isinstance(text, bytes):
        text = decode_text(text, where, error)

    def fail(reason: str) -> NoReturn:
        raise error(f"{where}: {reason}")

    def no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            fail(f"the key {twice[:80]!r} is there twice")
        return found

    def number(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else fail(f"the number {digits[:40]} is out of range")

    def integer(digits: str) -> int:
        return int(digits) if len(digits) <= MAX_DIGITS else fail(f"a number of {len(digits):,} digits")

    try:
        content = json.loads(
            text, object_pairs_hook=no_repeats, parse_float=number, parse_int=integer,
            parse_constant=lambda name: fail(f"{name} is no number of JSON"),
        )  # fmt: skip
    except json.JSONDecodeError as reason:
        at = f", line {reason.lineno}" if reason.lineno > 1 or "\n" in text else ""
        raise error(f"{where}{at}: not JSON: {reason.msg}") from reason
    except RecursionError:
        fail("nested too deep")
    if _deeper(content, MAX_DEPTH):
        fail(f"nested deeper than {MAX_DEPTH} levels")
    if "\\ud" in text.lower() and not _is_unicode(content):
        fail("half of a surrogate pair (\\ud8.. to \\udf..) is no character")
    return content


@overload
def read_json(path: str | Path, error: type[VlclsError], schema: None = None, limit: int = ...) -> Any: ...
@overload
def read_json(
    path: str | Path, error: type[VlclsError], schema: type[Schema], limit: int = ...
) -> Schema: ...
def read_json(
    path: str | Path, error: type[VlclsError], schema: type[Schema] | None = None, limit: int = MAX_BYTES
) -> Any:
    """Content of a JSON file of at most `limit` bytes; with a schema, an object of it.

    Raises:
        error: As `parse_json` and `validated`; names the file and the field.
    """
    content = parse_json(read_text(path, error, limit), path, error)
    if schema is None:
        return content
    from vlcls.files.schema import validated  # pydantic takes a while to import

    return validated(schema, content, path, error)


def to_json(value: Any, **options: Any) -> str:
    """JSON of plain content, readable as it is (no `\\u`), never with NaN or infinity.

    Raises:
        ValueError: A number that is not finite: a mistake of the program, which must not reach a file.
    """
    return json.dumps(value, allow_nan=False, **{"ensure_ascii": False, **options})


def json_bytes(value: Any, where: str | Path, error: type[VlclsError], **options: Any) -> bytes:
    """The bytes of a JSON file that `read_json` takes: what it would refuse is not written.

    Raises:
        error: NaN, infinity, or half of a surrogate pair; names `where`.
    """
    try:
        return (to_json(value, **options) + "\n").encode()
    except (ValueError, TypeError, RecursionError) as reason:  # ValueError: UnicodeEncodeError too
        raise error(f"{where} cannot be written: {reason}") from reason


def _deeper(content: Any, levels: int) -> bool:
    layer = [content]
    while layer and levels >= 0:
        layer = [
            each
            for parent in layer
            if isinstance(parent, (dict, list))
            for each in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(each, (dict, list))
        ]
        levels -= 1
    return bool(layer)


def _is_unicode(content: Any) -> bool:
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
