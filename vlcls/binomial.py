"""Counts of right and wrong: the interval of an accuracy, and the test of two on the same images."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: The 97.5 % quantile of the normal distribution.
_Z = 1.959963984540054


def interval(right: float, count: float) -> tuple[float, float]:
    """95 % interval of an accuracy (Wilson score): `scipy.stats.binomtest`'s, of parts of images too."""
    middle, room = right + _Z**2 / 2, _Z * math.sqrt(right * (count - right) / count + _Z**2 / 4)
    low, high = ((middle + end) / (count + _Z**2) for end in (-room, room))
    return low if right else 0.0, high if right < count else 1.0


def mcnemar(lost: Sequence[int], gained: Sequence[int]) -> list[float]:
    """Exact two-sided McNemar tests: `scipy.stats.binomtest(lost, lost + gained).pvalue` for each pair.

    Args:
        lost, gained: Of each pair of classifiers, the images that only the first and only the second one
            has right. Where there is none the p value is 1.
    """
    import numpy as np
    from scipy.stats import binom

    a, b = np.asarray(lost), np.asarray(gained)
    # With probability 1/2 both tails are alike; all of them at once, for there may be thousands.
    values: list[float] = np.minimum(1.0, 2 * binom.cdf(np.minimum(a, b), a + b, 0.5)).tolist()
    return values
