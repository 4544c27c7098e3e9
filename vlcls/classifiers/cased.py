"""CaSED: names for images without a list of names, from captions that are similar to the image.

Conti et al., "Vocabulary-free Image Classification" (NeurIPS 2023, arXiv 2306.00917), section 4, with the
constants of the published code. Captions near the image are retrieved; their words are the candidates; the
image and the mean of the captions both vote among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from vlcls.arguments import takes
from vlcls.classifiers.base import check_logits, open_store, unit_rows
from vlcls.classifiers.candidates import FALLBACK, Tagger, candidate_names, normal_words
from vlcls.classifiers.vocabulary_free import Naming, RetrievedCaption, best_first
from vlcls.classifiers.words import WordEmbeddings
from vlcls.encoders import Encoder, as_encoder
from vlcls.limits import LEAST_SCALE, MOST_SCALE
from vlcls.retrieval import CaptionDatabase, open_captions

#: Captions retrieved for an image.
RETRIEVED = 10
#: Captions whose embeddings have a greater inner product say the same.
DUPLICATE_ABOVE = 0.94
#: Weight of the image's vote; the captions' has the rest.
ALPHA = 0.7
#: With a hint, the captions are those nearest to it among this many times as many near the image.
HINT_POOL = 2


def distinct_rows(embeddings: NDArray[np.float32], above: float = DUPLICATE_ABOVE) -> list[int]:
    """One row, the first, of each group of near-duplicates.

    Args:
        embeddings: float32[K, D], unit rows.
        above: Two rows with a greater inner product are duplicates; a group is a connected component.
    """
    if not len(embeddings):
        return []
    groups = connected_components(embeddings @ embeddings.T > above, directed=False)[1]
    return sorted(np.unique(groups, return_index=True)[1].tolist())


def mixed_votes(
    images: Tensor, centroids: Tensor, candidates: Tensor, mask: Tensor, scale: float, alpha: float
) -> Tensor:
    """alpha * softmax(scale z.c) + (1 - alpha) * softmax(scale t.c), each over an image's own candidates.

    Args:
        images: z, Tensor[N, D], unit rows.
        centroids: t, Tensor[N, D], unit rows; a row of zeros has no say, and the image has it all.
        candidates: c, Tensor[V, D], unit rows.
        mask: Tensor[N, V] bool: which candidates each image has, one at least.
        scale: Logit scale over tau.
        alpha: From 0 (the captions alone) to 1 (the image alone).

    Returns:
        Probabilities Tensor[N, V], zero where the mask is False.
    """
    by_image, by_text = (
        (scale * rows @ candidates.T).masked_fill(~mask, -torch.inf).softmax(-1)
        for rows in (images, centroids)
    )
    silent = ~centroids.any(dim=1, keepdim=True)
    return torch.where(silent, by_image, alpha * by_image + (1 - alpha) * by_text)


class Cased:
    """CaSED over a caption database.

    Attributes:
        database, encoder: The captions, and what embeds images, captions and words alike.
        words: Embeddings of all candidates so far.
    """

    @takes(
        alpha="number",
        tau="number",
        retrieved="whole",
        duplicate_above="number",
        hint="text?",
        only="list?",
        blocked="list",
        nouns="flag",
        cache="cache",
        progress="function?",
    )
    def __init__(
        self,
        captions: CaptionDatabase | str | Path,
        encoder: str | Encoder,
        *,
        alpha: float = ALPHA,
        tau: float = 1.0,
        retrieved: int = RETRIEVED,
        duplicate_above: float = DUPLICATE_ABOVE,
        hint: str | None = None,
        only: Iterable[str] | None = None,
        blocked: Iterable[str] = (),
        nouns: bool = False,
        tagger: Tagger | None = None,
        cache: bool | str | Path = True,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Open the database.

        Args:
            captions: A database, or what `open_captions` opens: a folder, or "wordnet".
            encoder: What its captions were embedded with, or its spec.
            alpha: Weight of the image's vote, from 0 to 1.
            tau: Temperature: the logit scale is divided by it.
            retrieved: Captions for an image.
            duplicate_above: See `distinct_rows`.
            hint: What all images show, in a word or two ("pet"): among twice as many captions near the
                image, those nearest to the hint are taken. Not in the paper.
            only: Names that alone may be found; several words count each. Not in the paper.
            blocked: Names that are never found. Not in the paper.
            nouns: Only nouns may be found, see `candidate_names`; in the paper adjectives, participles too.
            tagger: See `vlcls.classifiers.candidates`.
            cache: Keep embeddings of words (and of the built-in captions) on disk.
            progress: Called with the number of built-in captions just embedded.

        Raises:
            ValueError: alpha, tau or retrieved out of range; no usable word in `only`.
            CaptionError, EncoderMismatchError: See `open_captions`.
        """
        if not 0 <= alpha <= 1 or not LEAST_SCALE <= tau <= MOST_SCALE or retrieved < 1:
            raise ValueError(
                f"alpha must be from 0 to 1 (not {alpha}), tau above 0 (not {tau}), retrieved at least 1 "
                f"(not {retrieved})"
            )
        encoder, store = as_encoder(encoder), open_store(cache)
        check_logits(encoder)
        if isinstance(captions, CaptionDatabase):
            captions.check(encoder)
        else:
            captions = open_captions(captions, encoder, store=store, progress=progress)
        self.database, self.encoder = captions, encoder
        self.alpha, self.scale = alpha, encoder.logit_scale / tau
        self.retrieved, self.duplicate_above = retrieved, duplicate_above
        self.only = None if only is None else normal_words(only)
        if self.only is not None and not self.only:
            raise ValueError("none of the words that alone may be found is an English word")
        self.blocked, self.nouns, self.tagger = normal_words(blocked), nouns, tagger
        self.words = WordEmbeddings(encoder, store)
        self._hint = self.words([hint])[0].cpu().numpy() if hint else None

    def __call__(self, image_embeddings: Tensor) -> list[Naming]:
        """Name what images show, from their embeddings Tensor[N, D]; `discover` takes the images."""
        images = unit_rows(image_embeddings, "image embeddings").to(self.encoder.device)
        found = self._retrieve(images.cpu().numpy())
        names = [
            candidate_names(
                (caption.text for caption in captions),
                self.tagger,
                only=self.only,
                blocked=self.blocked,
                nouns=self.nouns,
            )
            for captions, _ in found
        ]
        vocabulary = sorted({word for words in names for word in words} | {FALLBACK})
        place = {word: column for column, word in enumerate(vocabulary)}
        mask = torch.zeros(len(images), len(vocabulary), dtype=torch.bool, device=images.device)
        for row, words in enumerate(names):
            mask[row, [place[word] for word in words or [FALLBACK]]] = True
        centroids = torch.stack([centroid for _, centroid in found]).to(images.device)
        # A word is its own prompt; underscores cannot be in it.
        votes = mixed_votes(images, centroids, self.words(vocabulary), mask, self.scale, self.alpha).cpu()
        namings = []
        for row, (captions, _) in enumerate(found):
            own = names[row] or [FALLBACK]
            candidates = best_first(own, votes[row, [place[word] for word in own]])
            namings.append(Naming("", candidates, captions, fallback=not names[row]))
        return namings

    def close(self) -> None:
        """Write down the words' embeddings that are not yet on disk."""
        self.words.close()

    def __enter__(self) -> Cased:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _retrieve(self, images: NDArray[np.float32]) -> list[tuple[tuple[RetrievedCaption, ...], Tensor]]:
        """For each image, its captions without near-duplicates, and their centroid Tensor[D]."""
        count = self.retrieved * (1 if self._hint is None else HINT_POOL)
        found = self.database.search(images, count)
        results = []
        for rows, similarities in zip(found.rows, found.similarities, strict=True):
            rows, similarities = rows[rows >= 0], similarities[rows >= 0]
            embeddings = self._embeddings(rows)
            if self._hint is not None:
                nearest = np.argsort(-(embeddings @ self._hint), kind="stable")[: self.retrieved]
                nearest.sort()
                rows, similarities, embeddings = rows[nearest], similarities[nearest], embeddings[nearest]
            kept = distinct_rows(embeddings, self.duplicate_above)
            captions = tuple(
                RetrievedCaption(self.database.captions[row], value)
                for row, value in zip(rows[kept].tolist(), similarities[kept].tolist(), strict=True)
            )
            centroid = torch.from_numpy(embeddings[kept].sum(0))  # the sum's direction is the mean's
            results.append((captions, F.normalize(centroid, dim=0)))
        return results

    def _embeddings(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Unit embeddings float32[K, D]: what the database kept, or made anew."""
        kept = self.database.embeddings(rows)
        if kept is None:
            return self.words([self.database.captions[row] for row in rows.tolist()]).cpu().numpy()
        return kept / np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), 1e-12)
