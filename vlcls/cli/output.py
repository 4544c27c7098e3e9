"""Results as a table, JSON Lines or CSV, and the files that they go to."""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

import typer

from vlcls.errors import VlclsWarning
from vlcls.files.json_text import to_json
from vlcls.files.terminal import csv_cells, printable_json, shortened
from vlcls.files.writing import check_output_file, check_output_folder, output_errors, replacing

if TYPE_CHECKING:
    from rich.table import Table

    from vlcls.classifiers import Classification

_TABLE_PART = 500
#: Characters of a cell of a table for people; files have all of it.
_CELL = 500


class Format(str, Enum):
    table = "table"
    jsonl = "jsonl"
    csv = "csv"


E_ = TypeVar("E_", bound=Enum)

#: Formats by the suffix of a file; those that no command writes are there to be refused.
_SUFFIXES = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv",
    ".parquet": "parquet", ".xlsx": "xlsx", ".xls": "xls", ".ods": "ods", ".html": "html", ".xml": "xml",
    ".yaml": "yaml",
}  # fmt: skip


def chosen_format(given: E_ | None, output: Path | None, default: E_) -> E_:
    """The format that was asked for, or else the one that the name of the output file says.

    Args:
        given: --format, None if it was left out.
        output: The file; None for standard output.
        default: For standard output, and for names that say nothing (.txt).

    Raises:
        typer.BadParameter: The name says a format that this command does not write.
    """
    named = None if output is None else _SUFFIXES.get(output.suffix.lower())
    kinds = {each.value: each for each in type(default)}
    if named == "json" and "json" not in kinds and "jsonl" in kinds:
        named = "jsonl"  # the nearest that there is: one object a line
    if named is None or output is None:
        return given or default
    if given is None:
        if named not in kinds:
            raise typer.BadParameter(
                f"--output {output}: {named} is not written here; --format says which of {', '.join(kinds)}"
            )
        return kinds[named]
    if given.value != named:
        warnings.warn(
            f"{output} is written as {given.value}, which --format says, though its name says {named}",
            VlclsWarning,
            stacklevel=2,
        )
    return given


def file_to_write(path: Path | None) -> Path | None:
    """Callback of options: refuses, before any work, a file that could not be written in the end."""
    if path is not None and str(path) != "-":
        check_output_file(path)
    return path


def picture_to_write(path: Path | None) -> Path | None:
    """Callback of options: the same for a picture, or for a folder of pictures if the name has no suffix."""
    return path if path is None or not path.suffix else file_to_write(path)


def folder_to_write(path: Path) -> Path:
    """Callback of options: the same for folders."""
    check_output_folder(path)
    return path


@contextmanager
def opened(output: Path | None) -> Iterator[TextIO]:
    """Standard output (None or "-"); or a file that appears under its name only when it is whole.

    Raises:
        OutputError: It cannot be written: the disk is full, a folder is in the way.
    """
    if output is None or str(output) == "-":
        # A file name that is not UTF-8 must not stop a run at its last image; what is piped is UTF-8.
        if hasattr(sys.stdout, "reconfigure"):
            encoding = {} if sys.stdout.isatty() else {"encoding": "utf-8"}
            sys.stdout.reconfigure(errors="backslashreplace", **encoding)
        yield sys.stdout
        return
    if output.exists() and not output.is_file():  # a device or a pipe: nothing to be renamed over
        with output_errors(output), output.open("w", **_TEXT) as file:
            yield cast(TextIO, file)
        return
    with replacing(output) as temporary, temporary.open("w", **_TEXT) as file:
        yield cast(TextIO, file)


_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}


def json_text(value: Any, **options: Any) -> str:
    """JSON for a file or a terminal: exact, and nothing in it that a terminal would obey."""
    return printable_json(to_json(value, **options))


def write_jsonl(results: Iterable[Classification], stream: TextIO) -> None:
    """One object an image, as each is ready."""
    for result in results:
        best = result.top_k[0] if result.top_k else None
        row = {
            "image": result.image,
            "label": result.label,
            "id": best and best.id,
            "index": best and best.index,
            "score": result.score,
            "top_k": [
                {"label": p.label, "id": p.id, "index": p.index, "score": p.score} for p in result.top_k
            ],
            "error": result.error,
        }
        stream.write(json_text(row) + "\n")
        stream.flush()


def write_csv(results: Iterable[Classification], stream: TextIO, columns: int) -> None:
    """One row an image: the best label with its id and score, the error, then the runners-up up to `columns`.

    Cells that a spreadsheet would run begin with an apostrophe; see `vlcls.files.terminal.spreadsheet_safe`.
    """
    writer = csv.writer(stream, lineterminator="\n")
    others = [f"{field}_{rank}" for rank in range(2, columns + 1) for field in ("label", "id", "score")]
    writer.writerow(["image", "label", "id", "index", "score", "error", *others])
    for result in results:
        best: list[Any] = [("", "", "", "")]
        if result.top_k:
            best = [(p.label, p.id, p.index, f"{p.score:.6f}") for p in result.top_k[:1]]
        rest = [cell for p in result.top_k[1:] for cell in (p.label, p.id, f"{p.score:.6f}")]
        writer.writerow(csv_cells([result.image, *best[0], result.error or "", *rest]))


def write_table(results: Iterable[Classification], stream: TextIO) -> None:
    """For people: the best class of each image with its probability, and the runner-up."""
    write_tables(map(_row, results), ("image", "label", "score", "", "runner-up"), stream)


def write_tables(rows: Iterator[tuple[Any, ...]], titles: Sequence[str], stream: TextIO) -> None:
    """Write rows under titles, numbers ("score", "images") to the right.

    Columns are as wide as they must be; only a terminal's own width shortens them. Long tables come in
    parts, so that there is something to see before the end.
    """
    from vlcls.cli.console import Console

    terminal = stream is sys.stdout and stream.isatty()
    console = Console(file=stream, width=None if terminal else 10_000, soft_wrap=not terminal)
    part = list(islice(rows, _TABLE_PART))
    while part:
        console.print(_table(part, titles))
        part = list(islice(rows, _TABLE_PART))


def _table(rows: Iterable[tuple[Any, ...]], titles: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, justify="right" if title in ("score", "images") else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _row(result: Classification) -> tuple[Any, ...]:
    from rich.text import Text

    image = Text(shortened(result.image, _CELL))
    if result.error is not None:
        return image, Text("not read", "red"), "", "", Text("see below", "dim")
    first, *others = result.top_k
    second = Text(f"{others[0].label} {others[0].score:.0%}", "dim") if others else Text("")
    return (
        image,
        Text(first.label, "bold green"),
        f"{first.score:.1%}",
        score_bar(first.score),
        second,
    )


def score_bar(score: float, width: int = 12) -> str:
    """A share of 1 as a bar of characters."""
    filled = round(score * width)
    return "█" * filled + "·" * (width - filled)
