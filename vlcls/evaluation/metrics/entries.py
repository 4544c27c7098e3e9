"""The metrics there are, one entry each: what is measured of a cell, stored, shown, exported and compared.

To add one, write its function of outcomes and an entry at the end of this file, and a line of the table in
`docs/metrics.md`; nothing else. `Metric("top3", within(3), "top-3", "Part of images whose class is among the
first three.", interval=wilson)` is one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import EvaluationError
from vlcls.evaluation.metrics.accuracy import average_precision_of, mean_recall
from vlcls.evaluation.metrics.calibration import (
    calibration_error,
    calibration_interval,
    maximum_calibration_error,
    maximum_calibration_interval,
)
from vlcls.evaluation.metrics.intervals import (
    Estimate,
    bootstrap_intervals,
    mean_interval,
    no_surer,
    proportion,
)
from vlcls.evaluation.metrics.per_image import MultiLabel, Outcomes
from vlcls.evaluation.metrics.vocabulary_free import (
    FoundNames,
    cluster_accuracy,
    macro_cluster_accuracy,
    semantic_iou,
    semantic_similarity,
)
from vlcls.registry import Registry

#: Outcomes of at least one image to a number.
Figure = Callable[[Any], float]
#: What stands beside metrics in `results.json` and `summary.csv`.
_TAKEN = (
    "set", "encoder", "method", "spec", "control", "reference", "prompts", "prompts_sha256", "seeds",
    "images", "classes", "classes_with_images", "activation", "bins", "gain", "fallbacks", "names",
    "predictions", "predictions_sha256", "figures",
)  # fmt: skip
#: A figure, outcomes, a seed and a number of resamples to an estimate.
Interval = Callable[[Figure, Any, int, int], Estimate]


def wilson(figure: Figure, found: Any, seed: int, resamples: int) -> Estimate:
    """For figures that are the part of images of which something is true."""
    part = proportion(round(figure(found) * len(found)), len(found))
    assert part is not None
    return part


def resampled(figure: Figure, found: Any, seed: int, resamples: int) -> Estimate:
    """For any figure: the basic bootstrap interval over images."""

    def statistic(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.array([figure(found.rows(rows))])

    return bootstrap_intervals(statistic, len(found), seed=seed, resamples=resamples, least=-math.inf)[0]


def of_classes(figure: Figure, found: Any, seed: int, resamples: int) -> Estimate:
    """For parts of 1 that are means over classes: the same, and no surer than their few images let it be."""
    estimate = resampled(figure, found, seed, resamples)
    if isinstance(found, MultiLabel):
        counts = found.labels.sum(0)[found.labels.any(0)]
        return no_surer(estimate, counts, np.full(len(counts), estimate.value))
    counts = np.bincount(found.truth)
    parts = (np.bincount(found.truth, found.right) / np.maximum(counts, 1))[counts > 0]
    return no_surer(estimate, counts[counts > 0], parts)


def of_images(column: str, most: Callable[[Outcomes], float]) -> Interval:
    """For means of a column of outcomes, from 0 to what an image may be expected to have at most."""

    def interval(figure: Figure, found: Any, seed: int, resamples: int) -> Estimate:
        values, ends = getattr(found, column), (0.0, most(found))
        estimate = mean_interval(values, ends, seed=seed, resamples=resamples)
        assert estimate is not None
        return estimate

    interval.__name__ = "of_images"  # as docs/metrics.md has it
    return interval


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Its key in `results.json` and its column in `summary.csv`.
        figure: Outcomes of at least one image to a number.
        title: Of its column in a report.
        about: What it is, in a sentence; also the text of its line in `docs/metrics.md`.
        of: What `figure` takes: outcomes of images with one class each or with several, or names that were
            found without a list.
        interval: How sure it is. Figures of found names have none: they are stored as plain numbers.
        better: Which way.
        least, most: What it can be; ends of intervals are cut off there.
        scale, digits: How it is shown: by default in per cent with one digit.
        applies: Whether given outcomes have such a figure; null is stored if not. None: they always have.
        always: It is in every file of results: one without it is damaged. Not for metrics that are added
            later, or earlier results could not be read.
        in_report: It has a column in reports.
        clip_benchmark: Its name in CLIP_benchmark's files; None if it is not known there.
        as_there: Its value there, from the stored metrics of a cell, where that is another.
    """

    name: str
    figure: Figure
    title: str
    about: str
    of: type[Outcomes | MultiLabel | FoundNames] = Outcomes
    interval: Interval = resampled
    better: Literal["higher", "lower"] = "higher"
    least: float = 0.0
    most: float = 1.0
    scale: float = 100
    digits: int = 1
    applies: Callable[[Any], bool] | None = None
    always: bool = False
    in_report: bool = True
    clip_benchmark: str | None = None
    as_there: Callable[[Mapping[str, Any]], float | None] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z][a-z0-9_]*", self.name) or self.name in _TAKEN:
            raise EvaluationError(
                f"a metric cannot be called {self.name!r}: give it a name of small letters, digits and _ "
                f"that is none of {', '.join(_TAKEN)}"
            )

    def elsewhere(self, metrics: Mapping[str, Any]) -> float | None:
        """Its value in CLIP_benchmark's files, from the stored metrics of a cell."""
        if self.as_there is not None:
            return self.as_there(metrics)
        found = metrics[self.name]
        return None if found is None else float(found["value"])

    def can_be(self, value: float | None) -> bool:
        """Whether a stored number is possible. What has no upper end may be below 0 by rounding."""
        if value is None:
            return self.applies is not None
        return self.least <= value <= self.most or not math.isfinite(self.most)


