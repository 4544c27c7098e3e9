"""Failure modes: minimal combinations of words under which a class is recognised less often.

After PRIME (Rezaei, Saberi, Moayeri & Feizi, "PRIME: Prioritizing Interpretability in Failure Mode
Extraction", ICLR 2024): images are tagged first; then all combinations of tags are searched for those that
have enough images, whose accuracy is well below that of the class, and that are minimal: each tag is needed.
`docs/bias.md` says what of the paper could be confirmed and what is done otherwise. Otherwise is, above all,
that being needed is tested: for each tag t of a combination S, the images with all of S are compared with
those that have all of S but t (Fisher's exact test, one-sided). The p value of S is the greatest of these
(an intersection-union test: S is refused as long as any tag may be superfluous), Holm-corrected over all
combinations of all classes that have enough images on both sides. Which have enough is known before it is
known what is right, so the correction is honest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlcls.bias.tags import Tags
from vlcls.errors import EvaluationError
from vlcls.evaluation.metrics.intervals import Estimate, apart, proportion
from vlcls.evaluation.metrics.significance import holm

#: Combinations of one size in memory at once, and the most that are searched before size grows no further.
MOST = 200_000
#: Classes that a sentence says images are taken for.
_CLASSES = 3
#: Rows of images that a failure mode names.
EXAMPLES = 6


@dataclass(frozen=True)
class FailureMode:
    """A class under a combination of words.

    Attributes:
        index: The class.
        words: The combination, and `places` its columns in the tags.
        count, right: Images of the class with all the words, and those predicted rightly.
        others, others_right: The same of the other images of the class.
        drop: Accuracy of the others less that with the words, with its interval (Newcombe 1998, method 10);
            None if one side is empty.
        p_value, adjusted: See the module; adjusted for all that was searched.
        examples: Rows of images with all the words, wrongly predicted ones first.
        taken_for: What the wrong ones are predicted as: classes with how many images, most first; empty if
            only right and wrong was known.
    """

    index: int
    words: tuple[str, ...]
    places: tuple[int, ...]
    count: int
    right: int
    others: int
    others_right: int
    drop: Estimate | None
    p_value: float
    adjusted: float
    examples: tuple[int, ...]
    taken_for: tuple[tuple[int, int], ...] = ()

    @property
    def shown(self) -> str:
        """The words, as sentences have them."""
        return " and ".join(f"“{word}”" for word in self.words)

    def sentence(self, label: str) -> str:
        """In words: what is recognised less often, and by how much."""
        if not self.count or not self.others:
            return (
                f"{label} with {self.shown}: {self.count} images, {self.others} without: nothing to compare"
            )
        return (
            f"{label} with {self.shown}: {self.right} of {self.count} right ({self.right / self.count:.0%}), "
            f"otherwise {self.others_right} of {self.others} ({self.others_right / self.others:.0%})"
        )

    def mistaken(self, labels: Sequence[str]) -> str:
        """In words: what the wrong ones are taken for, "taken for goat (12), camel (3), 2 others"."""
        if not self.taken_for:
            return ""
        first, rest = self.taken_for[:_CLASSES], sum(count for _, count in self.taken_for[_CLASSES:])
        named = ", ".join(f"{labels[index]} ({count})" for index, count in first)
        return f"taken for {named}{f', {rest} for others' if rest else ''}"


@dataclass(frozen=True)
class FailureSearch:
    """All that a search found.

    Attributes:
        modes: Most certain first.
        tested: Combinations that p values are corrected for.
        complete_to: Up to this size every combination with enough images was looked at.
        words: The vocabulary, and `tried` those of them that are in a combination that was tested.
        least: Images on each side of every comparison.
    """

    modes: tuple[FailureMode, ...]
    tested: int
    complete_to: int
    words: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()
    least: int = 0


def failure_modes(
    right: Any,
    class_indices: Any,
    tags: Tags,
    *,
    predicted: Any = None,
    alpha: float = 0.05,
    least: int = 10,
    drop: float = 0.1,
    step: float = 0.05,
    largest: int = 3,
) -> FailureSearch:
    """Search the failure modes of every class.

    Args:
        right: bool[N], which images are predicted rightly.
        class_indices: [N], their true classes.
        tags: Of the same images.
        predicted: [N], what they are predicted as, to say what wrong ones are taken for.
        alpha: Chance of any false one.
        least: Images on each side of every comparison.
        drop: What accuracy must fall by, against the other images of the class (PRIME's a).
        step: What it must fall by with each word, against the combination without it (PRIME's b).
        largest: Words of a combination.

    Raises:
        EvaluationError: Shapes that do not fit.
    """
    hits, classes = np.asarray(right, dtype=np.bool_), np.asarray(class_indices, dtype=np.int64)
    if not len(hits) == len(classes) == len(tags.present):
        raise EvaluationError(
            f"{len(hits)} results, {len(classes)} classes and tags of {len(tags.present)} images do not fit"
        )
    found: list[tuple[int, tuple[int, ...], list[_Comparison]]] = []
    complete = largest
    for index in np.unique(classes).tolist():
        rows = np.flatnonzero(classes == index)
        counts, size = _counts(tags.present[rows], hits[rows], least, largest)
        complete = min(complete, size)
        for places in counts:
            against = _against(places, counts, least)
            if against is not None:
                found.append((index, places, against))
    p_values = _combined([against for _, _, against in found])
    modes = []
    for (index, places, against), p, adjusted in zip(found, p_values, holm(p_values), strict=True):
        if adjusted > alpha or not _needed(against, step):
            continue
        mode = _mode(index, places, hits, classes, tags, p, adjusted, predicted)
        if mode.drop is not None and mode.drop.value >= drop:
            modes.append(mode)
    # Among equals the last tags first: groups, which are known, come after words, which were found.
    modes.sort(key=lambda m: (m.p_value, len(m.places), m.index, [-place for place in m.places]))
    tried = sorted({place for _, places, _ in found for place in places})
    words = tuple(tags.words[place] for place in tried)
    return FailureSearch(tuple(modes), len(found), complete, tags.words, words, least)


def check_failure_modes(
    modes: Sequence[FailureMode],
    right: Any,
    class_indices: Any,
    tags: Tags,
    *,
    predicted: Any = None,
) -> tuple[FailureMode, ...]:
    """The same combinations on other images: one test each, corrected for these alone.

    Args:
        modes: From `failure_modes`.
        right, class_indices, tags, predicted: Of images that it has not seen, tagged by the same words.
    """
    hits, classes = np.asarray(right, dtype=np.bool_), np.asarray(class_indices, dtype=np.int64)
    comparisons = []
    for mode in modes:
        own = classes == mode.index
        comparisons.append(
            [_compared(tags.present[own], hits[own], mode.places, place) for place in range(len(mode.places))]
        )
    p_values = _combined(comparisons)
    return tuple(
        _mode(mode.index, mode.places, hits, classes, tags, p, adjusted, predicted)
        for mode, p, adjusted in zip(modes, p_values, holm(p_values), strict=True)
    )


# ---- search --------------------------------------------------------------------------------------------

#: Images and right ones: with a word, and without it.
_Comparison = tuple[int, int, int, int]
#: Of each combination that enough images have: images, and right ones.
_Counts = dict[tuple[int, ...], tuple[int, int]]


def _counts(
    present: NDArray[np.bool_], hits: NDArray[np.bool_], least: int, largest: int
) -> tuple[_Counts, int]:
    """Level by level: no combination has more images than a part of it. Also the last complete size."""
    counts: _Counts = {(): (len(hits), int(hits.sum()))}
    sets: list[tuple[int, ...]] = [()]
    for size in range(1, largest + 1):
        level: _Counts = {}
        for places, images, right in _extended(sets, present, hits, least):
            level[places] = images, right
            if len(level) > MOST:
                return counts, size - 1
        counts |= level
        sets = list(level)
    return counts, largest


def _extended(
    sets: Sequence[tuple[int, ...]], present: NDArray[np.bool_], hits: NDArray[np.bool_], least: int
) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Every combination with one word more, behind its last, that enough images have."""
    columns = present.astype(np.float32)  # sums of ones are exact, and products of float32 fast
    step = max(1, 2**22 // max(1, max(present.shape)))
    for start in range(0, len(sets), step):
        some = sets[start : start + step]
        members = np.stack([present[:, list(places)].all(1) for places in some]).astype(np.float32)
        images, right = members @ columns, (members * hits) @ columns
        last = np.array([places[-1] if places else -1 for places in some])
        enough = (images >= least) & (np.arange(present.shape[1]) > last[:, None])
        for row, column in zip(*np.nonzero(enough), strict=True):
            yield (*some[row], int(column)), int(images[row, column]), int(right[row, column])


def _against(places: tuple[int, ...], counts: _Counts, least: int) -> list[_Comparison] | None:
    """A combination against itself without each word; None if that leaves too few images to compare."""
    images, right = counts[places]
    result = []
    for place in range(len(places)):
        wider, wider_right = counts[places[:place] + places[place + 1 :]]
        if wider - images < least:
            return None
        result.append((images, right, wider - images, wider_right - right))
    return result or None


def _compared(
    present: NDArray[np.bool_], hits: NDArray[np.bool_], places: Sequence[int], place: int
) -> _Comparison:
    wider = present[:, [*places[:place], *places[place + 1 :]]].all(1)
    here = wider & present[:, places[place]]
    without = wider & ~here
    return int(here.sum()), int(hits[here].sum()), int(without.sum()), int(hits[without].sum())


def one_sided(comparisons: Sequence[_Comparison]) -> list[float]:
    """p values of Fisher's exact test: that so many or more wrong ones fall on the first side by chance."""
    from scipy.stats import hypergeom

    if not comparisons:
        return []
    images, right, others, others_right = np.array(comparisons).T
    wrong, all_wrong = images - right, images - right + others - others_right
    found = hypergeom.sf(wrong - 1, images + others, all_wrong, images)
    values: list[float] = np.minimum(1, np.nan_to_num(found, nan=1.0)).tolist()  # nan: no images at all
    return values


def _combined(comparisons: Sequence[Sequence[_Comparison]]) -> list[float]:
    """The greatest p value of each combination: of all its comparisons, which are tested in one go."""
    p_values = iter(one_sided([each for own in comparisons for each in own]))
    return [max(islice(p_values, len(own))) for own in comparisons]


def _mode(
    index: int, places: tuple[int, ...], hits: NDArray[np.bool_], classes: NDArray[np.int64], tags: Tags,
    p_value: float, adjusted: float, predicted: Any,
) -> FailureMode:  # fmt: skip
    own = classes == index
    here = own & tags.present[:, list(places)].all(1)
    others = own & ~here
    count, right = int(here.sum()), int(hits[here].sum())
    rest, rest_right = int(others.sum()), int(hits[others].sum())
    without, with_words = proportion(rest_right, rest), proportion(right, count)
    rows = np.flatnonzero(here)
    few = rows[np.argsort(hits[rows], kind="stable")][:EXAMPLES]
    wrong = [] if predicted is None else np.asarray(predicted)[rows[~hits[rows]]].tolist()
    return FailureMode(
        index, tuple(tags.words[place] for place in places), places, count, right, rest, rest_right,
        None if without is None or with_words is None else apart(without, with_words),
        p_value, adjusted, tuple(few.tolist()),
        tuple(sorted(Counter(wrong).items(), key=lambda item: (-item[1], item[0]))),
    )  # fmt: skip


def _needed(against: Sequence[_Comparison], step: float) -> bool:
    """Whether accuracy is higher by `step` without any one of the words."""
    return all(
        (right + others_right) / (images + others) - right / images >= step
        for images, right, others, others_right in against
    )
