"""What was sorted, put back: moved images at their own places, copies and links gone."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

from vlcls.arguments import takes
from vlcls.errors import ImageError, OutputError
from vlcls.files.writing import output_errors, remove_leftovers
from vlcls.results.folders import held
from vlcls.results.manifest import Manifest, Placement, as_path
from vlcls.results.placing import is_back, is_empty, lies, moved, settle


@dataclass
class Unsorted:
    """What came of putting back.

    Attributes:
        folder: That images had been sorted into.
        restored: How many images were moved back.
        removed: How many copies and links were deleted.
        left: What was not touched, and why.
        kept: Whether some of that are moved images, so that the manifest stays for another try.
    """

    folder: Path
    restored: int = 0
    removed: int = 0
    left: list[str] = field(default_factory=list)
    kept: bool = False


@takes(folder="path", was="path?")
def unsort(folder: str | Path, was: str | Path | None = None) -> Unsorted:
    """Undo `sort_into`: nothing is deleted or moved but what it made, as it made it.

    Args:
        folder: That images were sorted into.
        was: Where the folder lay then, if it was moved since: says that its manifest is to be trusted with
            where images are moved to.

    Raises:
        OutputError: Nothing was sorted into the folder, its manifest is damaged or of another folder, it is
            in use, or something cannot be written; what was put back stays so.
    """
    done = Unsorted(Path(folder))
    with held(Path(folder), make=False) as manifest:
        here = manifest.path.parent
        _check_place(manifest, here, was)
        settle(here, manifest, finish=False)
        for parent in {Path(as_path(each.origin)).parent for each in manifest.placed if each.way == "move"}:
            remove_leftovers(parent)
        left = [each for each in reversed(manifest.placed) if not _undone(here, each, done)]
        manifest.keep(left[::-1])
        done.kept = bool(left)
    done.left.reverse()
    return done


def _check_place(manifest: Manifest, here: Path, was: str | Path | None) -> None:
    """A manifest that came with a folder from elsewhere must not say where files are moved to."""
    of = as_path(manifest.head.folder)
    told = str(here) if was is None else os.path.abspath(was)  # noqa: PTH100 it need not be there
    if of != told and any(each.way == "move" for each in manifest.placed):
        raise OutputError(
            f"{here} was sorted as {of}, and its manifest says where images are moved back to: if you moved "
            f"the folder since, say so: --was {of}"
        )


def _undone(here: Path, placement: Placement, done: Unsorted) -> bool:
    """Put one image back; False for a moved image that is left, as its own place must not be forgotten."""
    path, origin = here / as_path(placement.to), as_path(placement.origin)
    is_moved = placement.way == "move"
    if not lies(here, placement):
        if os.path.lexists(path):
            done.left.append(f"{path}: changed since it was placed" + (f" from {origin}" if is_moved else ""))
            return not is_moved
        if is_moved and not is_back(placement):
            done.left.append(f"{path}: not there any more; it came from {origin}")
        return True
    with output_errors(path):
        if not is_moved:
            path.unlink()
            done.removed += 1
            return True
    return _moved_back(path, Path(origin), placement, done)


def _moved_back(path: Path, origin: Path, placement: Placement, done: Unsorted) -> bool:
    with output_errors(origin):
        origin.parent.mkdir(parents=True, exist_ok=True)
        if is_empty(origin):  # an earlier try was killed when this held the name
            origin.unlink()
        if is_back(placement):  # or when the image had both names
            path.unlink()
        else:
            try:
                moved(path, origin, str(placement.sha256))
            except FileExistsError:
                done.left.append(f"{path}: its own place, {origin}, is taken")
                return False
            except ImageError as reason:
                done.left.append(str(reason))
                return False
            except OSError as reason:
                if reason.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                done.left.append(f"{path}: cannot be moved to {origin}: {reason.strerror}")
                return False
    done.restored += 1
    return True
