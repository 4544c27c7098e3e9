"""What was sorted where: JSON Lines in the folder, so that a killed run goes on and all can be put back.

The first line says which folder it is. Then come lines of three kinds: a folder and its label, before it is
made; a placement, on the disk before anything is done for it; and whether it was done. A line that is not
there tells nothing of the images: what a killed run was at is looked up in the folder.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pydantic import Field

from vlcls.errors import OutputError
from vlcls.files.json_text import json_bytes, parse_json
from vlcls.files.reading import read_bytes
from vlcls.files.schema import FileModel, validated
from vlcls.files.writing import output_errors, write_atomically
from vlcls.results.safe_names import compared

#: The file in a folder that images are sorted into.
MANIFEST = "vlcls-sorted.jsonl"
#: Bytes: more than two million images.
MAX_MANIFEST = 2 << 30
_RAW = "bytes:"  # no absolute path begins so, and no name of a folder of ours has a colon

Kind = Literal["label", "none", "unreadable"]
Way = Literal["copy", "link", "move", "write"]


class Head(FileModel):
    """The first line.

    Attributes:
        format, version: Of the file.
        folder: Where it lies, absolute.
        made: How many folders were made for it: itself, and those above it that were not there.
    """

    format: Literal["vlcls-sorted"]
    version: Literal[1]
    folder: str = Field(min_length=1, max_length=20_000)
    made: int = Field(ge=0, le=1000)


class FolderLine(FileModel):
    """A folder for images of a label.

    Attributes:
        folder: Its name.
        kind: What is in it: images of a label, of none of the labels, or that could not be read.
        label: As the classifier has it; None for the other kinds.
        made: It was not there before.
    """

    folder: str = Field(min_length=1, max_length=255)
    kind: Kind
    label: str | None
    made: bool


class Placement(FileModel):
    """One image in one folder.

    Attributes:
        number: 0, 1, ... in order.
        to: "folder/name".
        origin: The image's own place, absolute; for an image that was no file, what it was called.
        way: "copy", "link" (symbolic), "move", or "write" for an image that was no file.
        size, sha256: Of the content; 0 and None for a link.
        modified: When the file was last changed, in nanoseconds since 1970; 0 for what was no file.
        target: What a link says; None else.
    """

    number: int = Field(ge=0)
    to: str = Field(min_length=3, max_length=2000)
    origin: str = Field(max_length=20_000)
    way: Way
    size: int = Field(ge=0)
    modified: int
    sha256: str | None = Field(pattern="^[0-9a-f]{64}$")
    target: str | None = Field(max_length=20_000)


class Done(FileModel):
    """What came of a placement: whether the image lies there."""

    done: int = Field(ge=0)
    placed: bool


def as_text(path: str | Path) -> str:
    """A path as it is, or its bytes in percents if they are no text."""
    path = str(path)
    try:
        path.encode()
    except UnicodeEncodeError:
        return _RAW + quote_from_bytes(os.fsencode(path))
    return path


def as_path(text: str) -> str:
    """What `as_text` was given."""
    return os.fsdecode(unquote_to_bytes(text.removeprefix(_RAW))) if text.startswith(_RAW) else text


class Manifest:
    """The manifest of one folder; whoever has it holds the folder's lock.

    Attributes:
        path: The file.
        head: Its first line.
        folders: Lines of folders by their name.
        placements: All of them, in order.
        outcomes: Whether each was placed, by its number; those that a killed run was at are not there.
        taken: Names that no further folder may have, as `compared` has them.

    Raises:
        OutputError: It is damaged, or names files outside its folder; says which line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folders: dict[str, FolderLine] = {}
        self.placements: list[Placement] = []
        self.outcomes: dict[int, bool] = {}
        self.taken = {compared(MANIFEST)}
        self._by_label: dict[tuple[Kind, str | None], FolderLine] = {}
        content = read_bytes(path, OutputError, MAX_MANIFEST)
        lines = content.split(b"\n")
        self._whole = len(content) - len(lines.pop())  # what is behind the last end of a line is half of one
        self._file: FileIO | None = None
        if not lines:
            raise OutputError(f"{path} is no manifest of sorted images: it is empty")
        for number, raw in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            self._take(parse_json(raw, where, OutputError), where, number)

    @property
    def placed(self) -> list[Placement]:
        """Placements whose image lies there, as far as is known."""
        return [each for each in self.placements if self.outcomes.get(each.number)]

    def folder_of(self, kind: Kind, label: str | None) -> FolderLine | None:
        """The folder for images of a label, if there is one."""
        return self._by_label.get((kind, label))

    @property
    def empty(self) -> bool:
        """Whether it says of no image that it was or may have been placed."""
        return not any(self.outcomes.get(each.number, True) for each in self.placements)

    def add(self, *lines: FolderLine | Placement | Done, sync: bool = True) -> None:
        """Append lines; they are on the disk when this returns, unless `sync` is False.

        Raises:
            OutputError: They cannot be written; what was there is whole.
        """
        content = b"".join(json_bytes(line.model_dump(), self.path, OutputError) for line in lines)
        with output_errors(self.path):
            try:
                self._append(content, sync)
            except OSError:
                self._close()
                raise
        for line in lines:
            self._remember(line)

    def keep(self, placements: list[Placement]) -> None:
        """Forget all other placements; without any, the file stays as it is."""
        self.close()
        lines: list[FileModel] = list(self.folders.values())
        for number, each in enumerate(placements):
            lines += [each.model_copy(update={"number": number}), Done(done=number, placed=True)]
        if placements:
            start(self.path.parent, lines, self.head.made, Path(as_path(self.head.folder)))
        self.placements, self.outcomes = placements, {each.number: True for each in placements}

    def _append(self, content: bytes, sync: bool) -> None:
        if self._file is None:
            os.truncate(self.path, self._whole)  # half a line of a run that was killed, or had no room
            self._file = self.path.open("ab", buffering=0)
        if self._file.write(content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._whole += len(content)
        if sync:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """What was appended is on the disk when this returns."""
        if self._file is not None:
            with output_errors(self.path):
                os.fsync(self._file.fileno())
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def _remember(self, line: FolderLine | Placement | Done) -> None:
        if isinstance(line, FolderLine):
            self.folders[line.folder] = self._by_label[line.kind, line.label] = line
            self.taken.add(compared(line.folder))
        elif isinstance(line, Placement):
            self.placements.append(line)
        else:
            self.outcomes[line.done] = line.placed

    def _take(self, content: Any, where: str, number: int) -> None:
        if number == 1:
            self.head = validated(Head, content, where, OutputError)
            if not _is_absolute(self.head.folder):
                raise OutputError(f"{where}: {self.head.folder!r} is no absolute path")
            return
        keys = content if isinstance(content, dict) else {}
        schema: type[FolderLine | Placement | Done]
        if "folder" in keys:
            schema = FolderLine
        elif "number" in keys:
            schema = Placement
        else:
            schema = Done
        line = validated(schema, content, where, OutputError)
        if problem := self._problem(line):
            raise OutputError(f"{where}: {problem}; this manifest is damaged, or not of vlcls")
        self._remember(line)

    def _problem(self, line: FileModel) -> str | None:
        """What is wrong with a line that is well formed."""
        if isinstance(line, FolderLine):
            labelled = (line.kind == "label") == (line.label is not None)
            named = _is_name(line.folder) and not line.folder.startswith(".")
            new = (line.kind, line.label) not in self._by_label and compared(line.folder) not in self.taken
            return None if labelled and named and new else f"{line.folder!r} is no new folder for its label"
        if isinstance(line, Done):
            known = line.done < len(self.placements) and line.done not in self.outcomes
            return None if known else f"there is no image {line.done} without an outcome"
        assert isinstance(line, Placement)
        if line.number != len(self.placements):
            return f"image {line.number} is not the next one"
        folder, _, name = as_path(line.to).partition("/")
        if folder not in self.folders or not _is_name(name):
            return f"{line.to!r} lies in none of the folders"
        if (line.way == "link") != (line.target is not None) or (line.way == "link") != (line.sha256 is None):
            return "a link has a target, all else a hash"
        if line.way != "write" and not _is_absolute(line.origin):
            return f"{line.origin!r} is no absolute path"
        return None


def _is_absolute(text: str) -> bool:
    """Whether it is a whole path as we write it, without ".."."""
    path = as_path(text)
    return "\0" not in path and os.path.abspath(path) == path  # noqa: PTH100 `resolve` would follow links


def _is_name(name: str) -> bool:
    """Whether it is one part of a path, and no way out of a folder."""
    return name not in ("", ".", "..") and not re.search(r"[/\0]" if os.sep == "/" else r"[/\\:\0]", name)


def start(folder: Path, lines: Iterable[FileModel] = (), made: int = 0, named: Path | None = None) -> Path:
    """Write a manifest anew, whole or not at all: its head, and lines of an older one."""
    path = folder / MANIFEST
    head = Head(format="vlcls-sorted", version=1, folder=as_text(named or folder), made=made)
    content = b"".join(json_bytes(line.model_dump(), path, OutputError) for line in (head, *lines))
    return write_atomically(path, content)
