"""The database that needs no download: names and glosses of WordNet's nouns, kept in the embedding store."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from vlcls import wordnet
from vlcls.errors import VlclsWarning
from vlcls.retrieval.database import CaptionDatabase, DatabaseInfo
from vlcls.retrieval.index import build_index
from vlcls.store import EmbeddingStore

if TYPE_CHECKING:
    from vlcls.encoders import Encoder

NAME = "wordnet"
#: Captions embedded before the store hears of them: what a killed first use loses at most.
_AT_ONCE = 2048


def wordnet_texts() -> list[str]:
    """ "tiger, Panthera tigris: large feline of forests ...": one a synset, in the order of their ids."""
    glosses = wordnet.glosses()
    texts = (f"{', '.join(names)}: {glosses[synset]}" for synset, names in sorted(wordnet.lemmas().items()))
    return list(dict.fromkeys(texts))


def wordnet_words() -> list[str]:
    """Every lemma, once: the vocabulary of somebody who knows nothing of the images."""
    return list(dict.fromkeys(name for _, names in sorted(wordnet.lemmas().items()) for name in names))


def wordnet_captions(
    encoder: Encoder, *, store: EmbeddingStore | None = None, progress: Callable[[int], None] | None = None
) -> CaptionDatabase:
    """The built-in database, embedded with `encoder` on first use.

    Args:
        encoder: Any encoder.
        store: Where the embeddings are looked up and kept; None for neither.
        progress: Called with the number of captions just embedded, or found in the store.
    """
    captions = wordnet_texts()
    rows = embed_in_parts(captions, encoder, store=store, progress=progress)
    index, found = build_index([rows], "Flat")
    info = DatabaseInfo(
        encoder.spec, encoder.fingerprint, encoder.embedding_dim, "float32", len(captions), found
    )
    return CaptionDatabase(NAME, info, captions, index, [rows])


def embed_in_parts(
    texts: list[str],
    encoder: Encoder,
    *,
    store: EmbeddingStore | None = None,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Embed M different texts, float32[M, D]; the store keeps them part by part: a kill loses little."""
    from vlcls.embeddings import embed_texts, stored_texts

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VlclsWarning)  # of glosses that are cut
        if store is not None:
            with store.partition(encoder, "texts") as partition:
                stored = stored_texts(texts, encoder, partition)
            missing = _missing_anywhere(
                [text for text, row in zip(texts, stored, strict=True) if row is None]
            )
            if progress is not None:
                progress(len(texts) - len(missing))
            if not missing:
                return np.stack([row for row in stored if row is not None])
            for start in range(0, len(missing), _AT_ONCE):
                embed_texts(missing[start : start + _AT_ONCE], encoder, store=store, progress=progress)
            return embed_texts(texts, encoder, store=store).cpu().numpy()
        return embed_texts(texts, encoder, progress=progress).cpu().numpy()


def _missing_anywhere(missing: list[str]) -> list[str]:
    """What any process of a launch misses: all embed the same parts, although their stores may differ."""
    from accelerate.utils import gather_object

    from vlcls.encoders.placement import process_state

    return list(dict.fromkeys(gather_object(missing))) if process_state().num_processes > 1 else missing
