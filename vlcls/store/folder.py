"""The whole store: one folder, partitioned by encoder, precision and kind."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from vlcls.arguments import takes
from vlcls.errors import VlclsError
from vlcls.files.json_text import read_json
from vlcls.files.writing import TEMPORARY
from vlcls.store.opened import partitions_of, shared_partition
from vlcls.store.partition import Partition
from vlcls.store.shards import SHARD_NAME, Identity, Kind, ShardError, count_rows, open_shard, shard_names

if TYPE_CHECKING:
    from vlcls.encoders import Encoder

_FORMAT = "v1"
_ENCODER = re.compile(r"([0-9a-f]{64})-(fp32|bf16|fp16)")
_ABOUT = "encoder.json"
#: Files of a killed run, of this version and of older ones.
_LEFTOVER = re.compile(rf"{TEMPORARY.pattern}|\.tmp-[0-9a-f]{{32}}")


def default_root() -> Path:
    """`VLCLS_CACHE`, or the user's cache folder."""
    from platformdirs import user_cache_path

    return _expanded(os.environ.get("VLCLS_CACHE") or user_cache_path("vlcls"))


def _expanded(path: str | Path) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # no home folder; or the current folder was deleted
        raise VlclsError(f"{path}: {error} (VLCLS_CACHE names another folder for embeddings)") from error


@dataclass(frozen=True)
class PartitionInfo:
    """What `vlcls cache info` shows of one partition."""

    spec: str
    precision: str
    kind: str
    embeddings: int
    bytes: int
    folder: Path


@dataclass(frozen=True)
class BadShard:
    """A file that is not served: where it is, what is wrong with it, and whether it was deleted."""

    path: Path
    reason: str
    deleted: bool


@dataclass
class Verified:
    """What `EmbeddingStore.verify` found.

    Attributes:
        whole: Number of shards that are as they were written.
        unlabelled: How many of these do not say whose rows they hold, as older versions wrote them. They are
            served once one of their rows was compared with the encoder's own.
        bad: All others.
    """

    whole: int = 0
    unlabelled: int = 0
    bad: list[BadShard] = field(default_factory=list)


@dataclass
class Cleared:
    """What `EmbeddingStore.clear` did.

    Attributes:
        files, bytes: What was deleted, and how much room that made.
        failed: Parts of the store that are still there, and why.
        foreign: Files in its folders that this program did not write; they were left alone.
    """

    files: int = 0
    bytes: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)
    foreign: list[Path] = field(default_factory=list)


