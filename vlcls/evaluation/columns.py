"""Which columns of a table hold images, classes and groups, and what its values mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlcls.errors import EvaluationError, LabelError
from vlcls.evaluation.class_names import matched, own_labels
from vlcls.labelled import class_places
from vlcls.labels import Labels, clean_name

#: Kinds of columns that may hold labels; those that end in "s" hold several for each image.
LABEL_KINDS = ("class", "classes", "int", "ints", "text", "texts")

_IMAGE_NAMES = (
    "image",
    "img",
    "file_name",
    "filename",
    "file",
    "path",
    "image_path",
    "filepath",
    "image_file",
)
_LABEL_NAMES = ("label", "labels", "class", "classes", "cls", "category", "categories", "target", "y")
#: No data set numbers so many classes; greater numbers are something else, ids perhaps.
_MOST_CLASSES = 1_000_000
#: How tables write that an image has no class.
_MISSING = ("", "-1")


@dataclass(frozen=True)
class Columns:
    """Names of columns: one of images, one of labels, any number of groups."""

    image: str
    label: str
    groups: tuple[str, ...] = ()


def choose_columns(
    kinds: Mapping[str, str], where: str, image: str | None, label: str | None, groups: Sequence[str]
) -> Columns:
    """Guess the columns that were not named.

    Args:
        kinds: What each column holds: "image", one of `LABEL_KINDS`, or anything else.
        where: For messages.
        image, label: Names of columns; None to guess: the only one of its kind, or the one with a usual name.
        groups: Names of columns.

    Raises:
        EvaluationError: No such column, or it is not clear which.
    """
    for name in (image, label, *groups):
        if name is not None and name not in kinds:
            raise EvaluationError(f"{where}: no column {name!r}; {_have(kinds)}")
    if image is None:
        image = _guess(kinds, None, ("image",), ("text",), _IMAGE_NAMES, where, "image")
    if label is None:
        label = _guess(kinds, image, ("class", "classes"), LABEL_KINDS, _LABEL_NAMES, where, "label")
    if kinds[label] not in LABEL_KINDS:
        raise EvaluationError(f"{where}: column {label!r} holds no labels ({kinds[label]}); {_have(kinds)}")
    return Columns(image, label, tuple(groups))


def _guess(
    kinds: Mapping[str, str],
    taken: str | None,
    sure: Sequence[str],
    possible: Sequence[str],
    usual: Sequence[str],
    where: str,
    what: str,
) -> str:
    for wanted in (sure, possible):
        found = [name for name, kind in kinds.items() if kind in wanted and name != taken]
        named = [name for name in usual for other in found if other.casefold() == name]
        if len(named) == 1 or (named and wanted is sure):
            return next(other for other in found if other.casefold() == named[0])
        if wanted is sure and len(found) == 1:
            return found[0]
        if len(found) > 1 and (named or wanted is sure):
            raise EvaluationError(
                f"{where}: {len(found)} columns may be the {what} column ({', '.join(found)}): "
                f"say which with {what}_column"
            )
    raise EvaluationError(f"{where}: no {what} column found; name it with {what}_column. {_have(kinds)}")


def _have(kinds: Mapping[str, str]) -> str:
    return "It has " + (", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "no columns")


@dataclass(frozen=True)
class Scheme:
    """What the values of a label column stand for.

    Attributes:
        labels: The classes.
        places: The class of each value; of numbers that are in no need of a table, None.
        multi_label: Values are lists.
        problems: Sentences for people.
    """

    labels: Labels
    places: Mapping[Any, int] | None
    multi_label: bool
    problems: tuple[str, ...] = ()


def label_scheme(
    kind: str,
    own: Sequence[str] | None,
    given: Labels | None,
    values: Iterable[Any] | None,
    where: str,
) -> Scheme:
    """Find out the classes of a label column.

    Args:
        kind: One of `LABEL_KINDS`.
        own: The data set's names of its class numbers, where it has some.
        given: The user's labels: new names for those, by name or place; or what numbers and texts refer to.
        values: The column; None for a stream, whose values are not known yet.
        where: For messages.

    Raises:
        LabelError: Neither names nor values that would tell the classes; values that are none of the labels.
    """
    many = kind in ("classes", "ints", "texts")
    if own is not None:
        if given is None:
            return Scheme(own_labels(own), None, many)
        places, problems = matched(own, given, where)
        return Scheme(given, dict(enumerate(places)), many, problems)
    if values is None:
        if given is None:
            raise LabelError(f"{where}: a stream without class names: give the labels")
        if kind in ("int", "ints"):
            return Scheme(given, None, many)
        return Scheme(given, _names_of(given), many)
    distinct = _distinct(values, many)
    if kind in ("int", "ints"):
        return Scheme(given or _numbered(distinct, where), None, many)
    return _text_scheme(distinct, given, many, where)


def _names_of(labels: Labels) -> dict[str, int]:
    """The class of all that a class may be called, in the order of `class_places`."""
    counts = Counter(_loosely(name) for name in labels.names)
    loose = {_loosely(name): place for place, name in enumerate(labels.names) if counts[_loosely(name)] == 1}
    exact = {name: place for names in (labels.reported, labels.ids) for place, name in enumerate(names)}
    return loose | exact


def _loosely(name: str) -> str:
    return clean_name(name).casefold()


def _distinct(values: Iterable[Any], many: bool) -> list[Any]:
    flat = (one for value in values if value is not None for one in (value if many else (value,)))
    return [value for value in dict.fromkeys(flat) if value is not None and value not in _MISSING]


def _numbered(distinct: Sequence[Any], where: str) -> Labels:
    numbers = [number for number in map(_whole, distinct) if number is not None and number >= 0]
    if not numbers:
        raise LabelError(f"{where}: there is no number of a class in it")
    if max(numbers) >= _MOST_CLASSES:
        raise LabelError(
            f"{where}: labels up to {max(numbers)}: ids rather than class numbers; use a column of names"
        )
    return own_labels([str(number) for number in range(max(numbers) + 1)])


def _text_scheme(distinct: Sequence[str], given: Labels | None, many: bool, where: str) -> Scheme:
    if not distinct:
        raise LabelError(f"{where}: there is no label in it")
    numbers = [int(text) for text in distinct if text.isdecimal() and str(int(text)) == text]
    if given is None:
        if len(numbers) == len(distinct):
            labels = _numbered(numbers, where)
            return Scheme(labels, {str(number): number for number in range(len(labels))}, many)
        labels = own_labels(sorted(distinct))
        return Scheme(labels, {text: place for place, text in enumerate(sorted(distinct))}, many)
    try:
        return Scheme(given, class_places(distinct, given, where), many)
    except LabelError:
        if len(numbers) != len(distinct):
            raise
    return Scheme(given, {str(number): number for number in range(max(len(given), max(numbers) + 1))}, many)


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
    number = _whole(value)
    if value is None or value in _MISSING or number == -1:
        return -1
    if scheme.places is None:
        place = number
    else:
        place = scheme.places.get(value if number is None else number)
        if place is None and isinstance(value, str):
            place = scheme.places.get(_loosely(value))
    if place is None or not 0 <= place < len(scheme.labels):
        raise LabelError(
            f"{where}: row {row} has the label {value!r}, and there are {len(scheme.labels)} labels"
            + (f", 0 to {len(scheme.labels) - 1}" if number is not None else "")
        )
    return place


def _whole(value: Any) -> int | None:
    """The number that a label is, or None if it is text."""
    return int(value) if isinstance(value, (bool, int)) else None
