"""Indices that clip-retrieval made, opened as they are.

Such a folder holds `text.index` (FAISS) and `metadata/*.parquet` with a `caption` column, row by row in the
order of the index; often next to the `text_emb/*.npy` that it was made of.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlcls.errors import CaptionError, EncoderMismatchError, MissingExtraError, VlclsWarning
from vlcls.retrieval.database import CaptionDatabase, DatabaseInfo
from vlcls.retrieval.index import IndexInfo, read_index
from vlcls.retrieval.parts import Captions

if TYPE_CHECKING:
    from vlcls.encoders import Encoder

INDEX = "text.index"
#: Captions that the encoder must find again by their own embedding; half of them at least.
_PROBES = 8


def open_clip_retrieval(folder: Path, encoder: Encoder) -> CaptionDatabase:
    """Open a clip-retrieval folder for `encoder`.

    Nothing in it says which model it was made with. So some of its captions are embedded and looked up: the
    right encoder finds most of them again.

    Raises:
        CaptionError: No captions, or not as many as the index has vectors.
        EncoderMismatchError: The captions were embedded with another model.
    """
    captions = Captions(_metadata(folder))
    index = read_index(folder / INDEX)
    if len(captions) != index.ntotal or not len(captions):
        raise CaptionError(f"{folder}: {index.ntotal} vectors in {INDEX}, but {len(captions)} captions")
    blocks = [
        np.load(path, mmap_mode="r", allow_pickle=False) for path in _numbered(folder / "text_emb", "*.npy")
    ]
    fits = sum(map(len, blocks)) == len(captions) and all(block.shape[1] == index.d for block in blocks)
    info = DatabaseInfo(
        "", "", index.d, "float16", len(captions), IndexInfo(type(index).__name__, None, None)
    )
    database = CaptionDatabase(str(folder), info, captions, index, blocks if fits and blocks else None)
    database.check(encoder)
    _find_again(database, encoder)
    return database


def _metadata(folder: Path) -> Any:
    if find_spec("pyarrow") is None:
        raise MissingExtraError("reading Parquet files", "captions")
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = _numbered(folder / "metadata", "*.parquet") or _numbered(folder, "*.parquet")
    if not paths:
        raise CaptionError(f"{folder}: no metadata/*.parquet next to {INDEX}")
    try:
        tables = [pq.read_table(path, columns=["caption"], memory_map=True) for path in paths]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise CaptionError(f"{folder}: its metadata has no readable column 'caption': {error}") from error
    return pa.concat_tables(tables)["caption"]


def _numbered(folder: Path, pattern: str) -> list[Path]:
    """Files in the order of the numbers in their names."""
    return sorted(
        folder.glob(pattern), key=lambda path: (int("".join(filter(str.isdigit, path.stem)) or 0), path.name)
    )


def _find_again(database: CaptionDatabase, encoder: Encoder) -> None:
    from vlcls.embeddings import embed_texts

    rows = np.linspace(0, len(database) - 1, min(_PROBES, len(database))).astype(int).tolist()
    probes = [database.captions[row] for row in rows if database.captions[row].strip()]
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
