"""Descriptors whose similarity depends on the group: they speak of the context, and not of the object.

For each descriptor of a class, and each value of each group column, the images of that class are divided into
those of the group and the others. What is compared is the descriptor's similarity above the median of all
descriptors of all classes, so that a group whose images are less similar to any text at all (sketches) does
not count against every descriptor.

The statistic is the p value of Welch's t test. It is not taken at its word, since it is too small where a
group has a handful of images: groups are dealt out anew within each class, and the least p value of all
descriptors, groups and columns is noted for each deal (Westfall & Young 1993). How often it reaches the real
one is the p value that counts: corrected for all that was looked at, and true of any distribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from vlcls.bias.deals import DEALS, dealt, reached
from vlcls.bias.evidence import checked
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
        adjusted: p value, corrected for all descriptors, groups and columns.
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
    adjusted: float

    @property
    def context(self) -> bool:
        """Whether the similarity follows the group more than the class."""
        return abs(self.to_group) > abs(self.to_class)

    @property
    def follows(self) -> str:
        """`context` in words."""
        return "the group" if self.context else "the class"

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"context": self.context}


@dataclass(frozen=True)
class RelianceSearch:
    """Descriptors that depend on groups.

    Attributes:
        found: The ones beyond chance, those that a group lacks most first.
        tested: Pairs of a descriptor and a group that were looked at.
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
    deals: int = DEALS,
    seed: int = 0,
) -> RelianceSearch:
    """Find the descriptors whose similarity differs between groups of images of their class.

    Memory grows with classes x groups x descriptors, and with images x descriptors of one class.

    Args:
        classifier: One made of prompts.
        images: [N, D] image embeddings.
        class_indices: [N].
        groups: Columns of N values. Of a column with two values one test says all.
        alpha: Chance of any false one.
        least: Images of the class inside and outside of the group.
        deals: Of the permutation test.
        seed: Of the permutation test.

    Raises:
        EmbeddingError: Shapes that do not fit.
        VlclsError: The classifier weighs prompts for each image.
    """
    rows, truth, columns = checked(classifier, images, class_indices, groups)
    pieces = Pieces(classifier)
    tests = [
        test
        for name, values in columns.items()
        for test in _tests_of(name, values, truth, len(classifier.labels), least)
    ]
    if not tests:
        return RelianceSearch((), 0)
    own = _own_values(pieces, rows, truth)
    real = np.concatenate([_surprise(test, own, test.codes[None])[0] for test in tests])
    greatest = np.concatenate([_greatest(tests, own, turns) for turns in dealt(truth, seed, deals)])
    adjusted = iter(reached(real, greatest).tolist())
    found: list[Reliance] = []
    columns_tested = {test.column: test for test in tests}
    cells = {name: _Cells(pieces, rows, truth, test) for name, test in columns_tested.items()}
    for test in tests:
        for piece in np.flatnonzero(pieces.places.numpy() == test.index).tolist():
            p_value = next(adjusted)
            if p_value <= alpha:
                found.append(_described(classifier, pieces, test, piece, own, cells[test.column], p_value))
    return RelianceSearch(tuple(sorted(found, key=lambda each: each.effect)), len(real))


# ---- tests ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Test:
    """A class inside and outside of a group.

    Attributes:
        index: The class.
        rows: int64[n], its images.
        column, known: Name and values of the column.
        codes: int64[N], the place of each image's value among the known ones.
        group: The place of the value that is compared with all others.
    """

    index: int
    rows: NDArray[np.int64]
    column: str
    known: tuple[str, ...]
    codes: NDArray[np.int64]
    group: int


def _tests_of(
    name: str, values: Sequence[str], truth: NDArray[np.int64], classes: int, least: int
) -> Iterator[_Test]:
    """Each class inside and outside of each group of a column."""
    groups, codes = np.unique(np.asarray(values, dtype=str), return_inverse=True)
    known = tuple(groups.tolist())
    for index in range(classes):
        rows = np.flatnonzero(truth == index)
        counts = np.bincount(codes[rows], minlength=len(known))
        for group in range(len(known) if len(known) > 2 else 1):
            if min(counts[group], len(rows) - counts[group]) >= max(least, 2):
                yield _Test(index, rows, name, known, codes, group)


def _own_values(
    pieces: Pieces, rows: torch.Tensor, truth: NDArray[np.int64]
) -> dict[int, NDArray[np.float64]]:
    """For each class, its images' values of its descriptors: float64[n, K]."""
    places = pieces.places.numpy()
    parts: dict[int, list[NDArray[np.float64]]] = {}
    for start, values in _values(pieces, rows):
        classes = truth[start : start + len(values)]
        for index in np.unique(classes).tolist():
            # [n, P] -> [images of the class, K]
            parts.setdefault(index, []).append(values[classes == index][:, places == index])
    return {index: np.concatenate(own) for index, own in parts.items()}


