"""The files that hold captions and embeddings: Arrow, a part at a time, mapped when they are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import CaptionError, library
from vlcls.files.lazy import Lazy
from vlcls.files.reading import regular_file
from vlcls.files.writing import write_atomically

#: Names of parts.
PART = re.compile(r"captions-\d{6,}\.arrow")


def captions_of(column: Any) -> Sequence[str]:
    """A column of texts in Arrow files: one is read when it is asked for."""
    return Lazy(len(column), partial(_caption, column))


def _caption(column: Any, index: int) -> str:
    return column[index].as_py() or ""


def arrow() -> Any:
    """pyarrow, or a `MissingExtraError`."""
    return library("pyarrow", "caption databases", "captions")


def part_paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("captions-*.arrow") if PART.fullmatch(path.name))


def write_part(folder: Path, captions: Sequence[str], embeddings: NDArray[Any]) -> Path:
    """Write captions and embeddings [n, D] as the next part, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    pa = arrow()
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), embeddings.shape[1])
    table = pa.table({"caption": pa.array(captions, pa.string()), "embedding": vectors})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    number = len(part_paths(folder))
    while (path := folder / f"captions-{number:06}.arrow").exists():  # where one before it was deleted
        number += 1
    return write_atomically(path, sink.getvalue().to_pybytes())


def read_part(path: Path, dtype: str, dimension: int | None = None) -> tuple[Any, NDArray[Any]]:
    """The captions of a part, as a column of Arrow, and its embeddings [n, D]; nothing is loaded.

    Raises:
        CaptionError: It is damaged, or holds something else than texts and rows of `dtype`; says what.
    """
    pa = arrow()
    regular_file(path, CaptionError)
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        table.validate(full=True)
        column, vectors = table["caption"], table["embedding"]
        wanted = {"float16": pa.float16(), "float32": pa.float32()}[dtype]
        if column.type != pa.string() or column.null_count:
            raise ValueError(f"its captions are {column.type} with {column.null_count} missing, not texts")
        if not pa.types.is_fixed_size_list(vectors.type) or vectors.type.value_type != wanted:
            raise ValueError(f"its embeddings are {vectors.type}, not rows of {dtype}")
        if (
            dimension not in (None, vectors.type.list_size)
            or vectors.null_count
            or not vectors.type.list_size
        ):
            raise ValueError(f"its embeddings are {vectors.type.list_size} wide, not {dimension}")
        rows = vectors.combine_chunks()
        flat = rows.flatten()
        if flat.null_count:
            raise ValueError(f"{flat.null_count} numbers of its embeddings are missing")
        block = flat.to_numpy(zero_copy_only=True).reshape(-1, vectors.type.list_size)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise CaptionError(f"{path} is damaged ({error}): delete it and build the database again") from error
    return column, block


def read_parts(folder: Path, dtype: str, dimension: int) -> tuple[Sequence[str], list[NDArray[Any]]]:
    """All captions of a folder, and their embeddings, an array [n, D] a part; nothing is loaded.

    Raises:
        CaptionError: No parts, or a damaged one; names it.
    """
    parts = [read_part(path, dtype, dimension) for path in part_paths(folder)]
    if not parts:
        raise CaptionError(f"{folder} holds no captions")
    column = arrow().chunked_array(
        [chunk for column, _ in parts for chunk in column.chunks], arrow().string()
    )
    return captions_of(column), [block for _, block in parts]


def rounded(embeddings: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """As they are kept: unit rows lose at most 0.0005 of each number in float16."""
    return embeddings.astype(np.float16 if dtype == "float16" else np.float32)
