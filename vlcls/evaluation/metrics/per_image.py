"""What became of each image: the one pass over scores [N, C] that all other metrics start from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlcls.decisions.temperature import Activation, checked, nlls
from vlcls.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Of confidences, for calibration errors.
DEFAULT_BINS = 15
#: Scores in memory at once as float64, of which about five tables exist (16 MiB each).
_ENTRIES_AT_ONCE = 2**21


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What became of N images with one true class each. All arrays are NumPy, [N].

    Attributes:
        classes: C.
        truth: int64, the true class.
        predicted: int64, the class of the highest score; among equal scores the first.
        rank: int64, how many classes come before the true one, equal scores in the order of the classes.
        confidence: float64, the probability of the predicted class.
        nll: float64, the negative log likelihood. Softmax: -log p of the true class. Sigmoid: that of C
            independent yes-or-no answers, -log p of the true class - sum of log (1 - p) of the others.
        brier: float64, sum over classes of (p - y)^2 with y = 1 for the true class and else 0.
        bins: How many bins of confidences calibration errors over these images have.
    """

    classes: int
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    rank: NDArray[np.int64]
    confidence: NDArray[np.float64]
    nll: NDArray[np.float64]
    brier: NDArray[np.float64]
    bins: int = DEFAULT_BINS

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def right(self) -> NDArray[np.bool_]:
        """bool[N]: the true class is predicted."""
        return self.rank == 0

    def rows(self, rows: Any) -> Outcomes:
        """Those of some images: indices, or a mask [N]."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _ARRAYS})


#: What an image has in `Outcomes`.
_ARRAYS = tuple(each.name for each in fields(Outcomes) if each.name not in ("classes", "bins"))


@dataclass(frozen=True, eq=False)
class MultiLabel:
    """Scores float64[N, C] of N images, and labels bool[N, C]: any number of true classes for each."""

    scores: NDArray[np.float64]
    labels: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.scores)

    def rows(self, rows: Any) -> MultiLabel:
        """Those of some images: indices, or a mask [N]."""
        return MultiLabel(self.scores[rows], self.labels[rows])


def outcomes(logits: Any, truth: Any, activation: Activation = "softmax") -> Outcomes:
    """Score each image against its true class. Memory beyond the arguments does not grow with N.

    Args:
        logits: Tensor or array [N, C]. Times the logit scale that the method is used with: the softmax of
            raw cosines is almost uniform, and confidence, NLL, Brier score and calibration mean nothing.
        truth: [N], the true class of each image.
        activation: How logits become probabilities.

    Raises:
        EvaluationError: Shapes that do not fit, NaN, or a true class that is none of the C.
    """
    scores, classes = checked(logits, truth)
    step = max(1, _ENTRIES_AT_ONCE // scores.shape[1])
    batches = zip(scores.split(step), classes.split(step), strict=True)
    return joined([_block(*batch, activation) for batch in batches])


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """The outcomes of several batches of images of the same classes, as one.

    Raises:
        EvaluationError: No batch, or batches of different numbers of classes.
    """
    if len({part.classes for part in parts}) != 1:
        raise EvaluationError(f"outcomes over {[part.classes for part in parts]} classes cannot be joined")
    arrays: dict[str, Any] = {n: np.concatenate([getattr(part, n) for part in parts]) for n in _ARRAYS}
    return replace(parts[0], **arrays)


def _block(scores: Tensor, truth: Tensor, activation: Activation) -> Outcomes:
    own = scores.gather(1, truth[:, None])
    earlier = torch.arange(scores.shape[1]) < truth[:, None]
    rank = ((scores > own) | ((scores == own) & earlier)).sum(1)
    predicted = scores.argmax(1)  # of equal values the first
    logits = scores.double()
    nll = nlls(logits, truth, activation)
    probabilities = logits.softmax(1) if activation == "softmax" else logits.sigmoid()
    of_truth = probabilities.gather(1, truth[:, None])[:, 0]
    # sum_c (p_c - y_c)^2 without a table of y
    brier = probabilities.square().sum(1) - 2 * of_truth + 1
    confidence = probabilities.gather(1, predicted[:, None])[:, 0].clamp(max=1)
    return Outcomes(
        scores.shape[1], truth.numpy(), predicted.numpy(), rank.numpy(), confidence.numpy(), nll.numpy(),
        brier.clamp_min(0).numpy(),
    )  # fmt: skip
