"""The folder that images are sorted into: made with its manifest in one step, held by one process, and gone
again once nothing of ours is in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from vlcls.errors import OutputError
from vlcls.files.writing import leftovers, locked, output_errors, remove_leftovers, sync_folder, temporary_in
from vlcls.results.manifest import MANIFEST, Manifest, start

_WHO = "another `vlcls classify --sort-into` or `vlcls unsort`"


@contextlib.contextmanager
def held(folder: Path, *, make: bool) -> Iterator[Manifest]:
    """The manifest of a folder, which is this process's alone meanwhile. A folder in which nothing was placed
    is as before at the end, or gone if it was made.

    Args:
        folder: That images are sorted into.
        make: Make it and its manifest if they are not there.

    Raises:
        OutputError: It cannot be written, is in use, or its manifest is damaged.
    """
    folder = Path(os.path.realpath(folder))
    with output_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file: give the name of a folder")
        if make and not folder.exists():
            _make(folder)
            folder.mkdir(parents=True, exist_ok=True)
        if not make and not (folder / MANIFEST).is_file():
            raise OutputError(f"{folder}: nothing was sorted into it by vlcls (there is no {MANIFEST})")
    made = 0
    try:
        with locked(folder, _WHO):
            if make and not (folder / MANIFEST).exists():
                start(folder)
            manifest = Manifest(folder / MANIFEST)
            remove_leftovers(folder)
            for name in manifest.folders:
                if not (folder / name).is_symlink():
                    remove_leftovers(folder / name)
            try:
                yield manifest
            finally:
                manifest.close()
                if manifest.empty:
                    _clear(folder, manifest)
                    made = manifest.head.made
    finally:
        _remove_made(folder, made)  # its lock lies in it


def _make(folder: Path) -> None:
    """Make a folder, and those above it, with a manifest that says how many were made: at once, so that a
    killed run leaves either none of it or all."""
    top, made = folder, 1
    while not top.parent.exists():
        top, made = top.parent, made + 1
    remove_half_made(top.parent)
    temporary = temporary_in(top.parent)
    try:
        inside = temporary / folder.relative_to(top)
        inside.mkdir(parents=True)
        start(inside, made=made, named=folder)
        with contextlib.suppress(FileExistsError):  # another run was quicker
            temporary.rename(top)
        sync_folder(top.parent)
    except OSError as reason:
        if not top.exists():
            raise OutputError(f"{folder} cannot be made: {reason.strerror}") from reason
    finally:
        _take_down(temporary)


def _clear(folder: Path, manifest: Manifest) -> None:
    """Remove the folders that were made, if they are empty, and the manifest: the last of them at once, so
    that whoever was killed finds all of it or nothing."""
    for line in manifest.folders.values():
        if line.made:
            with contextlib.suppress(OSError):  # something else is in it, or it is gone
                (folder / line.folder).rmdir()
    if manifest.head.made and {each.name for each in folder.iterdir()} <= {MANIFEST, ".lock"}:
        top = folder
        for parent in list(folder.parents)[: manifest.head.made - 1]:
            if len(list(parent.iterdir())) > 1:
                break
            top = parent
        temporary = temporary_in(top.parent)
        with contextlib.suppress(OSError):  # Windows renames no folder with an open file, such as the lock
            top.rename(temporary)
            _take_down(temporary)
            return
    with output_errors(manifest.path):
        manifest.path.unlink()


def remove_half_made(parent: Path) -> None:
    """Remove what killed runs were making, or had as good as removed, in a folder."""
    for path in leftovers(parent):
        if path.is_dir():
            _take_down(path)


def _take_down(folder: Path) -> None:
    """Remove a folder and those in it, with the manifest; other files stay, and the folders around them."""
    for here, _, _ in os.walk(folder, topdown=False):
        remove_leftovers(here)
        lock = Path(here, ".lock")
        with contextlib.suppress(OSError):
            Path(here, MANIFEST).unlink(missing_ok=True)
            if lock.is_file() and not lock.stat().st_size:
                lock.unlink()
            Path(here).rmdir()


def _remove_made(folder: Path, made: int) -> None:
    for each in (folder, *folder.parents)[:made]:
        try:
            each.rmdir()
        except OSError:
            return
