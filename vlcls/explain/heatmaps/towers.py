"""Image towers taken apart: what a heat map needs of a ViT, whichever library it comes from.

A block is rebuilt from the layers of the model it belongs to, with its attention written out, so that a
method can look at the attention without a change to the model: one ordinary forward pass hands over what
each block was given (`block_inputs`), and everything else is computed beside the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlcls.encoders import Encoder
from vlcls.encoders.families import FAMILIES, family_of
from vlcls.errors import EncoderError

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Attention:
    """One attention layer, its four linear maps separate.

    Attributes:
        heads: H; each map's W output channels are H heads of W / H channels.
        query, key, value, out: Tensor[B, N, W] -> Tensor[B, N, W].
    """

    heads: int
    query: Map
    key: Map
    value: Map
    out: Map

    def split(self, x: Tensor) -> Tensor:
        """Tensor[B, N, W] -> Tensor[B, H, N, W / H]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def join(self, heads: Tensor) -> Tensor:
        """Tensor[B, H, N, W / H] -> the layer's output, Tensor[B, N, W]."""
        return self.out(heads.transpose(1, 2).flatten(2))

    def probabilities(self, queries: Tensor, x: Tensor) -> Tensor:
        """Who looks where: softmax(q k^T / sqrt(W / H)), Tensor[B, H, N queries, N]."""
        q, k = self.split(self.query(queries)), self.split(self.key(x))
        return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)


@dataclass(frozen=True)
class Block:
    """One pre-norm transformer block: y = x + scale(attention(norm(x))), z = y + feed_forward(y).

    Attributes:
        module: The model's own block, which is only listened to.
        norm, scale, feed_forward: Tensor[B, N, W] -> the same shape.
        attention: Of norm(x) to itself.
    """

    module: nn.Module
    norm: Map
    attention: Attention
    scale: Map
    feed_forward: Map

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The block's output, given its input [B, N, W] and its attention's output before `out`."""
        y = x + self.scale(self.attention.join(attended))
        return y + self.feed_forward(y)

    def __call__(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        weights = self.attention.probabilities(normed, normed)
        return self.finish(x, weights @ self.attention.split(self.attention.value(normed)))


@dataclass(frozen=True)
class AttentionPooling:
    """SigLIP's multi-head attention pooling: a learned probe looks at all patches.

    Attributes:
        probe: Tensor[1, 1, W].
        attention: Of the probe to the normed patches.
        feed_forward: The residual branch behind it, Tensor[B, 1, W] -> Tensor[B, 1, W].
    """

    probe: Tensor
    attention: Attention
    feed_forward: Map

    def finish(self, attended: Tensor) -> Tensor:
        """Tensor[B, H, 1, W / H] -> Tensor[B, W]."""
        y = self.attention.join(attended)
        return (y + self.feed_forward(y))[:, 0]

    def __call__(self, tokens: Tensor) -> Tensor:
        weights = self.attention.probabilities(self.probe, tokens)
        return self.finish(weights @ self.attention.split(self.attention.value(tokens)))


@dataclass(frozen=True)
class Tower:
    """A ViT image tower.

    Attributes:
        blocks: In order.
        prefix: Tokens before those of the patches: 1 with a class token, else 0.
        patch: (height, width) of a patch in pixels.
        norm: The last layer norm, Tensor[..., W] -> Tensor[..., W].
        project: Into the joint space, Tensor[..., W] -> Tensor[..., D].
        pooling: None if the embedding is read off a token (or off their mean).
    """

    blocks: tuple[Block, ...]
    prefix: int
    patch: tuple[int, int]
    norm: Map
    project: Map
    pooling: AttentionPooling | None = None


def tower_of(encoder: Encoder) -> Tower:
    """Take an encoder's image tower apart.

    Raises:
        EncoderError: It is none of the ViTs that are known; names what works.
    """
    family = family_of(encoder)
    if family is None or family.heat is None or family.heat.tower is None:
        raise no_tower(encoder, encoder)
    tower: Tower = family.heat.tower(encoder)
    return tower


def no_tower(encoder: Encoder, part: Any) -> EncoderError:
    """For an encoder whose image tower, `part`, is none of the ViTs that are known."""
    what = type(getattr(part, "trunk", part)).__name__
    if "VisionTransformer" in what and getattr(part, "attn_pool", None) is not None:
        what += " with this kind of attention pooling"
    return EncoderError(f"{encoder.spec}: no heat map of a {what}: {what_works()}")


def what_works() -> str:
    """Which encoders have heat maps, for errors."""
    known = [family.heat.what for family in FAMILIES.values() if family.heat is not None]
    return f"heat maps need {', '.join(known[:-1])}, or {known[-1]}"


def block_inputs(encoder: Encoder, tower: Tower, pixels: Tensor) -> list[Tensor]:
    """What every block was given, and what the last one answered: L + 1 tensors [1, N, W].

    Args:
        encoder: Its model runs once, without gradients, in the type of its weights.
        tower: Of that encoder.
        pixels: Tensor[1, 3, H, W], normalised.

    Raises:
        EncoderError: The last block or the pooling, rebuilt, does not answer as the model's own.
    """
    found: list[Tensor] = []

    def listen(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.append(args[0] if args else kwargs["hidden_states"])

    def listen_last(_module: nn.Module, _args: Any, output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    hooks = []
    try:
        for block in tower.blocks:
            hooks.append(block.module.register_forward_pre_hook(listen, with_kwargs=True))
        hooks.append(tower.blocks[-1].module.register_forward_hook(listen_last))
        features = encoder.image_features(pixels.to(next(encoder.modules.parameters()).dtype))
    finally:
        for hook in hooks:
            hook.remove()
    pairs = [(found[-1], tower.blocks[-1](found[-2]))]
    if tower.pooling is not None:
        pairs.append((features, tower.project(tower.pooling(tower.norm(found[-1])))))
    for own, rebuilt in pairs:
        if not torch.allclose(own, rebuilt, rtol=0.01, atol=0.01 * float(own.abs().max())):
            raise EncoderError(
                f"{encoder.spec}: its image tower has parts that plain blocks and plain attention pooling do "
                f"not have, so that no heat map would be true of it: {what_works()}"
            )
    return found


def of_multihead(attention: nn.MultiheadAttention) -> Attention:
    """Of torch's own layer, which keeps its three input maps in one matrix."""
    query, key, value = split_linear(attention.in_proj_weight, attention.in_proj_bias, 3)
    return Attention(attention.num_heads, query, key, value, attention.out_proj)


def split_linear(weight: Tensor, bias: Tensor | None, parts: int) -> list[Map]:
    """The linear maps that were fused into one."""

    def linear(weight: Tensor, bias: Tensor | None) -> Map:
        return lambda x: F.linear(x, weight, bias)

    biases = [None] * parts if bias is None else bias.chunk(parts)
    return [linear(*pair) for pair in zip(weight.chunk(parts), biases, strict=True)]


def chain(*steps: Map) -> Map:
    def run(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    return run


def grid_of(tower: Tower, tokens: int, pixels: Sequence[int]) -> tuple[int, int]:
    """(rows, columns) of the patches of an image of `pixels` (height, width)."""
    rows, columns = pixels[0] // tower.patch[0], pixels[1] // tower.patch[1]
    if rows * columns != tokens - tower.prefix:
        raise EncoderError(f"{tokens - tower.prefix} patch tokens do not fill {rows} x {columns} patches")
    return rows, columns
