"""One file of the store: how it is written, what it must be to be believed, and how rows are read from it.

No file stays open, and none is mapped: a map holds a descriptor for each shard, and dies with the whole
process when its file is cut or its disk fails. A row is read where it lies, from a file that is still the
one which was checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import VlclsError
from vlcls.files.json_text import parse_json, to_json
from vlcls.files.reading import open_regular
from vlcls.files.writing import write_atomically
from vlcls.store.index import KEY_BYTES, Keys, as_keys

Kind = Literal["images", "images-full-decode", "texts"]

#: What a shard is called. Nothing else in the store's folders is read, or deleted.
SHARD_NAME = re.compile(r"[0-9a-f]{64}\.safetensors")
#: A header has about 400 bytes, and no shard that was ever written has 4 GiB or so many rows.
MAX_HEADER_BYTES = 1 << 16
MAX_SHARD_BYTES = 4 << 30
MAX_ROWS = 1 << 24

_BLOCK = 4 << 20
_METADATA = "vlcls"


def text_key(text: str) -> bytes:
    """What a text is filed under: the first 16 bytes of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:KEY_BYTES]


class ShardError(VlclsError):
    """A file that is not served; says why. `damaged`: it is not what was written under its name."""

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged


@dataclass(frozen=True)
class Identity:
    """Whose rows a shard holds.

    Attributes:
        fingerprint, precision: Of the encoder.
        kind: What was embedded.
        dimension: D, the width of a row; None for any.
    """

    fingerprint: str
    precision: str
    kind: str
    dimension: int | None = None

    @property
    def label(self) -> dict[str, str]:
        return {"fingerprint": self.fingerprint, "kind": self.kind, "precision": self.precision}


#: Device, inode, size and time of change: equal only for a file that was not touched since.
Signature = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Shard:
    """A shard that was checked.

    Attributes:
        path, signature: The file, as it was when it was checked.
        count, dimension: n and D.
        offset: Where its embeddings begin.
        labelled: Whether it says whose rows it holds; older ones do not.
    """

    path: Path
    signature: Signature
    count: int
    dimension: int
    offset: int
    labelled: bool

    @property
    def nbytes(self) -> int:
        return 4 * self.count * self.dimension


@dataclass(frozen=True)
class _Header:
    count: int
    dimension: int
    keys: range  # bytes of the file
    embeddings: range
    label: Any


def signature_of(status: os.stat_result) -> Signature:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def file_names(folder: Path) -> set[str]:
    """Names of all that is in a folder; a `Path` for each would take several times as long."""
    return set(os.listdir(folder))  # noqa: PTH208


def shard_names(folder: Path) -> list[str]:
    """Names of the files that are, or should be, shards; none where there is no such folder.

    Raises:
        OSError: The folder cannot be read.
    """
    try:
        return sorted(name for name in file_names(folder) if SHARD_NAME.fullmatch(name))
    except FileNotFoundError:
        return []


def write_shard(
    folder: Path, rows: Mapping[bytes, NDArray[np.float32]], identity: Identity
) -> tuple[Shard, Keys] | None:
    """Write rows, all of width D, and return the shard with its keys; None if it was cleared away at once.

    Raises:
        OutputError: It cannot be written.
    """
    from safetensors.numpy import save

    keys = sorted(rows)  # sorted: equal content gets an equal name
    embeddings = np.stack([rows[key] for key in keys]).astype(np.float32, copy=False)
    table = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), KEY_BYTES)
    # One entry: the order of several is not the same each time.
    label = {_METADATA: to_json(identity.label, sort_keys=True)}
    data = save({"keys": table, "embeddings": embeddings}, label)
    path = write_atomically(folder / f"{hashlib.sha256(data).hexdigest()}.safetensors", data)
    try:
        signature = signature_of(path.stat())
    except FileNotFoundError:
        return None
    offset = 8 + int.from_bytes(data[:8], "little")
    offset += json.loads(data[8:offset])["embeddings"]["data_offsets"][0]
    return Shard(path, signature, len(keys), embeddings.shape[1], offset, True), as_keys(keys)


def open_shard(path: Path, identity: Identity) -> tuple[Shard, Keys]:
    """Read all of a shard, a block at a time, and check all of it: form, content, and whose it is.

    Args:
        path: A file in a partition's folder.
        identity: Whose rows it should hold.

    Raises:
        ShardError: It cannot be read, is not what its name says, or holds rows of another encoder or kind.
    """
    with open_regular(path, ShardError) as file:
        try:
            signature = signature_of(os.fstat(file.fileno()))
            digest = hashlib.sha256()
            header = _read_header(file, path, signature[2], digest.update)
            keys = b"".join(_checked_blocks(file, path, header, digest.update))
        except OSError as error:
            raise ShardError(f"{path}: cannot be read: {error.strerror or error}") from error
    if f"{digest.hexdigest()}.safetensors" != path.name:
        raise ShardError(f"{path}: not the bytes that its name was made of", damaged=True)
    table = np.frombuffer(keys, f"S{KEY_BYTES}")
    if not (table[1:] > table[:-1]).all():
        raise ShardError(f"{path}: its keys are not in order", damaged=True)
    if header.label is not None and header.label != identity.label:
        raise ShardError(f"{path}: holds rows of another encoder or kind ({_said(header.label)})")
    if identity.dimension not in (None, header.dimension):
        raise ShardError(f"{path}: its rows are {header.dimension} wide, not {identity.dimension}")
    place = header.embeddings.start
    shard = Shard(path, signature, header.count, header.dimension, place, header.label is not None)
    return shard, table


