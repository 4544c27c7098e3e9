"""Class activation maps for `conse`: which places spoke for the ImageNet classes that a text is made of.

Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016: where features are averaged
over places and then multiplied by a class's weights, the order can be exchanged, and the class's logit is a
mean over places. In `conse` a text's similarity is a function of that average alone, and each part of it is
made of the class weights W_c:

- "synthesized": the text is the weight vector sum_c a_c (W_c - mean W), a = softmax of the closeness of the
  class names to the text. Its inner product with the image is exactly the mean over places of the map.
- "convex": the similarity depends on the logits W_c f; the derivative weighs class c by how probable it is
  and how much closer its name is to the text than that of the average class.

Both are one formula, that of Grad-CAM (Selvaraju et al., ICCV 2017) without its ReLU: features times the
derivative of the similarity with respect to their average.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vlcls.encoders.conse import ConseEncoder


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
    return torch.einsum("tk,khw->thw", feature_weights(encoder, features.mean(dim=(1, 2)), texts), features)


def feature_weights(encoder: ConseEncoder, pooled: Tensor, texts: Tensor) -> Tensor:
    """The derivative of each text's cosine with respect to the pooled features.

    Args:
        encoder: Any variant.
        pooled: Tensor[K], the mean over places.
        texts: Tensor[T, D], unit rows.

    Returns:
        Tensor[T, K].
    """
    with torch.enable_grad():
        leaf = pooled.detach().requires_grad_()
        unit = F.normalize(encoder.joint_space.images(leaf[None]), dim=1)
        (weights,) = torch.autograd.grad(unit, leaf, texts[:, None], is_grads_batched=True)
    return weights
