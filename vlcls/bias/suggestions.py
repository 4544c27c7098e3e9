"""Which descriptor costs the worst group most: suggestions, with the predicted effect. Nothing is applied.

For each descriptor in turn every image is predicted again without it, exactly (as the audit does). A
suggestion must pass two hurdles on the images that are shown:

- the least accuracy over groups is higher without the descriptor;
- it costs the worst group more than the others, beyond chance: the statistic is the change of accuracy in
  the worst group less that in all others. Groups are dealt out anew within each class, the worst group of the
  deal is found, and the greatest statistic over all descriptors is noted (Westfall & Young 1993). The p value
  is how often it reaches the real one. That allows for having looked at all descriptors, and for having
  picked the worst group: images that happen to be wrong have more to gain.

A descriptor that is bad for all groups alike is no matter of bias: `vlcls descriptors audit` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from vlcls.bias.deals import DEALS, dealt, reached
from vlcls.bias.effects import Effect, edited_descriptors, effect_of, without_piece
from vlcls.bias.evidence import checked
from vlcls.editing import Scored, rescore, score
from vlcls.explain.audit import predictions_without
from vlcls.explain.pieces import Pieces

if TYPE_CHECKING:
    from torch import Tensor

    from vlcls.classifiers import PromptClassifier
    from vlcls.descriptors import DescriptorSet
    from vlcls.prompts import PromptSet

#: Similarities in memory at once.
_ENTRIES_AT_ONCE = 2**21


@dataclass(frozen=True)
class Suggestion:
    """Leave out or replace one descriptor.

    Attributes:
        index, label: The class.
        text: The descriptor.
        piece: Its place in `Pieces`.
        replacement: Other words for it; None: leave it out.
        column, group: The group that it costs most, on the images shown.
        predicted: The effect on the images shown. They are the ones it was chosen on: it flatters.
        adjusted: p value of the permutation test, corrected for all descriptors and columns. For a
            replacement that of leaving the descriptor out: what takes its place is not tested.
    """

    index: int
    label: str
    text: str
    piece: int
    replacement: str | None
    column: str
    group: str
    predicted: Effect
    adjusted: float

    def to_json(self) -> dict[str, Any]:
        skipped = ("predicted", "piece", "index")
        fields = {name: value for name, value in vars(self).items() if name not in skipped}
        return {**fields, "predicted": self.predicted.to_json()}


def suggest_removals(
    classifier: PromptClassifier,
    images: Any,
    class_indices: Any,
    groups: Mapping[str, Sequence[str]],
    *,
    names: Sequence[str] | None = None,
    changes: tuple[NDArray[np.bool_], NDArray[np.int8]] | None = None,
    alpha: float = 0.05,
    most: int = 5,
    deals: int = DEALS,
    seed: int = 0,
) -> tuple[Suggestion, ...]:
    """Find descriptors that the worst group would be better without.

    Args:
        classifier: One made of prompts, without a weighting.
        images: [N, D] embeddings of the images that are shown.
        class_indices: [N].
        groups: Columns of N values.
        names: What reports call each image.
        changes: What `changes_without` says of these images, if it is known already.
        alpha: Chance of any false one.
        most: How many at most.
        deals: Of the permutation test.
        seed: Of the permutation test.

    Returns:
        The greatest predicted gain of the worst group first.

    Raises:
        EmbeddingError: Shapes that do not fit.
        VlclsError: The classifier weighs prompts for each image.
    """
    rows, truth, columns = checked(classifier, images, class_indices, groups)
    used = {name: values for name, values in columns.items() if len(set(values)) > 1}
    if not used:
        return ()
    pieces = Pieces(classifier)
    right, change = changes or changes_without(pieces, rows, truth)
    before = score(classifier, rows)
    found = []
    for name, values in used.items():
        codes = np.unique(np.asarray(values, dtype=str), return_inverse=True)[1]
        p_values = _permutation_test(right, change, truth, codes, seed, deals)
        for piece in np.flatnonzero(p_values * len(used) <= alpha).tolist():
            after = rescore(before, without_piece(classifier, piece))
            predicted = effect_of(before, after, truth, columns, name, names=names)
            if predicted.change.value > 0:
                index = int(pieces.places[piece])
                found.append(
                    Suggestion(
                        index, classifier.labels.reported[index], pieces.names[piece], piece, None,
                        name, predicted.worst_before.name, predicted,
                        min(1.0, float(p_values[piece]) * len(used)),
                    )
                )  # fmt: skip
    found.sort(key=lambda each: (-each.predicted.change.value, each.adjusted))
    return tuple(found[:most])


def suggest_replacements(
    suggestion: Suggestion,
    before: Scored,
    class_indices: Any,
    groups: Mapping[str, Sequence[str]],
    descriptors: DescriptorSet,
    texts: Iterable[str],
    phrase: Callable[[DescriptorSet], PromptSet],
    *,
    names: Sequence[str] | None = None,
    most: int = 3,
) -> tuple[Suggestion, ...]:
    """Other words in the place of a descriptor, where they do more for the worst group than leaving it out.

    Args:
        suggestion: To leave it out.
        before: The images shown, scored with the descriptor.
        class_indices, groups, names: Of these images.
        descriptors: The set that the classifier was made of.
        texts: Candidates; those that the class has already are passed over.
        phrase: Makes the classifier's prompts of a descriptor set, as the classifier's own were made.
        most: How many at most.

    Returns:
        The greatest predicted gain of the worst group first. Only the texts that are new are encoded.
    """
    own = set(descriptors.texts(suggestion.index))
    found = []
    for text in dict.fromkeys(texts):
        if text in own or not text.strip():
            continue
        edited = edited_descriptors(
            descriptors, descriptors.labels.ids[suggestion.index], suggestion.text, text
        )
        after = rescore(before, before.classifier.with_prompts(phrase(edited)))
        predicted = effect_of(before, after, class_indices, groups, suggestion.column, names=names)
        if predicted.change.value > suggestion.predicted.change.value:
            found.append(Suggestion(**{**vars(suggestion), "replacement": text, "predicted": predicted}))
    return tuple(sorted(found, key=lambda each: -each.predicted.change.value)[:most])


def changes_without(
    pieces: Pieces, rows: Tensor, truth: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int8]]:
    """Which images are predicted rightly, bool[N], and what leaving each piece out does to that.

    Returns:
        Also int8[N, P]: 1 where a wrong image becomes right, -1 where a right one becomes wrong. 0 for a
        piece that is alone in its class, and for one of weight 0.
    """
    step = max(1, _ENTRIES_AT_ONCE // len(pieces.places))
    right = np.zeros(len(rows), dtype=np.bool_)
    change = np.zeros((len(rows), len(pieces.places)), dtype=np.int8)
    classes = torch.from_numpy(truth)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        best, without = predictions_without(pieces, rows[part].double())
        was, now = best == classes[part], without == classes[part][:, None]
        right[part] = was.numpy()
        change[part] = (now.to(torch.int8) - was[:, None].to(torch.int8)).numpy()
    change[:, pieces.alone.numpy()] = 0
    return right, change


def _permutation_test(
    right: NDArray[np.bool_],
    change: NDArray[np.int8],
    truth: NDArray[np.int64],
    codes: NDArray[np.int64],
    seed: int,
    deals: int,
) -> NDArray[np.float64]:
    """p value of each piece, float64[P], corrected for all of them."""
    # Images on which no piece changes anything count for accuracies only.
    touched: NDArray[np.bool_] = np.asarray(change.any(1))
    values = change[touched].astype(np.float32)
    real = _statistics(right, values, touched, codes[None])[0]
    greatest = [
        _statistics(right, values, touched, codes[turns]).max(1) for turns in dealt(truth, seed, deals)
    ]
    return np.where(real > 0, reached(real, np.concatenate(greatest)), 1.0)


def _statistics(
    right: NDArray[np.bool_],
    change: NDArray[np.float32],
    touched: NDArray[np.bool_],
    codes: NDArray[np.int64],
) -> NDArray[np.float64]:
    """For each deal [B, N] and each piece, the change in the worst group less that in the others: [B, P].

    Accuracies tie often; of equally bad groups the first is the worst one.
    """
    groups = int(codes.max()) + 1
    counts = np.bincount(codes[0], minlength=groups)  # the same in every deal
    accuracy = np.stack(
        [((codes == group) & right).sum(1) / counts[group] for group in range(groups)], axis=1
    )
    worst = accuracy.argmin(1)
    inside = (codes[:, touched] == worst[:, None]).astype(np.float32) @ change
    n = counts[worst][:, None]
    result: NDArray[np.float64] = inside.astype(np.float64) / n - (
        change.sum(0, dtype=np.float64) - inside
    ) / (len(right) - n)
    return result
