"""Texture or shape: what decides where the two say different classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import EvaluationError
from vlcls.evaluation.metrics.intervals import Estimate, proportion
from vlcls.labelled import class_places
from vlcls.labels import Labels

_FILE_NAME = re.compile(r"[^-]+-(?P<texture>[^-]+?)[0-9]*")


@dataclass(frozen=True)
class ShapeDecisions:
    """Decisions on images whose shape says one class and whose texture another.

    Attributes:
        name: "all", or the class that the shape says.
        images: Without those whose cues agree.
        shape, texture: Decided for the one and for the other.
        share: shape / (shape + texture), the shape bias of Geirhos et al., "ImageNet-trained CNNs are biased
            towards texture" (ICLR 2019), with its interval; None if nothing was decided for either.
    """

    name: str
    images: int
    shape: int
    texture: int
    share: Estimate | None

    @property
    def neither(self) -> int:
        """Decided for a third class."""
        return self.images - self.shape - self.texture

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"neither": self.neither}


def texture_against_shape(
    predicted: Any, shapes: Any, textures: Any, labels: Sequence[str]
) -> tuple[ShapeDecisions, ...]:
    """Count decisions for shape and for texture.

    Args:
        predicted: int[N], predicted classes.
        shapes, textures: int[N], the class that each cue of an image says.
        labels: Names of the classes.

    Returns:
        All images first, then by the class of the shape, in the order of the labels.

    Raises:
        EvaluationError: Columns of different lengths, or no image whose cues differ.
    """
    said, shape, texture = (np.asarray(each, dtype=np.int64) for each in (predicted, shapes, textures))
    if not len(said) == len(shape) == len(texture):
        raise EvaluationError(f"{len(said)} predictions, {len(shape)} shapes and {len(texture)} textures")
    differ = shape != texture
    if not differ.any():
        raise EvaluationError("no image has a shape and a texture of different classes")
    parts = [("all", differ)]
    parts += [(labels[index], differ & (shape == index)) for index in np.unique(shape[differ]).tolist()]
    result = []
    for name, own in parts:
        for_shape = int((said == shape)[own].sum())
        for_texture = int((said == texture)[own].sum())
        share = proportion(for_shape, for_shape + for_texture)
        result.append(ShapeDecisions(name, int(own.sum()), for_shape, for_texture, share))
    return tuple(result)


def textures_of_names(names: Sequence[str], labels: Labels) -> NDArray[np.int64]:
    """The class of the texture from file names such as `cat7-knife2.png`: int64[N].

    Args:
        names: As the published cue-conflict images are called: shape, number, hyphen, texture, number.
        labels: The classes.

    Raises:
        EvaluationError: A name of another form.
        LabelError: A texture that is no class; says which.
    """
    found = [_FILE_NAME.fullmatch(PurePath(name).stem) for name in names]
    for name, match in zip(names, found, strict=True):
        if match is None:
            raise EvaluationError(
                f"{name}: no texture in this name: SHAPE-TEXTURE is expected, as in cat7-knife2.png"
            )
    textures = [match["texture"] for match in found if match is not None]
    places = class_places(textures, labels, "textures in file names")
    return np.array([places[texture] for texture in textures], dtype=np.int64)
