"""How good a classifier is over images whose classes are known.

Equal scores are ranked in the order of the classes everywhere, as in `Classifier.predict`: top-1 is the first
of the highest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import EvaluationError, MissingExtraError
from vlcls.evaluation.metrics.calibration import DEFAULT_BINS, bin_places, errors_of_bins
from vlcls.evaluation.metrics.intervals import (
    RESAMPLES,
    Estimate,
    at_most_one,
    bootstrap_intervals,
    proportion,
)
from vlcls.evaluation.metrics.per_image import Activation, Outcomes, checked, outcomes

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class Metrics:
    """All figures of one classifier on images with one true class each.

    Attributes:
        images: N.
        classes: C.
        classes_with_images: How many of them `mean_class_recall` is the mean over.
        activation: How logits became probabilities; decides what NLL and Brier score mean.
        bins: Of the calibration errors.
        top1, top5: Accuracies with Wilson intervals. No top-5 of five classes or fewer, where it is always 1.
        mean_class_recall: Mean over classes of the part of their images that is predicted right.
        nll, brier, ece, mce: See `vlcls.evaluation.metrics.calibration`; bootstrap intervals.
    """

    images: int
    classes: int
    classes_with_images: int
    activation: Activation
    bins: int
    top1: Estimate
    top5: Estimate | None
    mean_class_recall: Estimate
    nll: Estimate
    brier: Estimate
    ece: Estimate
    mce: Estimate

    def to_json(self) -> dict[str, Any]:
        """Plain data; every figure as {"value", "low", "high"}, or null."""
        return {
            name: value.to_json() if isinstance(value, Estimate) else value
            for name, value in vars(self).items()
        }


@dataclass(frozen=True)
class MultiLabelMetrics:
    """Figures of one classifier on images with any number of true classes each.

    Attributes:
        images, classes: N and C.
        classes_with_images: How many classes `mean_average_precision` is the mean over.
        mean_average_precision: With a bootstrap interval.
    """

    images: int
    classes: int
    classes_with_images: int
    mean_average_precision: Estimate

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"mean_average_precision": self.mean_average_precision.to_json()}


@dataclass(frozen=True)
class ClassResult:
    """One class.

    Attributes:
        index: Its place.
        images: Images that are of it.
        predicted: Images that are given it.
        right: Images that are both.
    """

    index: int
    images: int
    predicted: int
    right: int

    @property
    def recall(self) -> Estimate | None:
        """The part of its images that is given it; None without images."""
        return proportion(self.right, self.images)

    @property
    def precision(self) -> Estimate | None:
        """The part of images given it that is of it; None if no image is."""
        return proportion(self.right, self.predicted)


def measure(
    logits: Any,
    truth: Any,
    activation: Activation = "softmax",
    *,
    bins: int = DEFAULT_BINS,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Metrics:
    """All metrics of logits [N, C] for images of true classes [N]. See `outcomes` for the arguments."""
    return measure_outcomes(
        outcomes(logits, truth, activation), activation, bins=bins, seed=seed, resamples=resamples
    )


def measure_outcomes(
    found: Outcomes,
    activation: Activation = "softmax",
    *,
    bins: int = DEFAULT_BINS,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Metrics:
    """The same from outcomes, which may have been `joined` from batches.

    Args:
        found: Of at least one image.
        activation: What the outcomes were made with.
        bins: Of the calibration errors.
        seed, resamples: Of the bootstrap intervals.
    """
    right, places = found.right, bin_places(found.confidence, bins)
    gaps = right - found.confidence

    def figures(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        recall = _mean_recall(found.truth[rows], right[rows], found.classes)
        errors = errors_of_bins(places[rows], gaps[rows], bins)
        return np.array([recall, found.nll[rows].mean(), found.brier[rows].mean(), *errors])

    recall, nll, brier, ece, mce = bootstrap_intervals(figures, len(found), seed=seed, resamples=resamples)
    top1 = proportion(int(right.sum()), len(found))
    top5 = proportion(int((found.rank < 5).sum()), len(found)) if found.classes > 5 else None
    assert top1 is not None
    seen = len(np.unique(found.truth))
    return Metrics(
        len(found), found.classes, seen, activation, bins, top1, top5,
        at_most_one(recall), nll, brier, at_most_one(ece), at_most_one(mce),
    )  # fmt: skip


def top_k_accuracy(scores: Any, truth: Any, k: int = 1) -> float:
    """The part of images whose true class is among the k best.

    Args:
        scores: [N, C]; any scale.
        truth: [N].
        k: At least 1. From C on the result is 1.
    """
    if k < 1:
        raise EvaluationError(f"k must be at least 1, not {k}")
    return float((outcomes(scores, truth).rank < k).mean())


def mean_class_recall(scores: Any, truth: Any) -> float:
    """Mean over the classes with images of the part of their images that is predicted right.

    Also called balanced accuracy.
    """
    table, classes = checked(scores, truth)
    places = classes.numpy()
    return _mean_recall(places, table.argmax(1).numpy() == places, table.shape[1])


def _mean_recall(truth: NDArray[np.int64], right: NDArray[np.bool_], classes: int) -> float:
    counts = np.bincount(truth, minlength=classes)
    hits = np.bincount(truth, weights=right, minlength=classes)
    seen = counts > 0
    return float((hits[seen] / counts[seen]).mean())


def mean_average_precision(scores: Any, truth: Any) -> float:
    """Mean over classes of `sklearn.metrics.average_precision_score`, for images with several classes.

    Classes without any image are left out (CLIP_benchmark counts them as 0).

    Args:
        scores: [N, C]; any scale.
        truth: [N, C], 1 or True where an image is of a class.

    Raises:
        EvaluationError: Shapes that do not fit, NaN, or no image of any class.
        MissingExtraError: scikit-learn is not installed.
    """
    table, labels = _checked_multi_label(scores, truth)
    return _mean_average_precision(table, labels)


def measure_multi_label(
    scores: Any, truth: Any, *, seed: int = 0, resamples: int = RESAMPLES
) -> MultiLabelMetrics:
    """All metrics of scores [N, C] for images of true classes [N, C]. See `mean_average_precision`."""
    table, labels = _checked_multi_label(scores, truth)

    def figures(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.array([_mean_average_precision(table[rows], labels[rows])])

    (found,) = bootstrap_intervals(figures, len(table), seed=seed, resamples=resamples)
    return MultiLabelMetrics(len(table), table.shape[1], int(labels.any(0).sum()), at_most_one(found))


def _checked_multi_label(scores: Any, truth: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    table, given = (np.asarray(each.cpu() if hasattr(each, "cpu") else each) for each in (scores, truth))
    if table.ndim != 2 or table.shape != given.shape or not table.size:
        raise EvaluationError(
            f"scores {table.shape} and true classes {given.shape} must both be [images, classes]"
        )
    if not np.isin(given, (0, 1)).all():
        raise EvaluationError("true classes must be 0 or 1 for every image and class")
    if np.isnan(table).any():
        raise EvaluationError("the scores hold NaN")
    if not given.any():
        raise EvaluationError("no image is of any class: there is no average precision")
    return table, given.astype(bool)


def _mean_average_precision(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    try:
        from sklearn.metrics import average_precision_score
    except ImportError as error:
        raise MissingExtraError("mean average precision", "evaluation") from error
    seen = labels.any(0)
    if not seen.any():  # a bootstrap sample of unlabelled images
        return float("nan")
    return float(average_precision_score(labels[:, seen], scores[:, seen], average="macro"))


def confusion(predicted: Any, truth: Any, classes: int) -> csr_array:
    """How often each class is given to images of each class.

    Args:
        predicted, truth: [N] each.
        classes: C.

    Returns:
        Sparse [C, C] int64: row the true class, column the predicted one.
    """
    from scipy.sparse import coo_array, csr_array

    rows, columns = np.asarray(truth), np.asarray(predicted)
    if rows.shape != columns.shape or rows.ndim != 1:
        raise EvaluationError(f"{rows.shape} true classes for {columns.shape} predictions")
    ones = np.ones(len(rows), dtype=np.int64)
    return csr_array(coo_array((ones, (rows, columns)), shape=(classes, classes)))


def worst_pairs(table: csr_array, count: int = 10) -> list[tuple[int, int, int]]:
    """The most frequent mistakes of a `confusion`: (true class, predicted class, images), most first."""
    cells = table.tocoo()
    mistakes = [
        (int(row), int(column), int(value))
        for row, column, value in zip(*cells.coords, cells.data, strict=True)
        if row != column
    ]
    return sorted(mistakes, key=lambda cell: (-cell[2], cell[:2]))[:count]


def class_table(predicted: Any, truth: Any, classes: int) -> list[ClassResult]:
    """One row for each of the classes, in order, those without images too. Arguments as of `confusion`."""
    given, places = np.asarray(predicted), np.asarray(truth)
    if given.shape != places.shape or places.ndim != 1:
        raise EvaluationError(f"{places.shape} true classes for {given.shape} predictions")
    columns = [
        np.bincount(each, minlength=classes).tolist() for each in (places, given, places[given == places])
    ]
    return [ClassResult(index, *counts) for index, counts in enumerate(zip(*columns, strict=True))]
