"""Embeddings of prompts, whether their class names are spelt in letters or in learned vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vlcls.embeddings import embed_texts
from vlcls.encoders.base import TOKENS_PER_BATCH, Encoder
from vlcls.errors import EncoderMismatchError
from vlcls.prompts import LearnedName, Prompt
from vlcls.slots import Slot, encode_slotted, slotted_texts

if TYPE_CHECKING:
    from vlcls.store import EmbeddingStore


def embed_prompts(
    prompts: Sequence[Prompt],
    encoder: Encoder,
    *,
    store: EmbeddingStore | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """One embedding a prompt: Tensor[M, D] float32 on the encoder's device, unit rows.

    Args:
        prompts: M prompts.
        encoder: Any encoder.
        store: For texts without learned names: where embeddings are looked up and kept.
        progress: Called with the number of texts just embedded.

    Raises:
        EncoderMismatchError: A name was learned with another encoder.
    """
    plain = [row for row, prompt in enumerate(prompts) if prompt.learned is None]
    spelt = [row for row, prompt in enumerate(prompts) if prompt.learned is not None]
    if not spelt:
        return embed_texts([prompt.text for prompt in prompts], encoder, store=store, progress=progress)
    result = torch.zeros(len(prompts), encoder.embedding_dim, device=encoder.device)
    if plain:
        texts = [prompts[row].text for row in plain]
        result[plain] = embed_texts(texts, encoder, store=store, progress=progress)
    result[spelt] = _embed_learned([prompts[row] for row in spelt], encoder, progress)
    return result


def _embed_learned(
    prompts: Sequence[Prompt], encoder: Encoder, progress: Callable[[int], None] | None
) -> Tensor:
    learned = [prompt.learned for prompt in prompts if prompt.learned is not None]
    first: dict[LearnedName, int] = {}
    total = 0
    for name in dict.fromkeys(learned):
        if name.fingerprint != encoder.fingerprint:
            raise EncoderMismatchError(
                f"the name of {name.name!r} was learned with an encoder of fingerprint "
                f"{name.fingerprint[:12]}, but {encoder.spec} has fingerprint {encoder.fingerprint[:12]}: "
                "vectors of one text tower mean nothing to another"
            )
        first[name] = total
        total += len(name.vectors)
    slots = []
    for prompt, name in zip(prompts, learned, strict=True):
        before, after = prompt.text.split(name.word)
        slots.append(Slot(before, after, name.name))
    counts = [len(name.vectors) for name in learned]
    texts = slotted_texts(encoder, slots, counts, [first[name] for name in learned])
    vectors = torch.cat([name.vectors for name in first]).to(encoder.device)
    result = torch.zeros(len(prompts), encoder.embedding_dim, device=encoder.device)
    for rows, part in texts.batches(TOKENS_PER_BATCH):
        with torch.inference_mode():
            embedded = encode_slotted(encoder, part, vectors)
        result[rows.to(encoder.device)] = embedded
        if progress is not None:
            progress(len(rows))
    return result
