"""Slots in texts: where the words lie among the tokens, for every kind of tokenizer, and vectors in place."""

from __future__ import annotations

import pytest
import torch
from conftest import MODELS

from vlcls.errors import EncoderError
from vlcls.slots import Slot, encode_slotted, slot_ids, slotted_texts

SLOTS = [
    Slot("a photo of a ", ".", "cat"),
    Slot("a photo of a ", ".", "dog"),
    Slot("a photo of the ", ".", "small red elephant"),
    Slot("", "", "horse"),
    Slot("the ", " of the large horse", "cat"),
    Slot("a cat and a ", " and a cat.", "cat"),
    Slot("a photo of a ", ".", "photo of a"),
]


@pytest.mark.parametrize("kind", MODELS)
def test_the_names_own_embeddings_give_the_texts_own_embedding(kind: str, get_encoder):
    encoder = get_encoder(kind)
    ids = slot_ids(encoder, SLOTS)
    counts = [len(own) for own in ids]
    firsts = [sum(counts[:row]) for row in range(len(counts))]
    texts = slotted_texts(encoder, SLOTS, counts, firsts)
    vectors = torch.cat([encoder.embed_tokens(own[None])[0] for own in ids])
    wanted = encoder.encode_texts([slot.text for slot in SLOTS])
    assert (encode_slotted(encoder, texts, vectors) - wanted).abs().max() <= 2e-6
    changed = vectors.clone()
    changed[firsts[2]] += torch.randn(vectors.shape[1], generator=torch.Generator().manual_seed(0))
    differs = (encode_slotted(encoder, texts, changed) - wanted).abs().amax(1) > 1e-4
    assert differs.tolist() == [row == 2 for row in range(len(SLOTS))]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_vectors_fits(kind: str, count: int, get_encoder):
    """What the encoder computes does not hang on the words that keep the place."""
    encoder = get_encoder(kind)
    some = [Slot("a photo of a ", ".", word) for word in ("cat", "small elephant", "photo of the dog")]
    texts = slotted_texts(encoder, some, [count] * 3, [0] * 3)
    assert torch.bincount(texts.rows).tolist() == [count] * 3
    width = encoder.embed_tokens(texts.tokens.ids).shape[-1]
    vectors = torch.randn(count, width, generator=torch.Generator().manual_seed(0))
    rows = encode_slotted(encoder, texts, vectors)
    assert (rows - rows[0]).abs().max() <= 2e-6


def test_the_slot_is_where_clips_tokenizer_puts_the_words(clip):
    ids = slot_ids(clip, SLOTS[:3])
    encoder = clip.tokenizer.encoder
    assert [own.tolist() for own in ids] == [
        [encoder["cat</w>"]],
        [encoder["dog</w>"]],
        [encoder["small</w>"], encoder["red</w>"], encoder["elephant</w>"]],
    ]


def test_parts_and_the_whole_are_alike(clip):
    texts = slotted_texts(clip, SLOTS, [2] * len(SLOTS), [0, 2, 4, 0, 2, 4, 0])
    vectors = torch.randn(6, 64, generator=torch.Generator().manual_seed(1))
    whole = encode_slotted(clip, texts, vectors)
    parts = texts.batches(20)
    assert len(parts) > 2
    assert sorted(torch.cat([rows for rows, _ in parts]).tolist()) == list(range(len(SLOTS)))
    for rows, part in parts:
        assert (encode_slotted(clip, part, vectors) - whole[rows]).abs().max() <= 2e-6


def test_a_text_that_is_too_long_or_joined_is_named(clip):
    with pytest.raises(EncoderError, match="longer than the 77 tokens"):
        slot_ids(clip, [Slot("very " * 90, "", "cat")])
    with pytest.raises(EncoderError, match="joins the class name"):
        slotted_texts(clip, [Slot("qzx", "wvk", "cat")], [1], [0])
