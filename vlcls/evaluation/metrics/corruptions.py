"""Errors under corruptions of images: mCE for ImageNet-C, plain means for all else.

Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations"
(ICLR 2019). Errors are parts of 1, results are in per cent as in the paper. Everything is keyed by the name
of the corruption: published code lists them in several orders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vlcls.errors import EvaluationError

SEVERITIES = 5
IMAGENET_C = "imagenet-c"
ALEXNET_NAME = "AlexNet (published)"
#: AlexNet's mean errors over the five severities of ImageNet-C.
ALEXNET: Mapping[str, float] = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
#: AlexNet's error on the clean ImageNet validation set: torchvision's weights have 56.522 % right.
ALEXNET_CLEAN = 0.43478


@dataclass(frozen=True)
class CorruptionErrors:
    """Errors over corruptions, in per cent (of the baseline's, if there is one).

    Attributes:
        name: What reports must call the mean: "mCE" only where it is that.
        baseline: Whose errors everything was divided by; None for plain errors.
        errors: Of each corruption, the mean over its severities.
        mean: Over the corruptions.
    """

    name: str
    baseline: str | None
    errors: Mapping[str, float]
    mean: float

    def to_json(self) -> dict[str, object]:
        return vars(self) | {"errors": dict(self.errors)}


def corruption_errors(errors: Mapping[str, Sequence[float]]) -> CorruptionErrors:
    """Mean error of each corruption over its severities, not divided by anything.

    What to report for self-made corruptions, for other data sets than ImageNet, and for parts of ImageNet-C.

    Args:
        errors: For each corruption the errors 1 - accuracy at each severity.

    Raises:
        EvaluationError: No corruption, none of its severities, or errors outside 0..1.
    """
    return _collected("mean corruption error, unnormalised", None, _means(errors))


def normalised_errors(
    errors: Mapping[str, Sequence[float]], baseline: Mapping[str, float], name: str
) -> CorruptionErrors:
    """Mean error of each corruption over that of a baseline of one's own.

    Args:
        errors: As of `corruption_errors`.
        baseline: Its mean error for each of these corruptions, over the same severities.
        name: What it is.

    Raises:
        EvaluationError: A corruption that the baseline has no error for, or 0.
    """
    ratios = {}
    for corruption, mean in _means(errors).items():
        if not baseline.get(corruption):
            raise EvaluationError(f"{corruption}: {name} has no error above 0 to divide by")
        ratios[corruption] = mean / baseline[corruption]
    return _collected(f"mean corruption error relative to {name}", name, ratios)


def mean_corruption_error(errors: Mapping[str, Sequence[float]], *, dataset: str) -> CorruptionErrors:
    """mCE: the mean over the 15 corruptions of ImageNet-C of CE_c = error_c / AlexNet's error_c.

    Args:
        errors: As of `corruption_errors`; other corruptions of ImageNet-C than the 15 are no part of mCE.
        dataset: "imagenet-c", for the published images. AlexNet's errors were measured on them.

    Raises:
        EvaluationError: Anything else, which must not be called mCE.
    """
    _must_be_imagenet_c(errors, dataset, "mCE")
    means = _means(errors)
    ratios = {corruption: means[corruption] / alexnet for corruption, alexnet in ALEXNET.items()}
    return _collected("mCE", ALEXNET_NAME, ratios)


def relative_mean_corruption_error(
    errors: Mapping[str, Sequence[float]], clean: float, *, dataset: str
) -> CorruptionErrors:
    """Relative mCE: the mean over corruptions of (error_c - clean error) over the same of AlexNet.

    Args:
        errors, dataset: As of `mean_corruption_error`.
        clean: The error on the clean ImageNet validation set.
    """
    _must_be_imagenet_c(errors, dataset, "relative mCE")
    means = _means(errors)
    ratios = {
        corruption: (means[corruption] - clean) / (alexnet - ALEXNET_CLEAN)
        for corruption, alexnet in ALEXNET.items()
    }
    return _collected("relative mCE", ALEXNET_NAME, ratios)


def _must_be_imagenet_c(errors: Mapping[str, Sequence[float]], dataset: str, what: str) -> None:
    instead = "use corruption_errors, or normalised_errors with a baseline of your own"
    if dataset.lower().replace("_", "-") != IMAGENET_C:
        raise EvaluationError(f"{what} is defined on {IMAGENET_C}, not on {dataset!r}: {instead}")
    missing = [corruption for corruption in ALEXNET if corruption not in errors]
    if missing:
        raise EvaluationError(f"{what} needs all 15 corruptions, {', '.join(missing)} missing: {instead}")
    short = [corruption for corruption in ALEXNET if len(errors[corruption]) != SEVERITIES]
    if short:
        raise EvaluationError(
            f"{what} needs {SEVERITIES} severities, not {len(errors[short[0]])} of {short[0]}: {instead}"
        )


def _means(errors: Mapping[str, Sequence[float]]) -> dict[str, float]:
    if not errors:
        raise EvaluationError("no corruptions")
    for corruption, values in errors.items():
        if not len(values) or not all(0 <= value <= 1 for value in values):
            raise EvaluationError(f"{corruption}: errors must be one or more parts of 1, not {list(values)}")
    return {corruption: math.fsum(values) / len(values) for corruption, values in errors.items()}


def _collected(name: str, baseline: str | None, parts: Mapping[str, float]) -> CorruptionErrors:
    errors = {corruption: 100 * part for corruption, part in parts.items()}
    return CorruptionErrors(name, baseline, errors, math.fsum(errors.values()) / len(errors))
