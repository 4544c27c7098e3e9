"""Reading the JSON of descriptor files: every problem with its file, class and line."""

from __future__ import annotations

import json
import re
from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NoReturn, get_args

from vlcls.descriptors.base import HAND, Descriptor, DescriptorSet, Style
from vlcls.errors import DescriptorError, LabelError
from vlcls.labels import Labels, clean_name
from vlcls.limits import readable, unreadable, weight_problem

FORMAT = "vlcls-descriptors"
VERSION = 1
#: Source of what a plain file holds.
FILE = "file"

FileFormat = Literal["vlcls", "plain"]

# Unrolled: an alternative for each character would cost a hundred bytes of memory for each.
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as its pairs: none is lost where a key is there twice."""


@dataclass(frozen=True)
class ReadFile:
    """A file's descriptors with the lines that they are on.

    Attributes:
        descriptors: What the file holds.
        class_places, places: For each class's name, and for each of its descriptors, which string of the file
            it is; `string_lines` tells the lines.
        repeated: Names that a plain file has more than once.
        format: Which of the formats the file is in.
        text: The whole file.
    """

    descriptors: DescriptorSet
    class_places: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]
    repeated: tuple[str, ...]
    format: FileFormat
    text: str


def parse_descriptors(text: str, path: str, name: str, style: Style | None = None) -> ReadFile:
    """Read the text of a file; `path` is for messages, `name` for the provenance of a plain file.

    Raises:
        DescriptorError: Not a descriptor set; names the class and the line.
    """
    return _Reader(path, text, name).read(style)


class _Reader:
    """One file being read.

    Lines are found only when asked for: JSON's strings, keys and values, are met in the order of the
    document, so that the n-th string met is the n-th string token of the text.
    """

    def __init__(self, path: str, text: str, name: str) -> None:
        self.path, self.text, self.name = path, text, name
        self._met = 0
        self._class = ""

    def read(self, style: Style | None) -> ReadFile:
        try:
            content = json.loads(
                self.text, object_pairs_hook=_Pairs, parse_constant=self._constant, parse_int=_integer
            )
        except json.JSONDecodeError as error:
            self._fail(f"not JSON: {error.msg}", error.lineno)
        except RecursionError:
            self._fail("not a descriptor set: nested too deep")
        if not isinstance(content, _Pairs):
            self._fail("an object is expected: class names, each with its list of descriptors")
        if ("format", FORMAT) in content:
            return self._own(content)
        return self._plain(content, style)

    def _own(self, content: _Pairs) -> ReadFile:
        found: dict[str, Any] = {"version": None, "style": "descriptors", "sources": {}, "classes": None}
        for key, value in content:
            self._met += 1
            if key == "classes":
                found[key] = self._classes(value)
                continue
            if key not in (*found, "format"):
                self._fail(f"unknown key {key!r}", self._line(self._met - 1))
            self._skip(value)
            found[key] = value
        if found["version"] != VERSION:
            self._fail(f"version {found['version']!r} is not {VERSION}: was it written by a newer vlcls?")
        if found["style"] not in get_args(Style):
            self._fail(f"style {found['style']!r} is none of {', '.join(get_args(Style))}")
        if found["classes"] is None:
            self._fail('no "classes"')
        names, ids, texts, class_places, places = found["classes"]
        style, sources = found["style"], self._sources(found["sources"])
        return self._made(names, ids, texts, class_places, places, "vlcls", style, sources)

    def _classes(self, value: Any) -> tuple[list[Any], ...]:
        if not isinstance(value, list) or isinstance(value, _Pairs):
            self._fail('"classes" must be a list')
        columns: tuple[list[Any], ...] = ([], [], [], [], [])
        for number, item in enumerate(value, start=1):
            self._class = f"class {number}"
            place = self._met
            if not isinstance(item, _Pairs):
                self._fail(f"{self._class} must be an object with a name and descriptors", self._line(place))
            entry: dict[str, Any] = {"name": None, "id": None, "descriptors": None}
            for key, inner in item:
                if key not in entry or entry[key] is not None:
                    self._fail(f"{self._class}: key {key!r} is unknown or repeated", self._line(self._met))
                self._met += 1
                if key == "descriptors":
                    entry[key] = self._descriptors(inner)
                    continue
                if not isinstance(inner, str):
                    self._fail(f"{self._class}: {key} must be text, not {inner!r}", self._line(self._met - 1))
                self._class = f"class {inner!r}" if key == "name" else self._class
                place = self._met if key == "name" else place
                self._met += 1
                entry[key] = inner
            if entry["name"] is None or entry["descriptors"] is None:
                missing = next(key for key in ("name", "descriptors") if entry[key] is None)
                self._fail(f"{self._class} has no {missing!r}", self._line(place))
            texts, lines = entry["descriptors"]
            # An id that is written down is kept as it is; one that is not goes on being the name.
            row = (entry["name"], entry["id"] or None, texts, place, lines)
            for column, each in zip(columns, row, strict=True):
                column.append(each)
        return columns

    def _descriptors(self, value: Any) -> tuple[tuple[Descriptor, ...], tuple[int, ...]]:
        if not isinstance(value, list) or isinstance(value, _Pairs):
            self._fail(
                f"{self._class}: a list of descriptors is expected, not {_short(value)}",
                self._line(self._met - 1),
            )
        made, places = [], []
        for item in value:
            places.append(self._met)
            if isinstance(item, _Pairs):
                fields = self._fields(item)
            elif isinstance(item, str):
                fields = {"text": item}
            else:
                self._fail(
                    f"{self._class}: a descriptor must be text, not {_short(item)}", self._line(self._met)
                )
            if character := unreadable(fields["text"]):
                self._fail(f"{self._class}: a descriptor holds {character!r}", self._line(self._met))
            made.append(Descriptor(**fields))
            self._skip(item)
        return tuple(made), tuple(places)

    def _fields(self, item: _Pairs) -> dict[str, Any]:
        fields = dict(item)
        wanted: dict[str, Any] = {"text": str, "source": str, "weight": (int, float), "edited": bool}
        for key, value in item:
            kind = wanted.get(key)
            fits = (
                kind is not None and isinstance(value, kind) and (key == "edited") == isinstance(value, bool)
            )
            if not fits or len(fields) != len(item):
                self._fail(
                    f"{self._class}: {key!r} is unknown, repeated or of the wrong type", self._line(self._met)
                )
        if "text" not in fields:
            self._fail(f"{self._class}: a descriptor without a text", self._line(self._met))
        if problem := weight_problem(fields.setdefault("weight", 1.0)):
            self._fail(f"{self._class}: {problem}", self._line(self._met))
        return {**fields, "weight": float(fields["weight"])}

    def _sources(self, value: Any) -> dict[str, dict[str, str]]:
        if not isinstance(value, _Pairs) and value != {}:
            self._fail('"sources" must be an object')
        for name, about in value:
            if not isinstance(about, _Pairs) or not all(isinstance(each, str) for _, each in about):
                self._fail(f"source {name!r}: an object of texts is expected")
            if any("\ud800" <= letter <= "\udfff" for each in (name, *sum(about, ())) for letter in each):
                self._fail(f"source {name!r}: half of a surrogate pair is no character")
        return {name: dict(about) for name, about in value}

    def _plain(self, content: _Pairs, style: Style | None) -> ReadFile:
        names, ids, descriptors, class_lines, lines = [], [], [], [], []
        taken: Counter[str] = Counter()
        for key, value in content:
            self._class = f"class {key!r}"
            class_lines.append(self._met)
            self._met += 1
            texts, places = self._descriptors(value)
            if any(isinstance(each, _Pairs) for each in value):
                self._fail(f"{self._class}: a descriptor must be text", self._line(class_lines[-1]))
            taken[key] += 1
            names.append(key)
            ids.append(None if taken[key] == 1 else f"{key}#{taken[key]}")
            descriptors.append(tuple(replace(each, source=FILE) for each in texts))
            lines.append(places)
        known = style or _guessed_style(descriptors)
        repeated = tuple(name for name, count in taken.items() if count > 1)
        sources = {FILE: {"file": readable(self.name)}}
        return self._made(names, ids, descriptors, class_lines, lines, "plain", known, sources, repeated)

    def _made(
        self, names: list[str], ids: list[str | None], descriptors: list[tuple[Descriptor, ...]],
        class_places: list[int], places: list[tuple[int, ...]], format: FileFormat, style: Style,
        sources: dict[str, dict[str, str]], repeated: tuple[str, ...] = (),
    ) -> ReadFile:  # fmt: skip
        known = {HAND, *sources}
        for row, own in enumerate(descriptors):
            for place, each in zip(places[row], own, strict=True):
                if each.source not in known:
                    self._class = f"class {names[row]!r}"
                    self._fail(
                        f'{self._class}: source {each.source!r} is not in "sources"', self._line(place)
                    )
        for name, identifier, place in zip(names, ids, class_places, strict=True):
            if character := unreadable(name + (identifier or "")):
                self._fail(f"class {name!r}: the name or id holds {character!r}", self._line(place))
        try:
            cleaned = tuple(clean_name(name) for name in names)
            known_as = tuple(
                name if identifier is None else identifier
                for identifier, name in zip(ids, cleaned, strict=True)
            )
            made = DescriptorSet(Labels(cleaned, known_as), tuple(descriptors), style, sources)
        except (LabelError, DescriptorError) as error:
            self._fail(str(error))
        return ReadFile(made, tuple(class_places), tuple(places), repeated, format, self.text)

    def _skip(self, value: Any) -> None:
        """Count the strings of a value that has been dealt with."""
        pending = [value]
        while pending:
            each = pending.pop()
            if isinstance(each, str):
                self._met += 1
            elif isinstance(each, _Pairs):
                self._met += len(each)
                pending += [inner for _, inner in each]
            elif isinstance(each, list):
                pending += each

    def _constant(self, name: str) -> NoReturn:
        self._fail(f"{name} is not JSON", self.text[: self.text.find(name)].count("\n") + 1)

    def _line(self, place: int) -> int:
        return string_lines(self.text, [place])[0]

    def _fail(self, message: str, line: int | None = None) -> NoReturn:
        raise DescriptorError(f"{self.path}{'' if line is None else f', line {line}'}: {message}")


def _integer(digits: str) -> int | float:
    """Numbers too long to be any weight become infinite, which is refused with class and line."""
    return int(digits) if len(digits) < 300 else float(digits)


def string_lines(text: str, places: Sequence[int]) -> list[int]:
    """The lines of the n-th strings of a JSON text, counted from 1; the last line for n past the end."""
    starts = [found.start() for found in _STRING.finditer(text)]
    breaks = [found.start() for found in re.finditer("\n", text)]
    return [bisect(breaks, starts[place] if place < len(starts) else len(text)) + 1 for place in places]


def _guessed_style(descriptors: Sequence[Sequence[Descriptor]]) -> Style:
    texts = [each.text.strip() for own in descriptors for each in own]
    sentences = sum(text.endswith((".", "!")) and len(text.split()) > 3 for text in texts)
    return "sentences" if texts and 2 * sentences > len(texts) else "descriptors"


def _short(value: Any) -> str:
    words = "an object" if isinstance(value, _Pairs) else repr(value)
    return words if len(words) <= 60 else f"{words[:57]}..."
