"""The way through the frozen text tower and back: from name vectors to text embeddings, gradients in return.

A data set of 1000 classes in 7 templates is 7000 texts, and the loss needs all of them at once: through the
softmax every class gets a gradient from every image. The activations of so many do not fit into memory, and
need not. Gradient caching (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup", RepL4NLP 2021) goes three ways: all texts through the tower in chunks, keeping no activations; the
loss and its gradient with respect to the text embeddings; each chunk through the tower again, with
activations, and that gradient back through it. The result is the gradient of the whole batch, not an
approximation of it.

The chunks are shared out over the processes of a launch. All that these exchange are text embeddings and the
gradient of the name vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlcls.encoders.base import Encoder
from vlcls.encoders.placement import process_state
from vlcls.errors import EncoderError
from vlcls.slots import SlottedTexts, encode_slotted

#: Tokens (padding included) whose activations are in memory at once: about 1 GiB for ViT-B/32's text tower.
TOKENS_AT_ONCE = 2048


@dataclass(frozen=True)
class _Chunk:
    """Some of the texts, and what the way back needs."""

    rows: Tensor
    texts: SlottedTexts
    embeddings: Tensor | None = None


class SlottedTower:
    """B texts with slots and the tower that reads them.

    Args:
        encoder: Frozen; in evaluation mode.
        texts: B texts.
        tokens_at_once: Bound on the tokens of one chunk.
    """

    def __init__(self, encoder: Encoder, texts: SlottedTexts, tokens_at_once: int = TOKENS_AT_ONCE) -> None:
        state = process_state()
        self.encoder, self.count, self.world = encoder, len(texts), state.num_processes
        chunks = texts.batches(tokens_at_once)[state.process_index :: self.world]
        self.chunks = [_Chunk(rows, part) for rows, part in chunks]

    @torch.no_grad()
    def embed(self, vectors: Tensor) -> Tensor:
        """Embeddings of all texts, the same in every process: [V, F] to Tensor[B, D] float32, unit rows."""
        return self._collect([(c.rows, encode_slotted(self.encoder, c.texts, vectors)) for c in self.chunks])

    def embed_for_gradient(self, vectors: Tensor) -> tuple[Tensor, list[_Chunk]]:
        """As `embed`, and what `pull_back` needs. A single chunk keeps its activations."""
        if len(self.chunks) != 1:
            return self.embed(vectors), self.chunks
        (chunk,) = self.chunks
        embeddings = encode_slotted(self.encoder, chunk.texts, vectors)
        joined = self._collect([(chunk.rows, embeddings.detach())])
        return joined, [_Chunk(chunk.rows, chunk.texts, embeddings)]

    def pull_back(self, vectors: Tensor, chunks: Sequence[_Chunk], gradient: Tensor) -> Tensor:
        """The gradient of the loss with respect to the vectors, the same in every process.

        Args:
            vectors: Tensor[V, F] that requires a gradient: the one `embed_for_gradient` was given.
            chunks: What `embed_for_gradient` gave.
            gradient: Tensor[B, D], of the loss with respect to the text embeddings.

        Raises:
            EncoderError: The tower overflows in its precision.
        """
        # Brought to size 1 by a power of two, which is exact: half precision would lose small numbers.
        largest = float(gradient.abs().max())
        factor = 2.0 ** -math.floor(math.log2(largest)) if largest > 0 else 1.0
        total = torch.zeros_like(vectors)
        for chunk in chunks:
            out = chunk.embeddings
            if out is None:
                out = encode_slotted(self.encoder, chunk.texts, vectors)
            part = gradient[chunk.rows.to(gradient.device)] * factor
            (found,) = torch.autograd.grad(out, vectors, part)
            total += found
        if self.world > 1:
            from accelerate.utils import reduce

            total = reduce(total, "sum")
        if not bool(total.isfinite().all()):
            raise EncoderError(
                f"the text tower of {self.encoder.spec} overflows on the way back in "
                f"{self.encoder.precision}: use bf16 or fp32"
            )
        return total / factor

    def _collect(self, parts: list[tuple[Tensor, Tensor]]) -> Tensor:
        joined = torch.zeros(self.count, self.encoder.embedding_dim, device=self.encoder.device)
        for rows, embeddings in parts:
            joined[rows.to(joined.device)] = embeddings
        if self.world > 1:
            from accelerate.utils import reduce

            joined = reduce(joined, "sum")  # every row is zero in all processes but one
        return joined


@contextmanager
def checkpointed_layers(encoder: Encoder) -> Iterator[None]:
    """While this lasts, transformer layers keep their input only and compute the rest again on the way back.

    The layers are found as the equal members of the model's module lists, so that it works for any family.
    """
    layers = [
        layer
        for module in encoder.modules.modules()
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module) > 1
        if len({type(layer) for layer in module}) == 1
        for layer in module
    ]

    def again(own):  # type: ignore[no-untyped-def]  # any layer's arguments
        return lambda *given, **named: checkpoint(own, *given, use_reentrant=False, **named)

    for layer in layers:
        layer.forward = again(layer.forward)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
