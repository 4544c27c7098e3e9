"""What is wrong in a descriptor set, or likely to mislead: each problem with its class and its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlcls.data import word_list
from vlcls.descriptors.base import DescriptorSet, Style
from vlcls.descriptors.files import read_file
from vlcls.descriptors.parsing import ReadFile, string_lines
from vlcls.labels import Labels, clean_name

if TYPE_CHECKING:
    from vlcls.encoders import Encoder

Kind = Literal[
    "missing class", "unknown class", "repeated class", "no descriptors", "blank", "duplicate",
    "shared list", "own name", "not visual", "cut",
]  # fmt: skip
Severity = Literal["error", "warning"]

#: The problems that lose a class or a descriptor; the others may be meant.
_ERRORS = ("missing class", "unknown class", "repeated class", "no descriptors", "blank")
#: Texts that a tokenizer is given at once.
_TEXTS_AT_ONCE = 1024


@dataclass(frozen=True)
class Problem:
    """One finding.

    Attributes:
        kind: What sort of problem.
        severity: "error": a class or a descriptor is lost. "warning": it works, and may mislead.
        class_name: The class, as `Labels.reported` names it.
        descriptor: The descriptor's words, if it is about one.
        message: What is wrong, in plain words.
        line: Where in the file; None for a set that is in memory.
    """

    kind: Kind
    severity: Severity
    class_name: str
    descriptor: str
    message: str
    line: int | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check_descriptors(
    descriptors: DescriptorSet | str | Path,
    labels: Labels | None = None,
    encoder: Encoder | None = None,
    *,
    style: Style | None = None,
) -> list[Problem]:
    """Look for every known problem.

    Args:
        descriptors: A set, or a file, whose lines the problems then name.
        labels: The classes that it must have.
        encoder: Whose context the prompts must fit into.
        style: For a plain file; see `read_descriptors`.

    Returns:
        Problems in the order of the file, errors and warnings mixed.

    Raises:
        DescriptorError: The file cannot be read.
    """
    file = None
    if not isinstance(descriptors, DescriptorSet):
        file = read_file(descriptors, style=style)
        descriptors = file.descriptors
    found = [*_class_problems(descriptors, labels, file), *_text_problems(descriptors)]
    if encoder is not None:
        found += _cut_problems(descriptors, encoder)
    found.sort(key=lambda each: (each.place is None, each.place or (0, 0)))
    lines: dict[_Found, int] = {}
    if file is not None and found:
        placed = [each for each in found if each.place is not None]
        strings = [_string_of(file, each.place) for each in placed]
        lines = dict(zip(placed, string_lines(file.text, strings), strict=True))
    return [
        Problem(each.kind, each.severity, each.class_name, each.descriptor, each.message, lines.get(each))
        for each in found
    ]


@dataclass(frozen=True)
class _Found:
    """A problem before its line is known: `place` is (class, descriptor) or (class, -1) for the class."""

    kind: Kind
    class_name: str
    message: str
    descriptor: str = ""
    place: tuple[int, int] | None = None

    @property
    def severity(self) -> Severity:
        return "error" if self.kind in _ERRORS else "warning"


def _string_of(file: ReadFile, place: tuple[int, int] | None) -> int:
    index, row = place or (0, -1)
    return file.class_places[index] if row < 0 else file.places[index][row]


def _class_problems(known: DescriptorSet, labels: Labels | None, file: ReadFile | None) -> Iterator[_Found]:
    names = known.labels.reported
    for index, own in enumerate(known.descriptors):
        if not own:
            yield _Found("no descriptors", names[index], "has no descriptors", place=(index, -1))
    repeated = {clean_name(name): name for name in (file.repeated if file else ())}
    of_name: dict[str, list[int]] = {raw: [] for raw in repeated}
    for index, raw in enumerate(known.labels.names):
        if raw in of_name:
            of_name[raw].append(index)
    for raw, name in repeated.items():
        places = of_name[raw]
        yield _Found(
            "repeated class", name, f"is there {len(places)} times: give ids to tell them apart",
            place=(places[-1], -1),
        )  # fmt: skip
    lists: dict[tuple[str, ...], int] = {}
    for index in range(len(names)):
        key = tuple(_plain(text) for text in known.texts(index))
        first = lists.setdefault(key, index)
        if key and first != index and known.labels.names[first] != known.labels.names[index]:
            said = f"has the same descriptors as {names[first]!r}"
            yield _Found("shared list", names[index], said, place=(index, -1))
    if labels is None:
        return
    wanted = {_plain(clean_name(name)) for name in (*labels.names, *labels.ids)}
    have = {_plain(clean_name(name)) for name in (*known.labels.names, *known.labels.ids)}
    for index, (identifier, name) in enumerate(zip(known.labels.ids, known.labels.names, strict=True)):
        if not {_plain(clean_name(identifier)), _plain(name)} & wanted:
            yield _Found("unknown class", names[index], "is not among the labels", place=(index, -1))
    for row, (identifier, name) in enumerate(zip(labels.ids, labels.names, strict=True)):
        if not {_plain(clean_name(identifier)), _plain(name)} & have:
            yield _Found("missing class", labels.reported[row], "is among the labels and not in the set")


def _text_problems(known: DescriptorSet) -> Iterator[_Found]:
    names = known.labels.reported
    for index, own in enumerate(known.descriptors):
        seen: set[str] = set()
        # A sentence has to name its class; a descriptor that does says nothing.
        name = known.labels.names[index].casefold() if known.style == "descriptors" else ""
        for row, each in enumerate(own):
            place, plain = (index, row), _plain(each.text)
            if not plain:
                yield _Found("blank", names[index], "a descriptor is blank", each.text, place)
            elif plain in seen:
                yield _Found("duplicate", names[index], "is there twice", each.text, place)
            seen.add(plain)
            if name and name in each.text.casefold() and _own_name(name).search(each.text):
                yield _Found("own name", names[index], "repeats the class's name", each.text, place)
            if word := not_visual().search(each.text):
                yield _Found(
                    "not visual", names[index], f"{word[0]!r} cannot be seen in an image", each.text, place
                )


def _cut_problems(known: DescriptorSet, encoder: Encoder) -> Iterator[_Found]:
    texts = [
        (index, row, each.text if known.style == "sentences" else f"{name}, which has {each.text}")
        for index, (name, own) in enumerate(zip(known.labels.names, known.descriptors, strict=True))
        for row, each in enumerate(own)
    ]
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        some = texts[start : start + _TEXTS_AT_ONCE]
        for (index, row, _), cut in zip(
            some, encoder.tokenize([t for _, _, t in some]).cut.tolist(), strict=True
        ):
            if cut:
                each = known.descriptors[index][row]
                yield _Found(
                    "cut", known.labels.reported[index],
                    f"is longer than {encoder.spec} reads ({encoder.context_length} tokens)",
                    each.text, (index, row),
                )  # fmt: skip


def classes_alike(known: DescriptorSet) -> list[list[str]]:
    """Classes of different names that share all their descriptors, by their reported names."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for index, own in enumerate(known.descriptors):
        if own:
            alike.setdefault(tuple(sorted(_plain(each.text) for each in own)), []).append(index)
    return [
        [known.labels.reported[index] for index in same]
        for same in alike.values()
        if len({known.labels.names[index] for index in same}) > 1
    ]


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".").casefold()


def _own_name(name: str) -> re.Pattern[str]:
    """The name as whole words, in the plural too."""
    return re.compile(rf"\b{re.escape(name)}(?:s|es)?\b", re.IGNORECASE)


@lru_cache(maxsize=1)
def not_visual() -> re.Pattern[str]:
    """Words for what a picture does not show."""
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, word_list('not-visual')))})\b", re.IGNORECASE)
