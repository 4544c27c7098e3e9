"""The embeddings of words, each encoded once: in memory for the run, in the store for good."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vlcls.embeddings import embed_distinct
from vlcls.encoders.base import Encoder
from vlcls.store import EmbeddingStore


class WordEmbeddings:
    """A table of words that grows: what was asked for before is not encoded again.

    Under `accelerate launch` every process must ask for the same words in the same order, as processes that
    see the same images do.

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
            rows, encoded = embed_distinct(new, self.encoder, self._partition)
            self._table[start : start + len(new)] = rows
            self._place.update((word, start + row) for row, word in enumerate(new))
            self.encoded += encoded
        return self._table[[self._place[word] for word in words]]

    def close(self) -> None:
        """Write down what is not yet on disk."""
        if self._partition is not None:
            self._partition.close()
