"""Classification without a list of names: what all its methods give, and the simple ones.

A method is anything with an `encoder` that turns image embeddings into one `Naming` each: `Cased` (in
cased.py), and what the paper compares it with: the closest caption itself, and a fixed vocabulary (all of
WordNet; or, as an upper bound, the true class names).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from vlcls.arguments import takes
from vlcls.classifiers.base import Prediction, check_logits, open_store, unit_rows
from vlcls.embeddings import embed_images
from vlcls.encoders.base import Encoder
from vlcls.image_sources import as_sources
from vlcls.retrieval.builtin import embed_in_parts
from vlcls.retrieval.database import CaptionDatabase
from vlcls.store import EmbeddingStore


@dataclass(frozen=True)
class RetrievedCaption:
    """A caption and its cosine similarity to the image."""

    text: str
    similarity: float


@dataclass(frozen=True)
class Naming:
    """What one image was found to show.

    Attributes:
        image: Its path as it was given, or its place among images given in memory.
        candidates: The names that were weighed with their probabilities, best first; of a fixed vocabulary
            only the best.
        captions: What the names come from, most similar first; near-duplicates left out.
        fallback: True if the captions left no name, and the one candidate stands for that.
        error: Why the image could not be read, else None.
    """

    image: str
    candidates: tuple[Prediction, ...]
    captions: tuple[RetrievedCaption, ...] = ()
    fallback: bool = False
    error: str | None = None

    @property
    def label(self) -> str | None:
        return self.candidates[0].label if self.candidates else None

    @property
    def score(self) -> float | None:
        return self.candidates[0].score if self.candidates else None


class NamingMethod(Protocol):
    """Image embeddings Tensor[N, D] to N namings, whose `image` is not yet known."""

    @property
    def encoder(self) -> Encoder: ...

    def __call__(self, image_embeddings: Tensor) -> list[Naming]: ...


@takes(
    method="method",
    cache="cache",
    batch_size="count?",
    workers="count?",
    reduced_decode="flag",
    progress="function?",
)
def discover(
    images: Any,
    method: NamingMethod,
    *,
    cache: bool | str | Path = True,
    batch_size: int | None = None,
    workers: int | None = None,
    reduced_decode: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Naming]:
    """Name what images show, one after the other, in order, in flat memory.

    Args:
        images: As in `Classifier.iter_predict`.
        method: A `Cased`, or one of the methods of this module.
        cache: Keep image embeddings on disk, in the default folder or the one given; False for neither
            reading nor writing.
        batch_size, workers, reduced_decode, progress: See `vlcls.embeddings.embed_images`.

    Yields:
        One `Naming` an image; an unreadable image has `error` set and stops nothing.
    """
    batches = embed_images(
        as_sources(images),
        method.encoder,
        store=open_store(cache),
        batch_size=batch_size,
        workers=workers,
        reduced_decode=reduced_decode,
        progress=progress,
    )
    for batch in batches:
        readable = [row for row in range(len(batch.sources)) if row not in batch.errors]
        found = dict(zip(readable, method(batch.embeddings[readable]) if readable else [], strict=True))
        for row, source in enumerate(batch.sources):
            if row in found:
                yield replace(found[row], image=source.name)
            else:
                yield Naming(source.name, (), error=batch.errors[row])


def vocabulary_of(namings: Iterable[Naming], at_least: int = 1) -> dict[str, int]:
    """The names found over many images and for how many each is the best, most frequent first.

    Args:
        namings: Of any number of images; unreadable ones and fallbacks do not count.
        at_least: Names of fewer images are left out.
    """
    counts = Counter(naming.label for naming in namings if naming.label is not None and not naming.fallback)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {name: count for name, count in ordered if count >= at_least}


class FixedVocabulary:
    """Names are given: the same for every image.

    With the true class names this is CLIP itself, an upper bound; with
    `vlcls.retrieval.builtin.wordnet_words` it is the nearest of WordNet's names.
    """

    def __init__(
        self,
        names: Sequence[str],
        encoder: Encoder,
        *,
        top_k: int = 10,
        store: EmbeddingStore | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Embed the names.

        Args:
            names: M texts, embedded as they are.
            encoder: Any encoder.
            top_k: Candidates to report.
            store, progress: See `vlcls.embeddings.embed_texts`.
        """
        check_logits(encoder)
        self.names, self.encoder, self.top_k = tuple(dict.fromkeys(names)), encoder, top_k
        rows = embed_in_parts(list(self.names), encoder, store=store, progress=progress)
        self.embeddings = torch.from_numpy(rows).to(encoder.device)

    def __call__(self, image_embeddings: Tensor) -> list[Naming]:
        images = unit_rows(image_embeddings, "image embeddings").to(self.embeddings.device)
        probabilities = (self.encoder.logit_scale * images @ self.embeddings.T).softmax(-1)
        return [Naming("", best_first(self.names, row)[: self.top_k]) for row in probabilities]


class ClosestCaption:
    """The most similar caption is the name, whole."""

    def __init__(self, database: CaptionDatabase, encoder: Encoder, *, retrieved: int = 10) -> None:
        """Check that the two belong together.

        Args:
            database: Captions.
            encoder: What they were embedded with.
            retrieved: Captions to report; probabilities are over these.
        """
        database.check(encoder)
        check_logits(encoder)
        self.database, self.encoder, self.retrieved = database, encoder, retrieved

    def __call__(self, image_embeddings: Tensor) -> list[Naming]:
        images = unit_rows(image_embeddings, "image embeddings")
        found = self.database.search(images.cpu().numpy(), self.retrieved)
        namings = []
        for rows, similarities in zip(found.rows.tolist(), found.similarities.tolist(), strict=True):
            pairs = [
                (row, similarity) for row, similarity in zip(rows, similarities, strict=True) if row >= 0
            ]
            captions = tuple(RetrievedCaption(self.database.captions[row], value) for row, value in pairs)
            logits = self.encoder.logit_scale * torch.tensor([caption.similarity for caption in captions])
            names = [caption.text for caption in captions]
            namings.append(Naming("", best_first(names, logits.softmax(-1)), captions))
        return namings


def best_first(names: Sequence[str], probabilities: Tensor) -> tuple[Prediction, ...]:
    """Names with their probabilities Tensor[M], best first; among equals the first comes first."""
    values, places = probabilities.sort(descending=True, stable=True)
    return tuple(
        Prediction(names[place], value, place, names[place])
        for place, value in zip(places.tolist(), values.tolist(), strict=True)
    )
