"""The pieces of evidence of a classifier, and how much of a class's similarity each of them is.

A piece is one descriptor with all prompts made of it (one for each template), or one prompt without a
descriptor. For a unit image embedding x, the score of every scorer is a sum over the pieces p of a class:

    similarity of the class = sum_p f_p s_p

with s_p the piece's own similarity and f_p its factor, for prompts t_k with weights w_k, W_p their sum in the
piece and W_c in the class (`vlcls.classifiers.scorers` computes them):

- "mean-similarity": s_p = sum_k w_k (x . t_k) / W_p, f_p = W_p / W_c; the factors of a class add up to 1.
- "mean-embedding": the same s_p, f_p = W_p / |sum_k w_k t_k| over the class's prompts; the factors add up to
  more than 1, the more the less the class's prompts agree.
- "max": s_p = max_k x . t_k, f_p = 1 for the first piece that reaches the class's maximum, 0 for all others.
- any other that pools cosines: f_p = the sum of its prompts' shares, s_p = their mean cosine by these shares.
  For a piece without a share, s_p is the score of a class that has nothing else.

Where a weighting gives every image weights of its own (AutoCLIP), these take the place of w_k.

Everything here is float64 on the CPU: explanations must add up to the last digit that is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vlcls.arguments import whole_numbers
from vlcls.classifiers.banks import bank_of, class_means, piece_bank
from vlcls.classifiers.base import unit_rows
from vlcls.errors import EmbeddingError

if TYPE_CHECKING:
    from vlcls.classifiers import PromptClassifier
    from vlcls.prompts import Prompt


class Pieces:
    """P pieces of evidence for C classes.

    Args:
        classifier: What they are the pieces of.
        prompt_weights: [M], in place of the prompts' own weights.

    Attributes:
        prompts: The first prompt of each piece: its class, kind and source.
        names: The descriptor as people wrote it, or else the prompt: what reports call each piece.
        places, owners, weights, vectors, alone: See `vlcls.classifiers.banks.PieceBank`; W_p are the weights.
    """

    def __init__(
        self, classifier: PromptClassifier, prompt_weights: Sequence[float] | Tensor | None = None
    ) -> None:
        self.classes = len(classifier.labels)
        found: dict[tuple[int, str | int], int] = {}
        self.prompts: list[Prompt] = []
        owners: list[int] = []
        for row, prompt in enumerate(classifier.prompts):
            owners.append(found.setdefault((prompt.class_index, prompt.descriptor or row), len(found)))
            if len(found) > len(self.prompts):
                self.prompts.append(prompt)
        self.names = [
            prompt.descriptor or prompt.text or f"embedding {place}"
            for place, prompt in enumerate(self.prompts)
        ]
        prompts = bank_of(classifier.prompts, classifier.text_embeddings.detach().cpu().double())
        if prompt_weights is not None:
            prompts = replace(prompts, weights=torch.as_tensor(prompt_weights, dtype=torch.float64))
        pieces = piece_bank(prompts, torch.tensor(owners))
        self.owners, self.places, self.weights = pieces.owners, pieces.places, pieces.weights
        self.vectors, self.alone = pieces.vectors, pieces.alone
        self._baseline = class_means(prompts).mean(0)
        self.look = classifier.scorer.looking(pieces)

    def baseline(self, images: Tensor) -> Tensor:
        """How similar each image is to any class: mean over classes of the mean similarity, Tensor[N]."""
        return images @ self._baseline


def labelled_rows(
    classifier: PromptClassifier, embeddings: Any, class_indices: Sequence[int] | Tensor | Any
) -> tuple[Tensor, Tensor]:
    """Images of known classes: unit embeddings Tensor[N, D] and classes Tensor[N] int64, both on the CPU.

    Raises:
        EmbeddingError: Shapes that do not fit, no images, or classes that the classifier does not have.
    """
    rows = unit_rows(embeddings, "image embeddings").cpu()
    truth = torch.tensor(whole_numbers("class_indices", class_indices), dtype=torch.int64)
    if len(rows) != len(truth) or not len(rows):
        raise EmbeddingError(f"{len(rows)} image embeddings for {len(truth)} class indices")
    classifier.check_width(rows, "image embeddings")
    if int(truth.min()) < 0 or int(truth.max()) >= len(classifier.labels):
        raise EmbeddingError(f"class indices must be in 0..{len(classifier.labels) - 1}")
    return rows, truth


def template_weights(classifier: PromptClassifier, image: Tensor) -> tuple[tuple[str, float], ...]:
    """The templates that one image asked for, Tensor[1, D], with their weights, greatest first.

    Empty if the classifier weighs none for each image, or if classes have weights of their own.
    """
    if classifier.weighting is None:
        return ()
    places = classifier.weigher.templates
    names = {}
    for prompt in reversed(classifier.prompts.prompts):
        # Random descriptors are templates, too: theirs is the same source for all.
        names[prompt.template] = prompt.descriptor if prompt.kind == "random" else prompt.source
    weights = classifier.weigher.weights(image)[0].tolist() if places else []
    pairs = zip(places, weights, strict=True)
    return tuple(sorted(((names[place], weight) for place, weight in pairs), key=lambda pair: -pair[1]))
