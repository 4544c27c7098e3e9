"""An editing session on disk: saved as it goes, whole or not at all, and used by one server at a time.

FOLDER/start.json      the descriptors of the start, and what the session belongs to; never changes
FOLDER/session.json    everything since, each state as what it changes of the start
FOLDER/lock            while a server uses the folder; the system lets go of it when that is killed
FOLDER/exports/        descriptor files written for others
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlcls.app.session import Look, Session, Step
from vlcls.descriptors import Descriptor, DescriptorSet
from vlcls.errors import SessionError, VlclsError
from vlcls.files.json_text import parse_json, read_json, to_json
from vlcls.files.reading import MAX_BYTES, read_bytes
from vlcls.files.schema import validated
from vlcls.files.writing import release, remove_leftovers, write_atomically
from vlcls.labels import Labels

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from vlcls.app.session_schema import Changes, Entry, StartFile

START, SESSION, LOCK, EXPORTS = "start.json", "session.json", "lock", "exports"


def locked(folder: Path) -> BaseFileLock:
    """Take a session's folder, made if need be, for this process alone.

    Raises:
        SessionError: Another server uses it, or it cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise SessionError(
            f"{folder} is in use by another `vlcls edit`: use its page, end it, or give another --session"
        ) from None
    except OSError as error:
        raise SessionError(f"{folder} cannot be written: {error.strerror or error}") from error
    remove_leftovers(folder)  # of a process that was killed while it wrote
    remove_leftovers(folder / EXPORTS)
    return lock


def check_folder(folder: Path) -> None:
    """Refuse, before any work, a folder that no session can be kept in; nothing is made.

    Raises:
        SessionError: A file is in the way, it cannot be written, another server uses it, or its session is
            damaged.
    """
    if folder.is_dir():
        lock = locked(folder)
        try:
            load(folder)
        finally:
            release(lock)
        return
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise SessionError(f"{folder} cannot be written: {there} is no folder; give another --session")
    if not os.access(there, os.W_OK):
        raise SessionError(f"{folder} cannot be written: {there} is read-only; give another --session")


def save(session: Session, folder: Path) -> None:
    """Write a session; its start only once.

    Raises:
        SessionError: It has grown larger than what is read again.
        OutputError: It cannot be written.
    """
    from vlcls.app.session_schema import FORMAT, VERSION

    start = _start_text(session)
    content = {
        "format": FORMAT, "version": VERSION, "start": hashlib.sha256(start).hexdigest(),
        "revision": session.revision, "place": session.place,
        "steps": [
            {"said": each.said, "at": each.at, **_changes(session.start, each.descriptors)}
            for each in session.steps
        ],
        "snapshots": {
            name: _changes(session.start, kept) for name, kept in session.snapshots.items()
        },
        "looks": [asdict(look) for look in session.looks],
    }  # fmt: skip
    text = _encoded(content)
    if max(len(start), len(text)) > MAX_BYTES:
        raise SessionError(f"the session would have more than {MAX_BYTES:,} bytes: export, and start another")
    if not (folder / START).exists():
        write_atomically(folder / START, start)
    write_atomically(folder / SESSION, text)


def load(folder: Path) -> Session | None:
    """The session of a folder; None if there is none yet.

    Raises:
        SessionError: Its files are damaged, or of a newer vlcls; names the file and the field.
    """
    if not os.path.lexists(folder / SESSION):
        _remove_start(folder / START)
        return None
    try:
        content = read_json(folder / SESSION, SessionError)
        if not _is_newer(content):
            return _read(folder, content)
    except VlclsError as error:
        raise SessionError(f"damaged session: {error}; give another --session, or remove {folder}") from error
    raise SessionError(f"{folder / SESSION}: version: written by a newer vlcls: upgrade to read it")


def _is_newer(content: Any) -> bool:
    from vlcls.app.session_schema import FORMAT, VERSION

    version = content.get("version") if isinstance(content, dict) and content.get("format") == FORMAT else 0
    return isinstance(version, int) and VERSION < version < 1000


