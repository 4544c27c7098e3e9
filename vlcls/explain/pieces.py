"""The pieces of evidence of a classifier, and how much of a class's similarity each of them is.

A piece is one descriptor with all prompts made of it (one for each template), or one prompt without a
descriptor. For a unit image embedding x, every aggregate of `vlcls.classifiers.aggregates` is a sum over the
pieces p of a class:

    similarity of the class = sum_p f_p s_p

with s_p the piece's own similarity and f_p its factor, for prompts t_k with weights w_k, W_p their sum in the
piece and W_c in the class:

- "mean-similarity": s_p = sum_k w_k (x . t_k) / W_p, f_p = W_p / W_c; the factors of a class add up to 1.
- "mean-embedding": the same s_p, f_p = W_p / |sum_k w_k t_k| over the class's prompts; the factors add up to
  more than 1, the more the less the class's prompts agree.
- "max": s_p = max_k x . t_k, f_p = 1 for the first piece that reaches the class's maximum, 0 for all others.

Where a weighting gives every image weights of its own (AutoCLIP), these take the place of w_k.

Everything here is float64 on the CPU: explanations must add up to the last digit that is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from vlcls.classifiers import PromptClassifier
    from vlcls.prompts import Prompt

#: What `F.normalize`, and so the classifier, divides a vanishing mean embedding by.
_SHORTEST = 1e-12


class Pieces:
    """P pieces of evidence for C classes.

    Args:
        classifier: What they are the pieces of.
        prompt_weights: [M], in place of the prompts' own weights.

    Attributes:
        prompts: The first prompt of each piece: its class, kind and source.
        names: The descriptor as people wrote it, or else the prompt: what reports call each piece.
        places: Tensor[P] int64: the class of each.
        owners: Tensor[M] int64: the piece that each prompt of the classifier is a part of.
        weights: Tensor[P]: W_p, the sum of its prompts' weights.
        alone: Tensor[P] bool: the only piece of its class with a weight above 0.
    """

    def __init__(
        self, classifier: PromptClassifier, prompt_weights: Sequence[float] | Tensor | None = None
    ) -> None:
        self.aggregate = classifier.aggregate
        self.classes = len(classifier.labels)
        found: dict[tuple[int, str | int], int] = {}
        self.prompts: list[Prompt] = []
        owners: list[int] = []
        for row, prompt in enumerate(classifier.prompts):
            owners.append(found.setdefault((prompt.class_index, prompt.descriptor or row), len(found)))
            if len(found) > len(self.prompts):
                self.prompts.append(prompt)
        self.owners = torch.tensor(owners)
        self.names = [
            prompt.descriptor or prompt.text or f"embedding {place}"
            for place, prompt in enumerate(self.prompts)
        ]
        self.places = torch.tensor([prompt.class_index for prompt in self.prompts])
        self._texts = classifier.text_embeddings.detach().cpu().double()
        self._prompt_weights = torch.as_tensor(
            classifier.prompts.weights if prompt_weights is None else prompt_weights, dtype=torch.float64
        )
        self.weights = self._zeros(len(found)).index_add_(0, self.owners, self._prompt_weights)
        counts = self._zeros(self.classes).index_add_(0, self.places, (self.weights > 0).double())
        self.alone = (self.weights > 0) & (counts[self.places] == 1)
        self._weigh()

    def _weigh(self) -> None:
        """The vectors and lengths that all similarities are made of."""
        width = self._texts.shape[1]
        sums = self._zeros(len(self.weights), width).index_add_(
            0, self.owners, self._texts * self._prompt_weights[:, None]
        )
        class_sums = self._zeros(self.classes, width).index_add_(0, self.places, sums)
        class_weights = self._zeros(self.classes).index_add_(0, self.places, self.weights)
        # A piece of weight 0 is no part of any score, but people want to see how similar it is.
        counts = self.owners.bincount()[:, None]
        plain = self._zeros(len(self.weights), width).index_add_(0, self.owners, self._texts) / counts
        unused = (self.weights == 0)[:, None]
        self.vectors = torch.where(unused, plain, sums / self.weights[:, None].masked_fill(unused, 1))
        self._class_means = class_sums / class_weights[:, None]
        if self.aggregate == "mean-embedding":
            lengths = class_sums.norm(dim=1)
            without = (class_sums[self.places] - sums).norm(dim=1)
        else:
            lengths, without = class_weights, class_weights[self.places] - self.weights
        self._lengths = lengths.clamp_min(_SHORTEST)
        self._lengths_without = without.clamp_min(_SHORTEST)

    def baseline(self, images: Tensor) -> Tensor:
        """How similar each image is to any class: mean over classes of the mean similarity, Tensor[N]."""
        return images @ self._class_means.mean(0)

    def similarities(self, images: Tensor) -> Tensor:
        """s_p of unit image embeddings Tensor[N, D] float64: Tensor[N, P]."""
        if self.aggregate != "max":
            return images @ self.vectors.T
        cosines = images @ self._texts.T
        # In a piece that holds both, only prompts with a weight can win.
        hidden = (self._prompt_weights == 0) & (self.weights[self.owners] > 0)
        cosines[:, hidden] = -torch.inf
        return _maxima(cosines, self.owners, len(self.weights))

    def factors(self, similarities: Tensor) -> Tensor:
        """f_p: Tensor[1, P], or for "max" Tensor[N, P]."""
        if self.aggregate != "max":
            return (self.weights / self._lengths[self.places])[None]
        live = self._live(similarities)
        return self._first(live == self._best(live)).double()

    def class_similarities(self, similarities: Tensor) -> Tensor:
        """Tensor[N, P] to the similarity of each class, Tensor[N, C]: what the classifier computes."""
        if self.aggregate == "max":
            return _maxima(self._live(similarities), self.places, self.classes)
        return self._class_sums(similarities * self.weights) / self._lengths

    def without(self, similarities: Tensor) -> Tensor:
        """The similarity of each piece's class with it left out, Tensor[N, P]; -inf if it is alone."""
        if self.aggregate == "max":
            live = self._live(similarities)
            best = self._best(live)
            wins = self._first(live == best)
            return torch.where(wins, self._best(live.masked_fill(wins, -torch.inf)), best)
        weighted = similarities * self.weights
        sums = self._class_sums(weighted)
        left = (sums[:, self.places] - weighted) / self._lengths_without
        left[:, self.alone] = -torch.inf
        unused = self.weights == 0
        left[:, unused] = (sums / self._lengths)[:, self.places[unused]]
        return left

    def _class_sums(self, values: Tensor) -> Tensor:
        return self._zeros(len(values), self.classes).index_add_(1, self.places, values)

    def _first(self, reached: Tensor) -> Tensor:
        """Of the pieces of a class that reach its maximum, only the first: Tensor[N, P] bool."""
        order = torch.arange(reached.shape[1], dtype=torch.float64)
        turns = torch.where(reached, -order, -torch.inf)
        return reached & (turns == self._best(turns))

    def _live(self, similarities: Tensor) -> Tensor:
        """Without the pieces of weight 0, which never win."""
        return similarities.masked_fill(self.weights == 0, -torch.inf)

    def _best(self, values: Tensor) -> Tensor:
        """For each piece the greatest value in its class: Tensor[N, P]."""
        return _maxima(values, self.places, self.classes)[:, self.places]

    @staticmethod
    def _zeros(*shape: int) -> Tensor:
        return torch.zeros(*shape, dtype=torch.float64)


