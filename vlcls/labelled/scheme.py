"""What the values of a label column stand for."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlcls.errors import LabelError
from vlcls.files.terminal import shortened
from vlcls.image_sources import ImageSource
from vlcls.labelled.places import (
    counted,
    matched,
    number_places,
    numeric_ids,
    own_labels,
    value_places,
    whole_number,
)
from vlcls.labels import Labels, clean_name

#: No data set numbers so many classes; greater numbers are something else, ids perhaps.
_MOST_CLASSES = 1_000_000
#: How tables write that an image has no class.
_MISSING = ("", "-1", "-1.0")


@dataclass(frozen=True)
class Scheme:
    """What the values of a label column stand for.

    Attributes:
        labels: The classes.
        places: The class of each value; of numbers that are places themselves, None.
        multi_label: Values are lists.
        problems: Sentences for people.
    """

    labels: Labels
    places: Mapping[Any, int] | None
    multi_label: bool
    problems: tuple[str, ...] = ()


def label_scheme(
    kind: str, own: Sequence[str] | None, given: Labels | None, values: Iterable[Any] | None, where: str
) -> Scheme:
    """Find out the classes of a label column.

    Args:
        kind: One of `LABEL_KINDS`.
        own: The data set's names of its class numbers, where it has some.
        given: The user's labels: new names for those, by name or place; or what numbers and texts refer to
            (`value_places`).
        values: The column; None for a stream, whose values are not known yet: there, numbers are ids if any
            id is a number, else places.
        where: For messages.

    Raises:
        LabelError: Neither names nor values that would tell the classes; values that are none of the labels.
    """
    many = kind.endswith("s") and kind != "class"
    distinct = None if values is None else _distinct(values, many, where)
    if own is not None:
        if given is None:
            return Scheme(own_labels(own), None, many)
        numbered = {whole_number(value) for value in distinct or ()}
        places, problems = matched(own, given, where, [n for n in range(len(own)) if n in numbered])
        return Scheme(given, places, many, problems)
    if distinct is None:
        if given is None:
            raise LabelError(f"{where}: a stream without class names: give the labels")
        return Scheme(given, _of_a_stream(given), many)
    numbers = bool(distinct) and all(whole_number(value) is not None for value in distinct)
    if given is None:
        return _own_scheme(kind, distinct, numbers, many, where)
    if not distinct:
        raise LabelError(f"{where}: there is no label in it")
    try:
        return Scheme(given, value_places(distinct, given, where), many)
    except LabelError:
        if not numbers:
            raise
    # `read_truth` names the first row that is out of range.
    return Scheme(given, counted(distinct, given), many)


def _distinct(values: Iterable[Any], many: bool, where: str) -> list[Any]:
    flat = [one for value in values if value is not None for one in (value if many else (value,))]
    if odd := [one for one in flat if isinstance(one, (list, dict))]:
        raise LabelError(
            f"{where}: {shortened(repr(odd[0]))} is no class: names or whole numbers are expected"
        )
    return [value for value in dict.fromkeys(map(_stripped, flat)) if not is_missing(value)]


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def is_missing(value: Any) -> bool:
    """Whether a value says that there is no class: null, NaN, nothing, -1."""
    return value is None or value != value or value in (*_MISSING, -1)


def _own_scheme(kind: str, distinct: list[Any], numbers: bool, many: bool, where: str) -> Scheme:
    if not distinct:
        raise LabelError(f"{where}: there is no label in it")
    texts = [value for value in distinct if isinstance(value, str)]
    # "007" is a name like any other.
    if not numbers or any(text.partition(".")[0] != str(whole_number(text)) for text in texts):
        if not texts:
            raise LabelError(f"{where}: {distinct[0]!r} is no class: names or whole numbers are expected")
        names = sorted(distinct)
        return Scheme(own_labels(names), {name: place for place, name in enumerate(names)}, many)
    return Scheme(labels := _numbered(distinct, where), number_places(distinct, labels), many)


def _numbered(distinct: Sequence[Any], where: str) -> Labels:
    numbers = [number for number in map(whole_number, distinct) if number is not None and number >= 0]
    if not numbers:
        raise LabelError(f"{where}: there is no number of a class in it")
    if max(numbers) >= _MOST_CLASSES:
        raise LabelError(
            f"{where}: labels up to {max(numbers)}: ids rather than class numbers; use a column of names"
        )
    return own_labels([str(number) for number in range(max(numbers) + 1)])


def _of_a_stream(labels: Labels) -> dict[Any, int]:
    """The class of all that a value may be, in the order of `class_places`."""
    counts = Counter(_loosely(name) for name in labels.names)
    loose = {_loosely(name): place for place, name in enumerate(labels.names) if counts[_loosely(name)] == 1}
    exact = {name: place for names in (labels.reported, labels.ids) for place, name in enumerate(names)}
    numbers: dict[Any, int] = dict(numeric_ids(labels)) or {place: place for place in range(len(labels))}
    texts = {str(number): place for number, place in numbers.items()}
    return texts | loose | exact | numbers


def _loosely(name: str) -> str:
    return clean_name(name).casefold()


def read_truth(values: Sequence[Any], scheme: Scheme, where: str, first: int = 0) -> list[tuple[int, ...]]:
    """The classes of each row.

    Args:
        values: N values of the label column.
        scheme: What they stand for.
        where: For messages.
        first: Number of the first row.

    Raises:
        LabelError: Rows without a class, or with one that is not among the labels; says which row.
    """
    truth, missing = [], []
    for row, value in enumerate(values, start=first):
        items = (value if value is not None else [None]) if scheme.multi_label else [value]
        classes = tuple(_class_of(item, scheme, where, row) for item in items)
        if -1 in classes:
            missing.append(row)
        truth.append(tuple(dict.fromkeys(classes)))
    if missing:
        raise LabelError(
            f"{where}: row {missing[0]} has no class ({len(missing)} such rows of {len(values)})"
        )
    return truth


def _class_of(value: Any, scheme: Scheme, where: str, row: int) -> int:
    """The place of a class, -1 for none."""
    value = _stripped(value)
    if is_missing(value):
        return -1
    if scheme.places is None:
        place = whole_number(value)
    else:
        place = scheme.places.get(value)
        if place is None and isinstance(value, str):
            place = scheme.places.get(_loosely(value))
    count = len(scheme.labels)
    if place is None or not 0 <= place < count:
        number = whole_number(value) is not None
        raise LabelError(
            f"{where}: row {row} has the label {value!r}, and there are {count} labels"
            + (f", 0 to {count - 1}; nor is it, with all others, an id of theirs" if number else "")
        )
    return place


def with_contradictions(
    scheme: Scheme, sources: Sequence[ImageSource], truth: Sequence[tuple[int, ...]]
) -> Scheme:
    """The scheme, and a sentence if files are there several times with different classes."""
    found: dict[str, set[tuple[int, ...]]] = {}
    here = Path.cwd()
    for source, classes in zip(sources, truth, strict=True) if isinstance(sources, list) else ():
        if isinstance(source.data, Path):
            found.setdefault(os.path.normpath(here / source.data), set()).add(classes)
    wrong = [(path, several) for path, several in found.items() if len(several) > 1]
    if not wrong:
        return scheme
    path, several = wrong[0]
    names = " and ".join(repr(", ".join(scheme.labels.names[c] for c in each)) for each in sorted(several))
    count = "1 image is" if len(wrong) == 1 else f"{len(wrong)} images are"
    sentence = f"{count} there several times with different classes: {path} as {names}."
    return replace(scheme, problems=(*scheme.problems, sentence))
