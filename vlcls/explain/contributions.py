"""Why an image was given its class: the exact share of every descriptor, and what separates two classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlcls.arguments import takes
from vlcls.errors import LabelError, VlclsError
from vlcls.explain.evidence import Contribution, Evidence
from vlcls.explain.pieces import Pieces, template_weights
from vlcls.explain.rationale import rationale_of

if TYPE_CHECKING:
    from torch import Tensor

    from vlcls.classifiers import Classifier, PromptClassifier


@dataclass(frozen=True)
class Explanation:
    """Why one image was given its class.

    Attributes:
        image: Its path as it was given, or its place among images given in memory.
        classes: The evidence for the predicted class, for the runner-up (if there are two classes), and for
            every class asked for besides; empty if the image could not be read.
        baseline: The image's average similarity: the mean over all classes of its mean similarity to their
            prompts. Cosines of CLIP are all alike; only what is above or below this says something.
        error: Why it could not be read, else None.
        templates: Under AutoCLIP: each template with its weight for this image, greatest first. Equal weights
            would be 1 / their number.
    """

    image: str
    classes: tuple[Evidence, ...]
    baseline: float
    error: str | None = None
    templates: tuple[tuple[str, float], ...] = ()

    @property
    def predicted(self) -> Evidence:
        if not self.classes:
            raise VlclsError(f"{self.image} has no explanation: {self.error}")
        return self.classes[0]

    @property
    def runner_up(self) -> Evidence | None:
        return self.classes[1] if len(self.classes) > 1 else None

    @property
    def rationale(self) -> str:
        """One English sentence: "tiger, because it has black stripes and long whiskers"."""
        return rationale_of(self.predicted)


@dataclass(frozen=True)
class Lead:
    """What separates two classes.

    Attributes:
        difference: similarity of the first - similarity of the second = sum of the parts + agreement.
        parts: (class index, contribution, signed part of the difference), greatest first.
        agreement: The difference of their bases: how much less the prompts of the first agree with each
            other than those of the second. 0 but for "mean-embedding".
    """

    difference: float
    parts: tuple[tuple[int, Contribution, float], ...]
    agreement: float


def lead(first: Evidence, second: Evidence) -> Lead:
    """What separates two classes of one explanation; it adds up exactly."""
    parts = [(first.index, each, each.margin) for each in first.contributions]
    parts += [(second.index, each, -each.margin) for each in second.contributions]
    parts.sort(key=lambda part: -part[2])
    return Lead(first.similarity - second.similarity, tuple(parts), first.base - second.base)


@takes(classifier="classifier", classes="some classes", cache="cache")
def explain_images(
    classifier: Classifier,
    images: Any,
    classes: Iterable[str | int] = (),
    *,
    cache: bool | str | Path = True,
    **options: Any,
) -> list[Explanation]:
    """Explain predictions: each descriptor's similarity and its exact share of the score.

    Args:
        classifier: One made of prompts.
        images: As for `Classifier.iter_predict`: paths, folders, PIL images, ..., or a Tensor of image
            embeddings [N, D] or [D].
        classes: Other classes to explain besides the predicted one and the runner-up: names, ids, or indices.
        cache: Keep embeddings on disk: True, False, or a folder.
        options: batch_size, workers, reduced_decode, progress: see `vlcls.embeddings.embed_images`.

    Returns:
        One `Explanation` an image, in order; an unreadable image has `error` set.

    Raises:
        LabelError: `classes` names one that is not there.
        VlclsError: The classifier is not made of prompts.
    """
    from vlcls.classifiers import PromptClassifier

    if not isinstance(classifier, PromptClassifier):
        raise VlclsError(
            f"a {type(classifier).__name__} is not made of prompts: there is nothing to explain by"
        )
    explainer = _Explainer(classifier, _indices(classifier, classes))
    result: list[Explanation] = []
    single = getattr(images, "ndim", 2) == 1
    for names, rows, errors in classifier.embedded(
        images[None] if single else images, cache=cache, **options
    ):
        explained = explainer(rows, [name for row, name in enumerate(names) if row not in errors])
        for row, name in enumerate(names):
            result.append(Explanation(name, (), 0.0, errors[row]) if row in errors else next(explained))
    return result


def _indices(classifier: Classifier, classes: Iterable[str | int]) -> list[int]:
    from vlcls.labelled import class_places

    asked = [classes] if isinstance(classes, (str, int)) else list(classes)
    places = class_places([each for each in asked if isinstance(each, str)], classifier.labels, "classes")
    for each in asked:
        if isinstance(each, int) and not 0 <= each < len(classifier.labels):
            raise LabelError(f"classes: {each} is not an index into {len(classifier.labels)} labels")
    return list(dict.fromkeys(places[each] if isinstance(each, str) else each for each in asked))


class _Explainer:
    """Explains embedded images; holds what is the same for all of them."""

    def __init__(self, classifier: PromptClassifier, asked: list[int]) -> None:
        self._classifier, self._asked = classifier, asked
        self._pieces = Pieces(classifier)

    def __call__(self, rows: Tensor, names: list[str]) -> Iterator[Explanation]:
        if not names:
            return
        probabilities = self._classifier.probabilities(rows).cpu()
        # Stable, as in `Classifier.predict`: among equal scores the first class wins.
        ranked = probabilities.sort(dim=-1, descending=True, stable=True).indices[:, :2].tolist()
        for row, name in enumerate(names):
            # One image at a time: a row of a hundred thousand similarities is small, a batch of them is not.
            chosen = list(dict.fromkeys([*ranked[row], *self._asked]))
            yield self._explained(rows[row : row + 1], name, chosen, probabilities[row].tolist())

    def _explained(
        self, row: Tensor, name: str, chosen: list[int], probabilities: list[float]
    ) -> Explanation:
        pieces = self._pieces
        if self._classifier.weighting is not None:
            pieces = Pieces(self._classifier, self._classifier.weigher.of_prompts(row)[0].cpu())
        image = row.cpu().double()
        found, baseline = pieces.look(image), float(pieces.baseline(image))
        similarities, factors = found.similarities[0], found.factors[0]
        evidence = []
        for place in chosen:
            own = (pieces.places == place).nonzero().flatten()
            contributions = _contributions(pieces, own, similarities[own], factors[own], baseline)
            evidence.append(
                Evidence(
                    self._classifier.labels.reported[place],
                    self._classifier.labels.ids[place],
                    place,
                    math.fsum(each.share for each in contributions),
                    probabilities[place],
                    baseline * float(factors[own].sum()),
                    contributions,
                )
            )
        return Explanation(name, tuple(evidence), baseline, templates=template_weights(self._classifier, row))


def _contributions(
    pieces: Pieces, own: Tensor, similarities: Tensor, factors: Tensor, baseline: float
) -> tuple[Contribution, ...]:
    """Of the pieces `own`, greatest margin first; those that had no part by their similarity."""
    found = zip(own.tolist(), similarities.tolist(), factors.tolist(), strict=True)
    contributions = [
        Contribution(pieces.names[piece], s, f * s, f * (s - baseline), pieces.prompts[piece].kind)
        for piece, s, f in found
    ]
    return tuple(sorted(contributions, key=lambda each: (-each.margin, -each.similarity)))
