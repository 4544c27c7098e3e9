"""Embedding images and texts: read in threads, encode on the device, share over processes, store."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlcls.encoders.base import Encoder
from vlcls.encoders.placement import process_state
from vlcls.errors import ImageError
from vlcls.image_sources import ImageSource
from vlcls.images import decode, load_source
from vlcls.store import EmbeddingStore, Kind, Partition, text_key

#: Batches read ahead of the encoder: enough to hide reading, few enough to keep memory flat.
PREFETCH_BATCHES = 2
#: A JPEG is decoded at reduced size only while its short side stays this many times the model's input.
#: docs/speed.md has the measured effect on the embedding.
REDUCED_DECODE_FACTOR = 4

T = TypeVar("T")


@dataclass(frozen=True)
class EmbeddedImages:
    """Some consecutive images, embedded.

    Attributes:
        start: Place of the first of them among all images.
        sources: The images.
        embeddings: Tensor[N, D] float32, unit rows; zero rows for images that could not be read.
        errors: Message for each unreadable image, by its row.
        encoded: How many of them were encoded now (the others came from the store, or could not be read).
        keys: Hash of each image's content; empty for those that could not be read.
    """

    start: int
    sources: Sequence[ImageSource]
    embeddings: Tensor
    errors: dict[int, str]
    encoded: int
    keys: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class _Read:
    """One image out of the reading threads: its pixels, or that the store knows it, or an error."""

    name: str
    key: bytes = b""
    pixels: Tensor | None = None
    known: bool = False
    error: str | None = None


def default_batch_size(device: torch.device) -> int:
    """Images in one pass. On a CPU the first 16 are read, and so encoded, sooner than 32."""
    return 16 if device.type == "cpu" else 256


def embed_images(
    sources: Sequence[ImageSource],
    encoder: Encoder,
    *,
    store: EmbeddingStore | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    reduced_decode: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Iterator[EmbeddedImages]:
    """Embed images in order, a round of batches at a time; memory does not grow with their number.

    Reading, decoding and preprocessing run in threads ahead of the encoder (Pillow and torch let go of the
    interpreter lock while they work). Under `accelerate launch` each round is shared out over the processes
    and gathered, so that every process yields the same rounds, whole and in order.

    Args:
        sources: N images.
        encoder: Any encoder.
        store: Where embeddings are looked up and kept; None for neither.
        batch_size: Images in one pass of the encoder, for each process.
        workers: Reading threads for each process; by default one per processor, 8 at most.
        reduced_decode: Decode large JPEGs at reduced size (see `REDUCED_DECODE_FACTOR`).
        progress: Called with the number of images just finished, over all processes.

    Yields:
        `EmbeddedImages` covering 0..N-1 without gaps. An unreadable image is an entry in `errors`.
    """
    size = batch_size or default_batch_size(encoder.device)
    rank, world = _rank_and_world()
    rounds = [
        range(start, min(start + size * world, len(sources)))
        for start in range(0, len(sources), size * world)
    ]
    shares = [_share(whole, rank, world) for whole in rounds]
    min_side = REDUCED_DECODE_FACTOR * max(encoder.image_size) if reduced_decode else None
    with _opened(store, encoder, "images" if reduced_decode else "images-full-decode") as partition:

        def read(index: int) -> _Read:
            return _read(sources[index], encoder, partition, min_side)

        read_ahead = _read_ahead(shares, read, _thread_count(workers))
        for whole, share, reads in zip(rounds, shares, read_ahead, strict=True):
            stored = _stored_rows(reads, partition)
            for row, item in enumerate(reads):
                if item.known and row not in stored:  # lost since it was looked up
                    reads[row] = _read(sources[share[row]], encoder, None, min_side)
            embeddings, errors, encoded = _embed_batch(reads, stored, encoder, partition)
            part = EmbeddedImages(
                whole.start, [sources[i] for i in whole], embeddings, errors, encoded,
                tuple(b"" if row in errors else item.key for row, item in enumerate(reads)),
            )  # fmt: skip
            if world > 1:
                part = _gathered(part, world)
            if progress is not None:
                progress(len(whole))
            yield part


def embed_texts(
    texts: Sequence[str],
    encoder: Encoder,
    *,
    store: EmbeddingStore | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Embed texts through the store, each distinct text once; shared over processes when launched so.

    Args:
        texts: M strings.
        encoder: Any encoder.
        store: Where embeddings are looked up and kept; None for neither.
        progress: Called with the number of distinct texts just finished.

    Returns:
        Tensor[M, D] float32 on the encoder's device, unit rows.
    """
    distinct = list(dict.fromkeys(texts))
    with _opened(store, encoder, "texts") as partition:
        result, _ = embed_distinct(distinct, encoder, partition, progress)
    position = {text: row for row, text in enumerate(distinct)}
    return result[[position[text] for text in texts]]


