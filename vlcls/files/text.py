"""Text of files, in the encodings that people's programs write, or an error that names the line."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from pathlib import Path

from vlcls.errors import VlclsError
from vlcls.files.reading import MAX_BYTES, _why, open_regular, read_bytes

#: Characters of one line of a file that is read line by line.
LONGEST_LINE = 64 << 20
# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEAD = 4096


def encoding_of(head: bytes) -> str:
    """The encoding of a text by its first bytes: by its mark, or UTF-16 by where its NULs are, else UTF-8."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    # Text has no NUL: where every other byte of what begins a file is one, the file is UTF-16 without a mark.
    for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        nuls, others = head[first::2].count(0), head[1 - first :: 2].count(0)
        if len(head) >= 4 and nuls > 0.4 * len(head) / 2 and others < nuls / 4:
            return name
    return "utf-8"


def decode_text(data: bytes, where: str | Path, error: type[VlclsError]) -> str:
    """Text of a file: with any Unicode mark, UTF-16 without one, or UTF-8; the mark is taken off.

    Raises:
        error: The bytes are text in none of these; names the line.
    """
    encoding = encoding_of(data[:_HEAD])
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as reason:
        line = data[: reason.start].count(b"\n") + 1
        raise error(_not_text(where, line, encoding)) from reason
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise error(f"{where}, line {line}: no text: it holds NUL characters")
    return text


def read_text(path: str | Path, error: type[VlclsError], limit: int = MAX_BYTES) -> str:
    """All text of a file of at most `limit` bytes; raises `error` as `decode_text` and `read_bytes` do."""
    return decode_text(read_bytes(path, error, limit), path, error)


def split_lines(text: str) -> list[str]:
    r"""Lines that end at \n, \r\n or \r only: `str.splitlines` cuts a name at U+2028 or a vertical tab."""
    lines = re.split(r"\r\n|\n|\r", text)
    return lines[:-1] if lines[-1] == "" else lines


def read_lines(path: str | Path, error: type[VlclsError]) -> list[str]:
    """The lines of `read_text`, without their ends."""
    return split_lines(read_text(path, error))


def iter_lines(path: str | Path, error: type[VlclsError]) -> Iterator[tuple[int, str]]:
    """The lines of a file of any size, numbered from 1, in flat memory.

    Raises:
        error: As `read_text`; a line of more than `LONGEST_LINE` characters.
    """
    with open_regular(path, error) as file:
        encoding = encoding_of(file.peek(_HEAD)[:_HEAD] if isinstance(file, io.BufferedReader) else b"")
        number = 0
        try:
            with io.TextIOWrapper(file, encoding=encoding, newline=None) as text:
                while line := text.readline(LONGEST_LINE + 1):
                    number += 1
                    if len(line) > LONGEST_LINE:
                        raise error(f"{path}, line {number}: longer than {LONGEST_LINE:,} characters")
                    yield number, line.removesuffix("\n")
        except UnicodeDecodeError as reason:
            # Text is decoded in pieces, ahead of the line: count the line of the byte itself.
            raise error(_not_text(path, _line_of_fault(path, encoding, number + 1), encoding)) from reason
        except OSError as reason:
            raise error(f"{path}: {_why(reason)}") from reason


def _line_of_fault(path: str | Path, encoding: str, first: int) -> int:
    """The line that does not decode, at or after `first`; read once more, as this file is refused anyway."""
    ends = {"utf-16-le": b"\n\0", "utf-16-be": b"\0\n"}.get(encoding)
    if encoding not in ("utf-8", "utf-8-sig") and ends is None:
        return first
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number if ends is None else first
    return first


def _not_text(where: str | Path, line: int, encoding: str) -> str:
    name = "UTF-8" if encoding.startswith("utf-8") else encoding.upper()
    return f"{where}, line {line}: not {name} text; save the file as UTF-8"
