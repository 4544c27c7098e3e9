"""LeGrad: how the similarity to a text would change if an image token were attended to more.

Bousselham, Boggust, Chaybouti, Strobelt and Kuehne, "LeGrad: An Explainability Method for Vision
Transformers via Feature Formation Sensitivity", ICCV 2025 (arXiv 2404.03214). Constants and order of steps
are those of the authors' public code (github.com/WalBouss/LeGrad: wrapper.py `compute_legrad_clip` and
`compute_legrad_siglip`), written anew.

The attention A of a block enters its output only as A v, so that the gradient with respect to A needs no
graph over A: it is (gradient with respect to A v) v^T, which is computed here for many texts at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vlcls.explain.heatmaps.towers import AttentionPooling, Block, Tower

#: Last blocks that are looked at: the authors' `layer_index=-2`.
BLOCKS = 2

#: In one backward pass; each takes the memory of one block's activations.
_TEXTS_AT_ONCE = 16


def relevance(tower: Tower, inputs: Sequence[Tensor], texts: Tensor, blocks: int = BLOCKS) -> Tensor:
    """How much each patch's being attended to would raise each text's similarity, Tensor[T, patches].

    For each of the last `blocks` blocks l, s_l is the cosine of the text with the block's pooled output (the
    mean over all tokens, normed and projected as the last block's class token is); the block's part is
    relu(d s_l / d A_l), mean over heads and over the rows of A_l. In a tower that pools by attention, A_l is
    the pooling's own map when it is given the output of block l, and its only row is the probe's.

    Args:
        tower: Taken apart.
        inputs: What `block_inputs` found for one image: L + 1 tensors [1, N, W].
        texts: Tensor[T, D], unit rows.
        blocks: How many of the last blocks.
    """
    blocks = min(blocks, len(tower.blocks))
    total = torch.zeros(len(texts), inputs[0].shape[1], device=texts.device)
    for place in range(len(tower.blocks) - blocks, len(tower.blocks)):
        if tower.pooling is None:
            gradients = block_gradients(tower, tower.blocks[place], inputs[place], texts)
        else:
            gradients = pooling_gradients(tower, tower.pooling, inputs[place + 1], texts)
        total += torch.stack([each.clamp(min=0).mean(dim=(0, 1)) for each in gradients])
    return total[:, tower.prefix :]


def block_gradients(tower: Tower, block: Block, x: Tensor, texts: Tensor) -> Iterator[Tensor]:
    """d s / d A of one block for each text in turn: T tensors [H, N, N].

    Args:
        tower: The block's.
        block: The one looked at.
        x: Tensor[1, N, W], its input.
        texts: Tensor[T, D], unit rows.
    """
    normed = block.norm(x)
    values = block.attention.split(block.attention.value(normed))
    attended = block.attention.probabilities(normed, normed) @ values

    def embedding(heads: Tensor) -> Tensor:
        return tower.project(tower.norm(block.finish(x, heads).mean(dim=1)))

    return _gradients(embedding, attended, values, texts)


def pooling_gradients(tower: Tower, pooling: AttentionPooling, x: Tensor, texts: Tensor) -> Iterator[Tensor]:
    """The same for attention pooling given the tokens x, Tensor[1, N, W]: T tensors [H, 1, N]."""
    tokens = tower.norm(x)
    values = pooling.attention.split(pooling.attention.value(tokens))
    attended = pooling.attention.probabilities(pooling.probe, tokens) @ values

    def embedding(heads: Tensor) -> Tensor:
        return tower.project(pooling.finish(heads))

    return _gradients(embedding, attended, values, texts)


def _gradients(
    embedding: Callable[[Tensor], Tensor], attended: Tensor, values: Tensor, texts: Tensor
) -> Iterator[Tensor]:
    """Of cos(embedding(A v), text) with respect to A, text by text: all of them at once can be large.

    Args:
        embedding: Tensor[1, H, n, d], what was attended to, to Tensor[1, D].
        attended: A v, Tensor[1, H, n, d].
        values: v, Tensor[1, H, N, d].
        texts: Tensor[T, D], unit rows.
    """
    with torch.enable_grad():
        leaf = attended.detach().requires_grad_()
        unit = F.normalize(embedding(leaf).float(), dim=-1)
    for some in texts.split(_TEXTS_AT_ONCE):
        # d (unit . text) / d leaf for all of these texts in one backward pass.
        (upstream,) = torch.autograd.grad(unit, leaf, some[:, None], is_grads_batched=True, retain_graph=True)
        for each in upstream[:, 0].float():
            yield each @ values[0].float().transpose(-2, -1)
