"""The embedding store: what was embedded once is never embedded again.

Layout, below one root folder:

    v1/FINGERPRINT-PRECISION/encoder.json          which encoder this is, for people
    v1/FINGERPRINT-PRECISION/KIND/DIGEST.safetensors

Each shard holds `keys` uint8[n, 16] and `embeddings` float32[n, D], is named by the SHA-256 of its own
bytes and never changes. That one rule gives everything else: a shard is written under a temporary name and
renamed, so a killed process leaves either all of it or none; two processes can write at once, since equal
content has an equal name; and a damaged file no longer matches its name, so it is deleted and its
embeddings are made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import VlclsWarning

if TYPE_CHECKING:
    from vlcls.encoders import Encoder

Kind = Literal["images", "images-full-decode", "texts"]

KEY_BYTES = 16
#: More small shards than this are merged into one; small is below `MERGE_BYTES` of embeddings.
MAX_SHARDS = 32
MERGE_BYTES = 64 << 20
#: Rows kept for a disk that refuses them.
MAX_WAITING = 1 << 16
#: Embeddings wait this long (seconds) before they become a shard: the most a killed run can lose.
FLUSH_SECONDS = 2.0

_FORMAT = "v1"
_TMP = ".tmp-"


def default_root() -> Path:
    """`VLCLS_CACHE`, or the user's cache folder."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("VLCLS_CACHE") or user_cache_path("vlcls")).expanduser()


def text_key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:KEY_BYTES]


class EmbeddingStore:
    """A folder of embeddings, partitioned by encoder, precision and kind."""

    def __init__(self, root: str | Path | None = None) -> None:
        self.root = (default_root() if root is None else Path(root)).expanduser() / _FORMAT

    def partition(self, encoder: Encoder, kind: Kind) -> Partition:
        """The embeddings of one kind made by `encoder` at its precision."""
        folder = self.root / f"{encoder.fingerprint}-{encoder.precision}"
        if not (folder / "encoder.json").exists():
            about = {"spec": encoder.spec, "fingerprint": encoder.fingerprint, "precision": encoder.precision}
            with contextlib.suppress(OSError):  # a folder that cannot be written can still be read
                write_atomically(folder, "encoder.json", json.dumps(about, indent=2).encode())
        return Partition(folder / kind, encoder.embedding_dim)

    def info(self) -> list[PartitionInfo]:
        """One entry for each partition on disk."""
        return [_describe(folder) for folder in self._folders()]

    def verify(self) -> list[Path]:
        """Read every shard; delete damaged ones and return their paths."""
        damaged = []
        for folder in self._folders():
            for path in _shard_paths(folder):
                with contextlib.suppress(FileNotFoundError):  # merged away by a running process
                    if _open(path) is None:
                        damaged.append(path)
                        path.unlink()
        return damaged

    def clear(self) -> int:
        """Delete everything in the store. Returns the number of bytes freed."""
        import shutil

        size = sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())
        shutil.rmtree(self.root, ignore_errors=True)
        return size

    def _folders(self) -> Iterator[Path]:
        if self.root.is_dir():
            yield from sorted(
                kind
                for encoder in self.root.iterdir()
                if encoder.is_dir()
                for kind in encoder.iterdir()
                if kind.is_dir()
            )


@dataclass(frozen=True)
class PartitionInfo:
    """What `vlcls cache info` shows of one partition."""

    spec: str
    precision: str
    kind: str
    embeddings: int
    bytes: int
    folder: Path