def _read(folder: Path, plain: Any) -> Session:
    from vlcls.app.session_schema import SessionFile

    path = folder / SESSION
    content = validated(SessionFile, plain, path, SessionError)
    start = read_bytes(folder / START, SessionError)
    if hashlib.sha256(start).hexdigest() != content.start:
        raise SessionError(f"{path}: start: {folder / START} is not the one that it goes on from")
    about, base = _read_start(start, folder / START)
    steps = tuple(
        Step(_changed(base, each, f"{path}: steps.{place}"), each.said, each.at)
        for place, each in enumerate(content.steps)
    )
    snapshots = {
        name: _changed(base, each, f"{path}: snapshots.{name}") for name, each in content.snapshots.items()
    }
    looks = tuple(Look(**vars(each)) for each in content.looks)
    return Session(about, steps, content.place, snapshots, looks, content.revision)


def export_path(folder: Path, name: str) -> Path:
    """Where an export of a name goes: a plain file name below the folder that is not taken yet."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name.removesuffix(".json")).strip("-.")[:80] or "descriptors"
    path, number = folder / EXPORTS / f"{stem}.json", 2
    while os.path.lexists(path):  # nor a link that leads nowhere, which would be written through
        path, number = folder / EXPORTS / f"{stem}-{number}.json", number + 1
    return path


def _remove_start(path: Path) -> None:
    """Delete the start that a process left that was killed before it wrote a session.

    Raises:
        SessionError: The file is none of a session's.
    """
    if not os.path.lexists(path):
        return
    try:
        ours = not path.is_symlink() and _read_start(read_bytes(path, SessionError), path) is not None
    except VlclsError:
        ours = False
    if not ours:
        raise SessionError(f"{path} is in the way, and no `vlcls edit` wrote it: give another --session")
    path.unlink()


def _start_text(session: Session) -> bytes:
    known = session.start
    content = {
        "about": dict(session.about),
        "names": known.labels.names, "ids": known.labels.ids, "style": known.style,
        "sources": {name: dict(about) for name, about in known.sources.items()},
        "descriptors": [list(map(_entry, own)) for own in known.descriptors],
    }  # fmt: skip
    return _encoded(content)


def _encoded(content: Any) -> bytes:
    try:
        return to_json(content, indent=1).encode()
    except UnicodeEncodeError as error:
        raise SessionError(
            f"the session cannot be written: {error.object[error.start]!r} is no character"
        ) from error


def _read_start(text: bytes, path: Path) -> tuple[dict[str, str], DescriptorSet]:
    from vlcls.app.session_schema import StartFile

    found: StartFile = validated(StartFile, parse_json(text, path, SessionError), path, SessionError)
    try:
        labels = Labels(found.names, found.ids)
        own = tuple(_descriptors(each) for each in found.descriptors)
        return found.about, DescriptorSet(labels, own, found.style, found.sources)
    except VlclsError as error:
        raise SessionError(f"{path}: {error}") from error


def _changes(start: DescriptorSet, now: DescriptorSet) -> dict[str, Any]:
    """What is other than at the start: classes by place, and sources."""
    classes = {
        str(index): list(map(_entry, own))
        for index, (was, own) in enumerate(zip(start.descriptors, now.descriptors, strict=True))
        if was != own
    }
    same = dict(now.sources) == dict(start.sources)
    sources = {} if same else {"sources": {name: dict(about) for name, about in now.sources.items()}}
    return {"classes": classes, **sources}


def _changed(start: DescriptorSet, changes: Changes, where: str) -> DescriptorSet:
    own = list(start.descriptors)
    for index, entries in changes.classes.items():
        if int(index) >= len(own):
            raise SessionError(f"{where}.classes: there is no class {index}, only {len(own)}")
        own[int(index)] = _descriptors(entries)
    sources: Mapping[str, Mapping[str, str]] = start.sources if changes.sources is None else changes.sources
    return DescriptorSet(start.labels, tuple(own), start.style, sources)


def _entry(each: Descriptor) -> list[Any]:
    return [each.text, each.source, each.weight, each.edited]


def _descriptors(entries: Sequence[Entry]) -> tuple[Descriptor, ...]:
    return tuple(Descriptor(*each) for each in entries)
