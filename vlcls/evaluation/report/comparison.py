"""Two runs of `vlcls evaluate`: what changed, which images flipped, and whether that is beyond chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import EvaluationError
from vlcls.evaluation.metrics.entries import METRICS, main_metric
from vlcls.evaluation.metrics.significance import Difference, compare_right, holm_corrected
from vlcls.evaluation.report.run_files import Predictions, cell_name, numbered, read_predictions, read_results
from vlcls.evaluation.report.section_rows import main_figure
from vlcls.files.terminal import counted

Direction = Literal["gained", "lost", "still wrong"]
DIRECTIONS: tuple[Direction, ...] = ("gained", "lost", "still wrong")


@dataclass(frozen=True)
class SettingChange:
    """Something that is not the same in both runs."""

    what: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Flip:
    """An image that is given another class.

    Attributes:
        set, encoder, method, seed: In which predictions.
        image: Its name.
        truth, before, after: Names of classes.
        truth_id, before_id, after_id: Their ids.
        direction: "gained" is right only after, "lost" only before, "still wrong" neither.
    """

    set: str
    encoder: str
    method: str
    seed: int
    image: str
    truth: str
    before: str
    after: str
    direction: Direction
    truth_id: str
    before_id: str
    after_id: str


@dataclass(frozen=True)
class CellChange:
    """A cell that both runs have.

    Attributes:
        set, encoder, method: Which.
        metric: The main one: "top1", or "mean_average_precision" of multi-label sets.
        before, after: Its figure; "top1" over the images that both runs have, mean over seeds.
        figures: (before, after) of every metric that both have, each over all images of its run.
        images: That both have; None for multi-label sets.
        only_before, only_after: Images that only one of both has, which are left out.
        difference: After less before, Holm-corrected over all cells that both have; None for multi-label
            sets, of which no predictions are kept.
        shared_seeds: How many seeds both have.
        flips: Of these.
    """

    set: str
    encoder: str
    method: str
    metric: str
    before: float
    after: float
    figures: Mapping[str, tuple[float, float]]
    images: int | None = None
    only_before: int = 0
    only_after: int = 0
    difference: Difference | None = None
    shared_seeds: int = 0
    flips: tuple[Flip, ...] = field(default=(), repr=False)

    @property
    def unchanged(self) -> bool:
        """Every image is given the same class as before, with every seed."""
        return self.shared_seeds > 0 and not self.flips and self.before == self.after

    @property
    def counts(self) -> dict[str, int]:
        """Flips by direction."""
        found = Counter(flip.direction for flip in self.flips)
        return {name: found[name] for name in DIRECTIONS}

    def to_json(self) -> dict[str, Any]:
        """Without the flips, which are counted."""
        difference = None if self.difference is None else self.difference.to_json()
        return vars(self) | {"difference": difference, "flips": self.counts}


@dataclass(frozen=True)
class RunComparison:
    """What `compare_runs` found.

    Attributes:
        alpha: What the second run calls significant.
        cells: Those that both runs have.
        only_before, only_after: Names of the others.
        changes: What else differs: encoders, prompts, data, versions.
        notes: What a reader must know before trusting the figures, in sentences.
    """

    alpha: float
    cells: tuple[CellChange, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    changes: tuple[SettingChange, ...]
    notes: tuple[str, ...]

    @property
    def flips(self) -> Iterator[Flip]:
        return (flip for cell in self.cells for flip in cell.flips)

    def to_json(self) -> dict[str, Any]:
        cells, changes = [cell.to_json() for cell in self.cells], [vars(change) for change in self.changes]
        return vars(self) | {"cells": cells, "changes": changes}


def compare_runs(a: str | Path, b: str | Path) -> RunComparison:
    """Compare the second run with the first, over the cells and images that both have.

    Images are paired by their names. That they are the same images is checked as far as can be: true classes
    must agree, and if both runs have the same names of images, so must the hash of their contents.

    Args:
        a, b: Folders that `vlcls evaluate` wrote.

    Raises:
        EvaluationError: A folder that holds no results, no cell that both have, or different images.
    """
    before, after = read_results(a), read_results(b)
    first, second = (_cells(results) for results in (before, after))
    shared = [key for key in first if key in second]
    if not shared:
        raise EvaluationError(
            f"no cell is in both runs. {a} has {_some(first)}; {b} has {_some(second)}: "
            "evaluate the same sets, encoders and methods"
        )
    sides = ((Path(a), before), (Path(b), after))
    cells = [_compared(key, sides, (first[key], second[key])) for key in shared]
    return RunComparison(
        after["alpha"],
        tuple(_corrected(cells, after["alpha"])),
        tuple(cell_name(cell) for key, cell in first.items() if key not in second),
        tuple(cell_name(cell) for key, cell in second.items() if key not in first),
        tuple(_changes(before, after, [(first[key], second[key]) for key in shared])),
        tuple(_notes(cells)),
    )


_Json = Mapping[str, Any]


class _Name(NamedTuple):
    """Of a cell."""

    set: str
    encoder: str
    method: str


def _cells(results: Mapping[str, Any]) -> dict[_Name, Mapping[str, Any]]:
    return {_Name(*(cell[part] for part in _Name._fields)): cell for cell in results["cells"]}


def _some(cells: Mapping[_Name, Mapping[str, Any]]) -> str:
    return counted([cell_name(cell) for cell in cells.values()], 4) or "none"


def _corrected(cells: Sequence[CellChange], alpha: float) -> Iterator[CellChange]:
    table = {str(row): {"": cell.difference} for row, cell in enumerate(cells) if cell.difference is not None}
    found = holm_corrected(table, alpha)
    for row, cell in enumerate(cells):
        yield replace(cell, difference=found[str(row)][""]) if str(row) in found else cell


# ---- one cell ------------------------------------------------------------------------------------------


def _compared(own: _Name, sides: Sequence[tuple[Path, _Json]], cells: Sequence[_Json]) -> CellChange:
    old, new = (cell["metrics"] for cell in cells)
    shared = [name for name in METRICS if old.get(name) and new.get(name)]
    figures = {name: (old[name]["value"], new[name]["value"]) for name in shared}
    given = [read_predictions(folder, cell) for (folder, _), cell in zip(sides, cells, strict=True)]
    if given[0] is None or given[1] is None:
        before, after = (main_figure(cell)["value"] for cell in cells)
        return CellChange(*own, main_metric(old).name, before, after, figures)
    known = [results["sets"][own.set] for _, results in sides]
    where = f"{sides[0][0]} and {sides[1][0]}, set {own.set!r}"
    rows, others = _paired(given[0], given[1], [each.get("content_sha256") for each in known], where)
    places = _same_classes(*(each["classes"] for each in known))
    first, second = given[0].at(rows), given[1].at(others)
    second = replace(second, truth=places[second.truth], predicted=places[second.predicted])
    names = [name for each in known for name in each["classes"]]
    ids = [each_id for each in known for each_id in each.get("ids") or each["classes"]]
    _check_truth(first, second, names, where)
    difference = compare_right(second.right, first.right)
    return CellChange(
        *own,
        "top1",
        difference.reference,
        difference.accuracy,
        figures,
        images=len(rows),
        only_before=len(given[0]) - len(rows),
        only_after=len(given[1]) - len(rows),
        difference=difference,
        shared_seeds=len(set(first.seeds) & set(second.seeds)),
        flips=tuple(_flips(first, second, list(zip(names, ids, strict=True)), own)),
    )


def _paired(
    first: Predictions, second: Predictions, hashes: Sequence[str | None], where: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the same images in both, in the order of the first."""
    places = {key: row for row, key in enumerate(numbered(second.images))}
    pairs = [(row, places[key]) for row, key in enumerate(numbered(first.images)) if key in places]
    if not pairs:
        raise EvaluationError(
            f"{where}: no image is in both (there are {first.images[0]!r}, ... and {second.images[0]!r}, "
            "...). Predictions of different images cannot be paired: evaluate the same data"
        )
    if len(pairs) == len(first) == len(second) and None not in hashes and hashes[0] != hashes[1]:
        raise EvaluationError(
            f"{where}: the {len(pairs)} images have the same names, but other contents (content_sha256 "
            f"{str(hashes[0])[:12]} and {str(hashes[1])[:12]}). Predictions of different images cannot be "
            "paired: evaluate the same data"
        )
    rows, others = np.array(pairs, dtype=np.int64).T
    return rows, others


