"""Prompts as scorers see them: rows of numbers, taken class by class or piece by piece.

Classes with equally many prompts are taken together, and so are pieces, so that the work is over a regular
axis: a loop over the few different numbers of prompts, never over classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from vlcls.prompts import PromptSet

#: Prompts whose weighted embeddings are in memory at once.
_ROWS_AT_ONCE = 2**14
#: Similarities of single prompts in memory at once (float32: 64 MiB).
_ENTRIES_AT_ONCE = 2**24

#: What a scorer makes of cosines Tensor[..., K] with weights Tensor[K] that fit them.
Pool = Callable[["Tensor", "Tensor"], "Tensor"]


@dataclass(frozen=True)
class Bank:
    """M prompts of C classes.

    Attributes:
        texts: Tensor[M, D], unit rows.
        places: Tensor[M] int64, the class of each.
        weights: Tensor[M], 0 for a prompt that has no part; above 0 for one of each class at least.
        classes: C.
    """

    texts: Tensor
    places: Tensor
    weights: Tensor
    classes: int


def bank_of(prompts: PromptSet, texts: Tensor) -> Bank:
    """The prompts with their embeddings Tensor[M, D], on the device of these."""
    import torch

    weights = torch.tensor(prompts.weights, dtype=texts.dtype, device=texts.device)
    places = torch.tensor(prompts.class_indices, device=texts.device)
    return Bank(texts, places, weights, len(prompts.labels))


def class_means(bank: Bank) -> Tensor:
    """Weighted mean of each class's rows, not normalised: Tensor[C, D]."""
    shares = bank.weights / summed(bank.weights, bank.places, bank.classes)[bank.places]
    sums = bank.texts.new_zeros(bank.classes, bank.texts.shape[1])
    chunks = (each.split(_ROWS_AT_ONCE) for each in (bank.texts, bank.places, shares))
    for rows, places, parts in zip(*chunks, strict=True):
        sums.index_add_(0, places, rows * parts[:, None])
    return sums


def summed(rows: Tensor, owners: Tensor, count: int) -> Tensor:
    """The sum of each owner's rows: Tensor[M, ...] to Tensor[count, ...]."""
    return rows.new_zeros(count, *rows.shape[1:]).index_add_(0, owners, rows)


