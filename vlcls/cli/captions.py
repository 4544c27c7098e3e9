"""What commands about caption databases share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlcls.cli.options import ModelOptions
from vlcls.cli.progress import bar, status

if TYPE_CHECKING:
    from vlcls.encoders import Encoder
    from vlcls.retrieval import CaptionDatabase

Database = Annotated[
    str,
    typer.Argument(metavar="DB", help='A folder from `captions build`, one of clip-retrieval, or "wordnet".'),
]
TrustIndex = Annotated[
    bool,
    typer.Option(
        "--trust-index",
        help="Open an index of clip-retrieval, or of an earlier vlcls, as it is: a damaged one is fatal.",
    ),
]


def opened_database(
    database: str, model: ModelOptions, cache: bool, trust_index: bool
) -> tuple[CaptionDatabase, Encoder]:
    """A database with the encoder that the options name, or else the one that it was built with."""
    with status("loading torch"):
        from vlcls.classifiers.base import open_store
        from vlcls.retrieval.builtin import NAME, wordnet_texts
        from vlcls.retrieval.opening import encoder_of, open_captions
    if model.encoder is None and (own := encoder_of(database)) is not None:
        from vlcls.encoders import load_named_encoder

        with status(f"loading {own}"):
            loaded = load_named_encoder(own, database, model.device, model.precision)
    else:
        loaded = model.load()
    if database != NAME:
        return open_captions(database, loaded, trust_index=trust_index), loaded
    with bar("embedding captions, once", len(wordnet_texts())) as progress:
        return open_captions(database, loaded, store=open_store(cache), progress=progress), loaded


def index_line(index: Any) -> str:
    if index.effort is None and index.recall == 1:
        return f"{index.factory}, exact"
    effort = "" if index.effort is None else f", nprobe or efSearch {index.effort}"
    return f"{index.factory}{effort}, recall@10 {index.recall:.3f} measured with captions as queries"
