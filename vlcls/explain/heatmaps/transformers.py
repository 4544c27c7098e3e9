"""Image towers of transformers taken apart."""

from __future__ import annotations

from typing import Any

from torch import nn

from vlcls.encoders.transformers import TransformersEncoder
from vlcls.explain.heatmaps.towers import (
    Attention,
    AttentionPooling,
    Block,
    Tower,
    chain,
    no_tower,
    of_multihead,
)


def tower(encoder: TransformersEncoder) -> Tower:
    """See `vlcls.explain.heatmaps.towers.tower_of`."""
    model, vision = encoder.model, getattr(encoder.model, "vision_model", None)
    if vision is None or not _is_transformers_vit(vision):
        raise no_tower(encoder, encoder if vision is None else vision)
    blocks = tuple(
        Block(
            layer,
            layer.layer_norm1,
            _of_transformers(layer.self_attn),
            nn.Identity(),
            chain(layer.layer_norm2, layer.mlp),
        )
        for layer in vision.encoder.layers
    )
    project = getattr(model, "visual_projection", nn.Identity())
    prefix = 1 if hasattr(vision.embeddings, "class_embedding") else 0
    patch = tuple(vision.embeddings.patch_embedding.kernel_size)
    head = getattr(vision, "head", None)
    return Tower(
        blocks, prefix, patch, vision.post_layernorm, project, None if head is None else _of_head(head)
    )


def _is_transformers_vit(vision: Any) -> bool:
    layers: Any = getattr(getattr(vision, "encoder", None), "layers", None) or ()
    parts = ("layer_norm1", "self_attn", "layer_norm2", "mlp")
    if not all(hasattr(layer, part) for layer in layers for part in parts):
        return False
    return len(layers) > 0 and all(hasattr(layer.self_attn, "q_proj") for layer in layers)  # not BLIP's


def _of_transformers(attention: Any) -> Attention:
    return Attention(
        attention.num_heads, attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj
    )


def _of_head(head: Any) -> AttentionPooling:
    return AttentionPooling(head.probe, of_multihead(head.attention), chain(head.layernorm, head.mlp))