def embed_distinct(
    texts: Sequence[str],
    encoder: Encoder,
    partition: Partition | None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Tensor, int]:
    """Embeddings Tensor[M, D] of M different texts, through an open partition; and how many were encoded."""
    from accelerate.utils import gather_object

    rank, world = _rank_and_world()
    found = stored_texts(texts, encoder, partition)
    missing = [row for row, embedding in enumerate(found) if embedding is None]
    if world > 1:  # processes that looked at different moments, or into different folders, must agree
        missing = sorted(set(gather_object(missing)))
    left = set(missing)
    known = {row: each for row, each in enumerate(found) if each is not None and row not in left}
    result = torch.zeros(len(texts), encoder.embedding_dim, device=encoder.device)
    if known:
        result[list(known)] = torch.from_numpy(np.stack(list(known.values()))).to(encoder.device)
        if progress is not None:
            progress(len(known))
    if missing and world > 1:
        # Each process tells of its own share; the others are about as far.
        report = None if progress is None else lambda count: progress(count * world)
        mine = encoder.encode_texts([texts[row] for row in missing[rank::world]], progress=report)
        result[missing] = _gather_striped(mine, len(missing), world)
        if partition is not None:
            partition.put([text_key(texts[row]) for row in missing], result[missing].cpu().numpy())
    elif missing:
        keys = {text_key(texts[row]): row for row in missing}
        rows, encoded = _encoded_once(
            list(keys),
            partition,
            lambda some: encoder.encode_texts([texts[keys[key]] for key in some], progress=progress),
        )
        result[missing] = torch.stack([rows[key].to(encoder.device) for key in keys])
        if progress is not None and encoded < len(missing):  # another thread encoded the rest
            progress(len(missing) - encoded)
        return result, encoded
    return result, len(missing)


def stored_texts(
    texts: Sequence[str], encoder: Encoder, partition: Partition | None
) -> list[NDArray[np.float32] | None]:
    """What the store has of texts: a row float32[D] or None for each."""
    if partition is None:
        return [None] * len(texts)
    keys = [text_key(text) for text in texts]
    doubted = partition.doubted(keys)
    if doubted:  # an old shard: one of its rows made anew tells whether all of them can be believed
        rows = encoder.encode_texts([texts[place] for place in doubted])
        partition.put([keys[place] for place in doubted], rows.cpu().numpy())
    return partition.get_many(keys)


def _encoded_once(
    keys: list[bytes], partition: Partition | None, encode: Callable[[list[bytes]], Tensor]
) -> tuple[dict[bytes, Tensor], int]:
    """Rows of keys that the store lacks, and how many of them were encoded here.

    What another thread of this process is encoding is waited for, not encoded again. Nobody waits while
    others wait for it, and what the other thread could not encode is encoded here.
    """
    rows: dict[bytes, Tensor] = {}
    encoded = 0
    while left := [key for key in keys if key not in rows]:
        mine = left if partition is None else partition.claim(left)
        try:
            if mine:
                new = encode(mine)
                encoded += len(mine)
                if partition is not None:
                    partition.put(mine, new.cpu().numpy())
                rows.update(zip(mine, new, strict=True))
        finally:
            if partition is not None:
                partition.claims.release(mine)
        if partition is not None and len(rows) < len(keys):
            others = [key for key in keys if key not in rows]
            partition.claims.wait(others)
            found = zip(others, partition.get_many(others), strict=True)
            rows.update((key, torch.from_numpy(row)) for key, row in found if row is not None)
    return rows, encoded


def _read(source: ImageSource, encoder: Encoder, partition: Partition | None, min_side: int | None) -> _Read:
    try:
        loaded = load_source(source)
        if partition is not None and loaded.key in partition:
            return _Read(source.name, loaded.key, known=True)
        return _Read(source.name, loaded.key, encoder.preprocess(decode(loaded, min_side=min_side)))
    except ImageError as error:
        return _Read(source.name, error=str(error))
    except Exception as error:  # a model's own preprocessing of one image must not stop the rest
        return _Read(source.name, error=f"{source.name}: {type(error).__name__} in preprocessing: {error}")


