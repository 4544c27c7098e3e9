"""An editing session as an immutable value: every state of the descriptors, undo, redo, snapshots and looks.

Nothing here knows of images, models or pages. A change makes a new `Session` with the next revision, and a
change that was asked for at another revision than the session's is refused: two browser tabs cannot write
over each other's work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from vlcls.descriptors import Descriptor, DescriptorSet
from vlcls.errors import DescriptorError, SessionError
from vlcls.limits import readable

#: Longer names are no names.
MOST_CHARACTERS = 200


@dataclass(frozen=True)
class Step:
    """One state of the descriptors.

    Attributes:
        descriptors: All of them.
        said: What was done to come here, for people.
        at: When: ISO 8601, UTC.
    """

    descriptors: DescriptorSet
    said: str
    at: str


@dataclass(frozen=True)
class Look:
    """One look at the held-out images: whoever looks often enough fits these too.

    Attributes:
        at: When: ISO 8601, UTC.
        revision: Of the session then.
        images: How many are held out.
        before: How many of them were right with the descriptors of the start.
        gained, lost: How many were right only with the descriptors of then, and only with those of the start.
        groups: For each column of groups: name, images, right before, right then.
    """

    at: str
    revision: int
    images: int
    before: int
    gained: int
    lost: int
    groups: Mapping[str, tuple[tuple[str, int, int, int], ...]]

    @property
    def after(self) -> int:
        return self.before + self.gained - self.lost


@dataclass(frozen=True)
class Session:
    """All that an editing session is.

    Attributes:
        about: What the session belongs to, as plain texts: data, encoder, phrasing, split, ...
        steps: At least the start; then one a change.
        place: Which of the steps is in force.
        snapshots: Descriptors that were given a name.
        looks: Every look at held-out images, in order.
        revision: Grows with everything that happens.
    """

    about: Mapping[str, str]
    steps: tuple[Step, ...]
    place: int = 0
    snapshots: Mapping[str, DescriptorSet] = field(default_factory=dict)
    looks: tuple[Look, ...] = ()
    revision: int = 0

    @property
    def start(self) -> DescriptorSet:
        return self.steps[0].descriptors

    @property
    def descriptors(self) -> DescriptorSet:
        """Those in force."""
        return self.steps[self.place].descriptors

    @property
    def can_undo(self) -> bool:
        return self.place > 0

    @property
    def can_redo(self) -> bool:
        return self.place + 1 < len(self.steps)


def started(descriptors: DescriptorSet, about: Mapping[str, str], at: str) -> Session:
    """A new session. Here and below texts lose what no file may hold (`vlcls.limits`)."""
    return Session({key: readable(value) for key, value in about.items()}, (Step(descriptors, "start", at),))


def check_revision(session: Session, revision: int) -> None:
    """Refuse what was asked for at another state than the one in force.

    Raises:
        SessionError: The session was changed meanwhile.
    """
    if session.revision != revision:
        raise SessionError(
            "the session was changed in another tab meanwhile, and nothing was done: look at it as it is "
            "now, and try again"
        )


def edited(session: Session, descriptors: DescriptorSet, said: str, at: str) -> Session:
    """Other descriptors. What was undone before is gone, as everywhere.

    Raises:
        SessionError: Nothing is different, or the classes are others.
    """
    if descriptors == session.descriptors:
        raise SessionError("nothing is different: no change was made")
    if descriptors.labels != session.start.labels:
        raise SessionError("an edit keeps the classes: it is measured among the same ones")
    steps = (*session.steps[: session.place + 1], Step(descriptors, readable(said), at))
    return replace(session, steps=steps, place=len(steps) - 1, revision=session.revision + 1)


def undone(session: Session) -> Session:
    """One step back.

    Raises:
        SessionError: This is the start.
    """
    if not session.can_undo:
        raise SessionError("there is nothing to undo")
    return replace(session, place=session.place - 1, revision=session.revision + 1)


def redone(session: Session) -> Session:
    """One step forward.

    Raises:
        SessionError: Nothing was undone.
    """
    if not session.can_redo:
        raise SessionError("there is nothing to redo")
    return replace(session, place=session.place + 1, revision=session.revision + 1)


def named(session: Session, name: str) -> Session:
    """The descriptors in force, kept under a name.

    Raises:
        SessionError: No name, one that is too long, or taken.
    """
    name = " ".join(readable(name).split())
    if not name or len(name) > MOST_CHARACTERS:
        raise SessionError(f"give the snapshot a name of at most {MOST_CHARACTERS} characters")
    if name in session.snapshots:
        raise SessionError(f"there is a snapshot {name!r} already")
    snapshots = {**session.snapshots, name: session.descriptors}
    return replace(session, snapshots=snapshots, revision=session.revision + 1)


def restored(session: Session, name: str, at: str) -> Session:
    """Back to a snapshot, as a change of its own, which can be undone.

    Raises:
        SessionError: No such snapshot, or nothing is different.
    """
    if name not in session.snapshots:
        raise SessionError(f"there is no snapshot {name!r}")
    return edited(session, session.snapshots[name], f"back to snapshot {name!r}", at)


def looked(session: Session, look: Look) -> Session:
    """One more look at held-out images."""
    groups = {
        readable(column): tuple((readable(name), count, was, now) for name, count, was, now in parts)
        for column, parts in look.groups.items()
    }
    look = replace(look, groups=groups)
    return replace(session, looks=(*session.looks, look), revision=session.revision + 1)


# ---- changes of one class, by place: a text may be there twice --------------------------------------------


@dataclass(frozen=True)
class Row:
    """What a person typed into one row of a class's table: its place, words and weight."""

    place: int
    text: str
    weight: float


