"""Failure modes that are one and the same, told as one.

A search over combinations reports what one cause makes of several words many times: "sand", "beach", "place:
beach", "sand and sea". Modes of a class are taken in their order, most certain first. One stands for itself
if it is still there among the images that lack the words of all modes that do so before it: accuracy with its
words is lower by `DROP` there, beyond chance (Fisher's exact test, one-sided, at `ALPHA`, not corrected: all
of them have passed the search's own test); or if it shares no image with those. Any other is folded into the
one that it shares most of its images with; so is, always, one whose words are among another's, or the other
way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlcls.bias.failures import FailureMode, one_sided
from vlcls.bias.tags import Tags

DROP, ALPHA = 0.1, 0.05


def folded(
    modes: Sequence[FailureMode],
    right: Any,
    class_indices: Any,
    tags: Tags,
    *,
    least: int = 10,
) -> tuple[tuple[int, ...], ...]:
    """Which failure modes are one: places in `modes`, each once, the one that stands for the others first.

    Args:
        modes: From `vlcls.bias.failure_modes`, in its order.
        right: bool[N], which images are predicted rightly.
        class_indices, tags: Of the same images.
        least: Images with and without the words that the comparison takes.
    """
    hits, classes = np.asarray(right, dtype=np.bool_), np.asarray(class_indices, dtype=np.int64)
    rows = [(classes == mode.index) & tags.present[:, list(mode.places)].all(1) for mode in modes]
    heads: dict[int, list[int]] = {}
    for place, mode in enumerate(modes):
        before = [head for head in heads if modes[head].index == mode.index]
        nested = [head for head in before if _nested(modes[head], mode)]
        rest = classes == mode.index
        for head in before:
            rest &= ~rows[head]
        shared = {head: int((rows[head] & rows[place]).sum()) for head in nested or before}
        alone = not nested and (not any(shared.values()) or _there(rows[place], rest, hits, least))
        if alone:
            heads[place] = []
        else:
            heads[max(shared, key=shared.__getitem__)].append(place)
    return tuple((head, *others) for head, others in heads.items())


def _nested(one: FailureMode, other: FailureMode) -> bool:
    first, second = set(one.places), set(other.places)
    return first <= second or second <= first


def _there(
    rows: NDArray[np.bool_],
    rest: NDArray[np.bool_],
    hits: NDArray[np.bool_],
    least: int,
) -> bool:
    """Whether the images of a mode are right less often than the others, both among the rest alone."""
    here, others = hits[rest & rows], hits[rest & ~rows]
    if min(len(here), len(others)) < max(least, 1) or others.mean() - here.mean() < DROP:
        return False
    (p_value,) = one_sided([(len(here), int(here.sum()), len(others), int(others.sum()))])
    return p_value <= ALPHA