def read_rows(shard: Shard, numbers: NDArray[Any]) -> NDArray[np.float32]:
    """Some rows of a shard that was checked, float32[k, D]; nothing else of it is read.

    Raises:
        ShardError: It is gone, or no longer the file that was checked.
    """
    width = 4 * shard.dimension
    order = np.argsort(numbers, kind="stable")
    wanted = numbers[order].tolist()
    found = np.empty((len(wanted), shard.dimension), "<f4")
    room = memoryview(found).cast("B")  # type: ignore[arg-type]
    with open_regular(shard.path, ShardError) as file:
        try:
            if signature_of(os.fstat(file.fileno())) != shard.signature:
                raise ShardError(f"{shard.path}: changed since it was checked")
            start = 0
            while start < len(wanted):
                end = start + 1
                while end < len(wanted) and wanted[end] == wanted[end - 1] + 1:
                    end += 1
                file.seek(shard.offset + wanted[start] * width)
                if file.readinto(room[start * width : end * width]) < (end - start) * width:  # type: ignore[attr-defined]
                    raise ShardError(f"{shard.path}: was cut")
                start = end
        except OSError as error:
            raise ShardError(f"{shard.path}: cannot be read: {error.strerror or error}") from error
    result = np.empty((len(wanted), shard.dimension), np.float32)
    result[order] = found
    return result


def count_rows(path: Path) -> int:
    """How many rows a shard says it has; 0 for a file that is none. Reads its header only."""
    try:
        with open_regular(path, ShardError) as file:
            return _read_header(file, path, os.fstat(file.fileno()).st_size, lambda _: None).count
    except (OSError, ShardError):
        return 0


def _read_header(file: BinaryIO, path: Path, size: int, update: Callable[[bytes], object]) -> _Header:
    """The header, checked: two arrays of the types and shapes of a shard, which fill the file exactly."""
    if size > MAX_SHARD_BYTES:
        raise ShardError(f"{path}: {size:,} bytes are more than a shard has", damaged=True)
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(size - 8, MAX_HEADER_BYTES):
        raise ShardError(f"{path}: has no header", damaged=True)
    text = file.read(length)
    update(start + text)
    try:
        content = parse_json(text, "its header", ShardError)
    except ShardError as error:
        raise ShardError(f"{path}: {error}", damaged=True) from None
    header = _layout(content, 8 + length, size, _label(content, path))
    if header is None:
        raise ShardError(f"{path}: its header is not that of a shard of {size:,} bytes", damaged=True)
    return header


def _layout(content: Any, offset: int, size: int, label: Any) -> _Header | None:
    """Where a header has the two arrays; None unless they are what `write_shard` writes."""
    try:
        (count, width), (rows, dimension) = content["keys"]["shape"], content["embeddings"]["shape"]
    except (KeyError, TypeError, ValueError):
        return None
    numbers = all(type(number) is int and number > 0 for number in (count, dimension))
    if (
        not numbers
        or count != rows
        or count > MAX_ROWS
        or width != KEY_BYTES
        or len(content) != 2 + (label is not None)
    ):
        return None
    lengths = {"keys": KEY_BYTES * count, "embeddings": 4 * dimension * count}
    for order in (("embeddings", "keys"), ("keys", "embeddings")):  # up to the library that writes
        begin, places = 0, {}
        for name in order:
            places[name] = range(begin, begin + lengths[name])
            begin += lengths[name]
        wanted = {
            name: {
                "dtype": {"keys": "U8", "embeddings": "F32"}[name],
                "shape": [count, {"keys": KEY_BYTES, "embeddings": dimension}[name]],
                "data_offsets": [place.start, place.stop],
            }
            for name, place in places.items()
        }
        if all(content[name] == wanted[name] for name in order) and offset + begin == size:
            keys, embeddings = places["keys"], places["embeddings"]
            return _Header(
                count, dimension, range(offset + keys.start, offset + keys.stop),
                range(offset + embeddings.start, offset + embeddings.stop), label,
            )  # fmt: skip
    return None


def _label(content: Any, path: Path) -> Any:
    """What the metadata says of the rows; None in a shard without."""
    if not isinstance(content, dict) or "__metadata__" not in content:
        return None
    metadata = content["__metadata__"]
    text = metadata.get(_METADATA) if isinstance(metadata, dict) else None
    try:
        return parse_json(text, path, ShardError) if isinstance(text, str) else {}
    except ShardError:
        return {}


def _said(label: Any) -> str:
    known = label if isinstance(label, dict) else {}
    parts = [str(known.get(name, "?"))[:12] for name in ("fingerprint", "precision", "kind")]
    return "{} in {}, {}".format(*parts)


def _checked_blocks(
    file: BinaryIO, path: Path, header: _Header, update: Callable[[bytes], object]
) -> Iterator[bytes]:
    """Read to the end, `update` with every block, yield those of the keys; every embedding must be finite."""
    for place in sorted((header.keys, header.embeddings), key=lambda place: place.start):
        left = len(place)
        while left:
            block = file.read(min(left, _BLOCK))
            if len(block) < min(left, _BLOCK):
                raise ShardError(f"{path}: was cut", damaged=True)
            left -= len(block)
            update(block)
            if place is header.keys:
                yield block
            elif not np.isfinite(np.frombuffer(block, "<f4")).all():
                raise ShardError(f"{path}: holds NaN or infinity", damaged=True)
