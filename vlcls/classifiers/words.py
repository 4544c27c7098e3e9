"""The embeddings of words, each encoded once: in memory for the run, in the store for good."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vlcls.embeddings import embed_texts
from vlcls.encoders.base import Encoder
from vlcls.encoders.placement import process_state
from vlcls.store import EmbeddingStore, text_key


class WordEmbeddings:
    """A table of words that grows: what was asked for before is not encoded again.

    The store is opened once, not for every batch: opening reads all of it. Under `accelerate launch` every
    process must ask for the same words in the same order, as processes that see the same images do.

    Attributes:
        encoded: How many words went through the encoder so far.
    """

    def __init__(self, encoder: Encoder, store: EmbeddingStore | None = None) -> None:
        self.encoder = encoder
        self.encoded = 0
        self._place: dict[str, int] = {}
        self._table = torch.zeros(0, encoder.embedding_dim, device=encoder.device)
        self._partition = None if store is None else store.partition(encoder, "texts")

    def __len__(self) -> int:
        return len(self._place)

    def __call__(self, words: Sequence[str]) -> Tensor:
        """Embeddings of words, Tensor[M, D] float32, unit rows, on the encoder's device."""
        new = [word for word in dict.fromkeys(words) if word not in self._place]
        if new:
            start = len(self._place)
            if start + len(new) > len(self._table):
                room = torch.zeros(
                    max(len(new), start, 256), *self._table.shape[1:], device=self._table.device
                )
                self._table = torch.cat([self._table, room])
            self._table[start : start + len(new)] = self._looked_up(new)
            self._place.update((word, start + row) for row, word in enumerate(new))
        return self._table[[self._place[word] for word in words]]

    def _looked_up(self, words: list[str]) -> Tensor:
        stored = [None if self._partition is None else self._partition.get(text_key(word)) for word in words]
        missing = [row for row, embedding in enumerate(stored) if embedding is None]
        if process_state().num_processes > 1:  # processes whose stores differ must encode the same
            from accelerate.utils import gather_object

            missing = sorted(set(gather_object(missing)))
        result = torch.zeros(len(words), self.encoder.embedding_dim, device=self.encoder.device)
        left = set(missing)
        known = [row for row in range(len(words)) if row not in left]
        if known:
            rows = np.stack([row for row in (stored[place] for place in known) if row is not None])
            result[known] = torch.from_numpy(rows).to(result.device)
        if missing:
            texts = [words[row] for row in missing]
            result[missing] = embed_texts(texts, self.encoder)
            self.encoded += len(missing)
            if self._partition is not None:
                self._partition.put([text_key(text) for text in texts], result[missing].cpu().numpy())
        return result

    def close(self) -> None:
        """Write down what is not yet on disk."""
        if self._partition is not None:
            self._partition.close()
