"""A caption database as it is searched: captions, their embeddings, an index; all of them mapped."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vlcls.errors import CaptionError, EncoderMismatchError, VlclsWarning
from vlcls.files.hashes import file_sha256
from vlcls.files.json_text import json_bytes, read_json
from vlcls.files.schema import FileModel, validated
from vlcls.files.writing import write_atomically
from vlcls.retrieval.index import Blocks, IndexInfo, exact_index, read_index, take_rows
from vlcls.retrieval.parts import part_paths, read_parts

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
        if (rows >= len(self)).any() or not np.isfinite(similarities[rows >= 0]).all():
            raise CaptionError(f"{self.name} is damaged: its index finds what is not there, or NaN")
        return Found(rows, similarities)

    def embeddings(self, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Embeddings float32[n, D] of the captions at `rows`; None if the database did not keep them."""
        found = None if self.blocks is None else take_rows(self.blocks, rows)
        if found is not None and not np.isfinite(found).all():
            raise CaptionError(f"{self.name} is damaged: an embedding holds NaN or infinity")
        return found

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


class _Index(FileModel):
    factory: str
    effort: int | None = Field(ge=1)
    recall: float | None = Field(ge=0, le=1)


class _Database(FileModel):
    encoder: str
    fingerprint: str
    dimension: int = Field(ge=1, le=1 << 20)
    dtype: Literal["float16", "float32"]
    captions: int = Field(ge=1)
    index: _Index


class Config(FileModel):
    """`database.json`, format 1.

    Attributes:
        encoder, fingerprint, dtype: Of the embeddings in the folder.
        database: What was built; None as long as a build is under way.
        files: SHA-256 of the parts and of the index, by name; None in folders of earlier releases.
    """

    format: int = Field(ge=1, le=1)
    encoder: str
    fingerprint: str
    dtype: Literal["float16", "float32"]
    database: _Database | None
    files: dict[str, str] | None = None

    @property
    def info(self) -> DatabaseInfo | None:
        if self.database is None:
            return None
        about = self.database.model_dump()
        return DatabaseInfo(**{**about, "index": IndexInfo(**about["index"])})


def read_config(folder: Path) -> Config:
    """`database.json`.

    Raises:
        CaptionError: It is missing, unreadable, or of a newer format.
    """
    try:
        content = read_json(folder / CONFIG, CaptionError)
        if isinstance(content, dict) and type(content.get("format")) is int and content["format"] > FORMAT:
            raise CaptionError(f"format {content['format']} was written by a newer vlcls")
        return validated(Config, content, folder / CONFIG, CaptionError)
    except CaptionError as error:
        raise CaptionError(f"{folder} holds no readable caption database: {error}") from error


def write_config(
    folder: Path, identity: Mapping[str, str], files: Mapping[str, str], info: DatabaseInfo | None = None
) -> None:
    """Write `database.json`; without `info` that of a build under way.

    Raises:
        CaptionError: The encoder's spec is not valid Unicode.
        OutputError: It cannot be written.
    """
    about = None if info is None else asdict(info)
    content = {"format": FORMAT, **identity, "database": about, "files": dict(sorted(files.items()))}
    write_atomically(folder / CONFIG, json_bytes(content, folder / CONFIG, CaptionError, indent=1))


def check_parts(folder: Path, files: Mapping[str, str]) -> None:
    """Compare the parts of a folder with the hashes of `database.json`, before Arrow maps them.

    Raises:
        CaptionError: One is damaged, missing, or not of this database; names it.
    """
    there = {path.name for path in part_paths(folder)}
    listed = {name for name in files if name != INDEX}
    if not there:
        raise CaptionError(f"{folder} holds no captions")
    if there != listed:
        name = sorted(there ^ listed)[0]
        missing = "is missing" if name in listed else "is not of this database"
        raise CaptionError(f"{folder / name} {missing}: run the same `vlcls captions build` again")
    for name in sorted(listed):
        check_part(folder / name, files[name])


def check_part(path: Path, sha256: str) -> None:
    """Refuse a part that is not what was written; raises as `check_parts`."""
    if file_sha256(path, CaptionError) != sha256:
        raise CaptionError(
            f"{path} is damaged (it is not the file that was written here): delete it and build the database "
            "again"
        )


def open_database(folder: Path, *, trust_index: bool = False) -> CaptionDatabase:
    """Open a folder that `build_captions` has finished.

    Its files are compared with the hashes in `database.json` first. A folder of an earlier release has none:
    its index is not opened, and its captions are searched one by one.

    Args:
        folder: The folder.
        trust_index: Open an index without a hash as it is.

    Raises:
        CaptionError: Not a database, an unfinished or a damaged one.
    """
    config = read_config(folder)
    info = config.info
    if info is None:
        raise CaptionError(f"{folder} is not finished: run the same `vlcls captions build` again, it goes on")
    if info.dtype != config.dtype or info.fingerprint != config.fingerprint:
        raise CaptionError(f"{folder / CONFIG} is damaged: it says two things of its encoder or numbers")
    if config.files is not None:
        check_parts(folder, config.files)
    captions, blocks = read_parts(folder, info.dtype, info.dimension)
    index = _index(folder, config, blocks, trust_index)
    if not len(captions) == index.ntotal == info.captions or index.d != info.dimension:
        raise CaptionError(
            f"{folder} is damaged: {len(captions)} captions, {index.ntotal} vectors in the index, and "
            f"{info.captions} in {CONFIG}. Run the same `vlcls captions build` again"
        )
    return CaptionDatabase(str(folder), info, captions, index, blocks)


def _index(folder: Path, config: Config, blocks: Blocks, trust_index: bool) -> Any:
    if config.files is not None:
        if INDEX not in config.files:
            raise CaptionError(f"{folder / CONFIG} is damaged: it has no hash of {INDEX}")
        return read_index(folder / INDEX, config.files[INDEX])
    if trust_index:
        return read_index(folder / INDEX, None)
    said = f"{folder} was built by an earlier release: nothing tells whether its index is damaged"
    index = exact_index(blocks, said)
    warnings.warn(
        f"{said}, so it is not opened; `vlcls captions build` into the folder again adds what is missing",
        VlclsWarning, stacklevel=4,
    )  # fmt: skip
    return index
