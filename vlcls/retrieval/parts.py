"""The files that hold captions and embeddings: Arrow, a part at a time, mapped when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import CaptionError, MissingExtraError
from vlcls.store import write_atomically


class Captions(Sequence[str]):
    """A column of texts in Arrow files: one is read when it is asked for."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        return self._column[range(len(self))[index]].as_py() or ""


def arrow() -> Any:
    """pyarrow, or a `MissingExtraError`."""
    if find_spec("pyarrow") is None:
        raise MissingExtraError("caption databases", "captions")
    import pyarrow

    return pyarrow


def part_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("captions-*.arrow"))


def write_part(folder: Path, captions: Sequence[str], embeddings: NDArray[Any]) -> Path:
    """Write captions and embeddings [n, D] as the next part, whole or not at all."""
    pa = arrow()
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), embeddings.shape[1])
    table = pa.table({"caption": pa.array(captions, pa.string()), "embedding": vectors})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return write_atomically(folder, f"captions-{len(part_paths(folder)):06}.arrow", sink.getvalue())


def read_parts(folder: Path) -> tuple[Captions, list[NDArray[Any]]]:
    """All captions of a folder, and their embeddings, an array [n, D] a part; nothing is loaded.

    Raises:
        CaptionError: No parts, or a damaged one; names it.
    """
    pa = arrow()
    tables, blocks = [], []
    for path in part_paths(folder):
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            for chunk in table["embedding"].chunks:
                flat = chunk.flatten().to_numpy(zero_copy_only=True)
                blocks.append(flat.reshape(-1, chunk.type.list_size))
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise CaptionError(
                f"{path} is damaged ({error}): delete it and build the database again"
            ) from error
        tables.append(table.select(["caption"]))
    if not tables:
        raise CaptionError(f"{folder} holds no captions")
    return Captions(pa.concat_tables(tables)["caption"]), blocks


def texts_of(captions: Captions, at_once: int = 1 << 14) -> Any:
    """All captions in order, read a block at a time."""
    column: Any = captions._column
    for start in range(0, len(captions), at_once):
        yield from column.slice(start, at_once).to_pylist()


def rounded(embeddings: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """As they are kept: unit rows lose at most 0.0005 of each number in float16."""
    return embeddings.astype(np.float16 if dtype == "float16" else np.float32)
