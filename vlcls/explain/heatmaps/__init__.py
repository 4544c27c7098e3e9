"""Heat maps: where in an image a text matched, without training and without a change to the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from vlcls.encoders import Encoder, as_encoder
from vlcls.encoders.families import FAMILIES, family_of
from vlcls.errors import EmbeddingError, EncoderError, VlclsError
from vlcls.explain.heatmaps import gem, legrad
from vlcls.explain.heatmaps.towers import block_inputs, grid_of, tower_of

Method = Literal["gem", "legrad", "cam"]

METHODS: tuple[Method, ...] = get_args(Method)

__all__ = ["METHODS", "Method", "heat_grid", "heat_map", "image_pixels", "usable_method"]


def heat_map(
    encoder: str | Encoder, image: Any, text: str | Sequence[str] | Tensor, method: Method | None = None
) -> Tensor:
    """Where an image matched a text, or each of several.

    The map lies over the image as the encoder saw it, which for most models is its middle: resized and
    cropped by `Encoder.preprocess`. It says where evidence was, not how much: each map goes from 0 to 1, and
    maps of different texts cannot be compared by their values.

    Args:
        encoder: One with a ViT for images, or `conse`; or a spec.
        image: One image: a path, a PIL image, bytes or an array.
        text: A text or several, or their embeddings Tensor[D] or Tensor[T, D].
        method: "gem", "legrad" or "cam"; by default "cam" for families that bring it (`conse`) and
            "legrad" for all others.

    Returns:
        Tensor[H, W] for one text, Tensor[T, H, W] for several: float32 on the CPU, of the size of
        `encoder.image_size`; the smallest value of each map 0 and the largest 1, or all 0 if it is even.

    Raises:
        EncoderError: The encoder's image tower is of a kind that the method cannot look into.
        EmbeddingError: The embeddings have another width than the encoder's, NaN or length zero.
        ImageError: The image cannot be read.
        VlclsError: No such method, no text, or not one image.
    """
    encoder = as_encoder(encoder)
    single = isinstance(text, str) or (isinstance(text, Tensor) and text.ndim == 1)
    grid = heat_grid(encoder, image_pixels(encoder, image), text, method)
    size = encoder.image_size
    maps = F.interpolate(grid[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    maps = _from_0_to_1(maps)
    return maps[0] if single else maps


def heat_grid(
    encoder: Encoder, pixels: Tensor, text: str | Sequence[str] | Tensor, method: Method | None = None
) -> Tensor:
    """The map before it is enlarged: one value for each patch, in the method's own unit.

    Args:
        encoder: As for `heat_map`.
        pixels: Tensor[3, H, W] as `Encoder.preprocess` makes it.
        text: As for `heat_map`.
        method: As for `heat_map`.

    Returns:
        Tensor[T, rows, columns] float32 on the CPU. "gem": cosine of the patch with the text; "legrad":
        change of the cosine with the attention given to the patch, never negative; "cam": inner product of
        the place's features with the text's.
    """
    chosen = usable_method(encoder, method)
    texts = _text_rows(encoder, text)
    device = encoder.device.type
    # Gradients are needed whatever the caller has switched off, and half precision helps no single image.
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(device, enabled=False):
        texts = F.normalize(texts.detach().to(encoder.device).float().clone(), dim=-1)
        prepared = encoder.normalise(pixels[None])
        own = _own_map(encoder)
        if own is not None:
            return own(encoder, prepared, texts).float().cpu()
        tower = tower_of(encoder)
        inputs = block_inputs(encoder, tower, prepared)
        found = (gem.patch_similarities if chosen == "gem" else legrad.relevance)(tower, inputs, texts)
        return found.unflatten(1, grid_of(tower, inputs[0].shape[1], prepared.shape[-2:])).float().cpu()


def usable_method(encoder: Encoder, method: str | None = None) -> Method:
    """The method that `heat_map` would use; raises what it would raise because of the encoder."""
    if method is not None and method not in METHODS:
        raise VlclsError(f"there is no heat map method {method!r}: choose from {', '.join(METHODS)}")
    brings_its_own = _own_map(encoder) is not None
    if method is not None and (method == "cam") != brings_its_own:
        others = [name for name in METHODS if (name == "cam") == brings_its_own]
        own = " and ".join(name for name, family in FAMILIES.items() if family.heat and family.heat.own)
        raise EncoderError(
            f"{encoder.spec}: the heat map method {method!r} is for {own if method == 'cam' else 'a ViT'}; "
            f"for this encoder choose {' or '.join(others)}"
        )
    if brings_its_own:
        return "cam"
    tower_of(encoder)
    return "gem" if method == "gem" else "legrad"


def _own_map(encoder: Encoder) -> Callable[[Encoder, Tensor, Tensor], Tensor] | None:
    family = family_of(encoder)
    return None if family is None or family.heat is None else family.heat.own


def image_pixels(encoder: Encoder, image: Any) -> Tensor:
    """One image as the encoder sees it: Tensor[3, H, W] of `Encoder.preprocess`."""
    from vlcls.image_sources import as_sources
    from vlcls.images import decode, load_source

    sources = as_sources(image)
    if len(sources) != 1:
        raise VlclsError(f"a heat map is of one image, and {len(sources)} were given")
    return encoder.preprocess(decode(load_source(sources[0])))


def _text_rows(encoder: Encoder, text: str | Sequence[str] | Tensor) -> Tensor:
    if not isinstance(text, Tensor):
        texts = [text] if isinstance(text, str) else list(text)
        if not texts or not all(isinstance(each, str) and each.strip() for each in texts):
            raise VlclsError("a heat map needs a text, or several, none of them blank")
        return encoder.encode_texts(texts)
    rows = text[None] if text.ndim == 1 else text
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != encoder.embedding_dim:
        raise EmbeddingError(
            f"text embeddings of shape {tuple(text.shape)} were given where {encoder.spec} has "
            f"[{encoder.embedding_dim}] or [T, {encoder.embedding_dim}]"
        )
    if not bool(rows.isfinite().all()) or not bool(rows.float().norm(dim=1).gt(0).all()):
        raise EmbeddingError("text embeddings for a heat map hold NaN, infinity or a row of length zero")
    return rows


def _from_0_to_1(maps: Tensor) -> Tensor:
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny), 0.0)
