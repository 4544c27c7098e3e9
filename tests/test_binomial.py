"""Wilson's interval and McNemar's exact test, by hand and by scipy."""

from __future__ import annotations

import math

import pytest
from scipy.stats import binomtest

from vlcls.binomial import interval, mcnemar


@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (500, 1000)])
def test_wilson_is_that_of_scipy(right: int, count: int):
    expected = binomtest(right, count).proportion_ci(0.95, method="wilson")
    low, high = interval(right, count)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= right / count <= high <= 1


def test_wilson_by_hand():
    z = 1.959963984540054
    room = z * math.sqrt(0.3 * 0.7 / 10 + z * z / 400)
    expected = [(0.3 + z * z / 20 + side * room) / (1 + z * z / 10) for side in (-1, 1)]
    assert interval(3, 10) == pytest.approx(tuple(expected), abs=1e-12)


def test_mcnemar_by_hand():
    # Of 6 images that differ, 1 at most: (1 + 6) / 2**6, on both sides; as many of each is no difference.
    assert mcnemar([1, 5, 3, 0, 0], [5, 1, 3, 4, 0]) == pytest.approx([14 / 64, 14 / 64, 1, 2 / 16, 1])