class Partition:
    """The embeddings of one encoder and kind. Reading is safe from many threads; writing from one.

    Memory holds keys and the rows not yet written; rows on disk are mapped, not loaded.
    """

    def __init__(self, folder: Path, dimension: int) -> None:
        self.folder, self.dimension = folder, dimension
        self._shards: list[_Shard] = []
        self._index: dict[bytes, tuple[_Shard, int]] = {}
        self._pending: dict[bytes, NDArray[np.float32]] = {}
        self._refused = False
        self._last_flush = time.monotonic()
        _remove_leftovers(folder)
        for path in _shard_paths(folder):
            self._adopt(path)

    def __len__(self) -> int:
        return len(self._index) + len(self._pending)

    def __contains__(self, key: bytes) -> bool:
        return key in self._index or key in self._pending

    def get(self, key: bytes) -> NDArray[np.float32] | None:
        """float32[D], or None if the content was never embedded."""
        place = self._index.get(key)
        return self._pending.get(key) if place is None else place[0].embeddings[place[1]]

    def put(self, keys: Sequence[bytes], embeddings: NDArray[np.float32]) -> None:
        """Remember embeddings float32[n, D]; on disk after `FLUSH_SECONDS` or at `close`."""
        # Rows that are not finite would be served for ever.
        for key, row in zip(keys, embeddings, strict=True):
            if key not in self and np.isfinite(row).all():
                self._pending[key] = row
        if self._refused and len(self._pending) > MAX_WAITING:
            self._pending.clear()
        if time.monotonic() - self._last_flush > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting. A full or read-only disk costs the cache, not the run."""
        self._last_flush = time.monotonic()
        if not self._pending:
            return
        try:
            self._adopt(_write_shard(self.folder, self._pending))
            # What another process has cleared away meanwhile stays here, and is written again.
            self._pending = {key: row for key, row in self._pending.items() if key not in self._index}
            self._merge()
        except OSError as error:
            if not self._refused:
                warnings.warn(f"embeddings not stored in {self.folder}: {error}", VlclsWarning, stacklevel=3)
            self._refused = True  # try again, but let memory stay flat

    def close(self) -> None:
        self.flush()

    def __enter__(self) -> Partition:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _adopt(self, path: Path) -> None:
        try:
            shard = _open(path)
        except OSError:  # merged away by another process, or unreadable: the rows are made anew
            return
        if shard is None or shard.embeddings.shape[1] != self.dimension:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return
        self._shards.append(shard)
        self._index.update((bytes(key), (shard, row)) for row, key in enumerate(shard.keys))

    def _merge(self) -> None:
        """Join the small shards into one, once there are many of them."""
        small = [shard for shard in self._shards if shard.embeddings.nbytes < MERGE_BYTES]
        if len(small) <= MAX_SHARDS:
            return
        rows = {
            bytes(key): row for shard in small for key, row in zip(shard.keys, shard.embeddings, strict=True)
        }
        merged = _write_shard(self.folder, rows)
        self._shards = [shard for shard in self._shards if shard not in small]
        self._adopt(merged)
        joined = [shard.path for shard in small if shard.path != merged]
        del small, rows  # Windows deletes no file that is still mapped
        for path in joined:
            with contextlib.suppress(OSError):
                path.unlink()


@dataclass(frozen=True, eq=False)
class _Shard:
    path: Path
    keys: NDArray[np.uint8]  # [n, KEY_BYTES]
    embeddings: NDArray[np.float32]  # [n, D], mapped


def _shard_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _open(path: Path) -> _Shard | None:
    """Map a shard, or None for a file that is not what its name says."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != path.stem:
        return None
    header_size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + header_size])
    place = {
        name: (8 + header_size + header[name]["data_offsets"][0], tuple(header[name]["shape"]))
        for name in ("keys", "embeddings")
    }
    offset, shape = place["keys"]
    keys = np.frombuffer(data, np.uint8, int(np.prod(shape)), offset).reshape(shape).copy()
    offset, shape = place["embeddings"]
    # Mapping needs the file as it was read: it is never changed, and stays readable when unlinked.
    return _Shard(path, keys, np.memmap(path, np.float32, "r", offset, shape))


def _remove_leftovers(folder: Path) -> None:
    """Temporary files of processes killed more than an hour ago."""
    for path in folder.glob(f"{_TMP}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > 3600:
                path.unlink()


def _write_shard(folder: Path, rows: dict[bytes, NDArray[np.float32]]) -> Path:
    from safetensors.numpy import save

    keys = sorted(rows)  # sorted: equal content gets an equal name
    data = save(
        {
            "keys": np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), KEY_BYTES),
            "embeddings": np.stack([rows[key] for key in keys]).astype(np.float32, copy=False),
        }
    )
    return write_atomically(folder, f"{hashlib.sha256(data).hexdigest()}.safetensors", data)


def write_atomically(folder: Path, name: str, data: bytes) -> Path:
    """Write a file so that it is seen whole or not at all, also after a crash of the machine."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{_TMP}{uuid.uuid4().hex}"
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return temporary.replace(folder / name)


def _describe(folder: Path) -> PartitionInfo:
    from safetensors import safe_open

    count = 0
    for path in _shard_paths(folder):
        try:
            with safe_open(path, "np") as shard:
                count += shard.get_slice("keys").get_shape()[0]
        except Exception:  # damaged: `verify` names it; here it holds nothing
            continue
    try:
        about = json.loads((folder.parent / "encoder.json").read_text())
    except (OSError, ValueError):
        about = {}
    size = sum(path.stat().st_size for path in folder.iterdir())
    spec, precision = str(about.get("spec", "?")), str(about.get("precision", "?"))
    return PartitionInfo(spec, precision, folder.name, count, size, folder)
