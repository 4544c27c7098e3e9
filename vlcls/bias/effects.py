"""What a change of descriptors does to the worst group, with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vlcls.classifiers import PromptClassifier
from vlcls.descriptors import Descriptor, DescriptorSet
from vlcls.editing import Comparison, PartCounts, Scored, compare
from vlcls.errors import DescriptorError
from vlcls.evaluation.metrics.intervals import Estimate, around, posterior_means
from vlcls.explain.pieces import Pieces
from vlcls.prompts import PromptSet

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Draws of an interval.
DRAWS = 10_000
#: Wrong or right before, wrong or right after.
_KINDS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


@dataclass(frozen=True)
class Effect:
    """What a change does on some images.

    Attributes:
        column: Of the groups.
        worst_before, worst_after: The groups of the least accuracy before and after the change.
        change: Of the least accuracy over groups; 95 % interval, see `worst_group_change`.
        comparison: Flips, classes, groups, all images, McNemar's test.
    """

    column: str
    worst_before: PartCounts
    worst_after: PartCounts
    change: Estimate
    comparison: Comparison

    def to_json(self) -> dict[str, Any]:
        total = self.comparison.total
        assert total is not None
        return {
            "column": self.column,
            "worst_before": _part(self.worst_before, after=False),
            "worst_after": _part(self.worst_after, after=True),
            "change": self.change.to_json(),
            "accuracy_before": total.before / total.count,
            "accuracy_after": total.after / total.count,
            "flips": len(self.comparison.flips),
            "p_value": self.comparison.p_value,
            "groups": [vars(part) for part in self.comparison.groups[self.column]],
        }


def effect_of(
    before: Scored,
    after: Scored,
    class_indices: Any,
    groups: Mapping[str, Sequence[str]],
    column: str,
    *,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> Effect:
    """The effect of an edit on images that both were scored on (`vlcls.editing.score`, `rescore`).

    Args:
        before, after: Of the same N images.
        class_indices: [N].
        groups: Columns of N values.
        column: The one whose worst group counts.
        names: What reports call each image.
        seed: Of the interval.
    """
    comparison = compare(before, after, class_indices, {column: groups[column]}, names)
    worst_before, worst_after = comparison.worst(column)
    truth = np.asarray(class_indices)
    right = before.predicted.cpu().numpy() == truth, after.predicted.cpu().numpy() == truth
    change = worst_group_change(*right, groups[column], seed=seed)
    return Effect(column, worst_before, worst_after, change, comparison)


def worst_group_change(
    before: NDArray[np.bool_], after: NDArray[np.bool_], groups: Sequence[str], *, seed: int = 0
) -> Estimate:
    """The change of the least accuracy over groups, with a 95 % credible interval.

    Each group's images fall into four kinds: right or wrong before, right or wrong after. Their
    probabilities have a posterior (`vlcls.evaluation.metrics.intervals.posterior_means`); the least accuracy
    over groups before and after follow from them. Where nothing flips the interval holds 0.

    Args:
        before, after: bool[N], which images are predicted rightly.
        groups: N values.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    known, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    kinds = 2 * np.asarray(before, dtype=np.int64) + np.asarray(after, dtype=np.int64)
    counts = np.bincount(codes * 4 + kinds, minlength=4 * len(known)).reshape(-1, 4)
    drawn = np.stack([posterior_means(_KINDS, row, _KINDS, rng, DRAWS) for row in counts])  # [G, DRAWS, 2]
    least = drawn.min(0)
    seen = (counts @ _KINDS / counts.sum(1, keepdims=True)).min(0)
    return around(float(seen[1] - seen[0]), least[:, 1] - least[:, 0])


def without_piece(classifier: PromptClassifier, piece: int) -> PromptClassifier:
    """The classifier without one piece of evidence (`vlcls.explain.pieces`); nothing is encoded.

    Raises:
        TemplateError: It is all that its class has.
    """
    rows = (Pieces(classifier).owners != piece).nonzero().flatten().tolist()
    prompts = PromptSet(classifier.labels, tuple(classifier.prompts.prompts[row] for row in rows))
    return PromptClassifier(prompts, classifier.text_embeddings[rows], **classifier.settings)


def edited_descriptors(
    descriptors: DescriptorSet, class_name: str, text: str, replacement: str | None = None
) -> DescriptorSet:
    """The set without a descriptor of a class, or with other words for it.

    All of the class's descriptors of these words go: prompts of the same words are one piece of evidence.

    Raises:
        DescriptorError: No such class or descriptor, or the replacement is there already or blank.
    """
    index = descriptors.find(class_name)
    own = descriptors.descriptors[index]
    if text not in descriptors.texts(index):
        raise DescriptorError(f"class {class_name!r} has no descriptor {text!r}")
    left: list[Descriptor] = [each for each in own if each.text != text]
    if replacement is not None:
        if not replacement.strip() or replacement in descriptors.texts(index):
            raise DescriptorError(f"class {class_name!r}: {replacement!r} is blank or there already")
        left.insert(descriptors.texts(index).index(text), Descriptor(replacement))
    return descriptors.replaced(index, left)


def _part(part: PartCounts, *, after: bool) -> dict[str, Any]:
    right = part.after if after else part.before
    return {"group": part.name, "accuracy": right / part.count, "images": part.count}
