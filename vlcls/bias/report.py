"""Everything that looks for bias, in one report: what is shown, and, only when asked, what was held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vlcls.bias.effects import Effect, effect_of, without_piece
from vlcls.bias.evidence import checked
from vlcls.bias.failures import FailureMode, FailureSearch, check_failure_modes, failure_modes
from vlcls.bias.folding import folded
from vlcls.bias.reliance import RelianceSearch, descriptor_reliance
from vlcls.bias.suggestions import Suggestion, changes_without, suggest_removals
from vlcls.bias.tags import Tagger, Tags, fit_tagger, group_tags, joined_tags
from vlcls.editing import Scored, rescore, score
from vlcls.evaluation.metrics.accuracy import confusion, worst_pairs
from vlcls.evaluation.metrics.intervals import proportion
from vlcls.explain.pieces import Pieces
from vlcls.labelled.splits import Split, split_images

if TYPE_CHECKING:
    from vlcls.classifiers import PromptClassifier
    from vlcls.labelled import LabelledEmbeddings

#: Searches that share the chance of a false alarm.
SEARCHES = 3
#: The most frequent mistakes that a report has.
_MISTAKES = 5


@dataclass(frozen=True)
class GroupAccuracy:
    """Images of a group and those predicted rightly; `column` and `group` are empty for all images."""

    column: str
    group: str
    count: int
    right: int

    def to_json(self) -> dict[str, Any]:
        found = proportion(self.right, self.count)
        return asdict(self) | {"accuracy": found.to_json() if found else None}


@dataclass(frozen=True)
class Turned:
    """What leaving one descriptor out does to the images shown: how many turn right, and how many wrong."""

    gained: int
    lost: int

    @property
    def net(self) -> int:
        return self.gained - self.lost


@dataclass(frozen=True, eq=False)
class BiasReport:
    """What is wrong with a classifier, on the images that are shown.

    Attributes:
        split: Which images are shown, and which held out.
        tagger: The vocabulary; None without one.
        accuracies: Of all images shown, then of each group.
        failures, reliance, suggestions: Found with a chance of `alpha` that any of them is false.
        names: Of the images shown: what `FailureMode.examples` point at.
        alpha: See above.
        folds: Failure modes that are one and the same: places in `failures.modes`, see `folded`.
        removals: Descriptors that were left out in turn to find the suggestions; 0 without groups.
        left_out: What leaving out each descriptor in `reliance` does, by class and descriptor.
        mistakes: The most frequent mistakes: true class, predicted class, images, images of the true class.
    """

    split: Split
    tagger: Tagger | None
    accuracies: tuple[GroupAccuracy, ...]
    failures: FailureSearch
    reliance: RelianceSearch
    suggestions: tuple[Suggestion, ...]
    names: tuple[str, ...]
    alpha: float
    folds: tuple[tuple[int, ...], ...] = ()
    removals: int = 0
    left_out: Mapping[tuple[int, str], Turned] = field(default_factory=dict)
    mistakes: tuple[tuple[int, int, int, int], ...] = ()

    @property
    def empty(self) -> bool:
        """Nothing was found."""
        return not (self.failures.modes or self.reliance.found or self.suggestions)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What the images that were held out say of a report.

    Attributes:
        accuracies: Of all of them, then of each group.
        failures: The same failure modes, one test each.
        effects: Of each suggestion, if it were accepted alone.
        names: Of these images.
        folds: Those of the report.
    """

    accuracies: tuple[GroupAccuracy, ...]
    failures: tuple[FailureMode, ...]
    effects: tuple[Effect, ...]
    names: tuple[str, ...]
    folds: tuple[tuple[int, ...], ...] = ()

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Plain data; `labels` are the classifier's `labels.reported`."""
        modes = [mode_to_json(mode, labels, self.names) for mode in self.failures]
        return {
            "accuracies": [each.to_json() for each in self.accuracies],
            "failure_modes": as_folded(modes, self.folds),
            "effects": [each.to_json() for each in self.effects],
        }