def _same_classes(first: Sequence[str], second: Sequence[str]) -> NDArray[np.int64]:
    """For each class of the second run its place in the first, or after all of its classes."""
    places = {key: index for index, key in enumerate(numbered(first))}
    return np.array(
        [places.get(key, len(first) + index) for index, key in enumerate(numbered(second))], dtype=np.int64
    )


def _check_truth(first: Predictions, second: Predictions, names: Sequence[str], where: str) -> None:
    apart = np.flatnonzero(first.truth != second.truth)
    if len(apart):
        row = apart[0]
        raise EvaluationError(
            f"{where}: image {first.images[row]!r} is {names[first.truth[row]]!r} in the one and "
            f"{names[second.truth[row]]!r} in the other ({len(apart)} of {len(first)} such images). "
            "Predictions of different images or labels cannot be paired: evaluate the same data"
        )


def _flips(
    first: Predictions, second: Predictions, names: Sequence[tuple[str, str]], own: _Name
) -> Iterator[Flip]:
    """Images of both, in the same order; names and ids by class."""
    for seed in (seed for seed in first.seeds if seed in second.seeds):
        old, new = (each.predicted[each.seeds.index(seed)] for each in (first, second))
        for row in np.flatnonzero(old != new):
            classes = first.truth[row], old[row], new[row]
            kind: Direction = "still wrong"
            if classes[0] in classes[1:]:
                kind = "gained" if classes[2] == classes[0] else "lost"
            (is_, own_id), (was, was_id), (became, new_id) = (names[index] for index in classes)
            yield Flip(*own, seed, first.images[row], is_, was, became, kind, own_id, was_id, new_id)


