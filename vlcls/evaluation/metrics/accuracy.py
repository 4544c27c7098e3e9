"""How good a classifier is over images whose classes are known.

Equal scores are ranked in the order of the classes everywhere, as in `Classifier.predict`: top-1 is the first
of the highest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import EvaluationError, library
from vlcls.evaluation.metrics.intervals import Estimate, proportion
from vlcls.evaluation.metrics.per_image import MultiLabel, outcomes

if TYPE_CHECKING:
    from scipy.sparse import csr_array


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
    found = outcomes(scores, truth)
    return mean_recall(found.truth, found.right, found.classes)


def mean_recall(truth: NDArray[np.int64], right: NDArray[np.bool_], classes: int) -> float:
    """`mean_class_recall` of true classes [N] and of which are predicted right [N]."""
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
    return average_precision_of(checked_multi_label(scores, truth))


def checked_multi_label(scores: Any, truth: Any) -> MultiLabel:
    """What `mean_average_precision` is of; for its arguments and errors see there."""
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
    return MultiLabel(table, given.astype(bool))


def average_precision_of(found: MultiLabel) -> float:
    """`mean_average_precision` of checked scores; NaN where no image is of any class."""
    metrics = library("sklearn.metrics", "mean average precision", "evaluation")
    seen = found.labels.any(0)
    if not seen.any():  # a bootstrap sample of unlabelled images
        return float("nan")
    return float(
        metrics.average_precision_score(found.labels[:, seen], found.scores[:, seen], average="macro")
    )


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
    table = confusion(predicted, truth, classes)
    columns = [each.tolist() for each in (table.sum(1), table.sum(0), table.diagonal())]
    return [ClassResult(index, *counts) for index, counts in enumerate(zip(*columns, strict=True))]
