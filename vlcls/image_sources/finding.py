"""Paths, folders, globs and lists of paths, expanded into images."""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from vlcls.errors import ImageError
from vlcls.files.text import decode_text
from vlcls.image_sources.kinds import FilesLeftOut, image_extensions, is_system_folder
from vlcls.image_sources.sources import ImageSource

LIST_EXTENSIONS = frozenset({".txt", ".lst"})

_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


def find_images(inputs: Iterable[str | Path], *, stdin: TextIO | None = None) -> list[ImageSource]:
    """Expand what a user typed into a list of images, each path once, at its first place.

    Args:
        inputs: Any mixture of

            - files, taken whatever their extension; a missing one stays in the list, so that reading it
              reports it among the images;
            - folders: the images in them and in their subfolders by extension, in natural order (2 before
              10), hidden ones and those of systems (thumbnails in "@eaDir") skipped, linked folders
              followed but none visited twice; a warning counts the files that were left out;
            - globs, `**` included, when no file has that very name;
            - `.txt` and `.lst` files of paths: files or folders, one a line, `#` starts a comment line;
              relative to the current folder, or else to the list's own;
            - "-": such a list on standard input; also NUL-separated, as `find -print0` writes it.
        stdin: Read in place of the process's standard input.

    Raises:
        ImageError: A folder, glob or list without any image, or a URL.
    """
    inputs = [inputs] if isinstance(inputs, (str, Path)) else inputs
    found: dict[str, ImageSource] = {}
    here = Path.cwd()
    left_out = FilesLeftOut()
    for item in dict.fromkeys(inputs):
        for source in expand(item, left_out, stdin):
            found.setdefault(os.path.normpath(here / source.data), source)
    left_out.say()
    return list(found.values())


def expand(item: str | Path, left_out: FilesLeftOut, stdin: TextIO | None = None) -> Iterable[ImageSource]:
    """The images that one path, folder, glob or list stands for; see `find_images`."""
    if str(item) == "-":
        stream = stdin or sys.stdin
        binary = getattr(stream, "buffer", None)  # undecodable file names survive only as bytes
        content = binary.read() if binary else os.fsencode(stream.read())
        return _expand_list(content, "standard input", Path(), left_out)
    if not str(item).strip():  # Path("") would be the current folder
        raise ImageError("an empty path: name an image or a folder (. is the current one)")
    path = _expanduser(item)
    if _is(path.is_dir):
        return _expand_folder(path, left_out)
    if path.suffix.lower() in LIST_EXTENSIONS and _is(path.is_file):
        try:
            return _expand_list(path.read_bytes(), str(item), path.parent, left_out)
        except OSError as error:
            raise ImageError(f"{item}: this list of images cannot be read ({error.strerror})") from error
    if not _is(path.exists):
        _refuse_url(str(item))
        if any(_is_magic(part) for part in path.parts):
            return _expand_glob(path, left_out)
    return [ImageSource(str(item), path)]


def _is(test: Callable[[], bool]) -> bool:
    try:
        return test()
    except (OSError, ValueError):  # too long, a NUL inside, no permission: reading it will say so
        return False


def _expanduser(item: str | Path) -> Path:
    try:
        return Path(item).expanduser()
    except RuntimeError:  # "~nobody": then it is a file name
        return Path(item)


def _refuse_url(text: str, where: str = "") -> None:
    if _URL.match(text):
        raise ImageError(f"{where}{text}: URLs are not fetched; download it first and give the file")


def _expand_folder(folder: Path, left_out: FilesLeftOut) -> list[ImageSource]:
    there = list(_walk(folder))
    files = [path for path in there if path.suffix.lower() in image_extensions() or _is(path.is_dir)]
    others = FilesLeftOut()
    for each in (left_out, others):
        each.add(folder, set(there).difference(files))
    if not files:
        raise ImageError(
            f"{folder}: no image in this folder (looked for .jpg, .png, ... in subfolders too)"
            + (f"; {others.sentence()}" if others.files else "")
        )
    return [ImageSource(str(path), path) for path in sorted(files, key=_natural)]


def _natural(path: Path) -> tuple[Any, ...]:
    return tuple(map(_natural_part, path.parts))


@functools.lru_cache(1024)  # folders come again and again: their keys are shared
def _natural_part(part: str) -> tuple[tuple[str | int, ...], str]:
    # Split at numbers, every second piece is one, so that like is always compared with like.
    pieces = re.split("([0-9]+)", part.casefold())
    return tuple(int(piece) if i % 2 else piece for i, piece in enumerate(pieces)), part


