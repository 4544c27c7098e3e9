"""Bytes of files that may be anything: pipes, devices, folders, or far too large."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from vlcls.errors import VlclsError

#: Bytes of a text or JSON file that is read whole.
MAX_BYTES = 256 << 20


def is_file(path: str | Path) -> bool:
    """Whether a file is there; False for names that no file can have, where `Path.is_file` raises."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # too long, a NUL inside, no permission
        return False


def is_folder(path: str | Path) -> bool:
    """Whether a folder is there; as `is_file`."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def regular_file(path: str | Path, error: type[VlclsError]) -> Path:
    """The path, if it is a file: opening a pipe would wait for ever, a device may never end.

    Raises:
        error: It is not there, cannot be looked at, or is no regular file.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as reason:  # ValueError: a NUL in the name
        raise error(f"{path}: {_why(reason)}") from reason
    if not stat.S_ISREG(mode):
        kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
        kind = next((name for is_kind, name in kinds if is_kind(mode)), "a device")
        raise error(f"{path}: a file is expected, this is {kind}")
    return path


def open_regular(path: str | Path, error: type[VlclsError]) -> BinaryIO:
    """Open a regular file for reading bytes; raises `error` as `regular_file` does."""
    path = regular_file(path, error)
    try:  # not blocking: it may have become a pipe since it was looked at
        return os.fdopen(
            os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb"
        )
    except OSError as reason:
        raise error(f"{path}: {_why(reason)}") from reason


def read_bytes(path: str | Path, error: type[VlclsError], limit: int = MAX_BYTES) -> bytes:
    """All bytes of a regular file of at most `limit` bytes; raises `error` for any other."""
    with open_regular(path, error) as file:
        try:
            content = file.read(limit + 1)
        except (OSError, MemoryError) as reason:
            raise error(f"{path}: {_why(reason)}") from reason
    if len(content) > limit:
        raise error(f"{path}: more than {limit:,} bytes")
    return content


def number_in_name(path: Path) -> tuple[int, str]:
    """What files are sorted by whose names count them: 2.npy before 10.npy."""
    digits = "".join(letter for letter in path.stem if letter in "0123456789")
    return (int(digits[:18]) if digits else 0, path.name)


def _why(reason: BaseException) -> str:
    return (reason.strerror if isinstance(reason, OSError) else None) or str(reason) or type(reason).__name__
