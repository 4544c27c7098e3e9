"""Which descriptors help, hurt or never matter, over images whose classes are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch

from vlcls.arguments import takes
from vlcls.binomial import mcnemar
from vlcls.errors import VlclsError
from vlcls.explain.pieces import Pieces, labelled_rows

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from vlcls.classifiers import PromptClassifier
    from vlcls.classifiers.banks import PieceScores

Verdict = Literal["helps", "hurts", "never matters", "unclear", "cannot be left out"]
_Best: TypeAlias = "torch.return_types.max"

#: Similarities in memory at once, of which about ten tables exist (float64: 16 MiB each).
_ENTRIES_AT_ONCE = 2**21


@dataclass(frozen=True)
class LeftOut:
    """What happens if one descriptor alone is left out.

    Attributes:
        accuracy: Over all images.
        lost, gained: Images that are predicted rightly only with it, and only without it.
        changed: Images whose predicted class changes.
        p_value: Of the exact McNemar test: that `lost` and `gained` differ by chance only.
        adjusted: The same, Benjamini-Hochberg over all descriptors that had a say in any right or wrong.
    """

    accuracy: float
    lost: int
    gained: int
    changed: int
    p_value: float
    adjusted: float


@dataclass(frozen=True)
class PieceAudit:
    """What one descriptor (or one other prompt) did over all images.

    Attributes:
        label, index: Its class, and the place of that in the labels.
        text: The descriptor as people wrote it, or else the prompt.
        inside, outside: Mean similarity to the images of its class and to all others; None without any.
        right, wrong: Mean contribution to the lead of the true class over the best other class, among images
            that are predicted rightly and wrongly and where its class is one of these two; negative if it
            spoke for the other class. None if there is no such image. See `Contribution.margin`.
        without: What happens if it is left out; None if it is all that its class has.
        verdict: "helps" or "hurts" if accuracy without it is lower or higher, beyond chance; "never matters"
            if no prediction changes; "unclear" if some do.
    """

    label: str
    index: int
    text: str
    inside: float | None
    outside: float | None
    right: float | None
    wrong: float | None
    without: LeftOut | None
    verdict: Verdict


@dataclass(frozen=True)
class Audit:
    """An audit of a classifier's descriptors.

    Attributes:
        images: How many images were looked at.
        accuracy: With everything in place.
        pieces: One result a descriptor, in the classifier's order.
        alpha: False discovery rate of the verdicts "helps" and "hurts".
    """

    images: int
    accuracy: float
    pieces: tuple[PieceAudit, ...]
    alpha: float


@takes(classifier="classifier", alpha="number", progress="function?")
def audit_descriptors(
    classifier: PromptClassifier,
    embeddings: Tensor | np.ndarray | Any,
    class_indices: Sequence[int] | Tensor,
    *,
    alpha: float = 0.05,
    progress: Callable[[int], None] | None = None,
) -> Audit:
    """Ask of every descriptor what it does for the accuracy over labelled images.

    Leaving one out is exact: the similarity of its class is computed without it, and every image is predicted
    again. Memory does not grow with images; time grows with images x descriptors.

    Args:
        classifier: One made of prompts, with any aggregate.
        embeddings: [N, D] image embeddings.
        class_indices: The true class of each image.
        alpha: False discovery rate of the verdicts.
        progress: Called with the number of images just finished.

    Raises:
        EmbeddingError: No images, or class indices that do not fit them.
        VlclsError: The classifier weighs prompts for each image: leaving one out changes all other weights.
    """
    if classifier.weighting is not None:
        raise VlclsError(
            f"leaving one descriptor out under {classifier.weighting.name} changes "
            "the weights of all others: audit the classifier without its weighting"
        )
    rows, truth = labelled_rows(classifier, embeddings, class_indices)
    tally = _Tally(Pieces(classifier))
    step = max(1, _ENTRIES_AT_ONCE // len(tally.pieces.places))
    for start in range(0, len(rows), step):
        tally.add(rows[start : start + step].double(), truth[start : start + step])
        if progress is not None:
            progress(len(rows[start : start + step]))
    return _result(classifier, tally, alpha)


class _Tally:
    """Counts and sums over images, one entry a piece."""

    def __init__(self, pieces: Pieces) -> None:
        def zeros(kind: torch.dtype = torch.float64) -> Tensor:
            return torch.zeros(len(pieces.places), dtype=kind)

        self.pieces = pieces
        self.images = self.correct = 0
        self.lost, self.gained, self.changed = zeros(torch.int64), zeros(torch.int64), zeros(torch.int64)
        #: Sums and counts of similarities inside and outside the class, and of parts on right and wrong ones.
        self.sums = {part: zeros() for part in ("inside", "outside", "right", "wrong")}
        self.counts = {part: zeros() for part in self.sums}

    def add(self, images: Tensor, truth: Tensor) -> None:
        """Some images: unit embeddings Tensor[N, D] float64, and their classes Tensor[N]."""
        look = self.pieces.look(images)
        similarities = look.similarities
        best, second = _two_best(look.scores)
        right = best.indices == truth
        self.images += len(images)
        self.correct += int(right.sum())
        predicted = _left_out_predictions(self.pieces, look, best, second)
        after = predicted == truth[:, None]
        self.changed += (predicted != best.indices[:, None]).sum(0)
        self.lost += (right[:, None] & ~after).sum(0)
        self.gained += (~right[:, None] & after).sum(0)
        own = self.pieces.places == truth[:, None]
        self._sum("inside", similarities, own)
        self._sum("outside", similarities, ~own)
        # The best class that is not the true one. With a single class there is none: it has no pieces.
        rival = best.indices.where(~right, second.indices)[:, None]
        facing = (self.pieces.places == rival) & ~own
        baseline = self.pieces.baseline(images)[:, None]
        parts = look.factors * (similarities - baseline)
        parts = parts.where(own, -parts)
        self._sum("right", parts, (own | facing) & right[:, None])
        self._sum("wrong", parts, (own | facing) & ~right[:, None])

    def _sum(self, part: str, values: Tensor, chosen: Tensor) -> None:
        self.sums[part] += values.where(chosen, 0.0).sum(0)
        self.counts[part] += chosen.sum(0)

    def means(self, part: str) -> list[float | None]:
        pairs = zip(self.sums[part].tolist(), self.counts[part].tolist(), strict=True)
        return [total / count if count else None for total, count in pairs]


def predictions_without(pieces: Pieces, images: Tensor) -> tuple[Tensor, Tensor]:
    """The predicted classes of images, and those with each piece in turn left out.

    Args:
        pieces: P of them.
        images: Tensor[N, D] float64, unit rows.

    Returns:
        Tensor[N] and Tensor[N, P] int64. A piece that is alone in its class: what is predicted if the class
        cannot be.
    """
    look = pieces.look(images)
    best, second = _two_best(look.scores)
    return best.indices, _left_out_predictions(pieces, look, best, second)


def _two_best(scores: Tensor) -> tuple[_Best, _Best]:
    """The greatest of some classes' similarities and whose it is, [N], and the next; of equals the first."""
    best = scores.max(1)
    return best, scores.scatter(1, best.indices[:, None], float("-inf")).max(1)


