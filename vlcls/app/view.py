"""What one browser tab looks at, and what is worth looking at: pairs, groups, flips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vlcls.evaluation.metrics.accuracy import confusion, worst_pairs
from vlcls.evaluation.metrics.significance import compare_right

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vlcls.app.material import Subset
    from vlcls.app.workbench import Seen
    from vlcls.evaluation.metrics.intervals import Estimate

#: Confused pairs in the overview.
PAIRS = 8
#: Bootstrap samples of the interval of one class or group: there may be hundreds.
_SAMPLES = 1000


@dataclass(frozen=True)
class Pick:
    """Images chosen to be looked at; they stay while descriptors change.

    Attributes:
        title: What they are; data, not HTML.
        places: Among the shown images.
    """

    title: str
    places: tuple[int, ...]


@dataclass(frozen=True)
class View:
    """The state of one browser tab.

    Attributes:
        revision: Of the session that its page shows.
        tab: Of the page.
        pick: Images in the gallery.
        image: The image looked at: a place among the shown ones.
        heat: A class and a descriptor's words, whose heat map lies beside the image.
        index: The class whose descriptors are shown.
        against: Snapshot that the differences are to; "" for the start.
        message: What came of the last action, if it must be said.
        failed: It was refused.
        exported: The file just exported, its name and content.
    """

    revision: int
    tab: str = "overview"
    pick: Pick | None = None
    image: int | None = None
    heat: tuple[int, str] | None = None
    index: int = 0
    against: str = ""
    message: str = ""
    failed: bool = False
    exported: tuple[str, str] | None = None


@dataclass(frozen=True)
class PartChange:
    """The images of a class or group: right at the start and now, and the change."""

    name: str
    count: int
    before: int
    after: int
    change: Estimate


def pairs(seen: Seen, shown: Subset) -> list[tuple[int, int, int]]:
    """The most confused pairs now: (true class, predicted class, images)."""
    classes = len(seen.session.start.labels)
    return worst_pairs(confusion(seen.now.predicted.numpy(), shown.truth.numpy(), classes), PAIRS)


def rightness(seen: Seen, shown: Subset) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which shown images are right at the start and now: bool[n] each."""
    truth = shown.truth.numpy()
    return seen.start.predicted.numpy() == truth, seen.now.predicted.numpy() == truth


def total_change(seen: Seen, shown: Subset) -> Estimate:
    """Of the accuracy over all shown images, with its paired interval."""
    before, after = rightness(seen, shown)
    return compare_right(after[None], before[None]).difference


def class_changes(seen: Seen, shown: Subset) -> list[PartChange]:
    """Classes of which an image turned right or wrong, the greatest change first."""
    return _changes(seen, shown, shown.truth.numpy(), seen.session.start.labels.reported)


def group_changes(seen: Seen, shown: Subset, column: str) -> list[PartChange]:
    """The same of the groups of a column."""
    names, owner = group_places(shown.groups[column])
    return _changes(seen, shown, owner, names)


def group_places(values: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The groups of a column in the order of `compare`, and which of them each image is in."""
    names = sorted(set(values))
    place = {name: index for index, name in enumerate(names)}
    return names, np.array([place[value] for value in values], dtype=np.int64)


def _changes(seen: Seen, shown: Subset, owner: NDArray[np.int64], names: Sequence[str]) -> list[PartChange]:
    before, after = rightness(seen, shown)
    found = []
    for place in np.unique(owner[before != after]).tolist():
        own = owner == place
        was, is_now = before[own], after[own]
        change = compare_right(is_now[None], was[None], samples=_SAMPLES).difference
        found.append(PartChange(names[place], len(was), int(was.sum()), int(is_now.sum()), change))
    return sorted(found, key=lambda part: (-abs(part.change.value), part.name))


def picked_pair(seen: Seen, shown: Subset, truth: int, given: int) -> Pick:
    """The images of one class that are given another."""
    names = seen.session.start.labels.reported
    chosen = (shown.truth.numpy() == truth) & (seen.now.predicted.numpy() == given)
    return Pick(f"{names[truth]} taken for {names[given]}", tuple(np.flatnonzero(chosen).tolist()))


def with_images(view: View, seen: Seen, shown: Subset) -> View:
    """The view with images to look at: if none were picked yet, those of the most confused pair."""
    if view.pick is not None or view.image is not None or not len(shown):
        return view
    worst = pairs(seen, shown)[:1]
    pick = (
        picked_pair(seen, shown, *worst[0][:2]) if worst else picked_class(seen, shown, int(shown.truth[0]))
    )
    return replace(view, pick=pick, image=pick.places[0])


def picked_class(seen: Seen, shown: Subset, index: int) -> Pick:
    """The images of a class, those that are wrong first."""
    return Pick(
        seen.session.start.labels.reported[index], _wrong_first(seen, shown, shown.truth.numpy() == index)
    )


def picked_group(seen: Seen, shown: Subset, column: int, place: int) -> Pick:
    """The images of a group, those that are wrong first."""
    name = list(shown.groups)[column]
    names, owner = group_places(shown.groups[name])
    return Pick(f"{name}: {names[place]}", _wrong_first(seen, shown, owner == place))


def _wrong_first(seen: Seen, shown: Subset, chosen: NDArray[np.bool_]) -> tuple[int, ...]:
    _, right = rightness(seen, shown)
    return tuple(np.flatnonzero(chosen & ~right).tolist() + np.flatnonzero(chosen & right).tolist())