class EmbeddingStore:
    """A folder of embeddings, partitioned by encoder, precision and kind."""

    @takes(root="path?")
    def __init__(self, root: str | Path | None = None) -> None:
        """Opens nothing.

        Args:
            root: The folder; by default that of `default_root`.

        Raises:
            VlclsError: No such folder can exist.
        """
        self.root = (default_root() if root is None else _expanded(root)) / _FORMAT

    def partition(self, encoder: Encoder, kind: Kind) -> Partition:
        """The embeddings of one kind made by `encoder` at its precision: one for the whole process."""
        identity = Identity(encoder.fingerprint, encoder.precision, kind, encoder.embedding_dim)
        folder = self.root / f"{encoder.fingerprint}-{encoder.precision}" / kind
        return shared_partition(folder, identity, encoder.spec, self.root)

    def info(self) -> list[PartitionInfo]:
        """One entry for each partition on disk.

        Raises:
            VlclsError: The store cannot be read.
        """
        return [_describe(folder) for folder, _ in self._partitions()]

    def verify(self) -> Verified:
        """Read every shard; delete those that are damaged, or of another encoder than their folder.

        Raises:
            VlclsError: The store cannot be read.
        """
        found = Verified()
        for folder, identity in self._partitions():
            for path in _shard_paths(folder):
                try:
                    shard, _ = open_shard(path, identity)
                    found.whole += 1
                    found.unlabelled += not shard.labelled
                except ShardError as error:
                    if isinstance(error.__cause__, FileNotFoundError):  # merged away by a running process
                        continue
                    reason = str(error).removeprefix(f"{path}: ")
                    found.bad.append(BadShard(path, reason, _deleted(path, error)))
        return found

    def clear(self) -> Cleared:
        """Delete every file that this program wrote into the store, and say what was left. Follows no link
        to or among its folders, but may itself be behind one."""
        done = Cleared()
        for partition in partitions_of(self.root):
            partition.drop_pending()
        for encoder in _entries(self.root, done):
            if not _ENCODER.fullmatch(encoder.name):
                done.foreign.append(Path(encoder.path))
            elif _is_own_folder(encoder, done):
                self._clear_encoder(Path(encoder.path), done)
        _remove_empty(self.root)
        return done

    def _clear_encoder(self, folder: Path, done: Cleared) -> None:
        for entry in _entries(folder, done):
            if entry.name not in get_args(Kind):
                _delete(entry, done, entry.name == _ABOUT)
            elif _is_own_folder(entry, done):
                for file in _entries(Path(entry.path), done):
                    _delete(file, done, bool(SHARD_NAME.fullmatch(file.name)))
                _remove_empty(Path(entry.path))
        _remove_empty(folder)

    def _partitions(self) -> Iterator[tuple[Path, Identity]]:
        for encoder in _subfolders(self.root):
            found = _ENCODER.fullmatch(encoder.name)
            if found:
                for kind in _subfolders(encoder):
                    if kind.name in get_args(Kind):
                        yield kind, Identity(found[1], found[2], kind.name)


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise VlclsError(f"the store cannot be read: {folder}: {error.strerror or error}") from error


def _shard_paths(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in shard_names(folder)]
    except OSError as error:
        raise VlclsError(f"the store cannot be read: {folder}: {error.strerror or error}") from error


def _deleted(path: Path, error: ShardError) -> bool:
    """Delete a file that should be a shard; not a pipe or a folder, and not one that only cannot be read."""
    if error.__cause__ is None or error.damaged:
        with contextlib.suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode):
                path.unlink()
                return True
    return False


def _describe(folder: Path) -> PartitionInfo:
    paths = _shard_paths(folder)
    spec, precision = "?", folder.parent.name.rpartition("-")[2]
    with contextlib.suppress(VlclsError):  # written for people, and of no other use
        about = read_json(folder.parent / _ABOUT, VlclsError)
        spec = str(about.get("spec", "?")) if isinstance(about, dict) else "?"
    size = 0
    for path in paths:
        with contextlib.suppress(OSError):
            size += path.stat().st_size
    return PartitionInfo(spec, precision, folder.name, sum(map(count_rows, paths)), size, folder)


# ---- clearing --------------------------------------------------------------------------------------------


def _entries(folder: Path, done: Cleared) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        done.failed.append((folder, error.strerror or str(error)))
        return []


def _is_own_folder(entry: os.DirEntry[str], done: Cleared) -> bool:
    if entry.is_symlink():
        done.failed.append((Path(entry.path), "a link to another folder, which is left alone"))
        return False
    if not entry.is_dir():
        done.foreign.append(Path(entry.path))
        return False
    return True


def _delete(entry: os.DirEntry[str], done: Cleared, ours: bool) -> None:
    path = Path(entry.path)
    if not (ours or _LEFTOVER.fullmatch(entry.name)) or not (entry.is_symlink() or entry.is_file()):
        done.foreign.append(path)
        return
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            done.failed.append((path, "a link to another file, which is left alone"))
            return
        path.unlink()
    except FileNotFoundError:  # merged or cleared away by another process
        return
    except OSError as error:
        done.failed.append((path, error.strerror or str(error)))
        return
    done.files += 1
    done.bytes += status.st_size if status.st_nlink == 1 else 0  # another name keeps its room


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        if not folder.is_symlink():
            folder.rmdir()
