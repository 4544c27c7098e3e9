"""From the prompts of a class to one similarity: three ways, for classes of any number of prompts each.

For unit prompt embeddings t_k of a class with weights w_k, and a unit image embedding x:

- "mean-embedding": x . n(sum_k w_k t_k), with n(v) = v / |v|. CLIP's template ensembles (Radford et al. 2021,
  section 3.1.4) and CuPL (Pratt et al. 2023).
- "mean-similarity": sum_k w_k (x . t_k) / sum_k w_k. Classification by description (Menon & Vondrick 2023)
  and WaffleCLIP (Roth et al. 2023). It is lower than the first for a class whose prompts disagree.
- "max": the greatest x . t_k among the prompts with w_k > 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from vlcls.errors import VlclsError

Aggregate = Literal["mean-embedding", "mean-similarity", "max"]
AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)

#: Prompts whose weighted embeddings are in memory at once.
_ROWS_AT_ONCE = 2**14
#: Similarities of single prompts in memory at once (float32: 64 MiB).
_ENTRIES_AT_ONCE = 2**24


def check_aggregate(aggregate: str) -> Aggregate:
    for known in AGGREGATES:
        if aggregate == known:
            return known
    raise VlclsError(f"no aggregate {aggregate!r}: choose one of {', '.join(AGGREGATES)}")


def class_means(
    embeddings: Tensor, class_indices: Sequence[int], weights: Sequence[float], classes: int
) -> Tensor:
    """Weighted mean of each class's rows: Tensor[M, D] to Tensor[classes, D]."""
    device = embeddings.device
    places = torch.tensor(class_indices, device=device)
    shares = torch.tensor(weights, dtype=torch.float32, device=device)
    totals = torch.zeros(classes, device=device).index_add_(0, places, shares)
    shares /= totals[places]
    sums = torch.zeros(classes, embeddings.shape[1], device=device)
    chunks = (each.split(_ROWS_AT_ONCE) for each in (embeddings, places, shares))
    for rows, some, parts in zip(*chunks, strict=True):
        sums.index_add_(0, some, rows * parts[:, None])
    return sums


class SegmentedMaximum:
    """Each class's greatest similarity to an image, in memory that does not grow with images or prompts.

    Classes with equally many prompts are taken together, so that the maximum is one over a regular axis: a
    loop over the few different numbers of prompts, never over classes.
    """

    def __init__(self, embeddings: Tensor, class_indices: Sequence[int], weights: Sequence[float]) -> None:
        device = embeddings.device
        shares = torch.tensor(weights, device=device)
        kept = shares.nonzero().flatten()
        places = torch.tensor(class_indices, device=device)[kept]
        kept = kept[places.argsort(stable=True)]
        counts = places.bincount()
        starts = counts.cumsum(0) - counts
        self.classes = len(counts)
        self.groups: list[tuple[Tensor, Tensor]] = []
        for count in counts.unique().tolist():
            members = (counts == count).nonzero().flatten()
            rows = kept[starts[members][:, None] + torch.arange(count, device=device)]
            self.groups.append((members, embeddings[rows]))

    def __call__(self, images: Tensor) -> Tensor:
        """Unit image embeddings Tensor[N, D] to Tensor[N, C]."""
        result = images.new_empty(len(images), self.classes)
        for members, texts in self.groups:
            members, texts = members.to(images.device), texts.to(images.device)
            count = texts.shape[1]
            at_once = max(1, min(len(members), _ENTRIES_AT_ONCE // count))
            for first in range(0, len(members), at_once):
                some = texts[first : first + at_once].flatten(0, 1)
                step = max(1, _ENTRIES_AT_ONCE // len(some))
                for row in range(0, len(images), step):
                    similar = (images[row : row + step] @ some.T).unflatten(1, (-1, count))
                    result[row : row + step, members[first : first + at_once]] = similar.amax(-1)
        return result