def equal_groups(owners: Tensor, kept: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Owners that have equally many of the prompts `kept`: owners [G], and their prompts [G, K] in order."""
    kept = kept[owners[kept].argsort(stable=True)]
    counts = owners[kept].bincount()
    starts = counts.cumsum(0) - counts
    for count in counts[counts > 0].unique().tolist():
        members = (counts == count).nonzero().flatten()
        yield members, kept[starts[members][:, None] + starts.new_ones(count).cumsum(0) - 1]


class ClassGroups:
    """Classes with equally many prompts, side by side; prompts of weight 0 are left out."""

    def __init__(self, bank: Bank) -> None:
        self.groups = [
            (members, rows, bank.texts[rows])
            for members, rows in equal_groups(bank.places, bank.weights.nonzero().flatten())
        ]

    def cosines(self, images: Tensor, entries: int) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Rows of images, classes [G], their prompts [G, K] and cosines [B, G, K], so many at once."""
        for group in self.groups:
            members, rows, texts = (each.to(images.device) for each in group)
            classes, count = rows.shape
            at_once = max(1, min(classes, entries // count))
            for part in (slice(first, first + at_once) for first in range(0, classes, at_once)):
                some = texts[part]  # [G, K, D]
                step = max(1, entries // (len(some) * count))
                for chosen in (slice(row, row + step) for row in range(0, len(images), step)):
                    # [B, D] @ [D, G * K] -> [B, G, K]
                    cosines = (images[chosen] @ some.flatten(0, 1).T).unflatten(1, some.shape[:2])
                    yield chosen, members[part], rows[part], cosines


def pooled_scores(bank: Bank, pool: Pool) -> Callable[[Tensor], Tensor]:
    """Each class's score for images, in memory that does not grow with images or prompts."""
    groups = ClassGroups(bank)

    def scores(images: Tensor) -> Tensor:
        result = images.new_empty(len(images), bank.classes)
        weights = bank.weights.to(images.device)
        for chosen, members, rows, cosines in groups.cosines(images, _ENTRIES_AT_ONCE):
            result[chosen, members] = pool(cosines, weights[rows])
        return result

    return scores


# ---- pieces of evidence --------------------------------------------------------------------------------


@dataclass(frozen=True)
class PieceBank:
    """Prompts in P pieces of evidence, which are whatever stands or falls together.

    Attributes:
        bank: The prompts.
        owners: Tensor[M] int64, the piece of each prompt.
        places: Tensor[P] int64, the class of each piece.
        weights: Tensor[P], the sums of their prompts' weights.
        vectors: Tensor[P, D], the weighted means of their prompts; of all alike where the weight is 0: such a
            piece is no part of any score, but people want to see how similar it is.
        alone: Tensor[P] bool: the only piece of its class with a weight above 0.
    """

    bank: Bank
    owners: Tensor
    places: Tensor
    weights: Tensor
    vectors: Tensor
    alone: Tensor


def piece_bank(bank: Bank, owners: Tensor) -> PieceBank:
    """From the piece of each prompt, Tensor[M] int64."""
    count = int(owners.max()) + 1
    weights = summed(bank.weights, owners, count)
    shown = bank.weights.where(weights[owners] > 0, 1.0)
    vectors = summed(bank.texts * shown[:, None], owners, count) / summed(shown, owners, count)[:, None]
    places = owners.new_zeros(count).index_copy_(0, owners, bank.places)
    alone = (weights > 0) & (summed((weights > 0).long(), places, bank.classes)[places] == 1)
    return PieceBank(bank, owners, places, weights, vectors, alone)


@dataclass(frozen=True)
class PieceScores:
    """What pieces did for N images.

    Attributes:
        similarities: s_p, Tensor[N, P].
        factors: f_p, Tensor[N, P], or Tensor[1, P] if all images have the same. A piece's share is f_p s_p.
        scores: The similarity of each class, Tensor[N, C]: the sum of its pieces' shares.
        without: Of each piece, the similarity of its class with it left out, Tensor[N, P]; -inf for one that
            is all that its class has.
    """

    similarities: Tensor
    factors: Tensor
    scores: Tensor
    without: Callable[[], Tensor]


class PooledPieceScores:
    """Looks at images for a scorer that pools cosines.

    Args:
        pieces: In float64: shares must add up to the last digit that is shown.
        pool: Cosines and weights, both Tensor[..., K], to scores Tensor[...].
        shares: The same to shares of cosines Tensor[..., K].
    """

    def __init__(self, pieces: PieceBank, pool: Pool, shares: Pool) -> None:
        self.pieces, self.pool, self.shares = pieces, pool, shares
        bank, owners = pieces.bank, pieces.owners
        ordered = owners.argsort(stable=True)  # of equal cosines the one of the first piece decides
        self.of_class = list(equal_groups(bank.places, ordered[bank.weights[ordered] > 0]))
        self.own_weights = bank.weights.where(pieces.weights[owners] > 0, 1.0)
        self.of_piece = list(equal_groups(owners, self.own_weights.nonzero().flatten()))

    def __call__(self, images: Tensor) -> PieceScores:
        """Unit image embeddings Tensor[N, D] float64."""
        pieces, bank = self.pieces, self.pieces.bank
        cosines = images @ bank.texts.T  # [N, M]
        scores = cosines.new_empty(len(images), bank.classes)
        shares = cosines.new_zeros(cosines.shape)
        for members, rows in self.of_class:
            some, weights = cosines[:, rows], bank.weights[rows]  # [N, G, K], [G, K]
            scores[:, members] = self.pool(some, weights)
            shares[:, rows.flatten()] = self.shares(some, weights).flatten(1)
        alone = cosines.new_empty(len(images), len(pieces.weights))
        for members, rows in self.of_piece:
            alone[:, members] = self.pool(cosines[:, rows], self.own_weights[rows])
        factors = alone.new_zeros(alone.shape).index_add_(1, pieces.owners, shares)
        parts = alone.new_zeros(alone.shape).index_add_(1, pieces.owners, shares * cosines)
        used = factors != 0
        similarities = (parts / factors.where(used, 1.0)).where(used, alone)
        return PieceScores(similarities, factors, scores, lambda: self._without(cosines, scores))

    def _without(self, cosines: Tensor, scores: Tensor) -> Tensor:
        pieces, bank = self.pieces, self.pieces.bank
        result = scores[:, pieces.places]  # what a piece of weight 0 leaves
        for _, rows in self.of_class:
            owners = pieces.owners[rows]  # [G, K], sorted
            first = owners.diff(dim=1, prepend=owners[:, :1] - 1) > 0
            group, _ = first.nonzero(as_tuple=True)  # [R], one a piece
            left_out = owners[first]
            weights = bank.weights[rows[group]] * (owners[group] != left_out[:, None])  # [R, K]
            step = max(1, _ENTRIES_AT_ONCE // (len(cosines) * rows.shape[1]))
            for some in (slice(start, start + step) for start in range(0, len(group), step)):
                result[:, left_out[some]] = self.pool(cosines[:, rows[group[some]]], weights[some])
        return result.masked_fill(pieces.alone, -float("inf"))
