"""All metrics of a classifier at once: those of `vlcls.evaluation.metrics.entries`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from vlcls.decisions.temperature import Activation
from vlcls.evaluation.metrics.accuracy import checked_multi_label
from vlcls.evaluation.metrics.entries import METRICS, metrics_of
from vlcls.evaluation.metrics.intervals import RESAMPLES, Estimate, over_seeds
from vlcls.evaluation.metrics.per_image import DEFAULT_BINS, Outcomes, outcomes

Measured = TypeVar("Measured", bound="MultiLabelMetrics")


@dataclass(frozen=True)
class MultiLabelMetrics:
    """Figures of one classifier on images with any number of true classes each.

    Attributes:
        images, classes: N and C.
        classes_with_images: How many classes means over classes are over.
        figures: By name of a metric; None where there is no such figure. Each is an attribute too.
    """

    images: int
    classes: int
    classes_with_images: int
    figures: Mapping[str, Estimate | None]

    def __getattr__(self, name: str) -> Any:
        """The figure of that name."""
        if name in self.__dict__.get("figures", ()):
            return self.figures[name]
        raise AttributeError(f"{type(self).__name__} has no metric {name!r}")

    def to_json(self) -> dict[str, Any]:
        """Plain data; every figure as {"value", "low", "high"}, or null."""
        counts = {name: value for name, value in vars(self).items() if name != "figures"}
        return counts | {name: value and value.to_json() for name, value in self.figures.items()}


@dataclass(frozen=True)
class Metrics(MultiLabelMetrics):
    """The same of images with one true class each.

    Attributes:
        activation: How logits became probabilities; decides what NLL and Brier score mean.
        bins: Of the calibration errors.
    """

    activation: Activation
    bins: int


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
        seed, resamples: Of the intervals.
    """
    figures = _figures(replace(found, bins=bins), seed, resamples)
    return Metrics(len(found), found.classes, len(np.unique(found.truth)), figures, activation, bins)


def measure_multi_label(
    scores: Any, truth: Any, *, seed: int = 0, resamples: int = RESAMPLES
) -> MultiLabelMetrics:
    """All metrics of scores [N, C] for images of true classes [N, C]. See `mean_average_precision`."""
    found = checked_multi_label(scores, truth)
    seen = int(found.labels.any(0).sum())
    return MultiLabelMetrics(len(found), found.labels.shape[1], seen, _figures(found, seed, resamples))


def mean_over_seeds(each: Sequence[Measured]) -> Measured:
    """Means over seeds; their intervals have the spread between seeds in them."""
    first, figures = each[0], {}
    for name in first.figures:
        own = [found for one in each if (found := one.figures[name]) is not None]
        metric = METRICS[name]
        figures[name] = over_seeds(own).within(metric.least, metric.most) if own else None
    return replace(first, figures=figures)


def _figures(found: Any, seed: int, resamples: int) -> dict[str, Estimate | None]:
    figures: dict[str, Estimate | None] = {}
    for metric in metrics_of(type(found)):
        figures[metric.name] = None
        if metric.applies is None or metric.applies(found):
            estimate = metric.interval(metric.figure, found, seed, resamples)
            figures[metric.name] = estimate.within(metric.least, metric.most)
    return figures
