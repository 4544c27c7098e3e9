"""The images of a data set with their true classes, handed out part by part."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vlcls.errors import LabelError
from vlcls.files.terminal import few
from vlcls.image_sources import ImageSource
from vlcls.labels import Known, Labels

#: Images of one part of a stream: enough to keep readers busy, few enough to be held in memory.
STREAMED_PART = 256


@dataclass(frozen=True)
class LabelledPart:
    """Some consecutive images of a set.

    Attributes:
        sources: N images.
        truth: N times the classes of an image: places in the set's labels; exactly one each unless the set is
            multi-label, where an image may also have none.
        groups: Columns that divide the images (domain, background, ...): N values each.
    """

    sources: Sequence[ImageSource]
    truth: Sequence[tuple[int, ...]]
    groups: Mapping[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.truth)


#: Yields the images of a set, at most so many of them; None: all.
Parts = Callable[[int | None], Iterator[LabelledPart]]


@dataclass(frozen=True)
class EvaluationSet:
    """Images with their true classes, to be read again and again in the same order.

    Attributes:
        name: What reports call it.
        labels: The C classes, in the order of the set.
        parts: Yields the images, at most as many as its argument says. Of a set whose size is known those are
            spread evenly over it, since many sets are sorted by class; of a stream the first ones.
        count: Number of images; None for streams.
        source: Where it came from: path, config, split, revision.
        templates: The set's own prompt templates, `{}` for the class name.
        multi_label: Images may have several classes, or none.
        problems: What the check of its class names found: sentences for people.
    """

    name: str
    labels: Labels
    parts: Parts
    count: int | None = None
    source: Mapping[str, str] = field(default_factory=dict)
    templates: tuple[str, ...] | None = None
    multi_label: bool = False
    problems: tuple[str, ...] = ()


def listed(
    sources: Sequence[ImageSource], truth: Sequence[tuple[int, ...]], groups: Mapping[str, tuple[str, ...]]
) -> Parts:
    """The parts of a set that is known as a whole: one, whose images are read when they are needed."""
    whole = LabelledPart(sources, truth, groups)

    def parts(limit: int | None) -> Iterator[LabelledPart]:
        count = len(truth)
        if limit is None or limit >= count:
            yield whole
        elif limit > 0:
            yield _picked(whole, [place * count // limit for place in range(limit)])

    return parts


def streamed(read: Callable[[], Iterator[LabelledPart]]) -> Parts:
    """The parts of a stream; `read` starts it anew."""

    def parts(limit: int | None) -> Iterator[LabelledPart]:
        left = limit
        for part in read() if left is None or left > 0 else ():
            if left is not None and len(part) >= left:
                yield _picked(part, range(left))
                return
            if len(part):
                yield part
            left = None if left is None else left - len(part)

    return parts


def _picked(part: LabelledPart, rows: Sequence[int]) -> LabelledPart:
    return LabelledPart(
        [part.sources[row] for row in rows],
        tuple(part.truth[row] for row in rows),
        {name: tuple(values[row] for row in rows) for name, values in part.groups.items()},
    )


def restricted(given: EvaluationSet, names: Collection[str]) -> EvaluationSet:
    """Only some classes of a set, in its order, and only their images.

    Args:
        given: The set. Of a multi-label one, images stay that have at least one of the classes.
        names: Ids of classes, or names, where case and underscores do not matter; a name that several classes
            share stands for all of them. `shared_classes` gives such names.

    Raises:
        LabelError: Names that are no class of the set.
    """
    kept = places_of(names, given.labels, given.name)
    new = {place: index for index, place in enumerate(kept)}
    labels = given.labels.some(kept)

    def read() -> Iterator[LabelledPart]:
        for part in given.parts(None):
            rows = [row for row, classes in enumerate(part.truth) if any(c in new for c in classes)]
            chosen = _picked(part, rows)
            truth = tuple(tuple(new[c] for c in classes if c in new) for classes in chosen.truth)
            yield LabelledPart(chosen.sources, truth, chosen.groups)

    if given.count is None:
        return replace(given, labels=labels, parts=streamed(read))
    part = joined_parts(read())
    return replace(given, labels=labels, parts=listed(part.sources, part.truth, part.groups), count=len(part))


def joined_parts(parts: Iterator[LabelledPart]) -> LabelledPart:
    """All parts as one."""
    found = list(parts)
    if len(found) == 1:
        return found[0]
    return LabelledPart(
        [source for part in found for source in part.sources],
        tuple(classes for part in found for classes in part.truth),
        {name: tuple(v for part in found for v in part.groups[name]) for name in found[0].groups}
        if found
        else {},
    )


def places_of(names: Collection[str], labels: Labels, where: str) -> list[int]:
    """The classes that some ids or names stand for, in the order of the labels; see `restricted`.

    Raises:
        LabelError: Names that are no class, or none at all.
    """
    known = Known(labels)
    found = {name: known.find(name) for name in names}
    if unknown := [repr(name) for name, places in found.items() if not places]:
        raise LabelError(f"{where}: no classes of it: {few(unknown, 10)}")
    if not found:
        raise LabelError(f"{where}: no class was named")
    return sorted({place for places in found.values() for place in places})