def _walk(top: Path) -> Iterator[Path]:
    """All visible files under `top`, and the folders that cannot be listed (reading those will say why)."""
    seen: set[tuple[int, int]] = set()
    unreadable: list[Path] = []
    tops = [top]  # grows: links wait until all real folders are done, so that the real path wins
    for start in tops:
        for here, folders, files in os.walk(start, onerror=lambda e: unreadable.append(Path(e.filename))):
            status = Path(here).stat()
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = [name for name in folders if not is_system_folder(name)]
            links = [link for link in (Path(here, name) for name in sorted(folders)) if _is(link.is_symlink)]
            # A link to a folder around it is a loop; following it would escape from `top`.
            tops += [link for link in links if not Path(here).resolve().is_relative_to(link.resolve())]
            yield from (Path(here, name) for name in files if not name.startswith("."))
    yield from unreadable


def _is_magic(part: str) -> bool:
    return any(character in part for character in "*?[")


def _expand_glob(pattern: Path, left_out: FilesLeftOut) -> list[ImageSource]:
    wanted = image_extensions()
    if not _is_magic(pattern.suffix):  # "*.dat" asks for .dat in so many words
        wanted = (wanted | {pattern.suffix.lower()}) - LIST_EXTENSIONS - {""}
    files: set[Path] = set()
    for match in _glob(Path(pattern.anchor), pattern.parts[1 if pattern.anchor else 0 :]):
        matches = set(_walk(match) if match.is_dir() else [match])
        taken = {path for path in matches if path.suffix.lower() in wanted or _is(path.is_dir)}
        files |= taken
        left_out.add(pattern, matches - taken)
    if not files:
        raise ImageError(f"{pattern}: no such file, and no image matches it as a pattern")
    return [ImageSource(str(path), path) for path in sorted(files, key=_natural)]


def _glob(base: Path, parts: Sequence[str]) -> Iterator[Path]:
    # Not glob.glob: its "**" follows links in a loop forty times, and two such loops 2^40 times.
    if not parts:
        yield base
    elif parts[0] == "**":
        parents = {path.parent for path in _walk(base)}
        folders = {base} | {f for p in parents for f in (p, *p.parents) if base in f.parents}
        yield from (match for folder in folders for match in _glob(folder, parts[1:]))
    elif _is_magic(parts[0]):
        names = [entry.name for entry in base.iterdir()] if base.is_dir() else []
        if parts[0][0] not in ".@#$_":  # a pattern that begins like them asks for them in so many words
            names = [name for name in names if not is_system_folder(name)]
        yield from (m for name in fnmatch.filter(names, parts[0]) for m in _glob(base / name, parts[1:]))
    elif _is((base / parts[0]).exists):
        yield from _glob(base / parts[0], parts[1:])


def _expand_list(content: bytes, where: str, folder: Path, left_out: FilesLeftOut) -> Iterator[ImageSource]:
    try:
        text = decode_text(content, where, ImageError)
    except ImageError:  # separated by NULs, as `find -print0` writes it, or names that are no text
        text = os.fsdecode(content.removeprefix(b"\xef\xbb\xbf"))
    if "\0" in text:
        lines = list(enumerate(text.split("\0"), 1))
    else:
        lines = list(enumerate(re.split(r"\r\n|\r|\n", text), 1))
        lines = [(number, line) for number, line in lines if not line.lstrip().startswith("#")]
    lines = [(number, line) for number, line in lines if line.strip()]
    if not lines:
        raise ImageError(f"{where}: no path in this list of images")
    for number, line in lines:
        name, path = _listed(line, folder)
        if not _is(path.exists):
            _refuse_url(name, f"{where}, line {number}: ")
        if _is(path.is_dir):
            yield from _expand_folder(path, left_out)
        else:
            yield ImageSource(name, path)


def _listed(line: str, folder: Path) -> tuple[str, Path]:
    """The file that a line of a list names: relative to here or to the list's folder."""
    for name in _spellings(line):
        path = _expanduser(name)
        for place in (path, folder / path):
            if _is(place.exists):
                return name, place
    return line.strip(), _expanduser(line.strip())


def path_beside(name: str, folder: Path) -> Path:
    """The file that a row of a table in `folder` names, whether it is there or not."""
    if name != name.strip() or "\\" in name:
        for spelling in _spellings(name):
            if _is((folder / spelling).exists):
                return folder / spelling
    return folder / name.strip()


def _spellings(name: str) -> Iterable[str]:
    """How a path may be meant: as it is, without the white space around it, with Windows' separators."""
    plain = (name, name.strip())
    return dict.fromkeys((*plain, *(each.replace("\\", "/") for each in plain)))
