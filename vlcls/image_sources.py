"""What a user names, expanded into a list of images to be read: paths, globs, lists, data sets, arrays.

Nothing is opened here but folders and lists of paths; `vlcls.images` reads and decodes.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, overload

from PIL import Image

from vlcls.errors import ImageError

LIST_EXTENSIONS = frozenset({".txt", ".lst"})

# Formats that Pillow knows by name but cannot decode by itself; EPS would start Ghostscript on the file.
NOT_DECODABLE = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ImageSource:
    """One image to be read: a path, or something already in memory.

    Attributes:
        name: What reports call it: the path as the user gave it, or "image 3" (its index, from 0).
        data: Path, bytes of an image file, PIL.Image.Image, np.ndarray, or a DatasetRow.
    """

    name: str
    data: Any


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A cell of a `datasets.Dataset`, read when a worker gets to it."""

    column: Sequence[Any]
    index: int


# ---- finding images ------------------------------------------------------------------------------------


@functools.cache
def image_extensions() -> frozenset[str]:
    """File name extensions taken from folders: ".jpg" and all others that Pillow can decode by itself."""
    # MPO is read by the JPEG plug-in, hence not registered for reading.
    extensions = Image.registered_extensions()
    readable = {*Image.OPEN, "MPO"} - NOT_DECODABLE
    return frozenset(extension for extension, kind in extensions.items() if kind in readable)


