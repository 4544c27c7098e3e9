"""One image into one folder, or back: whole or not at all, under a name that nothing had."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from vlcls.errors import ImageError, OutputError
from vlcls.files.hashes import file_sha256
from vlcls.files.reading import open_regular
from vlcls.files.writing import rename_to_new, sync_folder, temporary_in
from vlcls.results.manifest import Done, Manifest, Placement, as_path

_BLOCK = 1 << 20
#: Bytes of a file's name that file systems take.
_LONGEST_NAME = 255


def own_place(path: str | Path) -> str:
    """Where a file lies, absolute; links among its folders are followed, the file itself may be one."""
    folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100 `resolve` would follow the file
    return str(Path(os.path.realpath(folder), name))


def status_of(path: Path) -> os.stat_result:
    """Status of the file that a path leads to.

    Raises:
        ImageError: There is none, or it is no regular file.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as reason:
        raise ImageError(f"{path}: {_said(reason)}") from reason
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path}: not a regular file")
    return status


def numbered(name: str, number: int) -> str:
    """ "a (2).jpg": the name of the second file of a name; the first has it as it is. Never too long."""
    if number == 1:
        return name
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 Path has no name "."
    behind = f" ({number}){suffix}"
    return os.fsdecode(os.fsencode(stem)[: _LONGEST_NAME - len(os.fsencode(behind))]) + behind


def copied(source: Path, temporary: Path) -> str:
    """Copy a file with its times and rights, to the disk itself; returns the SHA-256 of what was read.

    Raises:
        ImageError: It cannot be read.
        OSError: The copy cannot be written.
    """
    digest = hashlib.sha256()
    with open_regular(source, ImageError) as file, temporary.open("xb") as copy:
        while block := _read(file, source):
            digest.update(block)
            copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())
    with suppress(OSError):  # times come first; some file systems have no rights, or none like these
        shutil.copystat(source, temporary)
    return digest.hexdigest()


def _read(file: BinaryIO, source: Path) -> bytes:
    try:
        return file.read(_BLOCK)
    except OSError as reason:
        raise ImageError(f"{source}: {_said(reason)}") from reason


def moved(source: Path, target: Path, sha256: str) -> None:
    """Move a file to a name that nothing has; to another file system as a copy that was read again.

    Raises:
        FileExistsError: Something has the name.
        ImageError: It changed while it was copied, and is left where it is.
        OSError: It cannot be moved, and is left where it is.
    """
    try:
        rename_to_new(source, target)
        return
    except OSError as reason:
        if reason.errno != errno.EXDEV:
            raise
    temporary = temporary_in(target.parent)
    before = source.stat()
    try:
        copied(source, temporary)
        with suppress(OSError):  # only root gives files away
            os.chown(temporary, before.st_uid, before.st_gid)
            os.chmod(temporary, stat.S_IMODE(before.st_mode))  # noqa: PTH101 a change of owner drops some rights
        now = source.stat()
        as_before = (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        if not as_before or file_sha256(temporary, ImageError) != sha256:
            raise ImageError(f"{source}: changed while it was moved")
        rename_to_new(temporary, target)
        sync_folder(target.parent)
        try:
            source.unlink()
        except OSError:
            target.unlink()
            raise
    finally:
        temporary.unlink(missing_ok=True)


def lies(folder: Path, placement: Placement, *, quick: bool = False) -> bool:
    """Whether an image lies where it was placed, and is what was placed. No link is followed.

    Args:
        folder: That images were sorted into.
        placement: Of the image.
        quick: A file of the same size and time counts as the same.
    """
    path = folder / as_path(placement.to)
    if path.parent.is_symlink():
        return False
    try:
        if placement.target is not None:
            return os.readlink(path) == as_path(placement.target)  # noqa: PTH115 exact text
        return _is_same(path, placement, quick)
    except (OSError, ValueError):
        return False


def is_back(placement: Placement) -> bool:
    """Whether a file of a moved image's content lies at its own place."""
    return _is_same(Path(as_path(placement.origin)), placement, False)


def is_empty(path: Path) -> bool:
    """Whether a file of no bytes is there, as one that holds a name for a moment."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and not status.st_size


def _is_same(path: Path, placement: Placement, quick: bool) -> bool:
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != placement.size:
            return False
        if quick and status.st_mtime_ns == placement.modified:
            return True
        return file_sha256(path, ImageError) == placement.sha256
    except (OSError, ImageError):
        return False


def settle(folder: Path, manifest: Manifest, *, finish: bool) -> None:
    """Find out what became of placements that a killed run was at, and write that down.

    Args:
        folder: That images were sorted into.
        manifest: Of it.
        finish: Make the links that such a run did not get to, beside an image that it moved.
    """
    for placement in manifest.placements:
        if placement.number in manifest.outcomes:
            continue
        path = folder / as_path(placement.to)
        if not path.parent.is_symlink():
            _settle(path, placement, finish)
        manifest.add(Done(done=placement.number, placed=lies(folder, placement)))


def _settle(path: Path, placement: Placement, finish: bool) -> None:
    with suppress(OSError):
        if placement.target is not None:
            if finish and not os.path.lexists(path) and (path.parent / as_path(placement.target)).exists():
                path.symlink_to(as_path(placement.target))
            return
        origin = Path(as_path(placement.origin))
        at_origin = placement.way == "move" and is_back(placement)
        other = placement.size or (is_empty(path) and path.lstat().st_mtime_ns != placement.modified)
        if is_empty(path) and other and (placement.way != "move" or at_origin):
            path.unlink()  # it held the name
        elif at_origin and lies(path.parents[1], placement):
            origin.unlink()  # it is under both names


def trouble(what: str, target: Path, reason: OSError) -> OutputError:
    """The error of an image that cannot be placed."""
    return OutputError(
        f"{what} cannot be placed as {target}: {_said(reason)}; what was placed stays, and the same command "
        "goes on from there"
    )


def _said(reason: BaseException) -> str:
    return (reason.strerror if isinstance(reason, OSError) else None) or str(reason)
