"""Which labelled images are learned from, which tell when to stop, and which are held out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vlcls.errors import VlclsError


@dataclass(frozen=True)
class ShotSplit:
    """Places among N images: Tensor[n] int64 each, ascending, disjoint.

    Attributes:
        train: Learned from.
        validation: Tell when to stop. May be empty.
        held_out: Neither. May be empty.
    """

    train: Tensor
    validation: Tensor
    held_out: Tensor


def split_shots(
    class_indices: Tensor, *, shots: int | None = None, validation: float = 0.0, seed: int = 0
) -> ShotSplit:
    """Divide images class by class.

    A class's images are shuffled by the seed. `validation` of them are set aside first (rounded down; a class
    of one image keeps it), then `shots` are learned from, or all; the rest is held out. More shots with the
    same seed hold all of the fewer ones.

    Args:
        class_indices: Tensor[N] int64.
        shots: Images to learn from in each class; all if not given.
        validation: A share of each class's images, from 0 to below 1.
        seed: Of the shuffle.

    Raises:
        VlclsError: A share or a number of shots that cannot be.
    """
    if not 0 <= validation < 1:
        raise VlclsError(f"validation is a share of the images, 0 to below 1, not {validation}")
    if shots is not None and shots < 1:
        raise VlclsError(f"at least 1 shot a class is needed, not {shots}")
    generator = torch.Generator().manual_seed(seed)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for index in class_indices.unique().tolist():
        own = (class_indices == index).nonzero().flatten()
        own = own[torch.randperm(len(own), generator=generator)]
        aside = int(validation * len(own))
        end = len(own) if shots is None else min(len(own), aside + shots)
        for part, rows in zip(parts, (own[aside:end], own[:aside], own[end:]), strict=True):
            part += rows.tolist()
    train, kept, held_out = (torch.tensor(sorted(part), dtype=torch.int64) for part in parts)
    return ShotSplit(train, kept, held_out)
