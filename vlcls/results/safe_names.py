"""Names of folders for labels: readable, allowed on every system, and no two labels with one name.

A label that is a safe name is its own folder. Any other has what is unsafe replaced by "_" and a mark behind
that is made of the label itself ("a/b" is "a_b ~c14cddc0"), so that "a/b" and "a:b" differ. Names that some
system takes for one (by case, by Unicode's forms of one character) count as one.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Container

from vlcls.files.terminal import printable

#: Folders of images that have no label; a label of that name gets another folder.
NONE, UNREADABLE = "none of these", "unreadable"
#: UTF-8 bytes of what is kept of a label: file systems allow 255 of a name, some that encrypt 143.
LONGEST = 120
#: Letters of a mark; more are taken should two labels have the same ones.
_MARK = 8

# Windows allows none of these, other systems no slash.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
# Names of Windows' devices, with any suffix.
_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³]|conin\$|conout\$|clock\$)\s*(\..*)?", re.I | re.S)
# Windows drops spaces and dots at the end; a dot at the start hides a folder, a dash makes it an option of a
# command, a tilde a home.
_EDGES = re.compile(r"^[\s.\-~]+|[\s.]+$")


def folder_name(label: str, taken: Container[str]) -> str:
    """A name for the folder of a label.

    Args:
        label: Any text.
        taken: `compared` forms of names that other labels have, or that nothing may have.
    """
    plain = unicodedata.normalize("NFC", label)
    safe = _safe(plain)
    if safe == plain and compared(safe) not in taken:
        return safe
    digest = hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()
    for length in range(_MARK, len(digest) + 1):
        name = f"{safe} ~{digest[:length]}"
        if compared(name) not in taken:
            return name
    raise AssertionError(f"every name of the label {label!r} is taken")


def compared(name: str) -> str:
    """The same text for all names that some system takes for one: other case, other forms of a character,
    characters that are not shown."""
    text = unicodedata.normalize("NFKC", name)
    text = unicodedata.normalize("NFKC", text.upper().casefold())
    shown = "".join(each for each in text if unicodedata.category(each) != "Cf" and not _selects(each))
    return shown.strip(" .")


def _safe(text: str) -> str:
    """A name that every system allows, of at most `LONGEST` bytes; a safe one as it is."""
    shown = "".join("_" if printable(each) != each or _private(each) else each for each in text)
    shown = _EDGES.sub(lambda edge: "_" * len(edge[0]), _FORBIDDEN.sub("_", shown)) or "_"
    if _DEVICE.fullmatch(shown):
        shown = f"_{shown}"
    if len(shown.encode()) > LONGEST:
        shown = shown.encode()[:LONGEST].decode("utf-8", "ignore")
        shown = _EDGES.sub("", shown.rstrip("\u200c\u200d"))
    return shown if compared(shown) else "_"


def _selects(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


def _private(character: str) -> bool:
    """Characters that have no meaning, or will have one that nobody knows yet."""
    return unicodedata.category(character) in ("Co", "Cn", "Cs")