def _maxima(values: Tensor, owners: Tensor, count: int) -> Tensor:
    """The greatest value of each owner in each row: Tensor[N, K] to Tensor[N, count]."""
    empty = torch.full((len(values), count), -torch.inf, dtype=values.dtype)
    return empty.scatter_reduce_(1, owners.expand(len(values), -1), values, "amax")


def image_weights(classifier: PromptClassifier, image: Tensor) -> Tensor:
    """The weight of each prompt for one image, under a weighting that gives every image its own.

    Args:
        classifier: One with a weighting.
        image: Tensor[1, D], a unit row.

    Returns:
        Tensor[M] float64; those of a class sum to 1.
    """
    weights = classifier.prompt_weights(image)[0].cpu().double()
    if classifier.weighting is None or classifier.weighting.name == "autoclip-within-class":
        return weights
    # Weights of templates: the prompts of one class and template share its weight by their own.
    from vlcls.classifiers.weighting import shared_templates

    of_template = dict(zip(shared_templates(classifier.prompts), weights.tolist(), strict=True))
    totals: dict[tuple[int, int | None], float] = {}
    for prompt in classifier.prompts:
        cell = (prompt.class_index, prompt.template)
        totals[cell] = totals.get(cell, 0.0) + prompt.weight
    shares = [
        of_template[prompt.template or 0] * prompt.weight / totals[prompt.class_index, prompt.template]
        if prompt.weight
        else 0.0
        for prompt in classifier.prompts
    ]
    return torch.tensor(shares, dtype=torch.float64)


def template_weights(classifier: PromptClassifier, image: Tensor) -> tuple[tuple[str, float], ...]:
    """The templates that one image asked for, Tensor[1, D], with their weights, greatest first.

    Empty if the classifier weighs none for each image, or if classes have weights of their own.
    """
    if classifier.weighting is None or classifier.weighting.name == "autoclip-within-class":
        return ()
    from vlcls.classifiers.weighting import shared_templates

    names = {}
    for prompt in reversed(classifier.prompts.prompts):
        # Random descriptors are templates, too: theirs is the same source for all.
        names[prompt.template] = prompt.descriptor if prompt.kind == "random" else prompt.source
    weights = classifier.prompt_weights(image)[0].tolist()
    pairs = zip(shared_templates(classifier.prompts), weights, strict=True)
    return tuple(sorted(((names[place], weight) for place, weight in pairs), key=lambda pair: -pair[1]))
