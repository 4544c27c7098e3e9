"""Embeddings made elsewhere: NumPy files, Parquet files, clip-retrieval's output folders."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vlcls.errors import EmbeddingError, MissingExtraError
from vlcls.files.arrays import read_npy

#: Columns and array names that hold embeddings in the wild, first choice first.
_EMBEDDING_NAMES = ("{kind}_embedding", "{kind}_embeddings", "{kind}_emb", "embedding", "embeddings", "emb")
_NAME_COLUMNS = ("image_path", "path", "file_name", "url", "key", "caption", "text")


@dataclass(frozen=True)
class GivenEmbeddings:
    """Attributes:
    rows: Array[N, D], as it was stored.
    names: N names for reports: paths if the file has them, else row numbers.
    """

    rows: np.ndarray
    names: list[str]


def read_embeddings(path: str | Path, kind: Literal["image", "text"]) -> GivenEmbeddings:
    """Read embeddings from `.npy`, `.npz`, `.parquet`, or a folder that clip-retrieval wrote.

    Args:
        path: The file or folder. Of a folder, `img_emb/*.npy` or `text_emb/*.npy` are read in the order of
            their numbers, with the names in `metadata/*.parquet`.
        kind: Which of the two to take where both are there.

    Raises:
        EmbeddingError: Missing, unreadable, or without two-dimensional numbers; names the file.
        MissingExtraError: Parquet without pyarrow.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise EmbeddingError(f"{path}: no such file or folder")
    if path.is_dir():
        return _read_clip_retrieval(path, kind)
    readers = {".npy": _read_npy, ".npz": _read_npz, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise EmbeddingError(f"{path}: .npy, .npz, .parquet or a clip-retrieval folder is expected")
    try:
        rows, names = reader(path, kind)
    except EmbeddingError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise EmbeddingError(f"{path}: not readable as {path.suffix} embeddings: {error}") from error
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.number):
        raise EmbeddingError(f"{path}: numbers [rows, width] are expected, not {rows.dtype} {rows.shape}")
    return GivenEmbeddings(rows, names or [str(row) for row in range(len(rows))])


def _read_npy(path: Path, kind: str) -> tuple[np.ndarray, list[str]]:
    return read_npy(path, EmbeddingError, mmap=True), []


def _read_npz(path: Path, kind: str) -> tuple[np.ndarray, list[str]]:
    with np.load(path, allow_pickle=False) as arrays:
        name = _pick(arrays.files, kind) or (arrays.files[0] if len(arrays.files) == 1 else None)
        if name is None:
            raise EmbeddingError(
                f"{path}: which of its arrays {arrays.files} holds the embeddings? Name it 'embeddings'"
            )
        return arrays[name], []


def _read_parquet(path: Path, kind: str) -> tuple[np.ndarray, list[str]]:
    if find_spec("pyarrow") is None:
        raise MissingExtraError("reading Parquet files", "parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: Any = pq.read_schema(path)
    lists = [
        f.name
        for f in columns
        if pa.types.is_list(f.type) or pa.types.is_fixed_size_list(f.type) or pa.types.is_large_list(f.type)
    ]
    name = _pick(lists, kind) or (lists[0] if len(lists) == 1 else None)
    if name is None:
        raise EmbeddingError(f"{path}: none of its columns {columns.names} is a list of numbers for {kind}s")
    named = next((column for column in _NAME_COLUMNS if column in columns.names), None)
    table = pq.read_table(path, columns=[name, *([named] if named else [])])
    vectors = table[name].combine_chunks()
    if vectors.null_count:
        raise EmbeddingError(f"{path}: {vectors.null_count} rows of column {name!r} are empty")
    widths = (
        set(np.diff(vectors.offsets.to_numpy()).tolist())
        if hasattr(vectors, "offsets")
        else {vectors.type.list_size}
    )
    if len(widths) != 1:
        raise EmbeddingError(f"{path}: rows of column {name!r} have different widths {sorted(widths)[:5]}")
    rows = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(vectors), widths.pop())
    return rows, [str(value) for value in table[named].to_pylist()] if named else []


def _read_clip_retrieval(folder: Path, kind: str) -> GivenEmbeddings:
    parts = sorted((folder / {"image": "img_emb", "text": "text_emb"}[kind]).glob("*.npy"), key=_number)
    if not parts:
        parts = sorted(folder.glob("*.npy"), key=_number)
    if not parts:
        raise EmbeddingError(
            f"{folder}: neither img_emb/ nor text_emb/ with .npy files, nor .npy files, in it"
        )
    rows = np.concatenate(
        [read_embeddings(part, "image" if kind == "image" else "text").rows for part in parts]
    )
    names: list[str] = []
    if find_spec("pyarrow") is not None:
        import pyarrow.parquet as pq

        for part in sorted((folder / "metadata").glob("*.parquet"), key=_number):
            table = pq.read_table(part)
            named = next((column for column in _NAME_COLUMNS if column in table.column_names), None)
            names += [str(value) for value in table[named].to_pylist()] if named else []
    return GivenEmbeddings(rows, names if len(names) == len(rows) else [str(row) for row in range(len(rows))])


def _number(path: Path) -> tuple[int, str]:
    digits = "".join(letter for letter in path.stem if letter.isdigit())
    return (int(digits) if digits else 0, path.name)


def _pick(available: list[str], kind: str) -> str | None:
    wanted = (name.format(kind=kind) for name in _EMBEDDING_NAMES)
    return next((name for name in wanted if name in available), None)
