"""Texts with a slot: where some words of a text lie among its tokens, and vectors in place of them.

A harmless real token stays in every slot and only its row of the lookup table is replaced: a new id above
the end token's would break the pooling of towers that look for the greatest id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vlcls.encoders.base import Encoder, Tokens, batches_by_length
from vlcls.errors import EncoderError

#: What a slot holds in the texts that it is compared with: words that begin and end in different tokens.
_PROBES = ("cat", "dog", "8", "a photo", "x of it")
#: Words that are one token of most vocabularies, to make slots of another length than the name's.
_FILLERS = ("it", "cat", "dog", "a", "x", "photo", ",")


@dataclass(frozen=True)
class Slot:
    """A text with one slot.

    Attributes:
        before, after: What is around the slot.
        words: What is in it, or would be.
    """

    before: str
    after: str
    words: str

    @property
    def text(self) -> str:
        return f"{self.before}{self.words}{self.after}"


@dataclass(frozen=True)
class SlottedTexts:
    """B tokenised texts and S places in them that take vectors.

    Attributes:
        tokens: Tokens of shape [B, L].
        rows, positions: Tensor[S] int64: text and token of each place.
        vectors: Tensor[S] int64: which row of the vectors goes there.
    """

    tokens: Tokens
    rows: Tensor
    positions: Tensor
    vectors: Tensor

    def __len__(self) -> int:
        return len(self.tokens.lengths)

    def select(self, texts: Tensor) -> SlottedTexts:
        """Those at `texts`, in that order, cut after the longest of them."""
        place = torch.full((len(self),), -1)
        place[texts] = torch.arange(len(texts))
        kept = place[self.rows] >= 0
        return SlottedTexts(
            self.tokens.rows(texts), place[self.rows[kept]], self.positions[kept], self.vectors[kept]
        )

    def batches(self, tokens_at_once: int) -> list[tuple[Tensor, SlottedTexts]]:
        """All texts in parts of bounded size and about equal length, with the places of each part's texts."""
        parts = batches_by_length(self.tokens.lengths, tokens_at_once)
        return [(texts, self.select(texts)) for texts in parts]


def encode_slotted(encoder: Encoder, texts: SlottedTexts, vectors: Tensor) -> Tensor:
    """Embed texts with vectors in their slots. Differentiable in `vectors`.

    Args:
        encoder: Any encoder.
        texts: B texts.
        vectors: Tensor[V, F] on the encoder's device.

    Returns:
        Tensor[B, D] float32, unit rows.
    """
    device = encoder.device
    words = encoder.embed_tokens(texts.tokens.ids)
    # `embedding`, not indexing: its gradient adds up in the same order every time.
    rows = F.embedding(texts.vectors.to(device), vectors)
    places = (texts.rows.to(device), texts.positions.to(device))
    return encoder.encode_token_embeddings(words.index_put(places, rows), texts.tokens)


def slot_ids(encoder: Encoder, slots: Sequence[Slot]) -> list[Tensor]:
    """The token ids of each slot's words, in their text: Tensor[M] int64 each.

    Raises:
        EncoderError: See `slotted_texts`.
    """
    tokens = encoder.tokenize([slot.text for slot in slots])
    spans = _spans(encoder, slots, tokens)
    return [ids[start:stop] for ids, (start, stop) in zip(tokens.ids, spans, strict=True)]


