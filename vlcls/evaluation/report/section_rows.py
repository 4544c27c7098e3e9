"""What the sections of a report share: rows together by their keys, names, and the columns of tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlcls.evaluation.metrics.entries import main_metric
from vlcls.evaluation.report.blocks import Block, Column, Table

if TYPE_CHECKING:
    from PIL.Image import Image

Results = Mapping[str, Any]
Row = Mapping[str, Any]
#: The picture of an image of a set, both by name; None where it cannot be had.
ImageOf = Callable[[str, str], "Image | None"]
#: What a section says, below its title; None where it has no data.
Body = tuple[str, Sequence[Block]] | None
#: What a row is of.
PLACE = ("set", "encoder", "method")
#: Of one kind in a report, and rows of a list.
MOST_FIGURES, MOST_ROWS = 48, 50


@dataclass(frozen=True)
class Run:
    """What sections are made of.

    Attributes:
        results: All of `results.json`.
        folder: Where the predictions are that it names.
        image_of: For pictures of mistakes; without it there are only names.
    """

    results: Results
    folder: Path
    image_of: ImageOf | None = None

    def is_control(self, method: str) -> bool:
        return bool(self.results["methods"].get(method, {}).get("control"))

    def row_name(self, method: str) -> str:
        """What a figure calls a method: with what it is there for, if it is a control."""
        return f"{method} (control)" if self.is_control(method) else method

    def method_name(self, method: str) -> str:
        """With what it is there for, if it is a control, and what it was fitted on, if on anything."""
        fitted = self.results["methods"].get(method, {}).get("fitted")
        about = ["control"] * self.is_control(method) + [fitted] * bool(fitted)
        return f"{method} ({', '.join(about)})" if about else method

    def gain_of(self, cell: Row) -> Row | None:
        """The verdict on a cell's method, if there is one."""
        place = [cell[part] for part in PLACE]
        return next((gain for gain in self.results["gains"] if [gain[part] for part in PLACE] == place), None)

    def where(self, name: str, encoder: str) -> str:
        """With the encoder, if there are several."""
        return f"{name}, {encoder}" if self.several else name

    @property
    def several(self) -> bool:
        return len({cell["encoder"] for cell in self.results["cells"]}) > 1


def by(rows: Sequence[Row], *keys: str) -> list[tuple[Any, list[Row]]]:
    """Rows with equal values of some keys together, in the order of the first of each."""

    def key(row: Row) -> Any:
        return row[keys[0]] if len(keys) == 1 else tuple(row[name] for name in keys)

    order = {value: place for place, value in enumerate(dict.fromkeys(map(key, rows)))}
    ordered = sorted(rows, key=lambda row: order[key(row)])
    return [(value, list(some)) for value, some in groupby(ordered, key)]


def main_figure(cell: Row) -> Row:
    """Top-1, or mean average precision of a multi-label set."""
    found: Row = cell["metrics"][main_metric(cell["metrics"]).name]
    return found


def left_out(count: int) -> str:
    """What stands below figures of which some are not shown."""
    return f"{count} more are not drawn; the tables have their figures." if count > 0 else ""


def columns_of(*titles: str) -> list[Column]:
    """Of numbers where a title begins with "#"."""
    return [Column(title.removeprefix("#"), title.startswith("#")) for title in titles]


def without_empty(table: Table) -> Table:
    kept = [place for place in range(len(table.columns)) if any(row[place] for row in table.rows)]
    columns = [table.columns[place] for place in kept]
    return Table(table.caption, columns, [[row[place] for place in kept] for row in table.rows])
