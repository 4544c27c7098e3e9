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


def even_part(
    strata: Sequence[Any], share: float, rng: np.random.Generator, start: float | None = None
) -> NDArray[np.bool_]:
    """A share of N things drawn at random, alike in every stratum.

    The shuffled things are put in order of their strata and taken at even distances: systematic sampling,
    which gives each stratum its share to within one thing, and the whole, too.

    Args:
        strata: Columns of N values, the first one counting most: those equal in all are a stratum.
        share: To take, 0 to 1.
        start: Of the distances, 0 to 1; drawn if not given.

    Returns:
        bool[N]: True for those taken.
    """
    codes = [np.unique(np.asarray(values), return_inverse=True)[1] for values in strata]
    order = rng.permutation(len(codes[0]))
    order = order[np.lexsort([code[order] for code in reversed(codes)])]
    steps = np.floor(share * np.arange(len(order) + 1) + (rng.random() if start is None else start))
    taken = np.zeros(len(order), dtype=np.bool_)
    taken[order] = np.diff(steps) > 0
    return taken


def split_images(
    class_indices: Any, groups: Mapping[str, Sequence[str]] | None = None, *, part: float = 0.5, seed: int = 0
) -> Split:
    """Divide images at random, every combination of class and groups alike (see `even_part`).

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
    held = even_part([classes, *reversed(columns.values())], part, rng)
    if held.all() or not held.any():  # a handful of images, or a part near 0 or 1
        held[rng.integers(len(held))] ^= True
    return Split(np.flatnonzero(~held), np.flatnonzero(held), seed)


def held_out_of_copies(
    embeddings: NDArray[np.float32], strata: Sequence[Any], *, share: float, seed: int
) -> NDArray[np.bool_]:
    """Which images to hold out, alike in every stratum (see `even_part`); copies of an image stay together.

    Args:
        embeddings: [N, D]; images with equal rows are copies, and in the stratum of the first of them.
        strata: Columns of N values, written as text: class and groups.
        share: Part to hold out, 0 to 1. The same images whatever the machine: distances start at 0.
        seed: Of the shuffle.

    Returns:
        bool[N]: True for the held-out ones.
    """
    first: dict[bytes, int] = {}
    owner = [first.setdefault(row.tobytes(), place) for place, row in enumerate(embeddings)]
    units, places = np.unique(owner, return_inverse=True)
    columns = [np.asarray(values, dtype=str)[units] for values in strata]
    return even_part(columns, share, np.random.default_rng(seed), start=1e-9)[places]
