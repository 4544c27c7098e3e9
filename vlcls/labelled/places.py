"""Which class a name, an id or a number stands for: one rule for every reader of labelled data."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from vlcls.errors import LabelError
from vlcls.files.terminal import few
from vlcls.labels import Known, Labels, clean_name

_WHOLE = re.compile(r"\d+(\.0+)?", re.ASCII)
#: No data set has a class number so long; ids may.
_MOST_DIGITS = 18


def class_places(names: Iterable[str], labels: Labels, where: str) -> dict[str, int]:
    """The index of each name: by id, by `Labels.reported`, or by name whatever its case and underscores.

    Raises:
        LabelError: Names that are no class, or that several classes share; says which, and `where`.
    """
    known = Known(labels)
    places: dict[str, int] = {}
    unknown: list[str] = []
    for name in dict.fromkeys(names):
        found = known.find(name)
        if len(found) > 1:
            ids = ", ".join(labels.ids[index] for index in found)
            raise LabelError(f"{where}: {name!r} is the name of {len(found)} classes: use their ids ({ids})")
        if found:
            places[name] = found[0]
        else:
            unknown.append(repr(name))
    if unknown:
        have = few([*map(repr, labels.reported)], 10)
        raise LabelError(f"{where}: not among the labels: {few(unknown, 10)}. The labels are {have}")
    return places


def value_places(values: Iterable[Any], labels: Labels, where: str) -> dict[Any, int]:
    """The class of each value that a column of labels, or a level of folders, holds.

    By id or name, if that finds all of them (`class_places`); else numbers as `number_places` says.

    Args:
        values: Texts, or whole numbers of any type.
        labels: What they refer to.
        where: For messages.

    Raises:
        LabelError: Values that are no class; says which.
    """
    texts = {value: _text(value) for value in values}
    try:
        places = class_places(texts.values(), labels, where)
    except LabelError:
        if not texts or not all(whole_number(value) is not None for value in texts):
            raise
    else:
        return {value: places[text] for value, text in texts.items()}
    if (found := number_places(texts, labels)) is not None:
        return found
    wrong = next(value for value in texts if value not in counted([value], labels))
    raise LabelError(
        f"{where}: the number {wrong} is no place among the {len(labels)} labels, 0 to {len(labels) - 1}; "
        "nor is it, with all others, an id of theirs"
    )


def number_places(values: Iterable[Any], labels: Labels) -> dict[Any, int] | None:
    """The class of each number: as ids that are the same number ("007" and 7) if that finds all of them,
    else as places in the labels, from 0; None if some are neither."""
    numbers = {value: whole_number(value) for value in values}
    ids = numeric_ids(labels)
    if all(number in ids for number in numbers.values()):
        return {value: ids[number] for value, number in numbers.items() if number is not None}
    found = counted(numbers, labels)
    return found if len(found) == len(numbers) else None


def counted(values: Iterable[Any], labels: Labels) -> dict[Any, int]:
    """Those of the values that count classes, from 0: "007" is somebody's id, not the eighth class."""
    found = {}
    for value in values:
        number = whole_number(value)
        padded = isinstance(value, str) and value.strip().partition(".")[0] != str(number)
        if number is not None and 0 <= number < len(labels) and not padded:
            found[value] = number
    return found


def whole_number(value: Any) -> int | None:
    """The whole number that a value of a column is, also as a float or as text; None if it is none."""
    if isinstance(value, (bool, int)):
        return int(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and _WHOLE.fullmatch(text := value.strip()):
        digits = text.partition(".")[0]
        return int(digits) if len(digits) <= _MOST_DIGITS else None
    return None


def numeric_ids(labels: Labels) -> dict[int, int]:
    """The class of each id that is a number, but for ids that are the same number."""
    numbers = [whole_number(identifier) for identifier in labels.ids]
    counts = Counter(numbers)
    return {n: place for place, n in enumerate(numbers) if n is not None and counts[n] == 1}


def _text(value: Any) -> str:
    number = None if isinstance(value, str) else whole_number(value)
    return str(value) if number is None else str(number)


# ---- the classes that a data set brings ----------------------------------------------------------------


def own_labels(names: Sequence[str]) -> Labels:
    """The class names that a data set brings, in its order, whatever they are.

    Returns:
        Names cleaned; their ids are the names as they were, or "0", "1", ... where two of those are equal.

    Raises:
        LabelError: No names, or a blank one.
    """
    ids = names if len(set(names)) == len(names) else [str(place) for place in range(len(names))]
    return Labels(tuple(map(clean_name, names)), tuple(ids))


def matched(
    own: Sequence[str], given: Labels, where: str, used: Collection[int] | None = None
) -> tuple[dict[int, int], tuple[str, ...]]:
    """Which of the labels that a user gives each class of a data set is.

    By id or name where that finds all of them, or all that have images; numbers as `number_places` says; else
    by place, if there are equally many: then the labels are new names for the classes. That is said, since a
    list in another order would make all of it wrong.

    Args:
        own: Names of the C classes that the data set brings.
        given: The user's.
        where: For messages.
        used: Which of the C have images; None: not known.

    Returns:
        Places in `given` by place in `own`, and sentences for people.

    Raises:
        LabelError: Names that are none of the labels, and not equally many of them; or most names stand at
            another place among the labels.
    """
    try:
        return _by_name(own, range(len(own)), given, where), ()
    except LabelError as error:
        reason = error
    if used:
        with contextlib.suppress(LabelError):
            return _by_name(own, used, given, where), ()
    if len(own) != len(given):
        raise reason
    _refuse_other_order(own, given, where)
    tidy = [clean_name(name).casefold() for name in own]
    new = [clean_name(name).casefold() for name in given.names]
    changed = [place for place, name in enumerate(tidy) if new[place] != name]
    example = f"{own[changed[0]]!r} became {given.names[changed[0]]!r}" if changed else "none changed"
    return {place: place for place in range(len(own))}, (
        f"{len(changed)} of {len(own)} class names were replaced by the labels given, place by place: "
        f"{example}.",
    )


def _by_name(own: Sequence[str], some: Collection[int], given: Labels, where: str) -> dict[int, int]:
    places = value_places([own[place] for place in some], given, where)
    if len(set(places.values())) < len(some):
        raise LabelError(f"{where}: two of its classes would be one and the same of the labels")
    return {place: places[own[place]] for place in some}


def _refuse_other_order(own: Sequence[str], given: Labels, where: str) -> None:
    tidy = [clean_name(name).casefold() for name in own]
    new = [clean_name(name).casefold() for name in given.names]
    elsewhere = {name: place for place, name in enumerate(new)}
    moved = [place for place, name in enumerate(tidy) if new[place] != name and name in elsewhere]
    same = sum(name == other for name, other in zip(tidy, new, strict=True))
    if len(moved) > same:
        first = moved[0]
        raise LabelError(
            f"{where}: the labels are in another order than those of the data set: its class {first} is "
            f"{own[first]!r}, which is number {elsewhere[tidy[first]]} of the labels"
        )
    numbers = [whole_number(name) for name in own]
    known = [number for number in numbers if number is not None]
    if len(known) == len(own) and known != sorted(known):
        raise LabelError(
            f"{where}: its classes are called by numbers in no order ({', '.join(own[:5])}, ...), so that "
            "places mean nothing: give labels with these numbers as ids"
        )
