"""Is the descriptor that decided a prediction true of the image? For images whose attributes are annotated.

Data sets such as CUB say of every image which attributes it shows ("has a red crown"). A descriptor
classifier predicts by descriptors; those that did most for the predicted class (`Contribution.margin`, as in
explanations) are its reasons, and here they are held against the annotations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vlcls.classifiers.base import unit_rows
from vlcls.errors import EvaluationError
from vlcls.evaluation.metrics.intervals import Estimate, mean_interval
from vlcls.explain.pieces import Pieces

if TYPE_CHECKING:
    from vlcls.classifiers import PromptClassifier

#: Similarities in memory at once, float64.
_ENTRIES_AT_ONCE = 2**21


@dataclass(frozen=True)
class Reasons:
    """How many of the reasons for some predictions are true of the images.

    Attributes:
        images: How many predictions these are.
        at_1: Of the predictions whose first reason is annotated, the part where it is true.
        at_k: The part of the annotated ones among the first k reasons that is true, mean over predictions
            with any.
        chance: The same of all annotated descriptors of the predicted class: what reasons named blindly
            would reach. Descriptors that are true of most images make all figures high.
        known_at_1: Predictions whose first reason is annotated.
        known_at_k: Predictions with any annotated one among the first k reasons.
    """

    images: int
    at_1: Estimate | None
    at_k: Estimate | None
    chance: Estimate | None
    known_at_1: int
    known_at_k: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ReasonReport:
    """Reasons of all predictions, of the right ones and of the wrong ones.

    Attributes:
        k: Of `Reasons.at_k`.
        descriptors, annotated: How many descriptors the classifier has, and how many of them an attribute.
    """

    k: int
    descriptors: int
    annotated: int
    all: Reasons
    right: Reasons
    wrong: Reasons

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def reasons_that_are_true(
    classifier: PromptClassifier,
    embeddings: Any,
    class_indices: Any,
    annotations: Any,
    attributes: Mapping[str, int],
    *,
    k: int = 5,
    seed: int = 0,
) -> ReasonReport:
    """Hold the reasons for predictions against annotations of each image.

    Args:
        classifier: One made of descriptors, with any aggregate or weighting.
        embeddings: [N, D] image embeddings.
        class_indices: [N], the true classes.
        annotations: [N, A]: 1 where attribute a is true of the image, 0 where not, NaN where nobody knows.
        attributes: For each descriptor, as people wrote it, its column in `annotations`. Descriptors that
            are not there count as unknown: they are neither true nor false.
        k: How many reasons to look at.
        seed: Of the intervals.

    Raises:
        EvaluationError: Shapes that do not fit, entries other than 0, 1 and NaN, a column that is not there,
            or no descriptor with an attribute.
    """
    rows = unit_rows(embeddings, "image embeddings").cpu()
    truth = np.asarray(class_indices)
    known = np.asarray(annotations, dtype=np.float64)
    if known.ndim != 2 or not len(rows) == len(truth) == len(known):
        raise EvaluationError(
            f"{len(rows)} image embeddings, {len(truth)} true classes and annotations {known.shape} are not "
            "of the same images"
        )
    if not (np.isnan(known) | np.isin(known, (0, 1))).all():
        raise EvaluationError("annotations must be 0, 1, or NaN where nobody knows")
    if k < 1:
        raise EvaluationError(f"k must be at least 1, not {k}")
    pieces = Pieces(classifier)
    columns = _columns(pieces, attributes, known.shape[1])
    parts = []
    for start, ranked, predicted in _ranked(classifier, pieces, rows):
        # Of each reason, in order: 1 true, 0 false, NaN unknown or none.
        images = known[start : start + len(ranked)]
        chosen = np.where(ranked < 0, -1, columns[ranked])
        said = np.where(chosen < 0, np.nan, np.take_along_axis(images, np.maximum(chosen, 0), 1))
        parts.append((predicted, said[:, 0], _mean_known(said[:, :k]), _mean_known(said)))
    predicted, first, top, every = (np.concatenate(column) for column in zip(*parts, strict=True))
    right = predicted == truth

    def summed(chosen: NDArray[np.bool_]) -> Reasons:
        kept = [values[chosen & ~np.isnan(values)] for values in (first, top, every)]
        at_1, at_k, chance = (mean_interval(values, seed=seed) for values in kept)
        return Reasons(int(chosen.sum()), at_1, at_k, chance, len(kept[0]), len(kept[1]))

    return ReasonReport(
        k, len(columns), int((columns >= 0).sum()), summed(np.ones_like(right)), summed(right), summed(~right)
    )


def _columns(pieces: Pieces, attributes: Mapping[str, int], count: int) -> NDArray[np.int64]:
    """The attribute of each piece, -1 without one."""
    outside = [name for name, column in attributes.items() if not 0 <= column < count]
    if outside:
        raise EvaluationError(
            f"descriptor {outside[0]!r} has attribute {attributes[outside[0]]}, but there are {count}"
        )
    columns = np.array([attributes.get(name, -1) for name in pieces.names])
    if (columns < 0).all():
        raise EvaluationError(
            f"none of the {len(columns)} descriptors has an attribute: name them as the classifier does, "
            f"such as {pieces.names[0]!r}"
        )
    return columns


def _ranked(
    classifier: PromptClassifier, pieces: Pieces, rows: Tensor
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """For batches of images: the number of the first, [n, P_max] pieces of the predicted class with most
    margin first (-1 after the last), and the predicted classes [n]."""
    own = _pieces_of_classes(pieces)
    step = max(1, _ENTRIES_AT_ONCE // len(pieces.names))
    if classifier.weighting is not None:  # pieces of every image's own
        step = 1
    for start in range(0, len(rows), step):
        batch = rows[start : start + step]
        predicted = classifier.similarities(batch.to(classifier.text_embeddings.device)).argmax(1).cpu()
        if classifier.weighting is not None:
            pieces = Pieces(classifier, classifier.weigher.of_prompts(batch)[0].cpu())
        images = batch.double()
        look = pieces.look(images)
        similarities, factors = look.similarities, look.factors.expand_as(look.similarities)
        places = own[predicted]
        chosen = places.clamp_min(0)
        near, factor = similarities.gather(1, chosen), factors.gather(1, chosen)
        margins = factor * (near - pieces.baseline(images)[:, None])
        order = torch.arange(places.shape[1]).expand_as(places)
        # Least important first: by similarity, by margin, and what had no part in the score, or is no piece,
        # behind what had.
        for key in (near, margins, (factor > 0).double(), (places >= 0).double()):
            turns = key.gather(1, order).sort(dim=1, descending=True, stable=True).indices
            order = order.gather(1, turns)
        yield start, places.gather(1, order).numpy(), predicted.numpy()


def _pieces_of_classes(pieces: Pieces) -> Tensor:
    """The pieces of each class, Tensor[C, P_max], filled up with -1."""
    own = [(pieces.places == place).nonzero().flatten() for place in range(pieces.classes)]
    return pad_sequence(own, batch_first=True, padding_value=-1)


def _mean_known(said: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each row without NaN; NaN for rows of nothing else."""
    counts = (~np.isnan(said)).sum(1)
    means: NDArray[np.float64] = np.where(counts, np.nansum(said, 1), np.nan) / np.maximum(counts, 1)
    return means
