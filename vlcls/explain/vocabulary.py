"""The words of a text tower's vocabulary, and which of them a vector is like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vlcls.encoders import Encoder
from vlcls.errors import EncoderError

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class NearWord:
    """A word and how near it is.

    Attributes:
        word: As people write it.
        cosine: With the vector.
    """

    word: str
    cosine: float


def whole_words(encoder: Encoder) -> dict[int, str]:
    """Tokens that are words of their own, by id: not pieces of words, numbers or signs, nor special tokens.

    Tokenizers mark them in one of three ways: an end of the word (CLIP's byte pairs: `cat</w>`), a beginning
    (sentencepiece's `▁cat`, GPT-2's `Ġcat`), or pieces by what they are not (BERT's `##ing`).

    Raises:
        EncoderError: The vocabulary has none.
    """
    tokens = encoder.vocabulary
    if any(token.endswith("</w>") for token in tokens):
        found = {i: token.removesuffix("</w>") for token, i in tokens.items() if token.endswith("</w>")}
    elif any(token.startswith(("▁", "Ġ")) for token in tokens):
        found = {i: token[1:] for token, i in tokens.items() if token.startswith(("▁", "Ġ"))}
    else:
        found = {i: token for token, i in tokens.items() if not token.startswith("##")}
    words = {i: word for i, word in sorted(found.items()) if len(word) > 1 and word.isalpha()}
    if not words:
        raise EncoderError(f"the vocabulary of {encoder.spec} has no token that is a word of its own")
    return words


class Vocabulary:
    """Unit embeddings of an encoder's whole words, in the text tower's input space.

    Cosines and not products: frequent and rare tokens differ in length.
    """

    def __init__(self, encoder: Encoder) -> None:
        known = whole_words(encoder)
        self.words: Sequence[str] = list(known.values())
        ids = torch.tensor(list(known))
        self.rows = torch.cat(
            [
                F.normalize(encoder.embed_tokens(part[None])[0].cpu(), dim=1)
                for part in ids.split(_ROWS_AT_ONCE)
            ]
        )

    def nearest(self, vector: Tensor, count: int = 5) -> tuple[NearWord, ...]:
        """The `count` words with the greatest cosine with a vector Tensor[F]."""
        cosines = self.rows @ F.normalize(vector, dim=0)
        best = cosines.topk(min(count, len(cosines)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return tuple(NearWord(self.words[place], cosine) for place, cosine in pairs)

    def rank(self, vector: Tensor, original: Tensor) -> int:
        """The place of `original` (a token's embedding, Tensor[F], whether it is a word or a piece) among the
        words by their cosine with `vector`; 1 is the nearest."""
        cosines = self.rows @ F.normalize(vector, dim=0)
        own = F.normalize(original, dim=0)
        same = (self.rows @ own) > 1 - 1e-6  # the word itself does not stand in its own way
        return 1 + int(((cosines > own @ F.normalize(vector, dim=0)) & ~same).sum())
