"""Results as a table, JSON Lines or CSV, and the files that they go to."""

from __future__ import annotations

import csv
import os
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast, get_args

import typer
from rich.text import Text

from vlcls.cli.console import Console, titled
from vlcls.cli.terminal import say, say_not_read
from vlcls.errors import VlclsWarning
from vlcls.files.json_text import to_json
from vlcls.files.terminal import csv_cells, printable_json, shortened
from vlcls.files.writing import check_output_file, check_output_folder, output_errors, replacing

if TYPE_CHECKING:
    from vlcls.classifiers import Classification

#: Exit code of a run that finished although some images could not be read.
SOME_IMAGES_FAILED = 3
#: Images of a run that are named one by one.
_MOST = 20
_TABLE_PART = 500
#: Characters of a cell of a table for people; files have all of it.
_CELL = 500


Format = Literal["table", "jsonl", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)

#: Formats by the suffix of a file; those that no command writes are there to be refused.
_SUFFIXES = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv",
    ".parquet": "parquet", ".xlsx": "xlsx", ".xls": "xls", ".ods": "ods", ".html": "html", ".xml": "xml",
    ".yaml": "yaml",
}  # fmt: skip


def chosen_format(given: str | None, output: Path | None, kinds: Sequence[str] = FORMATS) -> str:
    """The format that was asked for, or else the one that the name of the output file says.

    Args:
        given: --format, None if it was left out.
        output: The file; None for standard output.
        kinds: What this command writes; the first on standard output, and for names that say nothing (.txt).

    Raises:
        typer.BadParameter: The name says a format that this command does not write.
    """
    named = None if output is None else _SUFFIXES.get(output.suffix.lower())
    if named == "json" and "json" not in kinds and "jsonl" in kinds:
        named = "jsonl"  # the nearest that there is: one object a line
    if named is None:
        return given or kinds[0]
    if given is None and named not in kinds:
        raise typer.BadParameter(
            f"--output {output}: {named} is not written here; --format says which of {', '.join(kinds)}"
        )
    if given not in (None, named):
        warnings.warn(
            f"{output} is written as {given}, which --format says, though its name says {named}",
            VlclsWarning,
            stacklevel=2,
        )
    return given or named


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
    terminal = stream is sys.stdout and stream.isatty()
    console = Console(file=stream, width=None if terminal else 10_000, soft_wrap=not terminal)
    while part := list(islice(rows, _TABLE_PART)):
        table = titled(*titles, right=("score", "images"))
        for row in part:
            table.add_row(*row)
        console.print(table)


def _row(result: Classification) -> tuple[Any, ...]:
    image = Text(shortened(result.image, _CELL))
    if result.error is not None:
        return image, Text("not read", "red"), "", "", Text("see below", "dim")
    first, *others = result.top_k
    second = Text(f"{others[0].label} {others[0].score:.0%}", "dim") if others else Text("")
    return image, Text(first.label, "bold green"), f"{first.score:.1%}", score_bar(first.score), second


def score_bar(score: float, width: int = 12) -> str:
    """A share of 1 as a bar of characters."""
    filled = round(score * width)
    return "█" * filled + "·" * (width - filled)


def leave(errors: Collection[str | None]) -> None:
    """Name the images that could not be read; if there are any, leave with the code that says so."""
    for error in errors:
        say_not_read(error)
    if errors:
        raise typer.Exit(SOME_IMAGES_FAILED)


def leave_run(errors: Sequence[str | None], done: str) -> None:
    """The same after a run over images, which may be one process of many, and may have missed many images."""
    for error in errors[:_MOST]:
        say_not_read(error)
    if len(errors) > _MOST:
        say(f"... and {len(errors) - _MOST} more (--format jsonl lists every one)", err=True)
    if errors:
        say(f"{len(errors)} images could not be read; all others were {done}", err=True)
        if os.environ.get("WORLD_SIZE", "1") == "1":  # a launcher fails on any code but 0
            raise typer.Exit(SOME_IMAGES_FAILED)