def find_images(inputs: Iterable[str | Path], *, stdin: TextIO | None = None) -> list[ImageSource]:
    """Expand what a user typed into a list of images, each path once, at its first place.

    Args:
        inputs: Any mixture of

            - files, taken whatever their extension; a missing one stays in the list, so that reading it
              reports it among the images;
            - folders: the images in them and in their subfolders by extension, in natural order (2 before
              10), hidden ones skipped, linked folders followed but none visited twice;
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
    for item in dict.fromkeys(inputs):
        for source in _expand(item, stdin):
            found.setdefault(os.path.normpath(here / source.data), source)
    return list(found.values())


def _expand(item: str | Path, stdin: TextIO | None) -> Iterable[ImageSource]:
    if str(item) == "-":
        stream = stdin or sys.stdin
        binary = getattr(stream, "buffer", None)  # undecodable file names survive only as bytes
        content = binary.read() if binary else os.fsencode(stream.read())
        return _expand_list(content, "standard input", Path())
    path = _expanduser(item)
    if _is(path.is_dir):
        return _expand_folder(path)
    if path.suffix.lower() in LIST_EXTENSIONS and _is(path.is_file):
        try:
            return _expand_list(path.read_bytes(), str(item), path.parent)
        except OSError as error:
            raise ImageError(f"{item}: this list of images cannot be read ({error.strerror})") from error
    if not _is(path.exists):
        _refuse_url(str(item))
        if any(_is_magic(part) for part in path.parts):
            return _expand_glob(path)
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


def _expand_folder(folder: Path) -> list[ImageSource]:
    files = [path for path in _walk(folder) if path.suffix.lower() in image_extensions() or _is(path.is_dir)]
    if not files:
        raise ImageError(f"{folder}: no image in this folder (looked for .jpg, .png, ... in subfolders too)")
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
            folders[:] = [name for name in folders if not name.startswith(".")]
            links = [link for link in (Path(here, name) for name in sorted(folders)) if _is(link.is_symlink)]
            # A link to a folder around it is a loop; following it would escape from `top`.
            tops += [link for link in links if not Path(here).resolve().is_relative_to(link.resolve())]
            yield from (Path(here, name) for name in files if not name.startswith("."))
    yield from unreadable


def _is_magic(part: str) -> bool:
    return any(character in part for character in "*?[")


def _expand_glob(pattern: Path) -> list[ImageSource]:
    wanted = image_extensions()
    if not _is_magic(pattern.suffix):  # "*.dat" asks for .dat in so many words
        wanted = (wanted | {pattern.suffix.lower()}) - LIST_EXTENSIONS - {""}
    files: set[Path] = set()
    for match in _glob(Path(pattern.anchor), pattern.parts[1 if pattern.anchor else 0 :]):
        matches = _walk(match) if match.is_dir() else [match]
        files |= {path for path in matches if path.suffix.lower() in wanted or _is(path.is_dir)}
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
        hidden = parts[0].startswith(".")
        names = [name for name in names if hidden or not name.startswith(".")]
        yield from (m for name in fnmatch.filter(names, parts[0]) for m in _glob(base / name, parts[1:]))
    elif _is((base / parts[0]).exists):
        yield from _glob(base / parts[0], parts[1:])


def _expand_list(content: bytes, where: str, folder: Path) -> Iterator[ImageSource]:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):  # what PowerShell's ">" writes
        content = content.decode("utf-16", "replace").encode()
    text = os.fsdecode(content.removeprefix(b"\xef\xbb\xbf"))
    if "\0" in text:
        lines = list(enumerate(text.split("\0"), 1))
    else:
        lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
        lines = [(number, line) for number, line in lines if not line.startswith("#")]
    lines = [(number, line) for number, line in lines if line]
    if not lines:
        raise ImageError(f"{where}: no path in this list of images")
    for number, line in lines:
        path = _expanduser(line)
        if not _is(path.exists):
            _refuse_url(line, f"{where}, line {number}: ")
            path = folder / path if _is((folder / path).exists) else path
        if _is(path.is_dir):
            yield from _expand_folder(path)
        else:
            yield ImageSource(line, path)


# ---- images of Python users ----------------------------------------------------------------------------


class _ColumnSources(Sequence[ImageSource]):
    """The rows of a column as image sources; holds the column and not one image."""

    def __init__(self, column: Sequence[Any]) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> ImageSource: ...
    @overload
    def __getitem__(self, index: slice) -> list[ImageSource]: ...
    def __getitem__(self, index: int | slice) -> ImageSource | list[ImageSource]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        index = range(len(self))[index]  # negative ones, and IndexError, as in a list
        return ImageSource(f"image {index}", DatasetRow(self._column, index))


def as_sources(images: Any) -> Sequence[ImageSource]:
    """What Python users pass as images, as a sequence of sources in the same order.

    Args:
        images: One item or an iterable of them. A path (str or Path) of a file is one image, also when it
            is repeated, so that results line up with the list; a folder, glob or list file stands for all
            its images, as in `find_images`. PIL images (the current frame), bytes of an image file,
            `ImageSource`s. NumPy arrays [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]: uint8, uint16, bool, or
            float in [0, 1]; an array [N, H, W, C] is N images. A column of a `datasets.Dataset`, or a
            Dataset with exactly one Image column: read row by row while the work goes on, never held in
            memory.

    Raises:
        ImageError: An item of another type; a folder or glob without images.
    """
    column = _dataset_column(images)
    if column is not None:
        return _ColumnSources(column)
    if is_array(images) and images.ndim == 4:
        images = list(images)
    elif isinstance(images, (str, Path, bytes, Image.Image, ImageSource, dict)) or is_array(images):
        images = [images]
    elif not isinstance(images, Iterable) or hasattr(images, "dtype"):
        raise ImageError(unknown_type(images))
    sources: list[ImageSource] = []
    for item in images:
        if isinstance(item, (str, Path)):
            sources += {str(found.data): found for found in _expand(item, None)}.values()
        elif isinstance(item, ImageSource):
            sources.append(item)
        elif isinstance(item, (bytes, bytearray, memoryview, Image.Image, dict)) or is_array(item):
            sources.append(ImageSource(f"image {len(sources)}", item))
        else:
            raise ImageError(f"image {len(sources)}: {unknown_type(item)}")
    return sources


def is_array(item: Any) -> bool:
    numpy = sys.modules.get("numpy")  # whoever has an array has imported it
    return numpy is not None and isinstance(item, numpy.ndarray)


def unknown_type(item: Any) -> str:
    return (
        f"cannot read an image from {type(item).__module__}.{type(item).__qualname__}; give a path, bytes, a "
        "PIL image, a NumPy array (height x width x channels) or a column of a datasets.Dataset"
    )


def _dataset_column(images: Any) -> Sequence[Any] | None:
    """A `datasets` column whose rows come undecoded, or None for anything that is not of `datasets`."""
    datasets = sys.modules.get("datasets")
    if datasets is None or not type(images).__module__.startswith("datasets."):
        return None
    if isinstance(images, datasets.Dataset):
        names = [name for name, kind in images.features.items() if isinstance(kind, datasets.Image)]
        if len(names) != 1:
            raise ImageError(
                f"the dataset has {len(names)} image columns {names or list(images.features)}: "
                'pass one of its columns, such as dataset["image"]'
            )
        images = images[names[0]]
    column_type = datasets.arrow_dataset.Column
    if not isinstance(images, column_type):
        raise ImageError(f"a {type(images).__name__} has no fixed rows: pass one split, not streamed")
    # A set_transform makes the pixels by itself, and a nested column has no cast: both are read as they are.
    dataset, name = images.source, images.column_name
    if not isinstance(dataset, datasets.Dataset) or dataset.format["type"] == "custom":
        return images
    dataset = dataset.with_format(None).select_columns([name])
    if isinstance(images.features, datasets.Image):
        dataset = dataset.cast_column(name, datasets.Image(decode=False))
    return dataset[name]