def slotted_texts(
    encoder: Encoder, slots: Sequence[Slot], counts: Sequence[int], firsts: Sequence[int]
) -> SlottedTexts:
    """Tokenise texts with room for vectors.

    Where the words are as many tokens as vectors, they are the harmless tokens in the slot, so that their own
    embeddings as vectors give the text's own embedding. Elsewhere a short word is repeated.

    Args:
        encoder: Any encoder.
        slots: B texts.
        counts: How many vectors each takes.
        firsts: The row of the first of them; the others follow it.

    Raises:
        EncoderError: A text is too long for the encoder, or its tokenizer joins the words with their
            surroundings.
    """
    final = list(slots)
    spans = _spans(encoder, final, encoder.tokenize([slot.text for slot in final]))
    for filler in _FILLERS:
        wrong = [row for row, (start, stop) in enumerate(spans) if stop - start != counts[row]]
        if not wrong:
            break
        for row in wrong:
            final[row] = replace(slots[row], words=" ".join([filler] * counts[row]))
        some = [final[row] for row in wrong]
        found = _spans(encoder, some, encoder.tokenize([slot.text for slot in some]))
        for row, span in zip(wrong, found, strict=True):
            spans[row] = span
    for slot, (start, stop), count in zip(slots, spans, counts, strict=True):
        if stop - start != count:
            raise EncoderError(
                f"the tokenizer of {encoder.spec} leaves no room for {count} vectors in {slot.text!r}: it "
                "joins the class name with what is around it. Put spaces around {} in the template"
            )
    places = [
        (row, start + step, firsts[row] + step)
        for row, (start, stop) in enumerate(spans)
        for step in range(stop - start)
    ]
    rows, positions, vectors = torch.tensor(places).reshape(-1, 3).unbind(1)
    return SlottedTexts(encoder.tokenize([slot.text for slot in final]), rows, positions, vectors)


def _spans(encoder: Encoder, slots: Sequence[Slot], tokens: Tokens) -> list[tuple[int, int]]:
    """First and last + 1 token of each slot.

    No tokenizer needs to tell: the tokens that stay the same whatever is in the slot are around it.
    """
    if tokens.cut.any():
        long = slots[int(tokens.cut.int().argmax())].text
        raise EncoderError(
            f"{long!r} is longer than the {encoder.context_length} tokens of {encoder.spec}: a name in it "
            "cannot be learned"
        )
    around = list(dict.fromkeys((slot.before, slot.after) for slot in slots))
    probes = encoder.tokenize([f"{b}{probe}{a}" for b, a in around for probe in _PROBES])
    padding = _padding(encoder, tokens)
    own, others = _cores(tokens, padding), _cores(probes, padding)
    by_around = {
        key: [ids for _, ids in others[place * len(_PROBES) : (place + 1) * len(_PROBES)]]
        for place, key in enumerate(around)
    }
    spans = []
    for slot, (first, ids) in zip(slots, own, strict=True):
        compared = [probe for probe in by_around[slot.before, slot.after] if probe != ids]
        start = min(_shared(ids, probe) for probe in compared)
        end = len(ids) - min(_shared(ids[::-1], probe[::-1]) for probe in compared)
        spans.append((first + start, first + max(start, end)))
    return spans


def _padding(encoder: Encoder, tokens: Tokens) -> int | None:
    """The padding id of towers that read their padding; None if lengths leave it out."""
    width = tokens.ids.shape[1]
    if bool((tokens.lengths < width).any()) or width < encoder.context_length:
        return None
    empty = encoder.tokenize([""])
    if int(empty.lengths[0]) < empty.ids.shape[1] or empty.ids.shape[1] < width:
        return None
    return int(empty.ids[0].mode().values)


def _cores(tokens: Tokens, padding: int | None) -> list[tuple[int, list[int]]]:
    """Each text's ids without its padding, and where they begin."""
    cores = []
    for ids, length in zip(tokens.ids.tolist(), tokens.lengths.tolist(), strict=True):
        first, last = 0, length
        while padding is not None and first < last and ids[last - 1] == padding:
            last -= 1
        while padding is not None and first < last and ids[first] == padding:
            first += 1
        cores.append((first, ids[first:last]))
    return cores


def _shared(one: list[int], other: list[int]) -> int:
    """How many tokens two texts begin with alike."""
    shorter = min(len(one), len(other))
    return next((place for place in range(shorter) if one[place] != other[place]), shorter)
