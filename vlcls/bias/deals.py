"""Dealing groups out anew: what a permutation test compares the real groups with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

#: Deals of a permutation test.
DEALS = 1999


def dealt(class_indices: NDArray[np.int64], seed: int, deals: int = DEALS) -> Iterator[NDArray[np.int64]]:
    """Random orders of images within each class: if groups do not matter, all are equally likely.

    Args:
        class_indices: int64[N].
        seed: Of the deals.
        deals: How many in all.

    Yields:
        int64[B, N]: for each deal, the row whose groups each image gets; B as memory allows.
    """
    rng = np.random.default_rng(seed)
    by_class = np.argsort(class_indices, kind="stable")
    bounds = np.flatnonzero(np.diff(class_indices[by_class])) + 1
    owned = np.split(by_class, bounds)
    step = max(1, 2**21 // len(class_indices))
    for start in range(0, deals, step):
        shape = min(step, deals - start), len(class_indices)
        keys = rng.random(shape)
        turns = np.empty(shape, dtype=np.int64)
        for own in owned:
            turns[:, own] = own[np.argsort(keys[:, own], axis=1)]
        yield turns


def reached(real: NDArray[np.float64], greatest: NDArray[np.float64]) -> NDArray[np.float64]:
    """p values of statistics [T], corrected for having looked at all of them (Westfall & Young 1993).

    Args:
        real: float64[T].
        greatest: float64[B], the greatest of the T statistics in each deal.
    """
    # Statistics of equal counts must compare equal whatever the order of sums.
    ordered = np.sort(greatest)
    over = len(ordered) - np.searchsorted(ordered, real - 1e-9, side="left")
    values: NDArray[np.float64] = (1 + over) / (1 + len(ordered))
    return values
