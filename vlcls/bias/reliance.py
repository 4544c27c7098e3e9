"""Descriptors whose similarity depends on the group: they speak of the context, and not of the object.

For each descriptor of a class, and each value of each group column, the images of that class are divided into
those of the group and the others. What is compared is the descriptor's similarity above the median of all
descriptors of all classes, so that a group whose images are less similar to any text at all (sketches) does not
count against every descriptor. Welch's t test, Holm-corrected over everything tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from vlcls.bias.evidence import checked
from vlcls.evaluation.significance import holm
from vlcls.explain.pieces import Pieces

if TYPE_CHECKING:
    from vlcls.classifiers import PromptClassifier

#: Similarities in memory at once.
_ENTRIES_AT_ONCE = 2**21


@dataclass(frozen=True)
class Reliance:
    """One descriptor and one group of images of its class.

    Attributes:
        index, label: The class.
        text: The descriptor.
        column, group: The group.
        count, others: Images of the class inside and outside of the group.
        inside, outside: Mean similarity above the median descriptor.
        effect: Hedges' g: inside - outside in standard deviations; negative where the group lacks what the
            descriptor says.
        to_group: What the similarity changes by from outside to inside of the group, mean over all classes
            with images in both.
        to_class: What it changes by from other classes to its own, mean over all groups of the column with
            images of both.
        p_value, adjusted: Welch's test; Holm-corrected over all descriptors, groups and columns.
    """

    index: int
    label: str
    text: str
    column: str
    group: str
    count: int
    others: int
    inside: float
    outside: float
    effect: float
    to_group: float
    to_class: float
    p_value: float
    adjusted: float

    @property
    def context(self) -> bool:
        """Whether the similarity follows the group more than the class."""
        return abs(self.to_group) > abs(self.to_class)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"context": self.context}


@dataclass(frozen=True)
class RelianceSearch:
    """Descriptors that depend on groups.

    Attributes:
        found: The ones beyond chance, those that a group lacks most first.
        tested: Tests that p values are corrected for.
    """

    found: tuple[Reliance, ...]
    tested: int


def descriptor_reliance(
    classifier: PromptClassifier,
    images: Any,
    class_indices: Any,
    groups: Mapping[str, Sequence[str]],
    *,
    alpha: float = 0.05,
    least: int = 5,
) -> RelianceSearch:
    """Find the descriptors whose similarity differs between groups of images of their class.

    Memory grows with classes x groups x descriptors, not with images.

    Args:
        classifier: One made of prompts.
        images: [N, D] image embeddings.
        class_indices: [N].
        groups: Columns of N values. Of a column with two values one test says all.
        alpha: Chance of any false one.
        least: Images of the class inside and outside of the group.

    Raises:
        EmbeddingError: Shapes that do not fit.
    """
    rows, truth, columns = checked(classifier, images, class_indices, groups)
    pieces = Pieces(classifier)
    tests: list[Reliance] = []
    for name, values in columns.items():
        known, codes = np.unique(np.asarray(values, dtype=str), return_inverse=True)
        if len(known) > 1:
            cells = _Cells(pieces, rows, truth, codes, len(known))
            tests += _tests_of(classifier, pieces, cells, name, known.tolist(), least)
    adjusted = holm([test.p_value for test in tests])
    found = [
        Reliance(**{**vars(test), "adjusted": value})
        for test, value in zip(tests, adjusted, strict=True)
        if value <= alpha
    ]
    return RelianceSearch(tuple(sorted(found, key=lambda each: each.effect)), len(tests))


class _Cells:
    """Counts [C, G], means [C, G, P] and sums of squared deviations [C, G, P] of each class and group."""

    def __init__(
        self, pieces: Pieces, rows: torch.Tensor, truth: NDArray[np.int64], codes: NDArray[Any], groups: int
    ) -> None:
        shape = pieces.classes, groups
        cells = truth * groups + codes
        self.counts: NDArray[np.int64] = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
        width = len(pieces.places)
        step = max(1, _ENTRIES_AT_ONCE // width)
        sums, squares = torch.zeros(2, shape[0] * shape[1], width, dtype=torch.float64)
        for turn in ("means", "deviations"):  # two passes: squares of small differences must not cancel
            for start in range(0, len(rows), step):
                similarities = pieces.similarities(rows[start : start + step].double())
                values = similarities - similarities.median(1, keepdim=True).values
                own = torch.from_numpy(cells[start : start + step])
                if turn == "means":
                    sums.index_add_(0, own, values)
                else:
                    squares.index_add_(0, own, (values - means[own]) ** 2)
            if turn == "means":
                means = sums / torch.from_numpy(self.counts.reshape(-1, 1)).clamp_min(1)
        self.means: NDArray[np.float64] = means.numpy().reshape(*shape, width)
        self.squares: NDArray[np.float64] = squares.numpy().reshape(*shape, width)


def _tests_of(
    classifier: PromptClassifier, pieces: Pieces, cells: _Cells, column: str, known: Sequence[str], least: int
) -> list[Reliance]:
    from scipy.stats import t

    places = pieces.places.numpy()
    labels = classifier.labels.reported
    to_class = _to_class(cells, places)
    tests = []
    for group, value in enumerate(known if len(known) > 2 else known[:1]):
        inside, outside = (
            _merged(cells, [group]),
            _merged(cells, [g for g in range(len(known)) if g != group]),
        )
        to_group = _mean_change(inside, outside)
        for piece, index in enumerate(places.tolist()):
            (n, mean, square), (m, other, others_square) = (
                (int(side[0][index]), float(side[1][index, piece]), float(side[2][index, piece]))
                for side in (inside, outside)
            )
            if min(n, m) < least:
                continue
            change, group_name, towards = mean - other, value, to_group[piece]
            if len(known) == 2 and change > 0:  # said of the group that lacks it
                n, m, mean, other, square, others_square = m, n, other, mean, others_square, square
                change, group_name, towards = -change, known[1], -towards
            error = square / (n - 1) / n, others_square / (m - 1) / m
            pooled = ((square + others_square) / (n + m - 2)) ** 0.5
            if not pooled:
                continue
            freedom = sum(error) ** 2 / (error[0] ** 2 / (n - 1) + error[1] ** 2 / (m - 1))
            p_value = float(2 * t.sf(abs(change) / sum(error) ** 0.5, freedom))
            correction = 1 - 3 / (4 * (n + m) - 9)
            tests.append(
                Reliance(
                    index, labels[index], pieces.names[piece], column, group_name, n, m, mean, other,
                    correction * change / pooled, float(towards), float(to_class[piece]), p_value, p_value,
                )
            )  # fmt: skip
    return tests


_Side = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def _merged(cells: _Cells, groups: Sequence[int]) -> _Side:
    """Several groups as one: counts [C], means [C, P], sums of squared deviations [C, P]."""
    counts = cells.counts[:, groups]
    total = counts.sum(1)
    weights = counts[:, :, None]
    mean = (weights * cells.means[:, groups]).sum(1) / np.maximum(total, 1)[:, None]
    between = weights * (cells.means[:, groups] - mean[:, None]) ** 2
    return total, mean, (cells.squares[:, groups] + between).sum(1)


def _mean_change(inside: _Side, outside: _Side) -> NDArray[np.float64]:
    """Mean over classes with images on both sides of inside - outside: [P]."""
    both = (inside[0] > 0) & (outside[0] > 0)
    if not both.any():
        return np.zeros(inside[1].shape[1])
    change: NDArray[np.float64] = (inside[1] - outside[1])[both].mean(0)
    return change


def _to_class(cells: _Cells, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """For each descriptor the mean over groups of own class - other classes: [P]."""
    sums = (cells.counts[:, :, None] * cells.means).sum(0)
    totals = cells.counts.sum(0)
    result = np.zeros(len(places))
    for piece, index in enumerate(places.tolist()):
        own = cells.counts[index]
        both = (own > 0) & (totals > own)
        if both.any():
            others = (sums[both, piece] - own[both] * cells.means[index, both, piece]) / (totals - own)[both]
            result[piece] = (cells.means[index, both, piece] - others).mean()
    return result