def _left_out_predictions(pieces: Pieces, look: PieceScores, best: _Best, second: _Best) -> Tensor:
    """Predict again with each piece left out: only the similarity of its class changes."""
    places = pieces.places
    left = look.without()
    leads = best.indices[:, None] == places
    rival_values = second.values[:, None].where(leads, best.values[:, None])
    rival_places = second.indices[:, None].where(leads, best.indices[:, None])
    wins = (left > rival_values) | ((left == rival_values) & (places < rival_places))
    return places.where(wins, rival_places)


def _result(classifier: PromptClassifier, tally: _Tally, alpha: float) -> Audit:
    pieces, reported = tally.pieces, classifier.labels.reported
    without = _left_out(tally)
    means = {part: tally.means(part) for part in tally.sums}
    results = [
        PieceAudit(
            reported[place], place, pieces.names[row],
            **{part: values[row] for part, values in means.items()},
            without=without[row], verdict=_verdict(without[row], alpha),
        )
        for row, place in enumerate(pieces.places.tolist())
    ]  # fmt: skip
    return Audit(tally.images, tally.correct / tally.images, tuple(results), alpha)


def _left_out(tally: _Tally) -> list[LeftOut | None]:
    lost, gained, changed = tally.lost.tolist(), tally.gained.tolist(), tally.changed.tolist()
    alone = tally.pieces.alone.tolist()
    p_values = mcnemar(lost, gained)
    had_a_say = [not only and a + b > 0 for only, a, b in zip(alone, lost, gained, strict=True)]
    adjusted = _adjusted(p_values, had_a_say)
    return [
        None
        if alone[row]
        else LeftOut(
            (tally.correct - lost[row] + gained[row]) / tally.images,
            lost[row], gained[row], changed[row], p_values[row], adjusted[row],
        )
        for row in range(len(alone))
    ]  # fmt: skip


def _verdict(without: LeftOut | None, alpha: float) -> Verdict:
    if without is None:
        return "cannot be left out"
    if not without.changed:
        return "never matters"
    if without.adjusted > alpha:
        return "unclear"
    return "helps" if without.lost > without.gained else "hurts"


def _adjusted(p_values: Sequence[float], tested: Sequence[bool]) -> list[float]:
    """Benjamini-Hochberg (1995) over those tested; 1 for the others."""
    from scipy.stats import false_discovery_control

    chosen = [row for row, test in enumerate(tested) if test]
    result = [1.0] * len(p_values)
    if chosen:
        found = false_discovery_control([p_values[row] for row in chosen])
        for row, value in zip(chosen, found.tolist(), strict=True):
            result[row] = value
    return result
