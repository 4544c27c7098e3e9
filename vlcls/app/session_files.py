"""An editing session on disk: saved as it goes, whole or not at all, and used by one server at a time.

FOLDER/start.json      the descriptors of the start, and what the session belongs to; never changes
FOLDER/session.json    everything since, each state as what it changes of the start
FOLDER/lock            held by the server that uses the folder; the system lets go of it when that is killed
FOLDER/exports/        descriptor files written for others
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlcls.app.session import Look, Session, Step
from vlcls.descriptors import Descriptor, DescriptorSet
from vlcls.errors import DescriptorError, SessionError
from vlcls.labels import Labels
from vlcls.store import write_atomically

if TYPE_CHECKING:
    from filelock import BaseFileLock

FORMAT, VERSION = "vlcls-edit-session", 1
START, SESSION, LOCK, EXPORTS = "start.json", "session.json", "lock", "exports"
_TEMPORARY = ".tmp-*"


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
    for left in folder.glob(_TEMPORARY):  # of a process that was killed while it wrote
        left.unlink(missing_ok=True)
    return lock


def save(session: Session, folder: Path) -> None:
    """Write a session; its start only once.

    Raises:
        SessionError: It cannot be written.
    """
    try:
        start = _start_text(session)
        if not (folder / START).exists():
            write_atomically(folder, START, start)
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
        text = json.dumps(content, ensure_ascii=False, indent=1)
        write_atomically(folder, SESSION, text.encode("utf-8", "surrogatepass"))
    except OSError as error:
        raise SessionError(f"the session cannot be saved in {folder}: {error.strerror or error}") from error


def load(folder: Path) -> Session | None:
    """The session of a folder; None if there is none yet.

    Raises:
        SessionError: Its files are damaged, or of a newer vlcls.
    """
    if not (folder / SESSION).exists():
        _remove_start(folder / START)
        return None
    try:
        start, content = (folder / START).read_bytes(), json.loads((folder / SESSION).read_bytes())
        if content["format"] != FORMAT or content["version"] > VERSION:
            raise SessionError(f"{folder / SESSION} was written by a newer vlcls: upgrade to read it")
        if hashlib.sha256(start).hexdigest() != content["start"]:
            raise ValueError(f"{START} is not the one that {SESSION} goes on from")
        about, base = _read_start(json.loads(start))
        steps = tuple(Step(_changed(base, each), each["said"], each["at"]) for each in content["steps"])
        snapshots = {name: _changed(base, each) for name, each in content["snapshots"].items()}
        looks = tuple(map(_look, content["looks"]))
        if not 0 <= content["place"] < len(steps):
            raise ValueError(f"place {content['place']} of {len(steps)} steps")
        return Session(about, steps, content["place"], snapshots, looks, content["revision"])
    except SessionError:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise SessionError(
            f"{folder} holds a damaged session ({error}): give another --session, or remove it"
        ) from error


def export_path(folder: Path, name: str) -> Path:
    """Where an export of a name goes: a plain file name below the folder that is not taken yet."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name.removesuffix(".json")).strip("-.")[:80] or "descriptors"
    path, number = folder / EXPORTS / f"{stem}.json", 2
    while path.exists():
        path, number = folder / EXPORTS / f"{stem}-{number}.json", number + 1
    return path


def _remove_start(path: Path) -> None:
    """Delete the start that a process left that was killed before it wrote a session.

    Raises:
        SessionError: The file is none of a session's.
    """
    if not path.exists() and not path.is_symlink():
        return
    try:
        ours = not path.is_symlink() and _read_start(json.loads(path.read_bytes())) is not None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, DescriptorError):
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
    return json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")


def _read_start(content: Mapping[str, Any]) -> tuple[dict[str, str], DescriptorSet]:
    labels = Labels(tuple(content["names"]), tuple(content["ids"]))
    own = tuple(tuple(map(_descriptor, each)) for each in content["descriptors"])
    return content["about"], DescriptorSet(labels, own, content["style"], content["sources"])


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


def _changed(start: DescriptorSet, changes: Mapping[str, Any]) -> DescriptorSet:
    own = list(start.descriptors)
    for index, entries in changes["classes"].items():
        own[int(index)] = tuple(map(_descriptor, entries))
    sources = changes.get("sources", start.sources)
    return DescriptorSet(start.labels, tuple(own), start.style, sources)


def _look(content: Mapping[str, Any]) -> Look:
    groups = {
        column: tuple((str(name), int(a), int(b), int(c)) for name, a, b, c in parts)
        for column, parts in content["groups"].items()
    }
    return Look(**{**content, "groups": groups})


def _entry(each: Descriptor) -> list[Any]:
    return [each.text, each.source, each.weight, each.edited]


def _descriptor(entry: list[Any]) -> Descriptor:
    text, source, weight, was_edited = entry
    return Descriptor(str(text), str(source), float(weight), bool(was_edited))
