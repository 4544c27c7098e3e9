"""Class activation maps for `conse`: which places spoke for the ImageNet classes that a text is made of.

Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 2: where features
are averaged over places and then multiplied by a class's weights, the order can be exchanged, and the class's
logit is a mean over places: those of its map. In `conse` a text is a convex combination of the ImageNet
classes (`vlcls.encoders.conse.synthesized`), and its map is the same combination of their maps:

    map(place) = F(place) . sum_c a_c (W_c - mean W),  a = softmax(20 cosines of class names and text)

For the part "synthesized", three quarters of the default's cosine, the mean of the map over all places is the
numerator of that cosine, so that nothing is left out. The part "convex" is not linear in the features; its
text is given the same combination.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vlcls.encoders.conse import VARIANTS, ConseEncoder, synthesized

_SHARPNESS = VARIANTS["synthesized"][0]["sharpness"]


def class_activation(encoder: ConseEncoder, pixels: Tensor, texts: Tensor) -> Tensor:
    """What each place of the image tower's last feature map did for each text.

    Args:
        encoder: Any variant.
        pixels: Tensor[1, 3, H, W], normalised.
        texts: Tensor[T, D], unit rows.

    Returns:
        Tensor[T, h, w], 7 x 7 for the usual 224 x 224 pixels.
    """
    features: Tensor = encoder.towers.image.extract_features(pixels).float()[0]
    return torch.einsum("tk,khw->thw", feature_weights(encoder, texts), features)


def feature_weights(encoder: ConseEncoder, texts: Tensor) -> Tensor:
    """Each text as a vector to multiply image features with: its parts' unit vectors, times their shares.

    "synthesized" and "ridge" put texts among the image features by themselves; a text among the names
    ("convex") is led there by `synthesized`.

    Args:
        encoder: Any variant.
        texts: Tensor[T, D], embeddings.

    Returns:
        Tensor[T, K].
    """
    described = VARIANTS[encoder.variant]
    slices = texts.split([part.dim for part in encoder.joint_space.parts], dim=1)
    weights = torch.zeros(len(texts), encoder.seen.weight.shape[1], device=texts.device)
    for part, vectors in zip(described, slices, strict=True):
        if part["part"] == "convex":
            origin = encoder.seen.names.mean(dim=0) if part["centred"] else 0.0
            sentences = F.normalize(vectors, dim=1) + origin
            vectors = synthesized(encoder.seen, _SHARPNESS).text(sentences)
        weights = weights + part["share"] * F.normalize(vectors, dim=1)
    return weights
