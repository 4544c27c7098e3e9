"""Image towers of open_clip, its own ViTs and timm's inside it, taken apart."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vlcls.encoders.open_clip import OpenClipEncoder
from vlcls.explain.heatmaps.towers import (
    Attention,
    AttentionPooling,
    Block,
    Tower,
    chain,
    no_tower,
    of_multihead,
    split_linear,
)


def tower(encoder: OpenClipEncoder) -> Tower:
    """See `vlcls.explain.heatmaps.towers.tower_of`."""
    visual = encoder.model.visual
    if _is_open_clip_vit(visual):
        return _open_clip_tower(visual)
    if _is_timm_vit(visual):
        return _timm_tower(visual)
    raise no_tower(encoder, visual)


def _is_open_clip_vit(visual: Any) -> bool:
    if type(visual).__name__ != "VisionTransformer" or visual.attn_pool is not None:
        return False  # a timm trunk, a ResNet, CoCa's attention pooling
    return all(type(block).__name__ == "ResidualAttentionBlock" for block in visual.transformer.resblocks)


def _open_clip_tower(visual: Any) -> Tower:
    blocks = tuple(
        Block(
            block,
            block.ln_1,
            of_multihead(block.attn),
            block.ls_1,
            chain(block.ln_2, block.mlp, block.ls_2),
        )
        for block in visual.transformer.resblocks
    )

    def project(x: Tensor) -> Tensor:
        return x if visual.proj is None else x @ visual.proj

    return Tower(blocks, 1, tuple(visual.patch_size), visual.ln_post, project)


def _is_timm_vit(visual: Any) -> bool:
    trunk: Any = getattr(visual, "trunk", None)
    if type(trunk).__name__ != "VisionTransformer":
        return False
    pool = trunk.attn_pool
    return pool is None or (type(pool).__name__ == "AttentionPoolLatent" and pool.latent_len == 1)


def _timm_tower(visual: Any) -> Tower:
    trunk: Any = visual.trunk
    blocks = tuple(
        Block(
            block,
            block.norm1,
            _of_fused(block.attn.num_heads, block.attn.qkv, block.attn.proj),
            block.ls1,
            chain(block.norm2, block.mlp, block.ls2),
        )
        for block in trunk.blocks
    )
    pooling = None if trunk.attn_pool is None else _of_latent(trunk.attn_pool)
    project = chain(trunk.fc_norm, trunk.head, visual.head)
    embed = trunk.patch_embed
    # Not `patch_size`: behind convolutions (ViTamin, MobileCLIP-B) a patch is a place of their last map.
    patch = (embed.img_size[0] // embed.grid_size[0], embed.img_size[1] // embed.grid_size[1])
    return Tower(blocks, trunk.num_prefix_tokens, patch, trunk.norm, project, pooling)


def _of_fused(heads: int, fused: nn.Linear, out: nn.Module) -> Attention:
    query, key, value = split_linear(fused.weight, fused.bias, 3)
    return Attention(heads, query, key, value, out)


def _of_latent(pool: Any) -> AttentionPooling:
    key, value = split_linear(pool.kv.weight, pool.kv.bias, 2)
    attention = Attention(pool.num_heads, pool.q, key, value, pool.proj)
    return AttentionPooling(pool.latent, attention, chain(pool.norm, pool.mlp))
