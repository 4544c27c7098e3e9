"""Webdataset shards as CLIP_benchmark lays them out, here or on the Hub.

    FOLDER/classnames.txt
    FOLDER/zeroshot_classification_templates.txt     {c} for the class name
    FOLDER/SPLIT/0.tar, 1.tar, ...                   s0000000.webp, s0000000.cls, ...
    FOLDER/SPLIT/nshards.txt

Only the headers in the shards are read when a set is opened; an image is read when it is needed, from its
place in the shard, so that nothing is unpacked or copied.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vlcls.errors import EvaluationError
from vlcls.files.lazy import Lazy
from vlcls.files.reading import open_regular
from vlcls.files.terminal import printable
from vlcls.files.text import read_lines, read_text
from vlcls.image_sources import DatasetRow, ImageSource, image_extensions
from vlcls.images.decoding import MAX_FILE_BYTES
from vlcls.prompts import load_templates

CLASS_NAMES = "classnames.txt"
TEMPLATES = "zeroshot_classification_templates.txt"
#: Shards hold one number (.cls), or a vector of zeros and ones for sets with several classes an image (.npy).
_LABEL_EXTENSIONS = (".cls", ".npy")
#: Bytes of a label, of nshards.txt; and of a class number.
_MAX_LABEL, _MAX_DIGITS = 16 << 20, 40


@dataclass(frozen=True)
class Shards:
    """The samples of one split.

    Attributes:
        split: Its folder.
        sources: N images.
        values: N class numbers, or N lists of them.
        multi_label: Which of the two.
        names: The class names, if there is a list of them.
        templates: Prompt templates, `{}` for the class name, if there are some.
    """

    split: str
    sources: list[ImageSource]
    values: list[Any]
    multi_label: bool
    names: list[str] | None
    templates: tuple[str, ...] | None


def _piece(pieces: list[tuple[Path, int, int]], index: int) -> bytes:
    path, start, size = pieces[index]
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)


def is_shard_folder(folder: Path) -> bool:
    """Whether a folder is laid out like that."""
    return bool(_splits(folder)) and not any(folder.glob("*.parquet"))


def _splits(folder: Path) -> list[str]:
    return sorted({path.parent.name for path in folder.glob("*/*.tar")})


def read_shards(folder: Path, split: str | None) -> Shards:
    """Read the list of samples of one split.

    Args:
        folder: Holds the folder of the split.
        split: None: "test", or the only one.

    Raises:
        EvaluationError: No such split, a missing or damaged shard, or a sample without a class or image.
    """
    splits = _splits(folder)
    chosen = split or ("test" if "test" in splits else splits[0] if len(splits) == 1 else None)
    if chosen is None or chosen not in splits:
        raise EvaluationError(
            f"{folder}: no split {split!r}; it has {', '.join(splits) or 'no SPLIT/*.tar'}"
            if split or not splits
            else f"{folder}: several splits ({', '.join(splits)}): say which"
        )
    paths = sorted((folder / chosen).glob("*.tar"), key=lambda path: (len(path.stem), path.stem))
    _all_there(folder / chosen, paths)
    samples = [sample for path in paths for sample in _samples(path)]
    if not samples:
        raise EvaluationError(f"{folder / chosen}: no image in its shards")
    many = any(extension == ".npy" for _, _, extension, _ in samples)
    pieces = Lazy(len(samples), partial(_piece, [piece for _, piece, _, _ in samples]))
    return Shards(
        chosen,
        [ImageSource(name, DatasetRow(pieces, row)) for row, (name, *_) in enumerate(samples)],
        [_value(name, extension, content) for name, _, extension, content in samples],
        many,
        read_class_names(folder),
        read_templates(folder),
    )


def read_templates(folder: Path) -> tuple[str, ...] | None:
    """The prompt templates of a set, or None if it brings none.

    Raises:
        TemplateError: One without a place for the class name.
    """
    path = folder / TEMPLATES
    return tuple(load_templates(path)) if path.is_file() else None


def read_class_names(folder: Path) -> list[str] | None:
    """Class names in label order, or None if there is no list of them.

    Raises:
        EvaluationError: A blank line among them: it is not clear which numbers the names below it have.
    """
    path = folder / CLASS_NAMES
    if not path.is_file():
        return None
    lines = [line.strip() for line in read_lines(path, EvaluationError)]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise EvaluationError(f"{path}: there is no class name in it")
    if "" in lines:
        raise EvaluationError(f"{path}: line {lines.index('') + 1} is blank: every line must be a class name")
    return lines


def _all_there(folder: Path, paths: Sequence[Path]) -> None:
    count = folder / "nshards.txt"
    if not count.is_file():
        return
    text = read_text(count, EvaluationError, limit=_MAX_LABEL).strip()
    if text.isdecimal() and int(text) != len(paths):
        raise EvaluationError(
            f"{folder}: {len(paths)} shards, and {count.name} says {text}: fetch all of them"
        )


Sample = tuple[str, tuple[Path, int, int], str, bytes]


def _samples(path: Path) -> Iterator[Sample]:
    """Name, place of the image, extension and content of the label of each sample in a shard."""
    images: dict[str, tuple[str, tuple[Path, int, int]]] = {}
    labels: dict[str, tuple[str, bytes]] = {}
    with open_regular(path, EvaluationError) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as shard:  # packed ones have no places to read from
                for member in shard:
                    if member.size < 0:  # which would send the reader back, again and again
                        raise EvaluationError(f"{path}: {printable(member.name)} is of {member.size} bytes")
                    found = _known_kind(member)
                    if found is None:
                        continue
                    key, extension = found
                    _check_size(member, extension, path)
                    if extension not in _LABEL_EXTENSIONS:
                        where = (path, member.offset_data, member.size)
                        images[key] = (f"{path.parent.name}/{path.name}/{printable(member.name)}", where)
                        continue
                    content = shard.extractfile(member)
                    assert content is not None
                    labels[key] = (extension, content.read())
        except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
            raise EvaluationError(f"{path}: not an uncompressed, whole tar file ({error})") from error
    for missing, what, there in (
        (images.keys() - labels.keys(), ".cls", "an image"),
        (labels.keys() - images.keys(), "image", "a class"),
    ):
        if missing:
            raise EvaluationError(
                f"{path}: sample {min(missing)!r} has {there} but no {what} ({len(missing)} such samples)"
            )
    for key, (name, where) in images.items():
        yield name, where, *labels[key]


def _known_kind(member: tarfile.TarInfo) -> tuple[str, str] | None:
    """The sample that a file of a shard belongs to, and its extension; None for other files."""
    folder, _, file = member.name.rpartition("/")
    key, dot, extension = file.partition(".")
    extension = f".{extension.lower()}"
    known = extension in image_extensions() or extension in _LABEL_EXTENSIONS
    if not member.isfile() or not key or not dot or not known:
        return None
    return (f"{folder}/{key}" if folder else key), extension


def _check_size(member: tarfile.TarInfo, extension: str, path: Path) -> None:
    """Sizes in a tar file are what somebody wrote there: a kilobyte of it may declare 40 GB of holes."""
    limit = _MAX_LABEL if extension in _LABEL_EXTENSIONS else MAX_FILE_BYTES
    name = printable(member.name)
    if member.size > limit:
        raise EvaluationError(f"{path}: {name} is of {member.size:,} bytes, more than {limit:,}")
    if member.issparse():
        raise EvaluationError(f"{path}: {name} is a sparse file, which has no one place to be read from")
    if member.offset_data + member.size > path.stat().st_size:
        raise EvaluationError(f"{path}: {name} ends behind the end of the file: it is cut off")


def _value(name: str, extension: str, content: bytes) -> Any:
    if extension == ".npy":
        try:
            vector = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError, OSError, SyntaxError, TypeError, MemoryError) as error:
            raise EvaluationError(f"{name}: its classes are no array of NumPy's ({error})") from error
        if not isinstance(vector, np.ndarray) or vector.ndim != 1 or vector.dtype.kind not in "biuf":
            raise EvaluationError(f"{name}: its classes are no vector of zeros and ones")
        return np.flatnonzero(vector).tolist()
    try:
        return int(content) if len(content) <= _MAX_DIGITS else int("")
    except ValueError:
        raise EvaluationError(f"{name}: its class is no number but {content[:40]!r}") from None
