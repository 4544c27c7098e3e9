"""rich's console, through which no text reaches a terminal as an escape; see `vlcls.cli.terminal`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from typing import Any, TextIO

import rich.console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from vlcls.files.terminal import printable


class Console(rich.console.Console):
    """Prints what is given with control characters made visible."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*map(_visible, objects), **options)

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        # Whatever `_visible` does not look into: titles of progress bars, cells of nested tables.
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text, lines=True), segment.style)


def _visible(shown: Any) -> Any:
    """Texts and cells of tables before their width is measured."""
    if isinstance(shown, str):
        return printable(shown, lines=True)
    if isinstance(shown, Text) and not shown.plain.isprintable():
        return Text(printable(shown.plain, lines=True), shown.style)
    if isinstance(shown, Table):
        for column in shown.columns:
            column._cells[:] = [_cell(cell) for cell in column._cells]
    return shown


def _cell(cell: Any) -> Any:
    if isinstance(cell, str):
        return printable(cell)
    if isinstance(cell, Text) and not cell.plain.isprintable():
        return Text(printable(cell.plain), cell.style)
    return cell


def page(stream: TextIO | None = None, width: int = 120, **options: Any) -> Console:
    """A console for a report: as wide as the terminal, or `width` where there is none."""
    terminal = (stream or sys.stdout).isatty()
    return Console(file=stream, highlight=False, width=None if terminal else width, **options)


def titled(*titles: str, right: Collection[str | int] = (), **options: Any) -> Table:
    """A table without lines, its titles bold; columns named in `right`, or counted from 0, to the right."""
    table = Table(box=None, pad_edge=False, **{"header_style": "bold", **options})
    for place, title in enumerate(titles):
        to_right = title in right or place in right
        table.add_column(title, justify="right" if to_right else "left", overflow="fold")
    return table
