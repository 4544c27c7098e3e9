"""`vlcls names inspect`: which images' labels are judged, by what, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vlcls.cli.options import embedded_images
from vlcls.cli.terminal import say

if TYPE_CHECKING:
    from vlcls.classifiers import PromptClassifier
    from vlcls.explain import Doubt
    from vlcls.labelled import LabelledEmbeddings, LabelledImages

HELD_OUT = "held_out"


Judge = Literal["out-of-fold", "names"]


@dataclass(frozen=True)
class Judged:
    """Labels that were judged.

    Attributes:
        by: What judged them.
        doubts: The doubted ones, the most doubtful first.
        judged, left: How many images were judged, and how many could not be.
        errors: Why images could not be read.
    """

    by: Judge
    doubts: tuple[Doubt, ...]
    judged: int
    left: int
    errors: tuple[str, ...]

    @property
    def said(self) -> str:
        """Which images were judged, and by what."""
        if self.by == "names":
            left = f"; {self.left} that they were made with were not judged" if self.left else ""
            return f"{self.judged} images that the learned names have not seen, by these names{left}"
        left = f"; {self.left} alone in their class were not judged" if self.left else ""
        return f"{self.judged} images, each by a probe that did not learn from it (five folds){left}"

    @property
    def score(self) -> str:
        if self.by == "names":
            return "probability of what it looks like less that of its label"
        return "1 less the probability of its label"


def judged_labels(
    folder: Path, images: Path | None, ready: PromptClassifier, by: Judge | None, cache: bool
) -> Judged | None:
    """Judge the labels of the images of a folder, or else of those that the names were made with.

    By the names, if it is not said, where a folder has images that they did not learn from. None, and a line
    on standard error, if no image is left to judge.
    """
    from vlcls.explain import doubted_labels, doubted_out_of_fold

    given, learned_from = _given(folder, images, ready)
    if given is None:
        return None
    embedded = embedded_images(given, ready, cache)
    errors = tuple(embedded.errors.values())
    new = _new_rows(embedded, learned_from, ready.fitted.labelled)
    left = len(embedded) - len(new)
    by = by or ("names" if images is not None and new else "out-of-fold")
    if by == "out-of-fold":
        found = doubted_out_of_fold(embedded, ready.labels.reported)
        return Judged(by, found.doubts, found.judged, found.left, errors)
    if not new:
        say(
            f"the names were made with all {left} images: their labels are not judged (--judge out-of-fold "
            "judges each by what the others say, --images FOLDER others)",
            err=True,
        )
        return None
    return Judged(by, doubted_labels(ready, embedded.some(new)), len(new), left, errors)


def _new_rows(embedded: LabelledEmbeddings, places: frozenset[Path], contents: frozenset[str]) -> list[int]:
    """The images that nothing was learned from: neither where they lie nor what is in them is known."""
    keys = [key.hex() for key in embedded.keys] or [""] * len(embedded)
    return [
        row
        for row, (name, key) in enumerate(zip(embedded.names, keys, strict=True))
        if key not in contents and _place(name) not in places
    ]


def _given(
    folder: Path, images: Path | None, ready: PromptClassifier
) -> tuple[LabelledImages | None, frozenset[Path]]:
    """The images whose labels are judged, and where those are that the names learned from."""
    from vlcls.image_sources import as_sources
    from vlcls.labelled import LabelledImages, class_places, labelled_folder
    from vlcls.learning import REPORT, read_report

    path, report = folder / REPORT, read_report(folder)
    rows = () if report is None else report.images
    learned_from = frozenset(_place(row.image) for row in rows if row.part != HELD_OUT)
    if images is not None:
        return labelled_folder(images, ready.labels), learned_from
    if report is None:
        say(f"no {path}: labels are not checked (--images FOLDER names the images)", err=True)
        return None, learned_from
    there = [(row.image, row.class_id) for row in rows if _is_file(row.image)]
    if len(there) < len(rows):
        say(
            f"{len(rows) - len(there)} of the {len(rows)} images it was made with are not found from "
            "here: their labels are not checked (--images FOLDER names them)",
            err=True,
        )
    if not there:
        return None, learned_from
    places = class_places([own for _, own in there], ready.labels, str(path))
    sources = as_sources([image for image, _ in there])
    indices = tuple(places[own] for _, own in there)
    return LabelledImages(sources, indices, {}, ready.labels), learned_from


def _place(name: str) -> Path:
    return Path(name).expanduser().absolute()


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # longer than names can be, or with a NUL: none of ours
        return False
