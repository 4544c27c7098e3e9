"""Do confidences say how often a prediction is right? Guo et al., "On Calibration of Modern Neural Networks"
(ICML 2017), as in their published code."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlcls.decisions.temperature import Activation
from vlcls.errors import EvaluationError
from vlcls.evaluation.metrics.intervals import RESAMPLES, Estimate, mean_interval
from vlcls.evaluation.metrics.per_image import DEFAULT_BINS, outcomes


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
    columns = (each.tolist() for each in (edges[:-1], edges[1:], counts, hits, sums))
    return [
        Bin(low, high, count, hit / count if count else None, total / count if count else None)
        for low, high, count, hit, total in zip(*columns, strict=True)
    ]


def calibration_error(confidence: Any, right: Any, bins: int = DEFAULT_BINS) -> float:
    """Expected calibration error: sum over bins of n_b / n |accuracy_b - confidence_b|. See `reliability`.

    It depends on the number of bins and of images, and noise only makes it larger: compare only figures with
    the same of both.
    """
    given, correct = _checked(confidence, right, bins)
    return float(np.abs(_gaps(given, correct, bins)[1]).sum() / len(given))


def calibration_interval(
    confidence: Any, right: Any, bins: int = DEFAULT_BINS, *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """`calibration_error` with an interval for what it would be with endless images.

    Noise in a bin that is calibrated adds to the sum whatever its sign; in others it goes both ways. So the
    interval is that of the mean over images of (right - confidence) with the sign of its bin, and its lower
    end is lower by what noise adds on average in those bins that two standard errors do not tell from
    calibrated ones. `docs/metrics.md` has how often it holds the truth.

    Args:
        confidence, right, bins: As of `reliability`.
        seed, resamples: Of the draws.
    """
    given, correct = _checked(confidence, right, bins)
    places, sums = _gaps(given, correct, bins)
    signed = np.sign(sums)[places] * (correct - given)
    found = mean_interval(signed, (-1.0, 1.0), seed=seed, resamples=resamples)
    assert found is not None
    noise = np.sqrt(np.bincount(places, given * (1 - given), bins + 1))
    added = math.sqrt(2 / math.pi) * float(noise[np.abs(sums) < 2 * noise].sum()) / len(given)
    return Estimate(found.value, found.low - added, found.high).within(0.0, 1.0)


def maximum_calibration_error(confidence: Any, right: Any, bins: int = DEFAULT_BINS) -> float:
    """The largest |accuracy_b - confidence_b| of a bin with images; 0 if there is none."""
    return maximum_calibration_interval(confidence, right, bins).value


def maximum_calibration_interval(confidence: Any, right: Any, bins: int = DEFAULT_BINS) -> Estimate:
    """The same with an interval: from the exact ones of all bins with images (Clopper-Pearson)
    at 1 - 0.05 / bins each.

    It is wide where a bin has few images, for that bin may be the worst.
    """
    from scipy.stats import binomtest

    full = [each for each in reliability(confidence, right, bins) if each.count]
    if not full:
        return Estimate(0.0, 0.0, 1.0)
    ends = []
    for each in full:
        assert each.accuracy is not None and each.confidence is not None
        test = binomtest(round(each.accuracy * each.count), each.count)
        found = test.proportion_ci(1 - 0.05 / len(full), "exact")
        below, above = found.low - each.confidence, found.high - each.confidence
        ends.append((abs(each.accuracy - each.confidence), max(below, -above, 0.0), max(above, -below)))
    return Estimate(*(float(max(end)) for end in zip(*ends, strict=True)))


def bin_places(confidence: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """The bin of each image, from 1; 0 for a confidence of exactly 0, which is in none."""
    places: NDArray[np.int64] = np.searchsorted(np.linspace(0, 1, bins + 1), confidence, side="left")
    return places


def _gaps(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The bin of each image [N], and of each bin the sum of right - confidence: [bins + 1], with 0 first."""
    places = bin_places(confidence, bins)
    sums = np.bincount(places, right - confidence, bins + 1).astype(np.float64)
    sums[0] = 0
    return places, sums


def negative_log_likelihood(logits: Any, truth: Any, activation: Activation = "softmax") -> float:
    """Mean of `Outcomes.nll`, in nats. Figures of softmax and of sigmoid models are not comparable."""
    return float(outcomes(logits, truth, activation).nll.mean())


def brier_score(logits: Any, truth: Any, activation: Activation = "softmax") -> float:
    """Mean over images of sum over classes of (p - y)^2: 0 to 2 for softmax, 0 to C for sigmoid."""
    return float(outcomes(logits, truth, activation).brier.mean())


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
