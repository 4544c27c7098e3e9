"""Which labels images of the same label do not bear out: every image judged by a probe that has not seen it.

What has learned from an image has learned its wrong label, too. So the images are dealt into folds, alike in
every class, copies of an image into one; for each fold a linear probe (ridge regression of the classes'
indicators on unit image embeddings, every class with the same total weight) learns from the others and
predicts it. The strength of the penalty is that of the least squared error out of fold; a temperature, of the
least cross-entropy out of fold, makes probabilities of its values. An image is doubted as far as the
probability of its label is low: Northcutt, Jiang & Chuang, "Confident Learning" (JAIR 2021), call this the
self-confidence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import EmbeddingError
from vlcls.explain.names import Doubt, as_doubts

if TYPE_CHECKING:
    from vlcls.labelled import LabelledEmbeddings

FOLDS = 5
_PENALTIES = 10.0 ** np.arange(-3, 3)


@dataclass(frozen=True)
class OutOfFold:
    """What probes say of the images that they did not learn from.

    Attributes:
        doubts: Images whose label is not the likeliest class, the least likely label first.
        judged: How many images could be judged.
        left: How many could not: no other fold has an image of their class.
    """

    doubts: tuple[Doubt, ...]
    judged: int
    left: int


def doubted_out_of_fold(
    embedded: LabelledEmbeddings, labels: Sequence[str], *, folds: int = FOLDS, seed: int = 0
) -> OutOfFold:
    """Judge every image by a probe that has not learned from it.

    Args:
        embedded: N images; their class indices are places in `labels`.
        labels: What reports call each class.
        folds: Parts that the images are dealt into.
        seed: Of the deal.

    Raises:
        EmbeddingError: Fewer than two folds.
    """
    if folds < 2:
        raise EmbeddingError(f"at least two folds are needed, not {folds}")
    rows = embedded.embeddings.double().cpu().numpy()
    truth = embedded.class_indices.cpu().numpy()
    parts = dealt(rows, truth, folds, seed)
    known = np.unique(truth)
    place = np.searchsorted(known, truth)
    counts = np.zeros((len(known), folds), dtype=np.int64)
    np.add.at(counts, (place, parts), 1)
    elsewhere = counts.sum(1)[place] > counts[place, parts]  # another fold has images of the class
    if not elsewhere.any() or len(known) < 2:
        return OutOfFold((), 0, len(rows))
    probabilities = _probabilities(rows, place, parts, elsewhere)
    best = probabilities.argmax(1)
    scores = 1 - probabilities[np.arange(len(rows)), place]
    wrong = np.flatnonzero(elsewhere & (best != place))
    order = wrong[np.argsort(-scores[wrong], kind="stable")]
    doubts = as_doubts(embedded, labels, order.tolist(), known[best], scores)
    return OutOfFold(doubts, int(elsewhere.sum()), int((~elsewhere).sum()))


def dealt(
    rows: NDArray[np.float64], class_indices: NDArray[np.int64], folds: int, seed: int
) -> NDArray[np.int64]:
    """The fold of each image, int64[N]: a class's images are dealt out in a random order, copies as one."""
    rng = np.random.default_rng(seed)
    copies = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    result = np.full(len(rows), -1, dtype=np.int64)
    start = 0
    for index in np.unique(class_indices).tolist():
        own = np.unique(copies[class_indices == index])
        for turn, copy in enumerate(rng.permutation(own).tolist(), start):
            same = copies == copy
            if result[same].max() < 0:  # a copy with another label was dealt with that one
                result[same] = turn % folds
        start += len(own)
    return result


def _probabilities(
    rows: NDArray[np.float64], place: NDArray[np.int64], parts: NDArray[np.int64], counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Of each class, float64[N, C], out of fold; penalty and temperature are chosen on the counted images."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax, softmax

    classes = int(place.max()) + 1
    wanted = np.eye(classes)
    probes = list(_probes(rows, place, parts, wanted))
    errors = np.zeros(len(_PENALTIES))
    for number, penalty in enumerate(_PENALTIES):
        for own, predict in probes:
            errors[number] += ((predict(penalty) - wanted[place[own]])[counted[own]] ** 2).sum()
    values = np.empty((len(rows), classes))
    for own, predict in probes:
        values[own] = predict(float(_PENALTIES[errors.argmin()]))
    some, own_place = values[counted], place[counted]

    def entropy(logarithm: float) -> float:
        found = log_softmax(np.exp(logarithm) * some, axis=1)
        return -float(found[np.arange(len(some)), own_place].mean())

    chosen = minimize_scalar(entropy, bounds=(-2, 6), method="bounded").x
    result: NDArray[np.float64] = softmax(np.exp(chosen) * values, axis=1)
    return result


@dataclass(frozen=True, eq=False)
class _Probe:
    """Values of one fold's images under any penalty: base (coefficients / (squares + penalty)) + mean."""

    base: NDArray[np.float64]
    squares: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    mean: NDArray[np.float64]

    def __call__(self, penalty: float) -> NDArray[np.float64]:
        values: NDArray[np.float64] = self.base @ (self.coefficients / (self.squares + penalty)[:, None])
        return values + self.mean


def _probes(
    rows: NDArray[np.float64], place: NDArray[np.int64], parts: NDArray[np.int64], wanted: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.int64], _Probe]]:
    """For each fold, its images and a probe that has learned from the others."""
    for fold in np.unique(parts).tolist():
        own, others = np.flatnonzero(parts == fold), np.flatnonzero(parts != fold)
        counts = np.bincount(place[others], minlength=len(wanted))
        weights = 1 / counts[place[others]]
        weights *= len(others) / weights.sum()
        mean = np.average(rows[others], axis=0, weights=weights)
        mean_wanted = np.average(wanted[place[others]], axis=0, weights=weights)
        root = np.sqrt(weights)[:, None]
        x, y = (rows[others] - mean) * root, (wanted[place[others]] - mean_wanted) * root
        new = rows[own] - mean
        if len(x) <= x.shape[1]:  # the smaller of the two products has the same solution
            squares, turned = np.linalg.eigh(x @ x.T)
            base, coefficients = new @ x.T @ turned, turned.T @ y
        else:
            squares, turned = np.linalg.eigh(x.T @ x)
            base, coefficients = new @ turned, turned.T @ (x.T @ y)
        yield own, _Probe(base, np.maximum(squares, 0), coefficients, mean_wanted)
