"""Images with made-up results, and what a folder holds to the last byte, for tests of sorting."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlcls.classifiers import Classification, Prediction


@dataclass(frozen=True)
class Decided:
    """What sorting reads of a decision."""

    accepted: bool
    labels: tuple[str, ...]


@dataclass(frozen=True)
class WithDecision(Classification):
    decision: Any = None


def labelled(image: object, *labels: str) -> Classification:
    """A result: without labels, of none of the classes."""
    best = (Prediction(labels[0] if labels else "cat", 0.9, 0, "0"),)
    return WithDecision(str(image), best, None, Decided(bool(labels), labels))


def plain(image: object, label: str) -> Classification:
    """A result of a classifier without a rule."""
    return Classification(str(image), (Prediction(label, 0.9, 0, "0"),))


def broken(image: object) -> Classification:
    return Classification(str(image), (), error=f"{image}: no image")


_PHOTOS = ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/3.jpg", "c/4.jpg", "c/1.jpg", "c/empty.jpg")


def photos_of(folder: Path) -> tuple[list[Path], list[Classification]]:
    """Where the photos of a folder are, and their results: several labels, none, the name of no label."""
    paths = [folder / name for name in _PHOTOS]
    return paths, [
        labelled(paths[0], "dog"), labelled(paths[1], "cat", "a/b"), labelled(paths[2], "dog", "cat"),
        labelled(paths[3]), plain(paths[4], "none of these"), labelled(paths[5], "dog"), broken(paths[6]),
    ]  # fmt: skip


def make_photos(folder: Path) -> tuple[list[Path], list[Classification]]:
    """Files of one name in several folders, read-only ones, an empty one, each with a time of its own."""
    paths, results = photos_of(folder)
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if path.stem == "empty" else f"content {number}".encode() * (number + 1))
        path.chmod(0o640 if number % 2 else 0o444)
        os.utime(path, ns=(10**18 + number, 10**18 + 123456789 * number))
    return paths, results


def snapshot(folder: Path, without: Sequence[str] = ()) -> dict[str, Any]:
    """Everything in a folder by its path: contents, times and rights of files, what links say."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.split("/")[0] in without:
            continue
        status = path.lstat()
        if path.is_symlink():
            found[name] = os.readlink(path)  # noqa: PTH115
        elif path.is_dir():
            found[name] = stat.S_IMODE(status.st_mode)
        else:
            found[name] = (path.read_bytes(), status.st_mtime_ns, stat.S_IMODE(status.st_mode))
    return found
