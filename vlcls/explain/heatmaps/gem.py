"""GEM: the similarity of each patch to a text, once patches that belong together have been drawn together.

Bousselham, Petersen, Ferrari and Kuehne, "Grounding Everything: Emerging Localization Properties in
Vision-Language Transformers", CVPR 2024 (arXiv 2312.00878). Constants and order of steps are those of the
authors' public code (github.com/WalBouss/GEM: gem_utils.py `SelfSelfAttention` and `GEMResidualBlock`,
gem_wrapper.py `GEMWrapper`), written anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vlcls.explain.heatmaps.towers import Attention, Block, Tower

#: Last blocks whose attention is replaced: the authors' depth 7 counts from 1.
BLOCKS = 6
ITERATIONS = 1


def patch_similarities(tower: Tower, inputs: Sequence[Tensor], texts: Tensor) -> Tensor:
    """The cosine of every patch with every text.

    Args:
        tower: Taken apart.
        inputs: What `block_inputs` found for one image: L + 1 tensors [1, N, W].
        texts: Tensor[T, D], unit rows.

    Returns:
        Tensor[T, patches].
    """
    patches = F.normalize(patch_embeddings(tower, inputs).float(), dim=-1)
    return texts @ patches.T


def patch_embeddings(
    tower: Tower, inputs: Sequence[Tensor], blocks: int = BLOCKS, iterations: int = ITERATIONS
) -> Tensor:
    """Patches in the joint space, Tensor[patches, D], not normalised.

    The residual stream is followed from the first of the last `blocks` blocks on, with self-self attention in
    place of attention and without the feed-forward parts; what each block attends over comes from the
    ordinary pass. A tower that pools by attention pools each patch alone (this is not in the paper: its
    models have a class token).
    """
    blocks = min(blocks, len(tower.blocks))
    first = len(tower.blocks) - blocks
    stream = inputs[first]
    for block, x in zip(tower.blocks[first:], inputs[first:-1], strict=True):
        stream = stream + block.scale(self_self_attention(block, x, iterations))
    tokens = tower.norm(stream[:, tower.prefix :])
    if tower.pooling is not None:
        return tower.project(tower.pooling(tokens.transpose(0, 1)))
    return tower.project(tokens)[0]


def self_self_attention(block: Block, x: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """The mean of q-q, k-k and v-v attention to the values, through the block's output map.

    For p in (q, k, v): repeat p <- softmax(norm(p) norm(p)^T / tau) norm(p), then
    softmax(norm(p) norm(p)^T / tau) v, each row normalised within each head. The temperature is the model's
    own: 1 / tau = mean length of the block's normed tokens / sqrt(W / H).

    Args:
        block: One of the last.
        x: Tensor[1, N, W], the block's input.
        iterations: How often tokens are drawn to those like them before the values are gathered.

    Returns:
        Tensor[1, N, W].
    """
    normed = block.norm(x)
    attention: Attention = block.attention
    values = attention.split(attention.value(normed))
    inverse = normed.norm(dim=-1).mean(dim=-1)[:, None, None, None] * values.shape[-1] ** -0.5
    gathered = torch.zeros_like(values)
    for project in (attention.query, attention.key, attention.value):
        points = attention.split(project(normed))
        for _ in range(iterations):
            points = F.normalize(points, dim=-1)
            points = _likeness(points, inverse) @ points
        gathered = gathered + _likeness(F.normalize(points, dim=-1), inverse) @ values
    return attention.join(gathered / 3)


def _likeness(points: Tensor, inverse_temperature: Tensor) -> Tensor:
    """Tensor[1, H, N, d] of unit rows -> row-stochastic Tensor[1, H, N, N]."""
    return (points @ points.transpose(-2, -1) * inverse_temperature).softmax(-1)
