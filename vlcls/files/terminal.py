"""Text of others on its way to a person: to a terminal, a message, or a cell of a spreadsheet."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence

#: Characters of a value that a message repeats.
LONGEST = 200
# Control characters, directions that reorder a line, halves of surrogate pairs, line separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Joiners: needed for emoji and for several scripts, and harmless.
_KEPT = frozenset("\u200c\u200d")


def printable(text: str, *, lines: bool = False) -> str:
    r"""Text that a terminal shows and does not obey: escapes become visible (`\x1b`).

    Args:
        text: Any text, of a file name, a label, a server.
        lines: Let line ends and tabs through: for whole messages, not for values in them.
    """
    if text.isprintable():
        return text
    return "".join(
        each
        if unicodedata.category(each) not in _HIDDEN or each in _KEPT or (lines and each in "\n\t")
        else each.encode("unicode_escape", "surrogatepass").decode("ascii")
        if each not in "\n\t\r"
        else {"\n": r"\n", "\t": r"\t", "\r": r"\r"}[each]
        for each in text
    )


def printable_json(text: str) -> str:
    r"""JSON in which nothing is hidden but written as JSON's own `\u001b`: it reads back the same."""
    if text.isprintable():
        return text
    return "".join(
        each if each in "\n\t" or unicodedata.category(each) not in _HIDDEN else json.dumps(each)[1:-1]
        for each in text
    )


def csv_cells(cells: Iterable[object]) -> list[object]:
    """A row for `csv.writer` that a terminal and a spreadsheet show and do not obey; numbers as they are."""
    return [
        spreadsheet_safe(printable(cell, lines=True)) if isinstance(cell, str) else cell for cell in cells
    ]


def counted(names: Sequence[str], most: int) -> str:
    """The first of some names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def shortened(text: str, most: int = LONGEST) -> str:
    """At most `most` characters, the middle left out: an error must not repeat megabytes."""
    if len(text) <= most:
        return text
    tail = most // 4
    return f"{text[: most - tail - 1]}…{text[len(text) - tail :]}"


def few(values: Sequence[object], most: int = 5) -> str:
    """The first of some values for a message, and three dots for the others."""
    return ", ".join(map(str, values[:most])) + (", ..." if len(values) > most else "")


def spreadsheet_safe(cell: str) -> str:
    """A cell that a spreadsheet shows and does not run: an apostrophe before = + - @ tab and return.

    Numbers stay numbers. The way that OWASP's "CSV injection" page advises.
    """
    if cell[:1] not in ("=", "+", "-", "@", "\t", "\r"):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def from_spreadsheet(cell: str) -> str:
    """What `spreadsheet_safe` was given; any other cell as it is."""
    bare = cell.removeprefix("'")
    return bare if cell != bare and spreadsheet_safe(bare) == cell else cell
