"""FAISS indices over unit vectors: which one, how well it finds, and reading it without loading it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import CaptionError, OutputError, library
from vlcls.files.hashes import file_sha256
from vlcls.files.reading import regular_file
from vlcls.files.writing import replacing

#: Fewer vectors than this are searched exactly: a pass over all of them takes less time than an image.
EXACT_BELOW = 100_000
#: Vectors that are searched in memory where an index may not be opened.
MOST_IN_MEMORY = 1_000_000
#: The share of the ten nearest captions that an approximate index must find, captions being the queries.
TARGET_RECALL = 0.98
#: Captions that the recall is measured with, and how many neighbours of each.
QUERIES, NEIGHBOURS = 256, 10
#: Images lie further from captions than captions from each other, their neighbours in more lists: this many
#: times as much effort brings them to about the same recall (benchmarks/speed/README.md).
EFFORT_FOR_IMAGES = 4

#: Vectors for k-means, for each of its centroids (FAISS asks for 39 at least).
_TRAINING_ROWS = 48
_ROWS_AT_ONCE = 1 << 15
#: What decides how far each kind of index looks, in FAISS's terms, and the most there can be of it.
_EFFORT = {"IVF": "nprobe", "HNSW": "efSearch"}
_MOST_EF_SEARCH = 2048

Blocks = Sequence[NDArray[Any]]


@dataclass(frozen=True)
class IndexInfo:
    """What an index is.

    Attributes:
        factory: FAISS's description of it: "Flat", "IVF1024,SQfp16", "HNSW32,SQfp16".
        effort: nprobe or efSearch: how far a search looks; None for an index that looks at everything.
        recall: The share of the ten nearest that it finds, measured when it was built; 1 if it is exact, None
            if nobody measured it.
    """

    factory: str
    effort: int | None
    recall: float | None


@lru_cache(maxsize=1)
def faiss() -> Any:
    """The library, or a `MissingExtraError`."""
    found = library("faiss", "searching captions", "captions")
    # Batches of 16 images on a CPU go through matrix products too.
    found.cvar.distance_compute_blas_threshold = 1
    return found


def choose_factory(count: int, dtype: str) -> str:
    """The index for `count` vectors kept as `dtype`: exact for few, inverted lists for many."""
    if count < EXACT_BELOW:
        return "Flat"
    lists = 2 ** round(math.log2(4 * math.sqrt(count)))
    return f"IVF{lists},{'SQfp16' if dtype == 'float16' else 'Flat'}"


def build_index(blocks: Blocks, factory: str) -> tuple[Any, IndexInfo]:
    """Index unit vectors for inner products.

    An approximate index then looks further and further (nprobe or efSearch is doubled) until it finds
    `TARGET_RECALL` of what an exact search finds for `QUERIES` of its own vectors, themselves not counted;
    and then `EFFORT_FOR_IMAGES` times as far.

    Args:
        blocks: Arrays [n, D] of float16 or float32, mapped ones too.
        factory: Any description that FAISS's `index_factory` takes.

    Raises:
        CaptionError: FAISS cannot make such an index of these vectors.
    """
    library = faiss()
    count, dimension = sum(map(len, blocks)), blocks[0].shape[1]
    generator = np.random.default_rng(0)
    try:
        index = library.index_factory(dimension, factory, library.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            wanted = _TRAINING_ROWS * max(_lists(index), 1024)
            index.train(_sample(blocks, min(count, wanted), generator))
        for rows in in_float32(blocks):
            index.add(rows)
    except (RuntimeError, MemoryError) as error:
        reason = _last_line(error)
        raise CaptionError(f"FAISS makes no index {factory!r} of {count} captions: {reason}") from error
    if factory == "Flat":
        return index, IndexInfo(factory, None, 1.0)
    effort, recall = _tuned(index, blocks, factory, generator)
    return index, IndexInfo(factory, effort, recall)


def write_index(index: Any, path: Path) -> str:
    """Write it whole or not at all; returns its SHA-256, without which it is not opened again.

    Raises:
        OutputError: It cannot be written.
    """
    with replacing(path) as temporary:
        try:
            faiss().write_index(index, str(temporary))
        except RuntimeError as error:  # FAISS says of a full disk that a write was short
            raise OutputError(f"{path} cannot be written: {_last_line(error)}") from error
        return file_sha256(temporary)


def read_index(path: Path, sha256: str | None) -> Any:
    """Open an index file; its vectors stay on disk and are mapped.

    FAISS believes what a file says: one that is damaged kills the process or takes all memory.

    Args:
        path: The file.
        sha256: What it was when it was built; None opens it unseen, which only its user may ask for.

    Raises:
        CaptionError: The file is missing or damaged.
    """
    library = faiss()
    again = "Build the database again"
    try:
        regular_file(path, CaptionError)
        if sha256 is not None and file_sha256(path, CaptionError) != sha256:
            raise CaptionError("it is not the one that was built here")
        # Kinds of index that cannot be mapped one way are mapped the other, or loaded.
        with contextlib.suppress(RuntimeError):
            return library.read_index(str(path), library.IO_FLAG_MMAP_IFC)
        return library.read_index(str(path), library.IO_FLAG_MMAP | library.IO_FLAG_READ_ONLY)
    except (RuntimeError, MemoryError, CaptionError) as error:
        raise CaptionError(f"{path} is no readable FAISS index: {_last_line(error)}. {again}") from error


def exact_index(blocks: Blocks, what: str) -> Any:
    """An index in memory over embeddings, in place of one in a file that cannot be trusted.

    Raises:
        CaptionError: There are more than `MOST_IN_MEMORY`; says what to do.
    """
    count = sum(map(len, blocks))
    if count > MOST_IN_MEMORY:
        raise CaptionError(
            f"{what}, and {count:,} captions are too many to search without one. If you trust its maker, "
            "open it as it is with --trust-index (trust_index=True)"
        )
    return build_index(blocks, "Flat")[0]


def exact_neighbours(blocks: Blocks, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The `count` nearest of all vectors, by a pass over them: int64[N, count]."""
    best = np.full((len(queries), count), -np.inf, np.float32)
    rows = np.full((len(queries), count), -1, np.int64)
    start = 0
    for block in in_float32(blocks):
        scores = np.concatenate([best, queries @ block.T], axis=1)
        numbers = np.concatenate(
            [rows, np.broadcast_to(np.arange(start, start + len(block)), (len(queries), len(block)))], axis=1
        )
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        best, rows = np.take_along_axis(scores, order, 1), np.take_along_axis(numbers, order, 1)
        start += len(block)
    return rows


