"""Folders that clip-retrieval made, opened as they are.

Such a folder holds `text.index` (FAISS) and `metadata/*.parquet` with a `caption` column, row by row in the
order of the index; often next to the `text_emb/*.npy` that it was made of. The index file is a stranger's:
it is opened only for those who ask for it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import CaptionError, EncoderMismatchError, VlclsWarning
from vlcls.files.arrays import read_npy
from vlcls.files.parquet import read_parquet
from vlcls.files.reading import number_in_name
from vlcls.retrieval.database import CaptionDatabase, DatabaseInfo
from vlcls.retrieval.index import IndexInfo, exact_index, in_float32, read_index
from vlcls.retrieval.parts import arrow, captions_of

if TYPE_CHECKING:
    from vlcls.encoders import Encoder

INDEX = "text.index"
#: Captions that the encoder must find again by their own embedding; half of them at least.
_PROBES = 8


def open_clip_retrieval(folder: Path, encoder: Encoder, *, trust_index: bool = False) -> CaptionDatabase:
    """Open a clip-retrieval folder for `encoder`.

    Nothing in it says which model it was made with. So some of its captions are embedded and looked up: the
    right encoder finds most of them again.

    Args:
        folder: The folder.
        encoder: What images are embedded with.
        trust_index: Open the folder's own index; by default only its embeddings are read, and searched one by
            one.

    Raises:
        CaptionError: No captions, or not as many as there are vectors.
        EncoderMismatchError: The captions were embedded with another model.
    """
    captions = captions_of(_metadata(folder))
    blocks = _embeddings(folder)
    if trust_index:
        index, found = read_index(folder / INDEX, None), INDEX
    elif blocks:
        said = f"{folder / INDEX} was not built here, so it is not opened"
        index, found = exact_index(blocks, said), "text_emb/*.npy"
    else:
        raise CaptionError(
            f"{folder / INDEX} was not built here: FAISS believes what is in such a file, and a damaged one "
            "kills the process. If you trust its maker, give --trust-index (trust_index=True)"
        )
    if len(captions) != index.ntotal or not len(captions):
        raise CaptionError(f"{folder}: {index.ntotal} vectors in {found}, but {len(captions)} captions")
    if blocks and (sum(map(len, blocks)) != len(captions) or blocks[0].shape[1] != index.d):
        raise CaptionError(f"{folder}: the embeddings in text_emb/ are not those of {INDEX} and the captions")
    info = DatabaseInfo(
        "", "", index.d, "float16", len(captions), IndexInfo(type(index).__name__, None, None)
    )
    database = CaptionDatabase(str(folder), info, captions, index, blocks or None)
    database.check(encoder)
    _find_again(database, encoder)
    return database


def _embeddings(folder: Path) -> list[NDArray[Any]]:
    """Arrays [n, D] of `text_emb`; none if there is no such folder.

    Raises:
        CaptionError: One is damaged, or no rows of numbers of one width.
    """
    blocks: list[NDArray[Any]] = []
    for path in sorted((folder / "text_emb").glob("*.npy"), key=number_in_name):
        block = read_npy(path, CaptionError, mmap=True)
        if block.ndim != 2 or block.dtype.kind != "f" or not block.shape[1]:
            raise CaptionError(f"{path}: rows of numbers are expected, not {block.dtype} {list(block.shape)}")
        if blocks and block.shape[1] != blocks[0].shape[1]:
            raise CaptionError(f"{path}: rows are {block.shape[1]} wide, those before {blocks[0].shape[1]}")
        if not all(np.isfinite(rows).all() for rows in in_float32([block])):
            raise CaptionError(f"{path}: a row holds NaN or infinity")
        blocks.append(block)
    return blocks


def _metadata(folder: Path) -> Any:
    """The captions, as a column of texts.

    Raises:
        CaptionError: No metadata, damaged, or captions that are no texts.
    """
    inside = folder / "metadata" if any(folder.glob("metadata/*.parquet")) else folder
    paths = sorted(inside.glob("*.parquet"), key=number_in_name)
    if not paths:
        raise CaptionError(f"{folder}: no metadata/*.parquet next to {INDEX}")
    pa = arrow()
    columns = []
    for path in paths:
        column = read_parquet(path, ["caption"], CaptionError)["caption"]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise CaptionError(f"{path}: its column 'caption' holds {column.type}, no texts")
        try:
            column = column.cast(pa.large_string())
            column.validate(full=True)
        except pa.ArrowException as error:
            raise CaptionError(f"{path}: its captions are damaged: {error}") from error
        columns.append(column)
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.large_string())


def _find_again(database: CaptionDatabase, encoder: Encoder) -> None:
    from vlcls.embeddings import embed_texts

    rows = np.linspace(0, len(database) - 1, min(_PROBES, len(database))).astype(int).tolist()
    probes = [database.captions[row] for row in rows if database.captions[row].strip()]
    if not probes:
        raise CaptionError(
            f"{database.name}: no captions: of {len(rows)} that were looked at, none holds text"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VlclsWarning)  # of captions that are cut
        found = database.search(embed_texts(probes, encoder).cpu().numpy(), 10).rows
    again = sum(
        probe in {database.captions[row] for row in near if row >= 0}
        for probe, near in zip(probes, found.tolist(), strict=True)
    )
    if 2 * again < len(probes):
        raise EncoderMismatchError(
            f"the index of {database.name} was made with another model than {encoder.spec}: of {len(probes)} "
            f"of its captions, embedded now, {again} find themselves in it. Name the model it was made with"
        )
