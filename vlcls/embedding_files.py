"""Embeddings made elsewhere: NumPy files, Parquet files, clip-retrieval's output folders."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vlcls.errors import EmbeddingError, VlclsWarning
from vlcls.files.arrays import read_npy, read_npz
from vlcls.files.parquet import parquet_schema, read_parquet
from vlcls.files.reading import number_in_name

#: Columns and array names that hold embeddings in the wild, first choice first.
_EMBEDDING_NAMES = (
    *("{kind}_embedding", "{kind}_embeddings", "{kind}_embeds", "{kind}_emb", "{kind}_features"),
    *("embedding", "embeddings", "embeds", "emb", "features"),
)
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
    rows, names = reader(path, kind)
    if rows.ndim != 2 or rows.dtype.kind not in "fiu":  # complex numbers are numbers, too
        raise EmbeddingError(
            f"{path}: numbers [rows, width] are expected, not {rows.dtype} {list(rows.shape)}"
        )
    return GivenEmbeddings(rows, names or [str(row) for row in range(len(rows))])


def _read_npy(path: Path, kind: str) -> tuple[np.ndarray, list[str]]:
    return read_npy(path, EmbeddingError, mmap=True), []


def _read_npz(path: Path, kind: str) -> tuple[np.ndarray, list[str]]:
    arrays = read_npz(path, EmbeddingError)
    files = list(arrays)
    name = _pick(files, kind) or (files[0] if len(files) == 1 else None)
    if name is None:
        raise EmbeddingError(
            f"{path}: which of its arrays {files[:20]} holds the embeddings? Name it 'embeddings'"
        )
    return arrays[name], []


def _read_parquet(path: Path, kind: str) -> tuple[np.ndarray, list[str]]:
    schema = parquet_schema(path, EmbeddingError)
    import pyarrow as pa

    is_list = (pa.types.is_list, pa.types.is_fixed_size_list, pa.types.is_large_list)
    lists = [field.name for field in schema if any(test(field.type) for test in is_list)]
    name = _pick(lists, kind) or (lists[0] if len(lists) == 1 else None)
    if name is None:
        raise EmbeddingError(f"{path}: none of its columns {schema.names} is a list of numbers for {kind}s")
    table = read_parquet(path, [name, *_named(schema.names)], EmbeddingError)
    vectors = table[name].combine_chunks()
    if not len(vectors):
        raise EmbeddingError(f"{path}: no rows in it")
    if vectors.null_count:
        raise EmbeddingError(f"{path}: {vectors.null_count} rows of column {name!r} are empty")
    values = vectors.flatten()
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)) or values.null_count:
        kinds = f"{values.type} with {values.null_count} missing" if values.null_count else values.type
        raise EmbeddingError(f"{path}: column {name!r} holds {kinds}; lists of numbers are expected")
    is_fixed = pa.types.is_fixed_size_list(vectors.type)
    widths = {vectors.type.list_size} if is_fixed else set(np.diff(vectors.offsets.to_numpy()).tolist())
    if len(widths) != 1:
        raise EmbeddingError(f"{path}: rows of column {name!r} have different widths {sorted(widths)[:5]}")
    return values.to_numpy(zero_copy_only=False).reshape(len(vectors), widths.pop()), _names(table)


def _names(table: Any) -> list[str]:
    return [str(value) for name in _named(table.column_names) for value in table[name].to_pylist()]


def _named(columns: list[str]) -> list[str]:
    """The column with names for reports, if there is one."""
    return [name for name in _NAME_COLUMNS if name in columns][:1]


def _read_clip_retrieval(folder: Path, kind: Literal["image", "text"]) -> GivenEmbeddings:
    parts = sorted(
        (folder / {"image": "img_emb", "text": "text_emb"}[kind]).glob("*.npy"), key=number_in_name
    )
    if not parts:
        parts = sorted(folder.glob("*.npy"), key=number_in_name)
    if not parts:
        raise EmbeddingError(
            f"{folder}: neither img_emb/ nor text_emb/ with .npy files, nor .npy files, in it"
        )
    read = [read_embeddings(part, kind).rows for part in parts]
    for part, each in zip(parts, read, strict=True):
        if each.shape[1] != read[0].shape[1]:
            raise EmbeddingError(
                f"{part}: rows of {each.shape[1]} numbers, and those of {parts[0].name} have "
                f"{read[0].shape[1]}: they are of different encoders"
            )
    rows = np.concatenate(read)
    names: list[str] = []
    if find_spec("pyarrow") is not None:
        for part in sorted((folder / "metadata").glob("*.parquet"), key=number_in_name):
            columns = _named(parquet_schema(part, EmbeddingError).names)
            names += _names(read_parquet(part, columns, EmbeddingError))
    if names and len(names) != len(rows):
        warnings.warn(
            f"{folder}: {len(names)} names in its metadata for {len(rows)} embeddings: rows are numbered",
            VlclsWarning,
            stacklevel=3,
        )
        names = []
    return GivenEmbeddings(rows, names or [str(row) for row in range(len(rows))])


def _pick(available: list[str], kind: str) -> str | None:
    wanted = (name.format(kind=kind) for name in _EMBEDDING_NAMES)
    return next((name for name in wanted if name in available), None)
