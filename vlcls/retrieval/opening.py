"""Opening whatever holds captions: the built-in database, one of ours, or one of clip-retrieval's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vlcls.arguments import takes
from vlcls.errors import CaptionError
from vlcls.files.named import is_built_in
from vlcls.retrieval import builtin, clip_retrieval
from vlcls.retrieval.database import CONFIG, CaptionDatabase, open_database, read_config

if TYPE_CHECKING:
    from vlcls.encoders import Encoder
    from vlcls.store import EmbeddingStore


@takes(captions="path", store="store?", progress="function?", trust_index="flag")
def open_captions(
    captions: str | Path,
    encoder: str | Encoder,
    *,
    store: EmbeddingStore | None = None,
    progress: Callable[[int], None] | None = None,
    trust_index: bool = False,
) -> CaptionDatabase:
    """Open a caption database and check that `encoder` is the one its captions were embedded with.

    Args:
        captions: "wordnet" (built in), a folder that `build_captions` made, or a clip-retrieval index.
        encoder: What the images are embedded with, or its spec.
        store: Where the built-in database's embeddings are kept.
        progress: Called with the number of captions just embedded (the built-in ones, on first use).
        trust_index: Open an index file that vlcls did not build, or not with a hash, as it is. FAISS believes
            what is in a file: a damaged or hostile one kills the process. Without it, such captions are
            searched by their embeddings alone.

    Raises:
        CaptionError: Nothing there, or nothing readable.
        EncoderMismatchError: Another encoder.
    """
    from vlcls.encoders import as_encoder

    encoder = as_encoder(encoder)
    if is_built_in(captions, (builtin.NAME,), "caption database"):
        return builtin.wordnet_captions(encoder, store=store, progress=progress)
    folder = Path(captions).expanduser()
    if (folder / CONFIG).exists():
        database = open_database(folder, trust_index=trust_index)
        database.check(encoder)
        return database
    if (folder / clip_retrieval.INDEX).exists():
        return clip_retrieval.open_clip_retrieval(folder, encoder, trust_index=trust_index)
    raise CaptionError(
        f"{folder} holds no caption database: make one with `vlcls captions build`, or use {builtin.NAME!r}"
    )


def encoder_of(captions: str | Path) -> str | None:
    """Spec of the encoder that a database asks for; None if it takes any, or does not say."""
    if captions == builtin.NAME:
        return None
    folder = Path(captions).expanduser()
    return read_config(folder).encoder if (folder / CONFIG).exists() else None
