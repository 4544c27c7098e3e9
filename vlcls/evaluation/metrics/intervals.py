"""How far a figure can be trusted: 95 % intervals, over images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlcls.binomial import interval
from vlcls.errors import EvaluationError

#: Bootstrap samples of an interval.
RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    def within(self, least: float, most: float) -> Estimate:
        """With no end outside what the figure can be: a basic interval may reach beyond."""
        return Estimate(self.value, *(min(max(end, least), most) for end in (self.low, self.high)))


def proportion(right: int, count: int) -> Estimate | None:
    """An accuracy or any other part of a whole, with the Wilson interval; None of nothing."""
    return Estimate(right / count, *interval(right, count)) if count else None


def over_seeds(each: Sequence[Estimate]) -> Estimate:
    """The mean of a figure over seeds, with an interval that has both chances in it: which images there are,
    and which texts were drawn.

    The distances of the ends are those over images (their means) and that of the t interval of the mean over
    seeds, added in quadrature. With one seed, or seeds that are all alike, the former alone.
    """
    from scipy.stats import t

    values, lows, highs = (np.array([getattr(one, end) for one in each]) for end in ("value", "low", "high"))
    value, count = float(values.mean()), len(values)
    if count == 1 or (values == values[0]).all():
        return each[0] if len(set(each)) == 1 else Estimate(value, float(lows.mean()), float(highs.mean()))
    seeds = float(t.ppf(0.975, count - 1) * values.std(ddof=1) / math.sqrt(count))
    ends = []
    for apart in (value - float(lows.mean()), float(highs.mean()) - value):
        # A basic interval may lie beside its figure.
        ends.append(math.hypot(apart, seeds) if apart >= 0 else apart + seeds)
    return Estimate(value, value - ends[0], value + ends[1])


def mean_interval(values: Any, *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate | None:
    """A mean over images with its percentile bootstrap interval; None of nothing.

    To draw N images with replacement is to draw how often each distinct value comes up, which is one
    multinomial draw: exact, and fast where values are few.

    Args:
        values: [N], one for each image.
        seed: Of the resampling.
        resamples: How many.
    """
    found, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    total = int(counts.sum())
    if not total:
        return None
    means = resampled_means(found, counts, np.random.default_rng(seed), resamples)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(found @ counts) / total, float(low), float(high))


def resampled_means(
    values: NDArray[np.float64], counts: NDArray[np.int64], rng: np.random.Generator, resamples: int
) -> NDArray[np.float64]:
    """Bootstrap means float64[resamples] of distinct values [V] that come up `counts` [V] times."""
    total = int(counts.sum())
    step = max(1, 2**22 // len(values))
    parts = [
        rng.multinomial(total, counts / total, size=min(step, resamples - start)) @ values
        for start in range(0, resamples, step)
    ]
    return np.concatenate(parts) / total


def bootstrap_intervals(
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    count: int,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    least: float = 0.0,
) -> list[Estimate]:
    """Figures of any kind with basic ("reverse percentile") bootstrap intervals.

    The basic interval takes out the bias that resampling adds to a calibration error, which only grows with
    noise; a percentile interval can lie above the figure itself. Cut off at what the figures can be at least.

    Args:
        statistic: Rows of images int64[N], drawn with replacement, to figures float64[M].
        count: N.
        seed: Of the resampling.
        resamples: How many.
        least: Of every figure.
    """
    if count < 1:
        raise EvaluationError("no images: nothing to resample")
    rng = np.random.default_rng(seed)
    values = np.asarray(statistic(np.arange(count)), dtype=np.float64)
    drawn = np.stack([statistic(rng.integers(count, size=count)) for _ in range(resamples)])
    low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    ends = np.maximum(2 * values - high, least), np.maximum(2 * values - low, least)
    return [Estimate(*map(float, triple)) for triple in zip(values, *ends, strict=True)]
