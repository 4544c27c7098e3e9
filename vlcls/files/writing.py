"""Writing: whole or not at all, by one writer at a time, and a clear error where it cannot be.

A file is written under a temporary name beside its place and renamed. The name says which process of which
machine writes, so that what a killed run left behind can be told from what is being written now.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vlcls.errors import OutputError

if TYPE_CHECKING:
    from filelock import BaseFileLock

_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
TEMPORARY = re.compile(r"\.vlcls-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.tmp(\.\w+)?")


def temporary_in(folder: Path, suffix: str = "") -> Path:
    """A new name for what is being written in a folder; see `remove_leftovers`."""
    return folder / f".vlcls-{_HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp{suffix}"


@contextlib.contextmanager
def replacing(path: str | Path, *, suffix: bool = True) -> Iterator[Path]:
    """A temporary path to write to; at the end it takes the place of `path`.

    The folder is made if need be; a link goes on pointing at what is written. After an error nothing is left.

    Args:
        path: What is to be written.
        suffix: The temporary path has the same suffix, which some libraries go by. Without it nobody who
            lists "*.json" meets half a file.

    Raises:
        OutputError: The folder or the file cannot be written; names it.
    """
    path = Path(path)
    with output_errors(path):
        target = Path(os.path.realpath(path))  # `resolve` raises no OSError where links go round
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise OutputError(f"{path} cannot be written: a folder is in the way")
        temporary = temporary_in(target.parent, path.suffix if suffix else "")
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(target)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_atomically(path: str | Path, data: bytes | str) -> Path:
    """Write a file so that it is seen whole or not at all, also after a crash of the machine.

    Raises:
        OutputError: It cannot be written.
    """
    path = Path(path)
    content = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    with replacing(path, suffix=False) as temporary:
        temporary.write_bytes(content)
    return path


@contextlib.contextmanager
def output_errors(path: str | Path) -> Iterator[None]:
    """Turns an OSError of writing (full, read-only, in the way) into an OutputError that names `path`."""
    try:
        yield
    except OSError as reason:
        raise OutputError(f"{path} cannot be written: {reason.strerror or reason}") from reason


#: What file systems say that have no hard links, or none for this file.
_NO_HARD_LINKS = {
    *(errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP),
}


def rename_to_new(source: Path, target: Path) -> None:
    """Rename a file to a name that nothing has. `Path.rename` would overwrite what has it.

    Killed half way it leaves the file under both names, or an empty file under the new one.

    Raises:
        FileExistsError: Something has the name, which is left as it is.
        OSError: As of `os.link` and `Path.replace`, of another file system above all (EXDEV).
    """
    try:
        os.link(source, target)
    except OSError as reason:
        if reason.errno not in _NO_HARD_LINKS:
            raise
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # holds the name
        linked = False
    else:
        linked = True
    try:
        source.unlink() if linked else source.replace(target)
    except FileNotFoundError:  # somebody else took it away: what was linked is all that is left of it
        if not linked:
            target.unlink()
            raise
    except OSError:
        target.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """See that names which were given in a folder are on the disk, where the system can say so."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def leftovers(folder: str | Path) -> list[Path]:
    """Temporary files and folders of ours whose process is gone; no links."""
    import psutil

    left = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            found = TEMPORARY.fullmatch(entry.name)
            if (
                found
                and found[1] == _HOST
                and not entry.is_symlink()
                and not psutil.pid_exists(int(found[2]))
            ):
                left.append(Path(entry.path))
    return left


def remove_leftovers(folder: str | Path) -> list[Path]:
    """Delete temporary files of this package whose process is gone; returns them. Follows no link."""
    removed = []
    for path in leftovers(folder):
        with contextlib.suppress(OSError):
            if path.is_file():
                path.unlink()
                removed.append(path)
    return removed


@contextlib.contextmanager
def locked(path: str | Path, what: str, timeout: float = 0) -> Iterator[None]:
    """Hold a file or folder for this process alone; the system lets go of it when the process is killed.

    The lock is a file, which is gone at the end.

    Args:
        path: What is to be written: the lock of a folder lies in it, that of a file beside it.
        what: What holds it, for the error: "another `vlcls describe`".
        timeout: Seconds to wait for another holder; 0 to fail at once.

    Raises:
        OutputError: Another process holds it, or the place cannot be written.
    """
    from filelock import FileLock, Timeout

    path = Path(path)
    with output_errors(path):
        place = path / ".lock" if path.is_dir() else path.with_name(f".{path.name}.lock")
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_file() and place.stat().st_size:  # some releases of filelock empty what they open
            raise OutputError(f"{path} cannot be written: {place.name} is in the way: no lock of vlcls")
        lock = FileLock(place)
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            raise OutputError(f"{path} is being written by {what}: wait for it, or write elsewhere") from None
    try:
        yield
    finally:
        release(lock)


def release(lock: BaseFileLock) -> None:
    """Let go of a lock and delete its file, if that is empty, as ours are.

    The file goes while the lock is held, so that only its holder deletes it. Who opened it before and gets
    the lock of a deleted file makes a new one: filelock looks whether the file still has a name.
    """
    path = Path(lock.lock_file)
    if lock.is_locked:
        with contextlib.suppress(OSError):  # Windows deletes no open file; filelock does so once it is closed
            if path.is_file() and not path.is_symlink() and not path.stat().st_size:
                path.unlink()
    lock.release()


def check_output_file(path: str | Path) -> None:
    """Refuse, before any work, a file that could not be written in the end; devices and pipes may be.

    Raises:
        OutputError: A folder is in its place, or its folder cannot be made or written.
    """
    path = Path(path)
    with output_errors(path):
        if path.is_dir():
            raise OutputError(f"{path} is a folder: give the name of a file")
        if path.exists() and not path.is_file():
            return
        if path.exists() and not os.access(path, os.W_OK):
            raise OutputError(f"{path} cannot be written: it is read-only")
        check_output_folder(Path(os.path.realpath(path)).parent)


def check_output_folder(folder: str | Path) -> None:
    """Make a folder and see that a file can be written in it; clear what killed runs left there.

    Raises:
        OutputError: A file is in its place, or nothing can be written there.
    """
    folder = Path(folder)
    with output_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file: give the name of a folder")
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        probe = temporary_in(folder)
        try:
            probe.write_bytes(b"vlcls")
        finally:
            probe.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
