"""What is minimised when names are learned: the encoder's own loss, over class names alone.

For unit image embeddings X [B, D] and the classes' similarities S [B, C] of the prompts' embeddings,
logits = logit_scale S + logit_bias, and the loss is the mean cross-entropy (softmax models), or the sum over
classes of the binary cross-entropies, averaged over images (sigmoid models, as they were trained: Zhai et al.
2023). Everything is frozen but the vectors of the names (Parisot et al., CVPR 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vlcls.classifiers.banks import bank_of
from vlcls.classifiers.scorers import SCORERS
from vlcls.encoders.base import Encoder
from vlcls.errors import VlclsError
from vlcls.learning.tower import TOKENS_AT_ONCE, SlottedTower
from vlcls.prompts import PromptSet, parts_around_name
from vlcls.slots import Slot, slot_ids, slotted_texts

Vectors = Literal["tokens", "one"]


@dataclass(frozen=True)
class Start:
    """The vectors that learning begins with.

    Attributes:
        vectors: Tensor[V, F] float32 on the CPU, those of one class after those of another.
        counts: How many each class has.
        scale: Root mean square of the token embeddings they were made of: the unit of the learning rate.
    """

    vectors: Tensor
    counts: tuple[int, ...]
    scale: float


def slots_of(prompts: PromptSet) -> list[Slot]:
    """The slot of each prompt with its class name; all must have one (`vlcls.prompts.with_slots`)."""
    slots = []
    for prompt in prompts:
        name = prompt.learned.name if prompt.learned else prompts.labels.names[prompt.class_index]
        slots.append(Slot(*parts_around_name(prompts, prompt), name))
    return slots


def start_vectors(encoder: Encoder, prompts: PromptSet, vectors: Vectors = "tokens") -> Start:
    """Each class's vectors before anything is learned.

    "tokens": one for each token of the name, equal to its embedding, so that nothing is changed yet. "one":
    their mean. A class whose name is learned already keeps the vectors it has.
    """
    first = {prompt.class_index: row for row, prompt in reversed(list(enumerate(prompts)))}
    slots = slots_of(prompts)
    classes = range(len(prompts.labels))
    ids = slot_ids(encoder, [slots[first[index]] for index in classes])
    rows = [encoder.embed_tokens(own).cpu() for own in ids]
    scale = float(torch.cat(rows).square().mean().sqrt())
    made = []
    for index, own in zip(classes, rows, strict=True):
        learned = prompts.prompts[first[index]].learned
        if learned is not None:
            made.append(learned.vectors)
        else:
            made.append(own if vectors == "tokens" else own.mean(0, keepdim=True))
    return Start(torch.cat(made).float(), tuple(map(len, made)), scale)


class LearningProblem:
    """Prompts with slots, the tower that reads them, and the loss over images.

    Args:
        encoder: Frozen.
        prompts: Of C classes, all with slots.
        counts: Vectors of each class, in order.
        aggregate: A scorer that has a gradient.
        tokens_at_once: See `SlottedTower`.

    Raises:
        VlclsError: There is no such scorer, or it has none.
    """

    def __init__(
        self,
        encoder: Encoder,
        prompts: PromptSet,
        counts: Sequence[int],
        aggregate: str,
        tokens_at_once: int = TOKENS_AT_ONCE,
    ) -> None:
        self.scorer = SCORERS.find(aggregate)
        if self.scorer.no_gradient:
            raise VlclsError(
                f'names are not learned under the aggregate "{aggregate}": {self.scorer.no_gradient}. Learn '
                'them under "mean-similarity"'
            )
        self.encoder, self.prompts = encoder, prompts
        firsts = [sum(counts[:index]) for index in range(len(counts))]
        indices = prompts.class_indices
        texts = slotted_texts(
            encoder, slots_of(prompts), [counts[i] for i in indices], [firsts[i] for i in indices]
        )
        self.tower = SlottedTower(encoder, texts, tokens_at_once)

    def logits(self, texts: Tensor, images: Tensor) -> Tensor:
        """Tensor[B, C] of prompt embeddings [M, D] and unit image embeddings [B, D]."""
        similarities = self.scorer.scoring(bank_of(self.prompts, texts))(images)
        return self.encoder.logit_scale * similarities + self.encoder.logit_bias

    def loss(self, texts: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """The mean over images; see the head of this file."""
        logits = self.logits(texts, images)
        if self.encoder.activation == "softmax":
            return F.cross_entropy(logits, targets)
        wanted = F.one_hot(targets, logits.shape[1]).to(logits)
        return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(1).mean()

    def gradient(self, vectors: Tensor, images: Tensor, targets: Tensor) -> tuple[float, Tensor]:
        """Loss, and its gradient with respect to the vectors.

        Args:
            vectors: Tensor[V, F] on the encoder's device.
            images: Tensor[B, D], unit rows.
            targets: Tensor[B] int64.
        """
        vectors = vectors.detach().requires_grad_()
        texts, chunks = self.tower.embed_for_gradient(vectors)
        texts.requires_grad_()
        loss = self.loss(texts, images, targets)
        (towards_texts,) = torch.autograd.grad(loss, texts)
        return float(loss.detach()), self.tower.pull_back(vectors, chunks, towards_texts)

    @torch.no_grad()
    def evaluate(self, vectors: Tensor, images: Tensor, targets: Tensor) -> tuple[float, float]:
        """Accuracy (0 to 1) and loss over some images."""
        texts = self.tower.embed(vectors)
        right = self.logits(texts, images).argmax(1) == targets
        return float(right.float().mean()), float(self.loss(texts, images, targets))
