"""Descriptor sets: what each class looks like, in words, and where every one of those words came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from vlcls.errors import DescriptorError
from vlcls.files.terminal import few
from vlcls.labels import Known, Labels, clean_name
from vlcls.limits import unreadable, weight_problem

Style = Literal["descriptors", "sentences"]

#: Source of what a person wrote.
HAND = "hand"


@dataclass(frozen=True)
class Descriptor:
    """One descriptor ("black stripes"), or one full sentence, of one class.

    Attributes:
        text: The words.
        source: Key of `DescriptorSet.sources`, or "hand".
        weight: Factor of its share in the class; 0 leaves it out.
        edited: A person changed what the source wrote.

    Raises:
        DescriptorError: A control character in the text, or a weight outside the range of `vlcls.limits`.
    """

    text: str
    source: str = HAND
    weight: float = 1.0
    edited: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise DescriptorError(f"a descriptor must be text, not {type(self.text).__name__}")
        if character := unreadable(self.text):
            raise DescriptorError(f"a descriptor holds {character!r}: {_short(self.text)}")
        if problem := weight_problem(self.weight):
            raise DescriptorError(f"descriptor {_short(self.text)}: {problem}")


@dataclass(frozen=True)
class DescriptorSet:
    """The descriptors of every class, by class index: names may repeat.

    Attributes:
        labels: C classes.
        descriptors: For each class, its descriptors in order; a class may have none yet.
        style: "descriptors" are phrases that go behind a class name (Menon & Vondrick 2023); "sentences" are
            complete and used as they are (Pratt et al. 2023).
        sources: What is known of each source, by its short name: model, prompt file, date, ...

    Raises:
        DescriptorError: Not a list for each class; or a name, source or style that no file can hold.
    """

    labels: Labels
    descriptors: tuple[tuple[Descriptor, ...], ...]
    style: Style = "descriptors"
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.descriptors) != len(self.labels):
            raise DescriptorError(
                f"{len(self.descriptors)} lists of descriptors for {len(self.labels)} classes"
            )
        check_names(self.labels)
        if self.style not in get_args(Style):
            raise DescriptorError(f"style {self.style!r} is none of {', '.join(get_args(Style))}")

    def __len__(self) -> int:
        return sum(map(len, self.descriptors))

    def texts(self, index: int) -> list[str]:
        """The words of class `index`."""
        return [each.text for each in self.descriptors[index]]

    def replaced(self, index: int, descriptors: Sequence[Descriptor]) -> DescriptorSet:
        """A copy in which class `index` has other descriptors."""
        classes = list(self.descriptors)
        classes[index] = tuple(descriptors)
        return replace(self, descriptors=tuple(classes))

    def find(self, name: str) -> int:
        """The index of a class by id, by name, or by name in another case or with underscores.

        Raises:
            DescriptorError: No such class, or several: then give an id.
        """
        found = Known(self.labels).find(name)
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(self.labels.ids[index] for index in found)
            raise DescriptorError(f"class {name!r} is there {len(found)} times: say which by id ({ids})")
        raise DescriptorError(f"no class {name!r}{nearest(name, self.labels.reported)}")

    def for_labels(self, labels: Labels) -> DescriptorSet:
        """The descriptors of exactly these classes, in their order: by id, then by name.

        Classes that share a name share its descriptors, unless their ids tell them apart.

        Raises:
            DescriptorError: Names every class that has no entry.
        """
        by_id = {identifier: index for index, identifier in enumerate(self.labels.ids)}
        by_name: dict[str, list[int]] = {}
        for index, name in enumerate(self.labels.names):
            by_name.setdefault(_folded(name), []).append(index)
        used: dict[str, int] = {}
        places: list[int | None] = []
        for identifier, name in zip(labels.ids, labels.names, strict=True):
            place = by_id.get(identifier)
            if place is None and (same := by_name.get(_folded(name))):
                # Two classes of one name on both sides, and no ids in common: the order tells them apart.
                turn = used.get(_folded(name), 0)
                place = same[min(turn, len(same) - 1)]
                used[_folded(name)] = turn + 1
            places.append(place)
        missing = [labels.reported[row] for row, place in enumerate(places) if place is None]
        if missing:
            raise DescriptorError(
                f"no descriptors for {len(missing)} of {len(labels)} classes: {few([*map(repr, missing)])}"
                f"{nearest(missing[0], self.labels.reported)}"
            )
        return replace(
            self, labels=labels, descriptors=tuple(self.descriptors[p] for p in places if p is not None)
        )


def check_names(labels: Labels) -> None:
    """Refuse class names and ids that a descriptor file cannot hold.

    Raises:
        DescriptorError: A control character, or nothing but underscores; names the class.
    """
    for name, identifier in zip(labels.names, labels.ids, strict=True):
        if character := unreadable(name) or unreadable(identifier):
            raise DescriptorError(f"class {name!r}: the name or id holds {character!r}")
        if not clean_name(name):
            raise DescriptorError(f"class {name!r}: nothing of the name is left without underscores")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _folded(name: str) -> str:
    return clean_name(name).casefold()


def nearest(name: str, known: Sequence[str]) -> str:
    """ "; did you mean ...?" if a known name is near."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, 1) if len(known) < 50_000 else []
    return f"; did you mean {close[0]!r}?" if close else ""
