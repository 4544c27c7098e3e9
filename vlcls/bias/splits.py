"""Images that people look at while they change things, and images that stay unseen until they ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import EvaluationError


@dataclass(frozen=True, eq=False)
class Split:
    """Two parts of N images.

    Attributes:
        shown, held_out: int64 rows, ascending; together all images, each once.
        seed: What they were drawn with.
    """

    shown: NDArray[np.int64]
    held_out: NDArray[np.int64]
    seed: int


def split_images(
    class_indices: Any,
    groups: Mapping[str, Sequence[str]] | None = None,
    *,
    part: float = 0.5,
    seed: int = 0,
) -> Split:
    """Divide images at random, every combination of class and groups alike.

    The shuffled images are put in order of their combinations, and every (1 / part)-th one is held out:
    systematic sampling, which gives each combination its share to within one image, and the whole, too.

    Args:
        class_indices: [N].
        groups: Columns of N values.
        part: Of the images that are held out, between 0 and 1.
        seed: Of the shuffle.

    Raises:
        EvaluationError: Fewer than two images, columns of another length, or a part that leaves nothing.
    """
    classes = np.asarray(class_indices, dtype=np.int64)
    columns = dict(groups or {})
    for name, values in columns.items():
        if len(values) != len(classes):
            raise EvaluationError(f"group column {name!r} has {len(values)} values for {len(classes)} images")
    if not 0 < part < 1 or len(classes) < 2:
        raise EvaluationError(
            f"{len(classes)} images cannot be divided with {part} of them held out: give two or more images "
            "and a part between 0 and 1"
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(classes))
    codes = [np.unique(np.asarray(values, dtype=str), return_inverse=True)[1] for values in columns.values()]
    for code in (*codes, classes):
        order = order[np.argsort(code[order], kind="stable")]
    steps = np.floor(part * np.arange(len(order) + 1) + rng.random())
    held = np.diff(steps) > 0
    if held.all() or not held.any():  # a handful of images, or a part near 0 or 1
        held[rng.integers(len(held))] ^= True
    return Split(np.sort(order[~held]), np.sort(order[held]), seed)
