"""Which classes are easily taken for one another: what "contrast" asks a language model about."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from vlcls.errors import LanguageModelError
from vlcls.files.json_text import parse_json
from vlcls.files.schema import FileModel, validated
from vlcls.files.terminal import from_spreadsheet
from vlcls.files.text import read_text
from vlcls.labels import Labels, clean_name

if TYPE_CHECKING:
    from vlcls.encoders import Encoder

#: Siblings that a class is told apart from.
DEFAULT_SIBLINGS = 3
_COLUMNS = ("true", "predicted", "count")


class _Confusion(FileModel):
    true: str
    predicted: str
    count: float = Field(default=1, ge=0)


class _Confusions(FileModel):
    confusions: tuple[_Confusion, ...]


def near_siblings(labels: Labels, encoder: Encoder, count: int = DEFAULT_SIBLINGS) -> dict[int, list[str]]:
    """For each class, the names nearest to its own in the encoder's text space."""
    import torch

    names = torch.nn.functional.normalize(encoder.encode_texts(list(labels.names)).float(), dim=1)
    result = {}
    for start in range(0, len(labels), 1024):
        similar = names[start : start + 1024] @ names.T
        order = similar.argsort(dim=1, descending=True, stable=True)[:, : count + 8]
        for row, nearest in enumerate(order.tolist()):
            own = labels.names[start + row]
            others = dict.fromkeys(labels.names[place] for place in nearest if labels.names[place] != own)
            result[start + row] = list(others)[:count]
    return result


def read_siblings(given: str, labels: Labels, count: int = DEFAULT_SIBLINGS) -> dict[int, list[str]]:
    """Siblings that a user gives: "cat/lynx,dog/wolf"; or a file of confusions of an earlier evaluation.

    The file is JSON, `{"confusions": [{"true": "cat", "predicted": "lynx", "count": 7}, ...]}` or that list
    alone; or CSV with the columns true, predicted and, if it has one, count. The most frequent come first.

    Raises:
        LanguageModelError: A name that is no class, or a file that cannot be read.
    """
    path = os.path.expanduser(given)  # noqa: PTH111
    # Not Path.is_file: a list of pairs may be longer than any name of a file.
    rows = _from_file(Path(path)) if os.path.isfile(path) else _from_text(given)  # noqa: PTH113
    places = {clean_name(name).casefold(): index for index, name in enumerate(labels.names)}
    tally: dict[int, dict[int, float]] = {}
    for true, predicted, number in rows:
        pair = []
        for name in (true, predicted):
            place = places.get(clean_name(str(name)).casefold())
            if place is None:
                raise LanguageModelError(f"contrast {given!r}: {name!r} is not among the labels")
            pair.append(place)
        if pair[0] != pair[1]:
            for own, other in (pair, pair[::-1]):
                tally.setdefault(own, {}).setdefault(other, 0.0)
                tally[own][other] += number
    if not tally:
        raise LanguageModelError(f"contrast {given!r}: no two classes are told apart")
    return {
        own: [labels.names[place] for place in sorted(others, key=lambda p: -others[p])[:count]]
        for own, others in sorted(tally.items())
    }


def _from_text(text: str) -> Iterable[tuple[str, str, float]]:
    for part in text.split(","):
        names = [name.strip() for name in part.split("/")]
        if len(names) < 2 or not all(names):
            raise LanguageModelError(f'contrast {text!r}: pairs are expected, as in "cat/lynx,dog/wolf"')
        for place, name in enumerate(names):
            yield from ((name, other, 1.0) for other in names[place + 1 :])


def _from_file(path: Path) -> list[tuple[str, str, float]]:
    text = read_text(path, LanguageModelError)
    try:
        if path.suffix.lower() == ".csv":
            table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            content: Any = [
                {name: from_spreadsheet(row[name]) for name in _COLUMNS if row.get(name)} for row in table
            ]
            for row in content:
                row["count"] = float(row.get("count", 1))
        else:
            content = parse_json(text, path, LanguageModelError)
            content = content.get("confusions") if isinstance(content, dict) else content
            if isinstance(content, list):  # of each row, what is asked for here
                content = [_wanted(row) for row in content]
        found = validated(_Confusions, {"confusions": content}, path, LanguageModelError)
    except (csv.Error, ValueError, LanguageModelError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise LanguageModelError(
            f"{path}: confusions are expected, each with true, predicted and count ({reason})"
        ) from error
    return [(row.true, row.predicted, row.count) for row in found.confusions]


def _wanted(row: Any) -> Any:
    return (
        {name: row[name] for name in _COLUMNS if row.get(name) is not None} if isinstance(row, dict) else row
    )
