"""CSV and JSON Lines files with the paths of images and their classes."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlcls.errors import EvaluationError, VlclsError
from vlcls.files.delimited import read_rows
from vlcls.files.json_text import parse_json
from vlcls.files.text import iter_lines, read_text, split_lines
from vlcls.image_sources import ImageSource, path_beside
from vlcls.labelled.columns import Columns, choose_columns
from vlcls.labelled.scheme import Scheme, label_scheme, read_truth, with_contradictions
from vlcls.labels import Labels

SUFFIXES = (".csv", ".tsv", ".jsonl")
#: Of a table that is only looked at.
_HEAD_LINES = 20

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)

Table = Mapping[str, list[Any]]


def read_table(path: Path) -> Table:
    """All columns of a CSV file with a header, whatever separates them, or of a JSON Lines file of objects.

    Returns:
        Columns of equal length, by name: of text from CSV; from JSON Lines whatever is there, None where a
        line lacks the key. Blank lines are left out.

    Raises:
        EvaluationError: Not such a file; says which line.
    """
    return _parsed(read_text(path, EvaluationError), path)


def _parsed(text: str, path: Path) -> Table:
    table = _json_lines(text, path) if path.suffix.lower() == ".jsonl" else _csv(text, path)
    if not table or not next(iter(table.values())):
        raise EvaluationError(f"{path}: no rows in this file")
    return table


def _csv(text: str, path: Path) -> Table:
    rows: list[list[str]] = []
    header: list[str] = []
    # Line ends in quoted fields stay as they are.
    lines = io.StringIO(text, newline="")
    for line, row in read_rows(lines, path, EvaluationError, suffix=path.suffix):
        if not header:
            header = [name.strip() for name in row]
            continue
        if len(row) != len(header):
            raise EvaluationError(f"{path}, line {line}: {len(row)} fields, and the header has {len(header)}")
        rows.append(row)
    if len(set(header)) < len(header):
        raise EvaluationError(f"{path}, line 1: a column is there twice ({', '.join(header)})")
    return {name: [row[place] for row in rows] for place, name in enumerate(header)}


def _json_lines(text: str, path: Path) -> Table:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(split_lines(text), start=1):
        if not line.strip():
            continue
        row = parse_json(line, f"{path}, line {number}", EvaluationError)
        if not isinstance(row, dict):
            raise EvaluationError(
                f'{path}, line {number}: an object is expected, as in {{"image": "a.jpg", "label": "cat"}}'
            )
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def first_image(path: Path) -> Path | None:
    """The file that the first row of a table names as its image; None if no column is one of images.

    Raises:
        EvaluationError: Not a table.
    """
    table = _head(path)
    try:
        columns = choose_columns(kinds_of(table), str(path), None, None, ())
    except EvaluationError:
        return None
    name = table[columns.image][0]
    return path_beside(name, path.parent) if isinstance(name, str) and name.strip() else None


def is_metadata(path: Path) -> bool:
    """Whether a file called metadata.csv or metadata.jsonl is one of an image folder, as `datasets` knows
    them; others are called so too."""
    try:
        return any(name == "file_name" or name.endswith("_file_name") for name in _head(path))
    except VlclsError:
        return False


def _head(path: Path) -> Table:
    """The first rows of a table."""
    lines = [line for _, line in itertools.islice(iter_lines(path, EvaluationError), _HEAD_LINES)]
    return _parsed("\n".join(lines), path)


def kinds_of(table: Table) -> dict[str, str]:
    """What each column holds; see `vlcls.labelled.columns`."""
    return {name: _kind(values) for name, values in table.items()}


def _kind(values: Sequence[Any]) -> str:
    found = {_kind_of(value) for value in values if value is not None}
    if found == {"int", "float"} or not found:
        found = {"float"} if found else {"empty"}
    known = found - {"list"} if len(found) == 2 else found  # an empty list beside others
    return known.pop() if len(known) == 1 else "mixed"


def _kind_of(value: Any) -> str:
    if isinstance(value, list):
        kinds = {_kind_of(item) for item in value}
        return f"{kinds.pop()}s" if len(kinds) == 1 else ("mixed" if kinds else "list")
    names = {str: "text", bool: "int", int: "int", float: "float"}
    return names.get(type(value), type(value).__name__)


def table_images(
    table: Table,
    path: Path,
    labels: Labels | None,
    image_column: str | None,
    label_column: str | None,
    group_columns: Sequence[str],
) -> tuple[list[ImageSource], list[tuple[int, ...]], Columns, Scheme]:
    """Images by path, relative to the file, and their classes.

    Raises:
        EvaluationError: Columns that are not there; a row without the path of an image; URLs.
        LabelError: Rows without a class, or of a class that is not among the labels.
    """
    kinds = kinds_of(table)
    columns = choose_columns(kinds, str(path), image_column, label_column, group_columns)
    where = f"{path}, column {columns.label!r}"
    values = table[columns.label]
    scheme = label_scheme(kinds[columns.label], None, labels, values, where)
    sources = []
    for row, name in enumerate(table[columns.image]):
        if not isinstance(name, str) or not name.strip() or _URL.match(name):
            what = "URLs are not fetched" if isinstance(name, str) and name.strip() else "no path of an image"
            raise EvaluationError(f"{path}: row {row}, column {columns.image!r}: {what} ({name!r})")
        sources.append(ImageSource(name, path_beside(name, path.parent)))
    truth = read_truth(values, scheme, where)
    return sources, truth, columns, with_contradictions(scheme, sources, truth)
