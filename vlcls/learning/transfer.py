"""Base-to-novel evaluation: names learned for half of the classes, beside the plain names of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vlcls.classifiers import PromptClassifier
from vlcls.errors import VlclsError
from vlcls.labelled import LabelledEmbeddings
from vlcls.learning.checkpoint import Epoch
from vlcls.learning.names import learn_from_embeddings
from vlcls.learning.result import NameLearning
from vlcls.learning.training import Training


@dataclass(frozen=True)
class Accuracies:
    """Accuracy on held-out images of base and of novel classes, 0 to 1."""

    base: float
    novel: float

    @property
    def harmonic(self) -> float:
        """2 b n / (b + n)."""
        return 2 * self.base * self.novel / (self.base + self.novel) if self.base + self.novel else 0.0


@dataclass(frozen=True)
class BaseToNovel:
    """What learning half of the names is worth.

    Attributes:
        base, novel: Class indices.
        before, learned: Images of the base classes against the base classes alone, of the novel ones against
            the novel ones alone, as is usual. Learning changes nothing among the novel classes.
        before_all, learned_all: All images against all classes: where learned names could push the others
            aside.
        learning: How the names were learned.
    """

    base: tuple[int, ...]
    novel: tuple[int, ...]
    before: Accuracies
    learned: Accuracies
    before_all: Accuracies
    learned_all: Accuracies
    learning: NameLearning


def base_to_novel(
    before: PromptClassifier,
    embedded: LabelledEmbeddings,
    *,
    settings: Training | None = None,
    shots: int | None = None,
    validation: float | None = None,
    cache: bool | str | Path = True,
    progress: Callable[[Epoch], None] | None = None,
) -> BaseToNovel:
    """Learn the names of half of the classes, chosen by the settings' seed, and test on both halves.

    Base classes are tested on their held-out images (give `shots`, so that there are some), novel classes on
    all of theirs.

    Args:
        before: A classifier of at least two classes with images.
        embedded: Images of all classes.
        settings, shots, validation, cache, progress: As for `learn_names`.

    Raises:
        VlclsError: Too few classes, or no image is held out.
    """
    settings = settings or Training()
    classes = embedded.class_indices.unique()
    if len(classes) < 2:
        raise VlclsError("base-to-novel evaluation needs images of two classes or more")
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(settings.seed))
    half = (len(classes) + 1) // 2
    base, novel = (sorted(classes[part].tolist()) for part in (order[:half], order[half:]))
    of_base = torch.isin(embedded.class_indices, torch.tensor(base))
    rows = of_base.nonzero().flatten()
    learning = learn_from_embeddings(
        before, embedded.some(rows.tolist()), settings=settings, shots=shots, validation=validation,
        cache=cache, progress=progress,
    )  # fmt: skip
    held_out = rows[learning.split.held_out]
    if not len(held_out):
        raise VlclsError("no image of the base classes is held out to test on: give a number of shots")
    others = (~of_base).nonzero().flatten()

    def tested(classifier: PromptClassifier, among: tuple[Sequence[int], Sequence[int]]) -> Accuracies:
        pairs = zip((held_out, others), among, strict=True)
        return Accuracies(*(_accuracy(classifier, embedded, rows, some) for rows, some in pairs))

    every = list(range(len(before.labels)))
    was, now = learning.before, learning.classifier
    return BaseToNovel(
        tuple(base), tuple(novel), tested(was, (base, novel)), tested(now, (base, novel)),
        tested(was, (every, every)), tested(now, (every, every)), learning,
    )  # fmt: skip


def _accuracy(
    classifier: PromptClassifier, embedded: LabelledEmbeddings, rows: Tensor, among: Sequence[int]
) -> float:
    similarities = classifier.similarities(embedded.embeddings[rows])[:, list(among)].cpu()
    predicted = torch.tensor(among)[similarities.argmax(1)]
    return float((predicted == embedded.class_indices[rows]).float().mean())