# ---- what else differs ---------------------------------------------------------------------------------


def _changes(
    before: Mapping[str, Any], after: Mapping[str, Any],
    cells: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
) -> Iterator[SettingChange]:  # fmt: skip
    for what in ("encoders", "methods", "sets"):
        for name in (name for name in before[what] if name in after[what]):
            told = [_told(results[what][name]) for results in (before, after)]
            yield from _differing(f"{what[:-1]} {name}: ", *told)
    for old, new in cells:
        own = [{key: cell[key] for key in ("prompts", "prompts_sha256", "seeds")} for cell in (old, new)]
        yield from _differing(f"{cell_name(old)}: ", *own)
    for what in ("versions", "hardware"):
        yield from _differing(f"{what}: ", before[what], after[what])
    whole = [{key: results.get(key) for key in ("vlcls", "limit", "alpha")} for results in (before, after)]
    yield from _differing("", *whole)


def _told(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Long lists as their lengths or not at all: classes that differ are worth a line, not a page."""
    told = {key: value for key, value in entry.items() if key not in ("problems", "about")}
    return told | {"unreadable": len(entry["unreadable"])} if "unreadable" in entry else told


def _differing(where: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[SettingChange]:
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if key in ("classes", "ids"):
            gone, come = _missing(old or (), new or ()), _missing(new or (), old or ())
            old, new = gone or "in this order", come or "in another order"
        yield SettingChange(f"{where}{key}", old, new)


def _missing(names: Sequence[str], others: Sequence[str], most: int = 5) -> str:
    """The first of those that the others lack, and how many more; there may be 100 000."""
    known = set(others)
    lacking = [name for name in names if name not in known]
    return counted(lacking, most)


def _notes(cells: Sequence[CellChange]) -> Iterator[str]:
    partial = {cell.set: cell for cell in cells if cell.only_before or cell.only_after}
    for name, cell in partial.items():
        yield (
            f"{name}: only the {cell.images} images that both runs have are compared; {cell.only_before} are "
            f"only in the first, {cell.only_after} only in the second."
        )
    for cell in cells:
        if cell.difference is None:
            yield f"{cell.set}: several classes an image, so no predictions to pair and no test."
        elif not cell.shared_seeds:
            yield f"{cell.set} / {cell.encoder} / {cell.method}: no seed is in both runs, so no image flips."