def recall(found: NDArray[np.int64], wanted: NDArray[np.int64]) -> float:
    """The share of `wanted` [N, K] that is in the same row of `found`."""
    hits = sum(len(set(a.tolist()) & set(b.tolist())) for a, b in zip(found, wanted, strict=True))
    return hits / wanted.size


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__


def _tuned(
    index: Any, blocks: Blocks, factory: str, generator: np.random.Generator
) -> tuple[int | None, float]:
    """Raise the effort until the recall is reached; effort and recall, rounded to four digits."""
    count = sum(map(len, blocks))
    picked = np.sort(generator.choice(count, min(QUERIES, count), replace=False))
    queries = take_rows(blocks, picked)
    near = min(NEIGHBOURS, count - 1)
    wanted = _without(exact_neighbours(blocks, queries, near + 1), picked)

    def measured() -> float:
        return round(recall(_without(index.search(queries, near + 1)[1], picked), wanted), 4)

    name = next((effort for kind, effort in _EFFORT.items() if kind in factory), None)
    if name is None:
        return None, measured()
    most = _lists(index) if name == "nprobe" else _MOST_EF_SEARCH
    effort = 1 if name == "nprobe" else 2 * NEIGHBOURS
    _set(index, name, effort)
    while measured() < TARGET_RECALL and effort < most:
        effort = min(2 * effort, most)
        _set(index, name, effort)
    effort = min(EFFORT_FOR_IMAGES * effort, most)
    _set(index, name, effort)
    return effort, measured()


def _set(index: Any, name: str, effort: int) -> None:
    faiss().ParameterSpace().set_index_parameter(index, name, effort)


def _without(rows: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Neighbours [N, K + 1] to [N, K]: without the query itself, or the last where it is not there."""
    is_own = rows == own[:, None]
    is_own[~is_own.any(1), -1] = True
    first = np.argmax(is_own, axis=1)
    kept = np.ones(rows.shape, bool)
    kept[np.arange(len(rows)), first] = False
    return rows[kept].reshape(len(rows), -1)


def _lists(index: Any) -> int:
    """Inverted lists of an index, 0 if it has none."""
    with contextlib.suppress(RuntimeError):
        return int(faiss().extract_index_ivf(index).nlist)
    return 0


def _sample(blocks: Blocks, count: int, generator: np.random.Generator) -> NDArray[np.float32]:
    total = sum(map(len, blocks))
    return take_rows(blocks, np.sort(generator.choice(total, count, replace=False)))


def take_rows(blocks: Blocks, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows of several arrays that follow each other: float32[n, D]."""
    ends = np.cumsum([len(block) for block in blocks])
    result = np.empty((len(rows), blocks[0].shape[1]), np.float32)
    parts = np.searchsorted(ends, rows, side="right")
    for part in np.unique(parts):
        mine = parts == part
        result[mine] = blocks[part][rows[mine] - (ends[part] - len(blocks[part]))]
    return result


def in_float32(blocks: Blocks) -> Iterator[NDArray[np.float32]]:
    for block in blocks:
        for start in range(0, len(block), _ROWS_AT_ONCE):
            yield np.ascontiguousarray(block[start : start + _ROWS_AT_ONCE], np.float32)
