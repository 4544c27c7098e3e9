"""A caption database as it is searched: captions, their embeddings, an index; all of them mapped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import CaptionError, EncoderMismatchError
from vlcls.retrieval.index import Blocks, IndexInfo, read_index, take_rows
from vlcls.retrieval.parts import read_parts

if TYPE_CHECKING:
    from vlcls.encoders import Encoder

CONFIG, INDEX = "database.json", "captions.index"
FORMAT = 1


@dataclass(frozen=True)
class DatabaseInfo:
    """What a database is, as `database.json` has it.

    Attributes:
        encoder: Spec of the encoder that embedded the captions; empty if nobody wrote it down.
        fingerprint: Of that encoder; empty if nobody wrote it down.
        dimension: D.
        dtype: What embeddings are kept as: "float16" or "float32".
        captions: How many there are, all different.
        index: What finds them.
    """

    encoder: str
    fingerprint: str
    dimension: int
    dtype: str
    captions: int
    index: IndexInfo


@dataclass(frozen=True)
class Found:
    """The captions nearest to each of N queries, nearest first.

    Attributes:
        rows: int64[N, K], places in the database; -1 where the index found fewer.
        similarities: float32[N, K], inner products.
    """

    rows: NDArray[np.int64]
    similarities: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class CaptionDatabase:
    """Captions that can be found by the embedding of an image or a text.

    Attributes:
        name: Its folder, or "wordnet".
        info: What it is.
        captions: M texts; read from disk when they are asked for.
        index: A FAISS index of M vectors, for inner products.
        blocks: The embeddings, arrays [n, D] that follow each other; None if the index alone has them.
    """

    name: str
    info: DatabaseInfo
    captions: Sequence[str]
    index: Any
    blocks: Blocks | None

    def __len__(self) -> int:
        return len(self.captions)

    def search(self, queries: NDArray[np.float32], count: int) -> Found:
        """The `count` captions nearest to each query, float32[N, D] of unit length."""
        queries = np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.info.dimension:
            raise CaptionError(
                f"{self.name}: queries [N, {self.info.dimension}] are expected, not {list(queries.shape)}"
            )
        similarities, rows = self.index.search(queries, min(count, len(self)))
        return Found(rows, similarities)

    def embeddings(self, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Embeddings float32[n, D] of the captions at `rows`; None if the database did not keep them."""
        return None if self.blocks is None else take_rows(self.blocks, rows)

    def check(self, encoder: Encoder) -> None:
        """Refuse an encoder that did not embed these captions.

        Raises:
            EncoderMismatchError: Another fingerprint; or another width, where no fingerprint is known.
        """
        known = self.info
        if encoder.embedding_dim != known.dimension or (
            known.fingerprint and encoder.fingerprint != known.fingerprint
        ):
            raise EncoderMismatchError(
                f"the captions of {self.name} were embedded with {known.encoder or 'an unknown encoder'} "
                f"({known.dimension} dimensions, fingerprint {known.fingerprint[:12] or 'unknown'}), but "
                f"{encoder.spec} has {encoder.embedding_dim} dimensions and fingerprint "
                f"{encoder.fingerprint[:12]}. Use that encoder, or build a database with this one"
            )


def read_config(folder: Path) -> dict[str, Any]:
    """`database.json`.

    Raises:
        CaptionError: It is missing, unreadable, or of a newer format.
    """
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if config["format"] != FORMAT:
            raise ValueError(f"format {config['format']} was written by a newer vlcls")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CaptionError(f"{folder} holds no readable caption database: {error}") from error
    return config


def config_bytes(info: DatabaseInfo | None, **also: Any) -> bytes:
    config = {"format": FORMAT, **also, "database": None if info is None else asdict(info)}
    return (json.dumps(config, indent=1, ensure_ascii=False) + "\n").encode()


def open_database(folder: Path) -> CaptionDatabase:
    """Open a folder that `build_captions` has finished.

    Raises:
        CaptionError: Not a database, an unfinished or a damaged one.
    """
    config = read_config(folder)
    if not config["database"]:
        raise CaptionError(f"{folder} is not finished: run the same `vlcls captions build` again, it goes on")
    try:
        about = config["database"]
        info = DatabaseInfo(**{**about, "index": IndexInfo(**about["index"])})
    except (KeyError, TypeError) as error:
        raise CaptionError(f"{folder / CONFIG} is damaged: {error}") from error
    captions, blocks = read_parts(folder)
    index = read_index(folder / INDEX)
    if not len(captions) == index.ntotal == info.captions or index.d != info.dimension:
        raise CaptionError(
            f"{folder} is damaged: {len(captions)} captions, {index.ntotal} vectors in the index, and "
            f"{info.captions} in {CONFIG}. Run the same `vlcls captions build` again"
        )
    return CaptionDatabase(str(folder), info, captions, index, blocks)