def _read_ahead(
    batches: Sequence[Sequence[int]], read: Callable[[int], T], threads: int
) -> Iterator[list[T]]:
    """`[read(i) for i in batch]` for each batch in order, with later batches already being read."""
    with ThreadPoolExecutor(threads, thread_name_prefix="vlcls-read") as pool:
        waiting: deque[list[Future[T]]] = deque()
        try:
            for batch in batches:
                waiting.append([pool.submit(read, index) for index in batch])
                if len(waiting) > PREFETCH_BATCHES:
                    yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _stored_rows(reads: Sequence[_Read], partition: Partition | None) -> dict[int, NDArray[np.float32]]:
    """What the store has of a batch, by row; asked at once, since threads would get in each other's way."""
    known = [row for row, item in enumerate(reads) if item.known]
    if partition is None or not known:
        return {}
    found = partition.get_many([reads[row].key for row in known])
    return {row: each for row, each in zip(known, found, strict=True) if each is not None}


def _embed_batch(
    reads: Sequence[_Read],
    stored: dict[int, NDArray[np.float32]],
    encoder: Encoder,
    partition: Partition | None,
) -> tuple[Tensor, dict[int, str], int]:
    """Embeddings [B, D] of one batch, errors by row, and how many were encoded; equal images only once."""
    result = torch.zeros(len(reads), encoder.embedding_dim, device=encoder.device)
    errors = {row: item.error for row, item in enumerate(reads) if item.error is not None}
    if stored:
        result[list(stored)] = torch.from_numpy(np.stack(list(stored.values()))).to(encoder.device)
    new: dict[bytes, list[int]] = {}
    for row, item in enumerate(reads):
        if row not in errors and row not in stored:
            new.setdefault(item.key, []).append(row)
    if not new:
        return result, errors, 0

    def encode(keys: list[bytes]) -> Tensor:
        pixels = [reads[new[key][0]].pixels for key in keys]
        return _encode(encoder, torch.stack([each for each in pixels if each is not None]))

    found, encoded = _encoded_once(list(new), partition, encode)
    for key, rows in new.items():
        result[rows] = found[key].to(encoder.device)
    for row in (~result.isfinite().all(1)).nonzero().flatten().tolist():
        errors[row] = f"{reads[row].name}: the encoder overflows on it in {encoder.precision}; try fp32"
        result[row] = 0
    return result, errors, encoded


def _encode(encoder: Encoder, pixels: Tensor) -> Tensor:
    """Encode a batch; halves it where the device has too little memory for the whole."""
    if encoder.device.type == "cuda":
        pixels = pixels.pin_memory()
    try:
        return encoder.encode_images(pixels)
    except torch.OutOfMemoryError:
        if len(pixels) == 1:
            raise
    torch.cuda.empty_cache()
    half = len(pixels) // 2
    return torch.cat([_encode(encoder, pixels[:half]), _encode(encoder, pixels[half:])])


def _opened(
    store: EmbeddingStore | None, encoder: Encoder, kind: Kind
) -> AbstractContextManager[Partition | None]:
    return nullcontext() if store is None else store.partition(encoder, kind)


def _thread_count(workers: int | None) -> int:
    return max(1, workers if workers is not None else min(8, os.cpu_count() or 1))


def _rank_and_world() -> tuple[int, int]:
    state = process_state()
    return state.process_index, state.num_processes


def _share(whole: range, rank: int, world: int) -> range:
    """The consecutive part of a round that belongs to one process."""
    each = -(-len(whole) // world)
    return whole[rank * each : (rank + 1) * each]


def _gathered(mine: EmbeddedImages, world: int) -> EmbeddedImages:
    """Join the processes' shares of one round, in order; `mine.sources` is the whole round already."""
    from accelerate.utils import gather_object

    total = len(mine.sources)
    each = -(-total // world)
    reports = gather_object([(_rank_and_world()[0], mine.errors, mine.encoded, mine.keys)])
    reports.sort(key=lambda report: report[0])
    return replace(
        mine,
        embeddings=_gather_padded(mine.embeddings, each)[:total],
        errors={rank * each + row: message for rank, some, _, _ in reports for row, message in some.items()},
        encoded=sum(encoded for _, _, encoded, _ in reports),
        keys=tuple(key for _, _, _, keys in reports for key in keys),
    )


def _gather_striped(mine: Tensor, total: int, world: int) -> Tensor:
    """Undo `items[rank::world]`."""
    each = -(-total // world)
    gathered = _gather_padded(mine, each).view(world, each, -1)
    return gathered.transpose(0, 1).reshape(world * each, -1)[:total]


def _gather_padded(mine: Tensor, rows: int) -> Tensor:
    """Stack every process's [<= rows, D] as [world x rows, D], zero-padded."""
    from accelerate.utils import gather

    padded = mine.new_zeros(rows, mine.shape[1])
    padded[: len(mine)] = mine
    gathered: Tensor = gather(padded.to(process_state().device))
    return gathered.to(mine.device)
