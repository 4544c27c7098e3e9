"""What an edit of prompts changed: accuracy, flipped images, classes and groups, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from vlcls.binomial import mcnemar
from vlcls.classifiers.base import unit_rows
from vlcls.errors import EmbeddingError, VlclsError
from vlcls.labels import Labels
from vlcls.prompts import PromptSet

if TYPE_CHECKING:
    import numpy as np

    from vlcls.classifiers import PromptClassifier

Direction = Literal["wrong to right", "right to wrong", "wrong to wrong", "changed"]


@dataclass(frozen=True)
class Scored:
    """Images scored by a classifier, kept so that an edit costs only the classes that it touches.

    Attributes:
        classifier: Whose scores these are.
        images: Tensor[N, D] float32, unit rows.
        similarities: Tensor[N, C] float32.
    """

    classifier: PromptClassifier
    images: Tensor
    similarities: Tensor

    @property
    def predicted(self) -> Tensor:
        """Tensor[N] int64; among equal scores the first class."""
        return self.similarities.argmax(1)


@dataclass(frozen=True)
class ChangedImage:
    """An image that is predicted otherwise than before.

    Attributes:
        name: The image.
        before, after: The classes.
        truth: Its true class, if that is known.
        before_id, after_id, truth_id: Their ids.
        direction: From right or wrong to right or wrong; "changed" if the truth is not known.
    """

    name: str
    before: str
    after: str
    truth: str | None
    direction: Direction
    before_id: str
    after_id: str
    truth_id: str | None


@dataclass(frozen=True)
class PartCounts:
    """The images of one class or group: how many, and how many are right before and after."""

    name: str
    count: int
    before: int
    after: int

    @property
    def change(self) -> float:
        """Of accuracy; 0 to 1."""
        return (self.after - self.before) / self.count


@dataclass(frozen=True)
class Comparison:
    """What changed between two classifiers over the same images.

    Attributes:
        total: All images; None for its counts if their classes are not known.
        flips: Images that are predicted otherwise, in order.
        classes: For each class with images, those of that true class.
        groups: For each column of groups, its groups in alphabetical order.
        p_value: Of the exact McNemar test: that as many images turned right as wrong by chance. None without
            true classes.
    """

    images: int
    total: PartCounts | None
    flips: tuple[ChangedImage, ...]
    classes: tuple[PartCounts, ...]
    groups: Mapping[str, tuple[PartCounts, ...]]
    p_value: float | None

    def worst(self, column: str) -> tuple[PartCounts, PartCounts]:
        """The groups of the least accuracy before and after (Sagawa et al. 2020)."""
        parts = self.groups[column]
        return min(parts, key=lambda p: p.before / p.count), min(parts, key=lambda p: p.after / p.count)


def score(classifier: PromptClassifier, images: Tensor | np.ndarray) -> Scored:
    """Score image embeddings [N, D] and keep what later edits need."""
    rows = unit_rows(images, "image embeddings")
    return Scored(classifier, rows, classifier.similarities(rows))


def rescore(scored: Scored, after: PromptClassifier) -> Scored:
    """The scores under an edited classifier. Only classes whose prompts differ are computed again.

    Raises:
        VlclsError: Other classes than before.
    """
    before = scored.classifier
    if len(before.labels) != len(after.labels):
        raise VlclsError(
            f"{len(before.labels)} classes before and {len(after.labels)} after: an edit is measured "
            "with the same classes"
        )
    same_way = before.aggregate == after.aggregate and before.weighting is None is after.weighting
    if not same_way:  # weights for each image come from all classes
        return score(after, scored.images)
    changed = _changed_classes(before.prompts, after.prompts)
    similarities = scored.similarities
    if changed:
        similarities = similarities.clone()
        similarities[:, changed] = _of_classes(after, changed).similarities(scored.images)
    return Scored(after, scored.images, similarities)


def compare(
    before: Scored,
    after: Scored,
    class_indices: Sequence[int] | Tensor | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    names: Sequence[str] | None = None,
) -> Comparison:
    """What changed between two ways to score the same images.

    Args:
        before, after: From `score` and `rescore`.
        class_indices: The true class of each of the N images, if known.
        groups: Columns of N values: domain, background, ...
        names: What reports call each image.

    Raises:
        EmbeddingError: Columns of another length.
    """
    count = len(before.images)
    truth = None if class_indices is None else torch.as_tensor(class_indices)
    columns = dict(groups or {})
    for what, column in {"class indices": truth, "names": names, **columns}.items():
        if column is not None and len(column) != count:
            raise EmbeddingError(f"{len(column)} {what} for {count} images")
    old, new = before.predicted.cpu(), after.predicted.cpu()
    flips = _flips(old, new, truth, names, before.classifier.labels, after.classifier.labels)
    if truth is None:
        return Comparison(count, None, flips, (), {}, None)
    right, now = old == truth, new == truth
    labels = after.classifier.labels.reported
    of_class = [labels[index] for index in truth.tolist()]
    order = {name: place for place, name in enumerate(labels)}
    lost, gained = int((right & ~now).sum()), int((now & ~right).sum())
    return Comparison(
        count,
        PartCounts("all", count, int(right.sum()), int(now.sum())),
        flips,
        tuple(sorted(_parts(of_class, right, now), key=lambda part: order[part.name])),
        {column: tuple(_parts(values, right, now)) for column, values in columns.items()},
        mcnemar([lost], [gained])[0],
    )


def _flips(
    old: Tensor, new: Tensor, truth: Tensor | None, names: Sequence[str] | None, before: Labels, after: Labels
) -> tuple[ChangedImage, ...]:
    result = []
    for row in (old != new).nonzero().flatten().tolist():
        was, is_now = int(old[row]), int(new[row])
        direction: Direction = "changed"
        if truth is not None:
            direction = "wrong to wrong"
            if is_now == truth[row]:
                direction = "wrong to right"
            elif was == truth[row]:
                direction = "right to wrong"
        result.append(
            ChangedImage(
                names[row] if names is not None else f"embedding {row}",
                before.reported[was],
                after.reported[is_now],
                None if truth is None else after.reported[int(truth[row])],
                direction,
                before.ids[was],
                after.ids[is_now],
                None if truth is None else after.ids[int(truth[row])],
            )
        )
    return tuple(result)


def _parts(values: Sequence[str], right: Tensor, now: Tensor) -> list[PartCounts]:
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        rows.setdefault(value, []).append(row)
    return [
        PartCounts(name, len(own), int(right[own].sum()), int(now[own].sum()))
        for name, own in sorted(rows.items())
    ]


def _changed_classes(before: PromptSet, after: PromptSet) -> list[int]:
    """Classes whose texts or weights differ."""

    def of_classes(prompts: PromptSet) -> list[list[tuple[str, float]]]:
        rows: list[list[tuple[str, float]]] = [[] for _ in range(len(prompts.labels))]
        for prompt in prompts:
            rows[prompt.class_index].append((prompt.text, prompt.weight))
        return rows

    pairs = zip(of_classes(before), of_classes(after), strict=True)
    return [index for index, (old, new) in enumerate(pairs) if old != new]


def _of_classes(classifier: PromptClassifier, indices: Sequence[int]) -> Any:
    """The classifier with some of its classes only."""
    from vlcls.classifiers import PromptClassifier

    place = {index: position for position, index in enumerate(indices)}
    rows = [row for row, prompt in enumerate(classifier.prompts) if prompt.class_index in place]
    prompts = (classifier.prompts.prompts[row] for row in rows)
    moved = tuple(replace(prompt, class_index=place[prompt.class_index]) for prompt in prompts)
    return PromptClassifier(
        PromptSet(classifier.labels.some(indices), moved),
        classifier.text_embeddings[rows],
        aggregate=classifier.aggregate,
    )
