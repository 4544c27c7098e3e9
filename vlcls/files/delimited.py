"""Tables as text: CSV with commas, or with what other programs put in their place."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from vlcls.errors import VlclsError

#: A caption of a megabyte is none the worse for it.
LONGEST_FIELD = 1 << 28
_OTHERS = (";", "\t", "|")
_SAID = re.compile(r"\s*sep=(.)\s*", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')


def delimiter_of(header: str, suffix: str = ".csv") -> str:
    """What separates the fields of a table, by its first line: a comma (a tab in .tsv) if there is one, else
    the semicolon, tab or bar that is there most often (as Excel writes where commas are in numbers)."""
    usual = "\t" if suffix.lower() == ".tsv" else ","
    plain = _QUOTED.sub("", header)
    if usual in plain:
        return usual
    counts = {each: plain.count(each) for each in (*_OTHERS, ",")}
    most = max(counts, key=lambda each: counts[each])
    return most if counts[most] else usual


def read_rows(
    lines: Iterable[str],
    where: str | Path,
    error: type[VlclsError],
    *,
    suffix: str = ".csv",
    strict: bool = True,
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table and the number of the line that each ends on; blank lines are left out.

    Args:
        lines: With their ends, which may be part of a field in quotes. A first line "sep=;" names the
            delimiter, as Excel writes it.
        where: For messages.
        error: Raised for quotes that are not closed or that end before a field does; names the line.
        suffix: Of the file, which says what is usual.
        strict: False: odd quotes are part of their field, and no error.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))
    rest = iter(lines)
    head, skipped = next(rest, ""), 0
    if said := _SAID.fullmatch(head):
        delimiter, skipped = said[1], 1
    else:
        delimiter, rest = delimiter_of(head, suffix), chain([head], rest)
    reader = csv.reader(rest, delimiter=delimiter, strict=strict)
    try:
        for row in reader:
            if row:
                yield reader.line_num + skipped, row
    except csv.Error as reason:
        raise error(f"{where}, line {reader.line_num + skipped}: {reason}") from reason
