"""Do confidences say how often a prediction is right? Guo et al., "On Calibration of Modern Neural Networks"
(ICML 2017), as in their published code."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import EvaluationError, VlclsWarning
from vlcls.evaluation.metrics.per_image import DEFAULT_BINS, Activation, checked, nlls, outcomes

#: Temperatures looked at lie between e^-12 and e^12.
_RANGE = 12.0


@dataclass(frozen=True)
class Bin:
    """The images whose confidence is above `low` and at most `high`; means are None without any."""

    low: float
    high: float
    count: int
    accuracy: float | None
    confidence: float | None


def reliability(confidence: Any, right: Any, bins: int = DEFAULT_BINS) -> list[Bin]:
    """A reliability diagram's bins: of equal width on (0, 1], lower edge open and upper edge closed.

    Args:
        confidence: [N], of the predicted classes, 0 to 1. Exactly 0 falls in no bin.
        right: [N] bool, which predictions are right.
        bins: How many.

    Raises:
        EvaluationError: Arrays of different lengths, or confidences outside 0..1.
    """
    given, correct = _checked(confidence, right, bins)
    edges, places = np.linspace(0, 1, bins + 1), bin_places(given, bins)
    counts = np.bincount(places, minlength=bins + 1)[1:]
    sums, hits = (np.bincount(places, values, bins + 1)[1:] for values in (given, correct))
    return [
        Bin(
            float(edges[place]),
            float(edges[place + 1]),
            count,
            hits[place] / count if count else None,
            sums[place] / count if count else None,
        )
        for place, count in enumerate(counts.tolist())
    ]


def calibration_error(confidence: Any, right: Any, bins: int = DEFAULT_BINS) -> float:
    """Expected calibration error: sum over bins of n_b / n |accuracy_b - confidence_b|. See `reliability`.

    It depends on the number of bins and of images, and noise only makes it larger: compare only figures with
    the same of both.
    """
    given, correct = _checked(confidence, right, bins)
    return errors_of_bins(bin_places(given, bins), correct - given, bins)[0]


def maximum_calibration_error(confidence: Any, right: Any, bins: int = DEFAULT_BINS) -> float:
    """The largest |accuracy_b - confidence_b| of a bin with images; 0 if there is none."""
    given, correct = _checked(confidence, right, bins)
    return errors_of_bins(bin_places(given, bins), correct - given, bins)[1]


def bin_places(confidence: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """The bin of each image, from 1; 0 for a confidence of exactly 0, which is in none."""
    places: NDArray[np.int64] = np.searchsorted(np.linspace(0, 1, bins + 1), confidence, side="left")
    return places


def errors_of_bins(places: NDArray[np.int64], gaps: NDArray[np.float64], bins: int) -> tuple[float, float]:
    """Expected and maximum calibration error from `bin_places` [N] and (right - confidence) [N]."""
    counts = np.bincount(places, minlength=bins + 1)[1:]
    errors = np.abs(np.bincount(places, weights=gaps, minlength=bins + 1)[1:])
    return float(errors.sum() / len(places)), float(np.max(errors / np.maximum(counts, 1)))


def negative_log_likelihood(logits: Any, truth: Any, activation: Activation = "softmax") -> float:
    """Mean of `Outcomes.nll`, in nats. Figures of softmax and of sigmoid models are not comparable."""
    return float(outcomes(logits, truth, activation).nll.mean())


def brier_score(logits: Any, truth: Any, activation: Activation = "softmax") -> float:
    """Mean over images of sum over classes of (p - y)^2: 0 to 2 for softmax, 0 to C for sigmoid."""
    return float(outcomes(logits, truth, activation).brier.mean())


def fit_temperature(logits: Any, truth: Any, activation: Activation = "softmax") -> float:
    """The T > 0 for which logits / T have the least negative log likelihood.

    Fit it on images other than those it is judged on, and one for each method: an ensemble's similarities
    have a shorter range than one prompt's. Predictions do not change. The published code takes 50 L-BFGS
    steps from T = 1.5, which may stop short; this is the minimum itself (the NLL is convex in 1 / T).

    Args:
        logits: [N, C].
        truth: [N].
        activation: How logits become probabilities.

    Returns:
        T. Logits that are right about every image are never confident enough, and some say less than
        nothing: then a `VlclsWarning`, and an extreme T.
    """
    from scipy.optimize import minimize_scalar

    table, classes = checked(logits, truth)
    table = table.double()

    def loss(log_inverse: float) -> float:
        return float(nlls(table * math.exp(log_inverse), classes, activation).mean())

    # Raw cosines need T near 0.01 and scaled ones T near 1: search on a log scale.
    found = minimize_scalar(loss, bounds=(-_RANGE, _RANGE), method="bounded", options={"xatol": 1e-7})
    if abs(found.x) > _RANGE - 0.01 or not found.fun:
        warnings.warn(
            f"no temperature is best for these {len(table)} images: the more extreme, the likelier. "
            "Take more images, of which some are predicted wrongly",
            VlclsWarning,
            stacklevel=2,
        )
    return math.exp(-found.x)


def _checked(confidence: Any, right: Any, bins: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    given = np.asarray(confidence, dtype=np.float64)
    correct = np.asarray(right).astype(bool)
    if bins < 1:
        raise EvaluationError(f"bins must be at least 1, not {bins}")
    if given.ndim != 1 or given.shape != correct.shape or not len(given):
        raise EvaluationError(
            f"confidences {given.shape} and right or wrong {correct.shape} must be one each for every image"
        )
    if not ((given >= 0) & (given <= 1)).all():
        raise EvaluationError("confidences must be in 0..1: apply softmax or sigmoid first")
    return given, correct
