"""A heat map of one descriptor of a classifier, with the image it lies over."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vlcls.errors import DescriptorError
from vlcls.explain.heatmaps import heat_map, image_pixels
from vlcls.explain.pieces import Pieces

if TYPE_CHECKING:
    from vlcls.classifiers import PromptClassifier
    from vlcls.explain.contributions import Explanation


@dataclass(frozen=True)
class Overlay:
    """What is drawn over what.

    Attributes:
        text: The descriptor, or other text, that the map is of.
        seen: [H, W, 3] uint8: the image as the encoder saw it, resized and cropped.
        heat: Tensor[H, W], from 0 to 1.
    """

    text: str
    seen: np.ndarray
    heat: Tensor


def descriptor_overlay(
    classifier: PromptClassifier,
    explanation: Explanation,
    image: Any,
    descriptor: str | None = None,
) -> Overlay:
    """The heat map of a descriptor of the predicted class, in all templates it is in.

    Args:
        classifier: What made the explanation.
        explanation: Of that image.
        image: The image itself.
        descriptor: As it was written; the one with the greatest part in the score unless given. If the
            predicted class does not have it, the first class that does lends it; if none does, the map is
            of this text alone.

    Raises:
        EncoderError: Heat maps of this encoder cannot be made.
    """
    chosen = explanation.predicted.contributions[0].text if descriptor is None else descriptor
    try:
        embedding = descriptor_embedding(classifier, chosen, explanation.predicted.index)
    except DescriptorError:
        embedding = classifier.encoder.encode_texts([chosen])[0]
    heat = heat_map(classifier.encoder, image, embedding)
    return Overlay(chosen, _visible(image_pixels(classifier.encoder, image)), heat)


def text_overlay(classifier: PromptClassifier, image: Any, descriptor: str, index: int) -> Overlay:
    """The heat map of one descriptor of class `index`. Arguments and errors as of `descriptor_overlay`."""
    embedding = descriptor_embedding(classifier, descriptor, index)
    heat = heat_map(classifier.encoder, image, embedding)
    return Overlay(descriptor, _visible(image_pixels(classifier.encoder, image)), heat)


def descriptor_embedding(classifier: PromptClassifier, text: str, first: int = 0) -> Tensor:
    """The direction of a descriptor: the weighted mean of the embeddings of its prompts, Tensor[D].

    Args:
        classifier: Whose descriptor it is.
        text: As it was written; or the whole prompt, if that was made without a descriptor.
        first: The class whose descriptor it is if several have it.

    Raises:
        DescriptorError: No class has it; names those that look alike.
    """
    pieces = Pieces(classifier)
    found = [place for place, name in enumerate(pieces.names) if name == text]
    if not found:
        alike = difflib.get_close_matches(text, set(pieces.names), n=3)
        hint = f"; did you mean {' or '.join(map(repr, alike))}?" if alike else ""
        raise DescriptorError(f"no class has the descriptor {text!r}{hint}")
    own = [place for place in found if int(pieces.places[place]) == first]
    return pieces.vectors[(own or found)[0]].float()


def _visible(pixels: Tensor) -> np.ndarray:
    """Pixels of `Encoder.preprocess`, Tensor[3, H, W], as people can look at them."""
    if pixels.dtype != torch.uint8:  # normalised already, in a way that is not known
        low, high = pixels.min(), pixels.max()
        pixels = ((pixels - low) / (high - low).clamp_min(1e-12) * 255).to(torch.uint8)
    return pixels.permute(1, 2, 0).cpu().numpy()
