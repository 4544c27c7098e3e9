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

    def times(self, share: float) -> Estimate:
        return Estimate(share * self.value, share * self.low, share * self.high)

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    def within(self, least: float, most: float) -> Estimate:
        """With nothing outside what the figure can be: an interval may reach beyond, and rounding too."""
        return Estimate(*(min(max(end, least), most) for end in (self.value, self.low, self.high)))


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
    low, high = value - float(lows.mean()), float(highs.mean()) - value
    return Estimate(value, value - math.hypot(low, seeds), value + math.hypot(high, seeds))


def around(value: float, draws: NDArray[np.float64]) -> Estimate:
    """A figure with the middle 95 % of `draws` around it, and itself within them."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(value, min(float(low), value), max(float(high), value))


def apart(first: Estimate, second: Estimate) -> Estimate:
    """first - second of different images, with the interval of Newcombe (1998), method 10."""
    value = first.value - second.value
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    high = value + math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, low, high)


def no_surer(found: Estimate, counts: NDArray[np.int64], parts: NDArray[np.float64]) -> Estimate:
    """The estimate of a mean of parts of classes, as wide as Wilson's intervals say at least.

    Resampling says nothing of images that are all right. Parts of `counts` images each, count by count, vary
    like one part of (number of counts)^2 / (sum of 1 / count) images (all of them, if the counts are equal);
    and the distances of the ends of each class, in quadrature, tell of rare classes (Zou and Donner 2008).

    Args:
        found: The mean, and an interval.
        counts: [C] images.
        parts: [C], 0 to 1.
    """
    images = len(counts) ** 2 / float((1 / counts).sum())
    low, high = interval(found.value * images, images)
    ends = np.array(
        [interval(part * count, count) for part, count in zip(parts, counts, strict=True)]
    )  # [C, 2]
    distances = np.sqrt(((ends - parts[:, None]) ** 2).sum(0)) / len(counts)  # [2]
    low, high = min(low, found.value - distances[0]), max(high, found.value + distances[1])
    return Estimate(found.value, float(min(low, found.low)), float(max(high, found.high))).within(0.0, 1.0)


def mean_interval(
    values: Any, ends: Sequence[float] = (0.0, 1.0), *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate | None:
    """A mean over images with its interval (`posterior_means`); None of nothing.

    Args:
        values: [N], one for each image.
        ends: The least and greatest value that is to be expected of an image.
        seed: Of the draws.
        resamples: How many.
    """
    found, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    if not len(found):
        return None
    draws = posterior_means(found, counts, ends, np.random.default_rng(seed), resamples)
    return around(float(found @ counts) / int(counts.sum()), draws)


def posterior_means(
    values: Any, counts: Any, ends: Any, rng: np.random.Generator, draws: int
) -> NDArray[np.float64]:
    """Draws of the mean of something of which `counts` images are seen with each of some values.

    How many images there are of each value has the posterior Dirichlet(counts); half an image more at each
    of `ends` is Jeffreys' prior for two or four kinds of images. Unlike a bootstrap it is not certain of
    anything when three images are alike; of many images both say the same.

    Args:
        values: [V], or [V, M] of several figures of each image.
        counts: [V].
        ends: [E] or [E, M], what images can be at the most extreme.
        rng: Of the draws.
        draws: How many.

    Returns:
        float64[draws] or float64[draws, M].
    """
    table = np.concatenate([np.asarray(values, dtype=np.float64), np.asarray(ends, dtype=np.float64)])
    seen = np.concatenate([np.asarray(counts, dtype=np.float64), np.full(len(ends), 0.5)])
    step = max(1, 2**22 // len(table))
    parts = []
    for start in range(0, draws, step):
        weights = rng.standard_gamma(seen, size=(min(step, draws - start), len(seen)))
        parts.append(weights / weights.sum(1, keepdims=True) @ table)
    return np.concatenate(parts)


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
    noise; a percentile interval can lie above the figure itself. It holds the figure, and is cut off at what
    the figures can be at least. One that no resampling changes gets no width: see `no_surer`.

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
    ends = np.clip(2 * values - high, least, values), np.maximum(2 * values - low, values)
    return [Estimate(*map(float, triple)) for triple in zip(values, *ends, strict=True)]
