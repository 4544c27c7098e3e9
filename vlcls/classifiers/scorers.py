"""From the prompts of a class to one similarity: the scorers, which people choose as `--aggregate`.

For unit prompt embeddings t_k of a class with weights w_k, and a unit image embedding x:

- "mean-embedding": x . n(sum_k w_k t_k), with n(v) = v / |v|. CLIP's template ensembles (Radford et al. 2021,
  section 3.1.4) and CuPL (Pratt et al. 2023).
- "mean-similarity": sum_k w_k (x . t_k) / sum_k w_k. Classification by description (Menon & Vondrick 2023)
  and WaffleCLIP (Roth et al. 2023). It is lower than the first for a class whose prompts disagree.
- "max": the greatest x . t_k among the prompts with w_k > 0.

To add one that is a function of the cosines x . t_k, say how much of each cosine is in the score, and
register it. Commands, explanations, audits, learned names and evaluations then have it, and
`tests/test_scorers.py` checks it:

    class Middle(Pooled):
        name = "middle"
        about = "midway between the least and the greatest similarity of its prompts"

        def shares(self, cosines, weights):  # both [..., K]; a prompt of weight 0 must get 0
            least = cosines.masked_fill(weights == 0, 2).argmin(-1)
            greatest = cosines.masked_fill(weights == 0, -2).argmax(-1)
            count = cosines.shape[-1]
            return (F.one_hot(least, count) + F.one_hot(greatest, count)).to(cosines) / 2

    SCORERS.register(Middle())

One that compares images with a vector for each class is a `Mean` with a length of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from vlcls.classifiers.banks import (
    Bank,
    PieceBank,
    PieceScores,
    PooledPieceScores,
    class_means,
    pooled_scores,
    summed,
)
from vlcls.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

#: What `F.normalize` divides a vanishing vector by.
_SHORTEST = 1e-12


class Scorer(ABC):
    """How the prompts of a class make its similarity.

    Attributes:
        name, about: What people type, and what `--help` says of it: "the class's similarity is ...".
        no_gradient: Why names cannot be learned under it; empty if `scoring` has a gradient towards texts.
        per_image: It is the weighted mean of similarities: a weighting may weigh them anew for every image.
    """

    name: str
    about: str
    no_gradient: str = ""
    per_image: bool = False

    @abstractmethod
    def scoring(self, bank: Bank) -> Callable[[Tensor], Tensor]:
        """Takes unit image embeddings Tensor[N, D], gives the similarity of each class, Tensor[N, C]."""

    @abstractmethod
    def looking(self, pieces: PieceBank) -> Callable[[Tensor], PieceScores]:
        """Takes unit image embeddings Tensor[N, D] float64, gives each piece's share of the same."""

    @abstractmethod
    def directions(self, bank: Bank) -> Tensor:
        """All that an image is compared with: Tensor[R, D]."""


class Pooled(Scorer):
    """A score made of the cosines of a class's prompts, and of nothing else of them."""

    @abstractmethod
    def shares(self, cosines: Tensor, weights: Tensor) -> Tensor:
        """How much of each cosine is in the score: sum_k share_k cosine_k is the score.

        Args:
            cosines: Tensor[..., K].
            weights: Tensor[..., K], which may lack leading axes. 0: the prompt is not there.

        Returns:
            Tensor[..., K], 0 for prompts of weight 0.
        """

    def pool(self, cosines: Tensor, weights: Tensor) -> Tensor:
        """The score: Tensor[..., K] to Tensor[...]."""
        return (self.shares(cosines, weights) * cosines).sum(-1)

    def scoring(self, bank: Bank) -> Callable[[Tensor], Tensor]:
        return pooled_scores(bank, self.pool)

    def looking(self, pieces: PieceBank) -> Callable[[Tensor], PieceScores]:
        return PooledPieceScores(pieces, self.pool, self.shares)

    def directions(self, bank: Bank) -> Tensor:
        return bank.texts


