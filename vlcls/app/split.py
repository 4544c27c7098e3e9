"""Which images are shown while editing, and which are held out to tell whether editing helped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def held_out(
    embeddings: NDArray[np.float32], strata: Sequence[tuple[object, ...]], *, share: float, seed: int
) -> NDArray[np.bool_]:
    """Split images at random, alike in every class and group; copies of an image stay together.

    Images are shuffled, sorted by stratum, and taken at even distances, so that every stratum gives its share
    to within one image.

    Args:
        embeddings: [N, D]; images with equal rows are copies.
        strata: N times what the split shall be even over: class and groups.
        share: Part to hold out, 0 to 1.
        seed: Of the shuffle.

    Returns:
        bool[N]: True for the held-out ones.
    """
    first: dict[bytes, int] = {}
    owner = [
        first.setdefault(row.tobytes(), place) for place, row in enumerate(np.ascontiguousarray(embeddings))
    ]
    units = np.random.default_rng(seed).permutation(np.unique(owner))
    ordered = sorted(units.tolist(), key=lambda unit: tuple(map(str, strata[unit])))
    ends = np.floor(np.arange(len(ordered) + 1) * share + 1e-9)
    taken = {unit for unit, out in zip(ordered, np.diff(ends) > 0, strict=True) if out}
    return np.array([unit in taken for unit in owner], dtype=np.bool_)
