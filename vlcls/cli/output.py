"""Results as a table, JSON Lines or CSV."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from vlcls.errors import VlclsError

if TYPE_CHECKING:
    from rich.table import Table

    from vlcls.classifiers import Classification

_TABLE_PART = 500


class Format(str, Enum):
    table = "table"
    jsonl = "jsonl"
    csv = "csv"


@contextmanager
def opened(output: Path | None) -> Iterator[TextIO]:
    """Standard output; or a file that appears under its name only when it is whole."""
    if output is None:
        # A file name that is not UTF-8 must not stop a run at its last image; what is piped is UTF-8.
        if hasattr(sys.stdout, "reconfigure"):
            encoding = {} if sys.stdout.isatty() else {"encoding": "utf-8"}
            sys.stdout.reconfigure(errors="backslashreplace", **encoding)
        yield sys.stdout
        return
    if output.exists() and not output.is_file():  # a device or a pipe: nothing to be renamed over
        with output.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file
        return
    output = output.resolve()  # a link goes on pointing at the result
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file
        temporary.replace(output)
    except OSError as error:
        raise VlclsError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_jsonl(results: Iterable[Classification], stream: TextIO) -> None:
    """One object an image, as each is ready."""
    for result in results:
        row = {
            "image": result.image,
            "label": result.label,
            "score": result.score,
            "top_k": [{"label": p.label, "score": p.score} for p in result.top_k],
            "error": result.error,
        }
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        stream.flush()


def write_csv(results: Iterable[Classification], stream: TextIO, columns: int) -> None:
    """One row an image: the best label and score, the error, then the runners-up up to `columns`."""
    writer = csv.writer(stream, lineterminator="\n")
    others = [f"{field}_{rank}" for rank in range(2, columns + 1) for field in ("label", "score")]
    writer.writerow(["image", "label", "score", "error", *others])
    for result in results:
        rest = [cell for p in result.top_k[1:] for cell in (p.label, f"{p.score:.6f}")]
        score = "" if result.score is None else f"{result.score:.6f}"
        writer.writerow([result.image, result.label or "", score, result.error or "", *rest])


def write_table(results: Iterable[Classification], stream: TextIO) -> None:
    """For people: the best class of each image with its probability, and the runner-up."""
    write_tables(map(_row, results), ("image", "label", "score", "", "runner-up"), stream)


def write_tables(rows: Iterator[tuple[Any, ...]], titles: Sequence[str], stream: TextIO) -> None:
    """Write rows under titles, numbers ("score", "images") to the right.

    Columns are as wide as they must be; only a terminal's own width shortens them. Long tables come in
    parts, so that there is something to see before the end.
    """
    from rich.console import Console

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

    if result.error is not None:
        return Text(result.image), Text("not read", "red"), "", "", Text("see below", "dim")
    first, *others = result.top_k
    second = Text(f"{others[0].label} {others[0].score:.0%}", "dim") if others else Text("")
    return (
        Text(result.image),
        Text(first.label, "bold green"),
        f"{first.score:.1%}",
        score_bar(first.score),
        second,
    )


def score_bar(score: float, width: int = 12) -> str:
    """A share of 1 as a bar of characters."""
    filled = round(score * width)
    return "█" * filled + "·" * (width - filled)
