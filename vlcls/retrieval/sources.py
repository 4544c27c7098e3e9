"""Where captions come from: text, JSON Lines, CSV, Parquet, data sets. Read one after the other.

A bad row never stops a reading: what is no text comes as None, and the build counts it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from vlcls.arguments import takes
from vlcls.errors import CaptionError, library
from vlcls.files.delimited import read_rows
from vlcls.files.json_text import parse_json
from vlcls.files.parquet import open_parquet
from vlcls.files.text import iter_lines

#: Columns taken for captions unless one is named.
COLUMNS = ("caption", "captions", "text", "sentence", "sentences", "TEXT", "alt_text")
#: Characters of a caption that are kept: several times what any text tower reads.
LONGEST_CAPTION = 2000

_HF = "hf:"
_INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_PARQUET_ROWS = 4096


@takes(source="path", column="text?", split="text")
def read_captions(
    source: str | Path, column: str | None = None, split: str = "train"
) -> Iterator[str | None]:
    """Captions of a file, of all such files in a folder, or of a data set on the Hugging Face Hub.

    Args:
        source: `.txt` (one a line), `.jsonl` (objects, or texts), `.csv`, `.tsv`, `.parquet`, a folder of
            them; or `hf:NAME`, `hf:NAME:CONFIG` for a data set (a folder that `datasets` reads, too), which
            is streamed.
        column: The column or field with the caption; by default the first of `COLUMNS` that is there. A
            list of captions counts as several.
        split: Of a data set.

    Yields:
        Captions as they are, and None for a row that has none.

    Raises:
        CaptionError: No such file, not one of these kinds, text that is neither UTF-8 nor UTF-16 (names the
            line), or no such column; names those there are.
    """
    if isinstance(source, str) and source.startswith(_HF):
        yield from _from_rows(_dataset_rows(source[len(_HF) :], split, column), column, source)
        return
    path = Path(source).expanduser()
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in _READERS) if path.is_dir() else [path]
    if not files:
        raise CaptionError(f"{path}: none of {', '.join(_READERS)} in it")
    for file in files:
        reader = _READERS.get(file.suffix.lower())
        if reader is None:
            raise CaptionError(
                f"{file}: captions come from {', '.join(_READERS)}, a folder of these, or hf:NAME"
            )
        try:
            yield from reader(file, column)
        except OSError as error:
            raise CaptionError(f"{file}: {error.strerror or error}") from error


def clean_caption(caption: object) -> str:
    """One line of valid Unicode, `LONGEST_CAPTION` at most; empty if there is nothing to read in it."""
    if not isinstance(caption, str):
        return ""
    # Cut twice: looking at a whole book would take long, and only its beginning counts.
    text = caption[: 4 * LONGEST_CAPTION].encode("utf-8", "replace").decode()
    return " ".join(_INVISIBLE.sub(" ", text).split())[:LONGEST_CAPTION].strip()


def _text_file(path: Path, column: str | None) -> Iterator[str | None]:
    for _, line in iter_lines(path, CaptionError):
        yield line


def _json_lines(path: Path, column: str | None) -> Iterator[str | None]:
    def rows() -> Iterator[Any]:
        for number, line in iter_lines(path, CaptionError):
            try:
                yield parse_json(line, f"{path}, line {number}", CaptionError) if line.strip() else None
            except CaptionError:
                yield None

    return _from_rows(rows(), column, str(path))


def _csv_file(path: Path, column: str | None) -> Iterator[str | None]:
    lines = (line.replace("\0", " ") + "\n" for _, line in iter_lines(path, CaptionError))
    rows = read_rows(lines, path, CaptionError, suffix=path.suffix, strict=False)
    _, header = next(rows, (0, []))
    place = header.index(_column(header, column, str(path)))
    for _, row in rows:
        yield row[place] if place < len(row) else None


def _parquet_file(path: Path, column: str | None) -> Iterator[str | None]:
    library("pyarrow", "reading Parquet files", "captions")
    with open_parquet(path, CaptionError) as file:
        name = _column(file.schema_arrow.names, column, str(path))
        for batch in file.iter_batches(_PARQUET_ROWS, columns=[name]):
            for value in batch.column(0).to_pylist():
                yield from _texts(value)


_READERS: dict[str, Callable[[Path, str | None], Iterator[str | None]]] = {
    ".txt": _text_file,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _csv_file,
    ".tsv": _csv_file,
    ".parquet": _parquet_file,
}


def _dataset_rows(name: str, split: str, column: str | None) -> Iterator[Any]:
    datasets = library("datasets", "reading data sets", "datasets")
    path, _, config = name.partition(":")
    try:
        dataset = datasets.load_dataset(path, config or None, split=split, streaming=True)
        if dataset.column_names:  # images next to the captions are not even read
            dataset = dataset.select_columns([_column(dataset.column_names, column, f"data set {name!r}")])
        yield from dataset
    except CaptionError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise CaptionError(f"data set {name!r}, split {split!r}: {error}") from error


def _from_rows(rows: Iterable[Any], column: str | None, where: str) -> Iterator[str | None]:
    """The captions of objects; the column is chosen by the first object there is."""
    known = False
    for row in rows:
        if not isinstance(row, dict):
            yield from _texts(row)
            continue
        if not known:
            column, known = _column(list(row), column, where), True
        yield from _texts(row.get(column or ""))


def _texts(value: object) -> Iterator[str | None]:
    for text in value if isinstance(value, (list, tuple)) else [value]:
        yield text if isinstance(text, str) else None


def _column(names: Iterable[str], wanted: str | None, where: str) -> str:
    there = [str(name) for name in names]
    if wanted is not None and wanted in there:
        return wanted
    found = next((name for name in COLUMNS if name in there), None) if wanted is None else None
    if found is None:
        problem = f"no column {wanted!r}" if wanted is not None else "no column has a usual name"
        have = ", ".join(map(repr, there[:20]))
        raise CaptionError(f"{where}: {problem}: name the one with the captions (--column): {have}")
    return found
