"""Class names: what a user types, cleaned up, and told apart by ids rather than by name."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, KeysView, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property

from vlcls.errors import LabelError

#: Commas of several scripts, the usual one first.
COMMAS = (",", "、", "，", "،")


@dataclass(frozen=True)
class Labels:
    """The classes of a classifier, in order.

    Attributes:
        names: C class names, as prompts and reports use them. Two classes may share a name
            (ImageNet has "sunglasses" and "missile" twice).
        ids: C distinct identifiers; the names themselves unless others were given.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        for what, given in (("names", self.names), ("ids", self.ids)):
            if not isinstance(given, (list, tuple)) or not all(isinstance(each, str) for each in given):
                raise LabelError(
                    f"the {what} of labels must be a tuple of texts; `as_labels` takes other forms"
                )
        if not self.names:
            raise LabelError("the list of labels is empty: give at least one class name")
        if len(self.names) != len(self.ids):
            raise LabelError(f"{len(self.names)} names but {len(self.ids)} ids: each class needs one of each")
        for row, (name, identifier) in enumerate(zip(self.names, self.ids, strict=True), start=1):
            if not name.strip() or not identifier.strip():
                raise LabelError(f"label {row} of {len(self.names)} is blank: remove it or give it a name")
            try:
                name.encode()
            except UnicodeEncodeError as error:
                raise LabelError(f"label {row}, {name!r}, is not valid Unicode text") from error
        first: dict[str, int] = {}
        for row, identifier in enumerate(self.ids, start=1):
            if identifier in first:
                raise LabelError(
                    f"label {identifier!r} is there twice (places {first[identifier]} and {row}): remove "
                    "one, or give the classes distinct ids, as in "
                    '{"n04355933": "sunglasses", "n04356056": "sunglasses"}'
                )
            first[identifier] = row

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def reported(self) -> tuple[str, ...]:
        """How results name each class: by name, or by "name (id)" where two classes share the name."""
        counts = Counter(self.names)
        return tuple(
            f"{name} ({identifier})" if counts[name] > 1 else name
            for name, identifier in zip(self.names, self.ids, strict=True)
        )

    def some(self, places: Iterable[int]) -> Labels:
        """The classes at some places alone, in that order."""
        rows = list(places)
        return Labels(tuple(self.names[row] for row in rows), tuple(self.ids[row] for row in rows))


def clean_name(name: str) -> str:
    """Underscores become spaces, runs of white space one space, characters their composed form (NFC)."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", name).replace("_", " ")).strip()


class Known:
    """Class indices by all that a class may be called."""

    def __init__(self, labels: Labels) -> None:
        self._ids = {identifier: index for index, identifier in enumerate(labels.ids)}
        self._reported = {name: index for index, name in enumerate(labels.reported)}
        self._names: dict[str, list[int]] = {}
        for index, name in enumerate(labels.names):
            self._names.setdefault(clean_name(name).casefold(), []).append(index)

    def find(self, name: str) -> list[int]:
        """The classes of that id, else of that name: none, one, or several."""
        for exact in (self._ids, self._reported):
            if name in exact:
                return [exact[name]]
        return self._names.get(clean_name(name).casefold(), [])


def as_labels(labels: Labels | Mapping[str, str] | Iterable[str], *, clean: bool = True) -> Labels:
    """Make `Labels` of what a user has.

    Args:
        labels: Names in order; or a mapping of distinct ids to names; or `Labels`, returned as they are.
        clean: Apply `clean_name` to the names. Ids are never changed.

    Raises:
        LabelError: No labels, a blank one, or one that is there twice without distinct ids.
    """
    if isinstance(labels, Labels):
        return labels
    if isinstance(labels, str):
        raise LabelError(
            f"labels must be a list of names, not one string; did you mean {labels.split(',')!r}?"
        )
    if isinstance(labels, AbstractSet) and not isinstance(labels, KeysView):
        raise LabelError(
            "labels must be a list of names, not a set, whose order changes with each run: sorted(labels)"
        )
    if hasattr(labels, "columns"):  # pandas, polars: iterating gives headings
        raise LabelError(
            f"labels must be a list of names, not {type(labels).__name__}: pass one of its columns"
        )
    if not isinstance(labels, Iterable):
        raise LabelError(f"labels must be a list of names, not {type(labels).__name__}")
    tidy = clean_name if clean else str
    if isinstance(labels, Mapping):
        return Labels(tuple(tidy(_text(name)) for name in labels.values()), tuple(map(str, labels)))
    names = tuple(tidy(_text(name)) for name in labels)
    return Labels(names, names)


def parse_labels(text: str, *, clean: bool = True) -> Labels:
    """`"cat,dog"`, as on the command line; a name with a comma goes in double quotes, as in CSV.

    Raises:
        LabelError: As `as_labels`, a quote is not closed, or a list in code's brackets.
    """
    if re.fullmatch(r"\s*[\[{(]\s*(['\"]).*[\]})]\s*", text, re.DOTALL):
        raise LabelError(f"labels {text!r}: without brackets and quotes, as in cat,dog")
    # Names in quotes may have commas; what separates them is a semicolon if there is no comma.
    delimiter = next((each for each in (",", ";", *COMMAS) if each in text), ",")
    lines = io.StringIO(text, newline="")
    try:
        rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
        row = [name for line in rows for name in line]
    except csv.Error as error:
        raise LabelError(f"labels {text!r}: {error}") from error
    return as_labels(
        [name for name in row if name.strip()] if row and not row[-1].strip() else row, clean=clean
    )


def _text(name: object) -> str:
    if not isinstance(name, str):
        raise LabelError(f"a label must be text, not {name!r}")
    return name
