"""Counts of right and wrong: the interval of an accuracy, and the test of two on the same images."""

from __future__ import annotations

from collections.abc import Sequence


def interval(right: int, count: int) -> tuple[float, float]:
    """95 % interval of an accuracy (Wilson score)."""
    from scipy.stats import binomtest

    found = binomtest(right, count).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)


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