#: In the order of tables; of each kind of outcomes the first is the main one.
METRICS = Registry(Metric, "metric", EvaluationError, "vlcls.metrics")


def metrics_of(*kinds: type) -> list[Metric]:
    """Those of some kinds of outcomes."""
    return [metric for metric in METRICS.values() if metric.of in kinds]


def metrics_of_cells() -> list[Metric]:
    """Those that cells have: with intervals, of images with one class each or with several."""
    return metrics_of(Outcomes, MultiLabel)


def main_metric(figures: Mapping[str, Any]) -> Metric:
    """The first that some stored figures have: top-1, mean average precision, or cluster accuracy."""
    return next(metric for metric in METRICS.values() if metric.name in figures)


# ---- the entries ---------------------------------------------------------------------------------------


def within(k: int) -> Figure:
    """The part of images whose class is among the k best."""
    return lambda found: float((found.rank < k).mean())


def of_bins(figure: Figure, found: Any, seed: int, resamples: int) -> Estimate:
    given = found.confidence, found.right, found.bins
    return calibration_interval(*given, seed=seed, resamples=resamples)


def of_worst_bin(figure: Figure, found: Any, seed: int, resamples: int) -> Estimate:
    return maximum_calibration_interval(found.confidence, found.right, found.bins)


def _precision_there(metrics: Mapping[str, Any]) -> float:
    """A class without images counts as 0 there, and is left out here."""
    share: float = metrics["classes_with_images"] / metrics["classes"]
    return float(metrics["mean_average_precision"]["value"]) * share


def _top5_there(metrics: Mapping[str, Any]) -> float | None:
    """Without a fifth best there is none (NaN there, null here: both are empty in pandas); of five, all."""
    return 1.0 if metrics["classes"] == 5 else metrics["top5"] and metrics["top5"]["value"]


for _entry in (
    Metric(
        "top1", within(1), "top-1", "Part of images whose class is the first.",
        interval=wilson, always=True, clip_benchmark="acc1",
    ),
    Metric(
        "top5", within(5), "top-5",
        "Part of images whose class is among the first five; none of five classes or fewer.",
        interval=wilson, always=True, applies=lambda found: found.classes > 5,
        clip_benchmark="acc5", as_there=_top5_there,
    ),
    Metric(
        "mean_class_recall", lambda found: mean_recall(found.truth, found.right, found.classes),
        "mean class recall", "Mean over classes with images of the part of these that is predicted right.",
        interval=of_classes, always=True, clip_benchmark="mean_per_class_recall",
    ),
    Metric(
        "mean_average_precision", average_precision_of,
        "mean average precision", "Mean over classes with images of their average precision.",
        of=MultiLabel, interval=of_classes, always=True, clip_benchmark="mean_average_precision",
        as_there=_precision_there,
    ),
    Metric(
        "nll", lambda found: float(found.nll.mean()), "NLL",
        "Mean of the negative log likelihood, in nats.",
        interval=of_images("nll", lambda found: math.log(found.classes)),
        better="lower", most=math.inf, scale=1, digits=3, always=True,
    ),
    Metric(
        "brier", lambda found: float(found.brier.mean()), "Brier",
        "Mean of the squared distance between probabilities and truth, summed over classes.",
        interval=of_images("brier", lambda found: 2.0),
        better="lower", most=math.inf, scale=1, digits=3, always=True,
    ),
    Metric(
        "ece", lambda found: calibration_error(found.confidence, found.right, found.bins), "ECE %",
        "Mean distance between confidence and accuracy, over bins of confidence.", interval=of_bins,
        better="lower", always=True,
    ),
    Metric(
        "mce", lambda found: maximum_calibration_error(found.confidence, found.right, found.bins), "MCE %",
        "The largest such distance of a bin.", interval=of_worst_bin,
        better="lower", always=True, in_report=False,
    ),
    Metric(
        "cluster_accuracy", lambda found: cluster_accuracy(found.predicted, found.truth), "cluster accuracy",
        "Part of images that is right once every name stands for the class that suits it best.",
        of=FoundNames, always=True,
    ),
    Metric(
        "macro_cluster_accuracy", lambda found: macro_cluster_accuracy(found.predicted, found.truth),
        "macro cluster accuracy", "The same as a mean over classes.",
        of=FoundNames, always=True, in_report=False,
    ),
    Metric(
        "semantic_similarity", lambda found: semantic_similarity(found.predicted, found.truth),
        "semantic similarity", "Mean cosine between the sentence embeddings of found and true name.",
        of=FoundNames, always=True, least=-1.0,
    ),
    Metric(
        "semantic_iou", lambda found: semantic_iou(found.predicted, found.truth), "semantic IoU",
        "Words that found and true name have in common, over words in either.",
        of=FoundNames, always=True,
    ),
):  # fmt: skip
    METRICS.register(_entry)
