"""The folder of a run: what `vlcls evaluate` wrote in it, which is all that it may ever delete or replace.

`files.json` lists every file with the hash of its content. A file is removed only if it is in that list,
still holds what was written, and is reached from the folder through no symbolic link.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

from vlcls.errors import OutputError, VlclsError
from vlcls.files.hashes import file_sha256
from vlcls.files.json_text import read_json, to_json
from vlcls.files.schema import FileModel
from vlcls.files.writing import check_output_folder, write_atomically

FILES, FORMAT, VERSION = "files.json", "vlcls-files", 1
#: What a run writes under fixed names.
NAMES = (
    "results.json", "report.html", "report.md", "summary.csv", "confusions.csv", "clip_benchmark.json",
    "clip_benchmark.csv", "unreadable.jsonl",
)  # fmt: skip


class FileList(FileModel):
    """`files.json`: SHA-256 by path within the folder."""

    format: Literal["vlcls-files"]
    version: Literal[1]
    files: dict[str, str]


def claim(folder: Path) -> None:
    """Make sure that a run can write in a folder, and that it would replace nothing of anybody else.

    Raises:
        OutputError: A file is in the way, or nothing can be written there.
    """
    check_output_folder(folder)
    for name in ("cells", "predictions", "clip_benchmark"):
        if (folder / name).exists():
            check_output_folder(folder / name)
    folders = [name for name in (*NAMES, FILES) if (folder / name).is_dir()]
    if folders:
        raise OutputError(f"{folder / folders[0]} is a folder, where `vlcls evaluate` writes a file: move it")
    if _is_run(folder):
        return
    taken = [name for name in (*NAMES, FILES) if (folder / name).exists() or (folder / name).is_symlink()]
    if taken:
        raise OutputError(
            f"{folder / taken[0]} is in the way: `vlcls evaluate` writes a file of that name, and did not "
            "write this one. Give another folder, or move it"
        )


def _is_run(folder: Path) -> bool:
    """Also after damage: one mark of several is enough."""
    marks = {FILES: FORMAT, "results.json": "vlcls-results"}
    for name, mark in marks.items():
        try:
            with (folder / name).open("rb") as file:
                if f'"{mark}"'.encode() in file.read(256):
                    return True
        except OSError:
            continue
    return any(folder.glob("cells/*--*.json"))


def listed(folder: Path) -> dict[str, str]:
    """Path within the folder to the SHA-256 of what was written there; empty where nobody knows."""
    try:
        return read_json(folder / FILES, VlclsError, FileList).files
    except VlclsError:
        return {}  # nothing is deleted then


def write_files(folder: Path, contents: Mapping[str, bytes], *, within: str = "") -> None:
    """Write files and list them; those under `within` that are no more among them are deleted.

    Args:
        folder: The run's.
        contents: By path within the folder, with "/".
        within: "clip_benchmark/", say: what an earlier run wrote there and this one does not is stale.
    """
    known = listed(folder)
    new = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    # First the list: a file that is written and not listed could never be cleared away.
    _write_list(folder, known | new)
    for name, data in contents.items():
        write_atomically(folder / name, data)
    stale = [name for name in known if within and name.startswith(within) and name not in new]
    for name in stale:
        _remove(folder, name, known[name])
    _write_list(folder, {name: digest for name, digest in (known | new).items() if name not in stale})


def _write_list(folder: Path, files: Mapping[str, str]) -> None:
    content = {"format": FORMAT, "version": VERSION, "files": dict(sorted(files.items()))}
    write_atomically(folder / FILES, to_json(content, indent=1) + "\n")


def _remove(folder: Path, name: str, digest: str) -> None:
    """Delete a listed file, unless it is not what was written, or not in this folder."""
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts:
        return
    path = folder / inside
    ways = [folder.joinpath(*inside.parts[: depth + 1]) for depth in range(len(inside.parts))]
    if any(way.is_symlink() for way in ways) or not path.is_file():
        return
    if file_sha256(path) == digest:
        path.unlink()