def _values(pieces: Pieces, rows: torch.Tensor) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Similarities above the median descriptor, some images at a time: the first row, and float64[n, P]."""
    step = max(1, _ENTRIES_AT_ONCE // len(pieces.places))
    for start in range(0, len(rows), step):
        similarities = pieces.look(rows[start : start + step].double()).similarities  # [n, D] -> [n, P]
        yield start, (similarities - similarities.median(1, keepdim=True).values).numpy()  # less [n, 1]


def _surprise(
    test: _Test, own: Mapping[int, NDArray[np.float64]], codes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """-log of Welch's p value, for each deal of codes int64[B, N] and each descriptor: [B, K]."""
    from scipy.special import stdtr

    values = own[test.index] - own[test.index].mean(0)  # [n, K]; the mean of all is 0
    inside = (codes[:, test.rows] == test.group).astype(np.float64)  # [B, N] -> [B, n]
    n = inside.sum(1)[:, None]  # [B, 1]
    m = len(values) - n
    sums, squares = inside @ values, inside @ values**2  # [B, n] @ [n, K] -> [B, K]
    error = (squares - sums**2 / n) / (n - 1) / n
    others_error = ((values**2).sum(0) - squares - sums**2 / m) / (m - 1) / m
    both = np.maximum(error, 0) + np.maximum(others_error, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(sums / n + sums / m) / np.sqrt(both)
        freedom = both**2 / (error**2 / (n - 1) + others_error**2 / (m - 1))
        found: NDArray[np.float64] = -np.log(np.maximum(2 * stdtr(freedom, -t), 1e-300))
    return np.nan_to_num(found, nan=0.0)  # a descriptor that is the same on all images


def _greatest(
    tests: Sequence[_Test], own: Mapping[int, NDArray[np.float64]], turns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The greatest surprise of all tests in each deal [B, N]: float64[B]."""
    codes: dict[str, NDArray[np.int64]] = {}
    result = np.zeros(len(turns))
    for test in tests:
        if test.column not in codes:
            codes[test.column] = test.codes[turns]  # [N] at [B, N] -> [B, N]
        np.maximum(result, _surprise(test, own, codes[test.column]).max(1), out=result)  # [B, K] -> [B]
    return result


# ---- descriptions --------------------------------------------------------------------------------------


class _Cells:
    """Counts int64[C, G] and means float64[C, G, P] of each class and group."""

    def __init__(self, pieces: Pieces, rows: torch.Tensor, truth: NDArray[np.int64], test: _Test) -> None:
        shape = pieces.classes, len(test.known)
        cells = truth * shape[1] + test.codes
        self.counts: NDArray[np.int64] = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
        sums = torch.zeros(shape[0] * shape[1], len(pieces.places), dtype=torch.float64)
        for start, values in _values(pieces, rows):
            sums.index_add_(0, torch.from_numpy(cells[start : start + len(values)]), torch.from_numpy(values))
        means = sums.numpy() / np.maximum(self.counts.reshape(-1, 1), 1)
        self.means: NDArray[np.float64] = means.reshape(*shape, -1)  # [C * G, P] -> [C, G, P]

    def to_group(self, piece: int, group: int) -> float:
        """Mean over classes with images on both sides of inside - outside."""
        return _mean_apart(self.counts, self.means[:, :, piece], group)

    def to_class(self, piece: int, index: int) -> float:
        """Mean over groups with images on both sides of own class - other classes."""
        return _mean_apart(self.counts.T, self.means[:, :, piece].T, index)


def _mean_apart(counts: NDArray[np.int64], means: NDArray[np.float64], column: int) -> float:
    """Mean over the rows of a table of one column less all others; 0 where no row has both."""
    own, total = counts[:, column], counts.sum(1)  # [rows, columns] -> [rows] each
    both = (own > 0) & (total > own)
    if not both.any():
        return 0.0
    sums = (counts * means).sum(1) - own * means[:, column]
    return float((means[:, column] - sums / np.maximum(total - own, 1))[both].mean())


def _described(
    classifier: PromptClassifier,
    pieces: Pieces,
    test: _Test,
    piece: int,
    own: Mapping[int, NDArray[np.float64]],
    cells: _Cells,
    p_value: float,
) -> Reliance:
    place = int((pieces.places[:piece] == test.index).sum())
    values = own[test.index][:, place]  # [n, K] -> [n]
    inside = test.codes[test.rows] == test.group
    group, sides = test.group, (values[inside], values[~inside])
    if len(test.known) == 2 and sides[0].mean() > sides[1].mean():  # said of the group that lacks it
        group, sides = 1 - group, (sides[1], sides[0])
    n, m = map(len, sides)
    pooled = sum(float(((side - side.mean()) ** 2).sum()) for side in sides) / (n + m - 2)
    here, there = (float(side.mean()) for side in sides)
    effect = (1 - 3 / (4 * (n + m) - 9)) * (here - there) / pooled**0.5 if pooled else float("-inf")
    return Reliance(
        test.index, classifier.labels.reported[test.index], pieces.names[piece], test.column,
        test.known[group], n, m, here, there, effect, cells.to_group(piece, group),
        cells.to_class(piece, test.index), p_value,
    )  # fmt: skip