def find_bias(
    classifier: PromptClassifier,
    images: LabelledEmbeddings,
    *,
    vocabulary: tuple[Sequence[str], Any] | None = None,
    split: Split | None = None,
    alpha: float = 0.05,
    above: float = 1.0,
    least: int = 10,
    seed: int = 0,
) -> BiasReport:
    """Look for failure modes, descriptors that depend on groups, and descriptors that cost the worst group.

    Only images that are shown are looked at. Each of the three searches gets a third of `alpha`.

    Args:
        classifier: One made of descriptors, without a weighting.
        images: With true classes (places in the classifier's labels) and groups.
        vocabulary: T words, and their embeddings [T, D] by the classifier's encoder. Groups are words, too.
        split: None: half of the images are held out.
        alpha: Chance that anything is reported where there is nothing.
        above: See `fit_tagger`.
        least: See `failure_modes`.
        seed: Of the split and of the permutation tests.

    Raises:
        EmbeddingError: Shapes that do not fit.
        VlclsError: The classifier weighs prompts for each image.
    """
    checked(classifier, images.embeddings, images.class_indices, images.groups)
    split = split or split_images(images.class_indices, images.groups, seed=seed)
    shown = images.some(split.shown)
    scored = score(classifier, shown.embeddings)
    right, predicted = _right(scored, shown), scored.predicted.cpu().numpy()
    tagger = None
    if vocabulary is not None:
        tagger = fit_tagger(*vocabulary, shown.embeddings, classifier, above=above)
    share, tags = alpha / SEARCHES, _tags(tagger, shown)
    own = (classifier, shown.embeddings, shown.class_indices, shown.groups)
    failures = failure_modes(right, shown.class_indices, tags, predicted=predicted, alpha=share, least=least)
    reliance = descriptor_reliance(*own, alpha=share, seed=seed)
    changes, left_out, removals = None, {}, 0
    if any(len(set(values)) > 1 for values in shown.groups.values()):
        pieces = Pieces(classifier)
        changes = changes_without(pieces, scored.images.cpu(), shown.class_indices.numpy())
        left_out = _left_out(reliance, pieces, changes[1])
        removals = int(((pieces.weights > 0) & ~pieces.alone).sum())
    suggestions = suggest_removals(*own, names=shown.names, changes=changes, alpha=share, seed=seed)
    return BiasReport(
        split, tagger, _accuracies(right, shown), failures, reliance, suggestions, shown.names, alpha,
        folded(failures.modes, right, shown.class_indices, tags, least=least), removals, left_out,
        _mistakes(predicted, shown.class_indices.numpy(), len(classifier.labels)),
    )  # fmt: skip


def check_held_out(
    report: BiasReport,
    classifier: PromptClassifier,
    images: LabelledEmbeddings,
    replaced: Sequence[PromptClassifier | None] | None = None,
) -> HeldOut:
    """Ask the images that were held out. Each time one changes something and asks again, they are worth less.

    Args:
        report: From `find_bias`.
        classifier, images: The same as there.
        replaced: For each suggestion with a replacement, the classifier that has it.
    """
    held = images.some(report.split.held_out)
    scored = score(classifier, held.embeddings)
    right = _right(scored, held)
    effects = []
    for place, suggestion in enumerate(report.suggestions):
        given = replaced[place] if replaced else None
        after = rescore(scored, given or without_piece(classifier, suggestion.piece))
        column = suggestion.column
        effects.append(effect_of(scored, after, held.class_indices, held.groups, column, names=held.names))
    modes = check_failure_modes(
        report.failures.modes, right, held.class_indices, _tags(report.tagger, held),
        predicted=scored.predicted.cpu().numpy(),
    )  # fmt: skip
    return HeldOut(_accuracies(right, held), modes, tuple(effects), held.names, report.folds)


def mode_to_json(mode: FailureMode, labels: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """A failure mode as plain data, in words and with the names of its examples."""
    fields = {name: value for name, value in vars(mode).items() if name not in ("index", "places")}
    taken = [{"label": labels[index], "images": count} for index, count in mode.taken_for]
    return {
        **fields,
        "label": labels[mode.index],
        "words": list(mode.words),
        "sentence": mode.sentence(labels[mode.index]),
        "taken_for": taken,
        "drop": None if mode.drop is None else mode.drop.to_json(),
        "examples": [names[row] for row in mode.examples],
    }


def as_folded(modes: Sequence[dict[str, Any]], folds: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Plain failure modes, each with those that were folded into it."""
    return [modes[head] | {"folded": [modes[place] for place in others]} for head, *others in folds]


def _left_out(reliance: RelianceSearch, pieces: Pieces, change: np.ndarray) -> dict[tuple[int, str], Turned]:
    """Of each descriptor that was found, from what leaving out each piece changes: int8[N, P]."""
    place = {
        (index, name): piece
        for piece, (index, name) in enumerate(zip(pieces.places.tolist(), pieces.names, strict=True))
    }
    found = {}
    for each in reliance.found:
        own = change[:, place[each.index, each.text]]
        found[each.index, each.text] = Turned(int((own > 0).sum()), int((own < 0).sum()))
    return found


def _mistakes(
    predicted: np.ndarray, truth: np.ndarray, classes: int
) -> tuple[tuple[int, int, int, int], ...]:
    counts = np.bincount(truth, minlength=classes)
    pairs = worst_pairs(confusion(predicted, truth, classes), _MISTAKES)
    return tuple((own, given, count, int(counts[own])) for own, given, count in pairs)


def _right(scored: Scored, images: LabelledEmbeddings) -> np.ndarray:
    return (scored.predicted.cpu() == images.class_indices).numpy()


def _tags(tagger: Tagger | None, images: LabelledEmbeddings) -> Tags:
    groups = group_tags(images.groups, len(images))
    return groups if tagger is None else joined_tags(tagger(images.embeddings), groups)


def _accuracies(right: np.ndarray, images: LabelledEmbeddings) -> tuple[GroupAccuracy, ...]:
    result = [GroupAccuracy("", "", len(right), int(right.sum()))]
    for column, values in images.groups.items():
        codes = np.asarray(values, dtype=str)
        for value in np.unique(codes).tolist():
            own = codes == value
            result.append(GroupAccuracy(column, value, int(own.sum()), int(right[own].sum())))
    return tuple(result)