def rewritten(descriptors: DescriptorSet, index: int, rows: Sequence[Row]) -> DescriptorSet:
    """Other words or weights for some descriptors of class `index`; each keeps its place and source.

    Raises:
        DescriptorError: No such descriptor, a blank one, one that is there already, or a weight below 0.
    """
    own = list(descriptors.descriptors[index])
    for row in rows:
        _check_place(descriptors, index, row.place)
        if not 0 <= row.weight < float("inf"):
            raise DescriptorError(f"weight {row.weight:g} is not 0 or more")
        text, old = row.text.strip(), own[row.place]
        if text != old.text:
            if not text:
                raise DescriptorError("a descriptor must not be blank: delete it instead")
            if any(each.text == text for each in own):
                raise DescriptorError(f"class {descriptors.labels.reported[index]!r} has {text!r} already")
            old = replace(old, text=text, edited=True)
        own[row.place] = replace(old, weight=row.weight)
    return descriptors.replaced(index, own)


def without(descriptors: DescriptorSet, index: int, place: int) -> DescriptorSet:
    """Class `index` without the descriptor at `place`.

    Raises:
        DescriptorError: There is none.
    """
    _check_place(descriptors, index, place)
    own = descriptors.descriptors[index]
    return descriptors.replaced(index, (*own[:place], *own[place + 1 :]))


def joined(
    descriptors: DescriptorSet,
    index: int,
    others: Sequence[Descriptor],
    sources: Mapping[str, Mapping[str, str]],
) -> DescriptorSet:
    """Class `index` with those of some descriptors that it does not have yet, and where they came from."""
    known = {each.text.casefold() for each in descriptors.descriptors[index]}
    new = [each for each in others if each.text.casefold() not in known]
    if not new:
        return descriptors
    # A source of the same name may be another run of another model: then the new one gets a number.
    names = {}
    for name, about in sources.items():
        free, number = name, 2
        while free in descriptors.sources and dict(descriptors.sources[free]) != dict(about):
            free, number = f"{name}-{number}", number + 1
        names[name] = free
    moved = [replace(each, source=names.get(each.source, each.source)) for each in new]
    result = descriptors.replaced(index, (*descriptors.descriptors[index], *moved))
    return replace(
        result,
        sources={**descriptors.sources, **{names[name]: dict(about) for name, about in sources.items()}},
    )


def _check_place(descriptors: DescriptorSet, index: int, place: int) -> None:
    if not 0 <= place < len(descriptors.descriptors[index]):
        raise DescriptorError(f"class {descriptors.labels.reported[index]!r} has no descriptor {place + 1}")