class Maximum(Pooled):
    name = "max"
    about = "the greatest similarity of its prompts"
    no_gradient = "most prompts would get no gradient"

    def shares(self, cosines: Tensor, weights: Tensor) -> Tensor:
        best = self._live(cosines, weights).argmax(-1, keepdim=True)  # the first of equal ones
        return cosines.new_zeros(cosines.shape).scatter_(-1, best, 1.0)

    def pool(self, cosines: Tensor, weights: Tensor) -> Tensor:
        return self._live(cosines, weights).amax(-1)

    def looking(self, pieces: PieceBank) -> Callable[[Tensor], PieceScores]:
        look = super().looking(pieces)

        def faster(images: Tensor) -> PieceScores:
            found = look(images)
            return replace(found, without=lambda: self._second_best(pieces, found))

        return faster

    def _second_best(self, pieces: PieceBank, found: PieceScores) -> Tensor:
        """Without the piece that wins its class has its next best one, without any other all that it had."""
        wins, places = found.factors > 0, pieces.places
        others = self._live(found.similarities, pieces.weights).masked_fill(wins, -float("inf"))
        empty = found.scores.new_full(found.scores.shape, -float("inf"))
        next_best = empty.scatter_reduce_(1, places.expand(len(others), -1), others, "amax")
        return next_best[:, places].where(wins, found.scores[:, places])

    def _live(self, cosines: Tensor, weights: Tensor) -> Tensor:
        return cosines if weights.all() else cosines.masked_fill(weights == 0, -float("inf"))


class Mean(Scorer):
    """A product with one vector a class: sum_k w_k t_k by its length.

    Its pieces have s_p = sum_k w_k (x . t_k) / W_p over their own prompts, and f_p = W_p / length.

    Args:
        length: Of sums Tensor[..., D] of weighted embeddings, whose weights add up to Tensor[...].
    """

    def __init__(
        self, name: str, about: str, length: Callable[[Tensor, Tensor], Tensor], per_image: bool = False
    ) -> None:
        self.name, self.about, self.length, self.per_image = name, about, length, per_image

    def directions(self, bank: Bank) -> Tensor:
        means = class_means(bank)
        lengths = self.length(means, means.new_ones(len(means)))
        return means / lengths.clamp_min(_SHORTEST)[:, None]

    def scoring(self, bank: Bank) -> Callable[[Tensor], Tensor]:
        # The mean of cosines is the cosine's numerator with the mean: one product serves all prompts.
        return partial(_products, self.directions(bank))

    def looking(self, pieces: PieceBank) -> Callable[[Tensor], PieceScores]:
        places, weights, classes = pieces.places, pieces.weights, pieces.bank.classes
        sums = pieces.vectors * weights[:, None]
        class_sums, class_weights = summed(sums, places, classes), summed(weights, places, classes)
        lengths = self.length(class_sums, class_weights).clamp_min(_SHORTEST)
        rest, left = class_sums[places] - sums, class_weights[places] - weights
        lengths_without = self.length(rest, left).clamp_min(_SHORTEST)

        def look(images: Tensor) -> PieceScores:
            similarities = images @ pieces.vectors.T
            weighted = similarities * weights
            totals = weighted.new_zeros(len(images), classes).index_add_(1, places, weighted)

            def without() -> Tensor:
                result = (totals[:, places] - weighted) / lengths_without
                return result.masked_fill(pieces.alone, -float("inf"))

            return PieceScores(similarities, (weights / lengths[places])[None], totals / lengths, without)

        return look


def _products(vectors: Tensor, images: Tensor) -> Tensor:
    """Tensor[C, D] and Tensor[N, D] to Tensor[N, C]; a function with a name, so that classifiers pickle."""
    return images @ vectors.to(images.device).T


SCORERS = Registry(Scorer, "aggregate", group="vlcls.scorers")  # type: ignore[type-abstract]
SCORERS.register(
    Mean(
        "mean-embedding",
        "the similarity to the mean of its prompts' embeddings, as CLIP's template ensembles have it",
        lambda sums, weights: sums.norm(dim=-1),
    )
)
SCORERS.register(
    Mean(
        "mean-similarity",
        "the mean similarity of its prompts, as classification by description has it",
        lambda sums, weights: weights,
        per_image=True,
    )
)
SCORERS.register(Maximum())
