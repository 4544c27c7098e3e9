"""Data sets seen through the corruptions of ImageNet-C, made while images are read.

Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations"
(ICLR 2019); the corruptions are those of `imagecorruptions-imaug`. As in the making of ImageNet-C, an image
is first scaled to 256 pixels at its short side and its middle square of 224 is taken: the strengths are in
pixels of such images. Unlike there it is not stored as JPEG afterwards.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

from vlcls.errors import EvaluationError, MissingExtraError
from vlcls.evaluation.data.parts import EvaluationSet, LabelledPart
from vlcls.evaluation.metrics.corruptions import ALEXNET, SEVERITIES
from vlcls.files.lazy import Lazy
from vlcls.image_sources import DatasetRow, ImageSource
from vlcls.images import decode, load_source

CORRUPTIONS = tuple(ALEXNET)

SCALED_SIDE = 256
CROPPED_SIDE = 224

#: Those that draw with generators of their own, and take a seed instead of NumPy's global state.
_SEEDED = ("impulse_noise", "glass_blur")
#: The library draws from NumPy's global state, which is everyone's.
_LOCK = threading.Lock()


def corrupted(given: EvaluationSet, corruption: str, severity: int, seed: int = 0) -> EvaluationSet:
    """A set with all its images corrupted.

    What an image becomes depends on its content and the arguments alone: not on its place, on how many others
    there are, or on threads.

    Args:
        given: The set.
        corruption: One of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: Of all random draws.

    Raises:
        EvaluationError: No such corruption or severity.
        MissingExtraError: The library is not installed.
    """
    _check(corruption, severity)

    def parts(limit: int | None) -> Iterator[LabelledPart]:
        for part in given.parts(limit):
            count, makes = len(part.sources), partial(_corrupted, part.sources, (corruption, severity, seed))
            sources = Lazy(count, partial(_source, part.sources, Lazy(count, makes)))
            yield LabelledPart(sources, part.truth, part.groups)

    recipe = {"corruption": corruption, "severity": str(severity), "corruption_seed": str(seed)}
    return replace(
        given,
        name=f"{given.name}-{corruption}-{severity}",
        parts=parts,
        source={**given.source, **recipe},
    )


def _corrupted(sources: Sequence[ImageSource], recipe: tuple[str, int, int], index: int) -> Image.Image:
    return corrupted_image(sources[index], *recipe)


def _source(sources: Sequence[ImageSource], images: Sequence[Image.Image], index: int) -> ImageSource:
    return ImageSource(sources[index].name, DatasetRow(images, index))


def _check(corruption: str, severity: int) -> None:
    if corruption not in CORRUPTIONS:
        raise EvaluationError(f"no corruption {corruption!r}; there are {', '.join(CORRUPTIONS)}")
    if severity not in range(1, SEVERITIES + 1):
        raise EvaluationError(f"severity {severity} of {corruption}: 1 to {SEVERITIES} are known")
    if find_spec("imagecorruptions") is None:
        raise MissingExtraError("making corrupted images", "corruptions")


def corrupted_image(source: ImageSource, corruption: str, severity: int, seed: int) -> Image.Image:
    """One corrupted image, RGB, 224 x 224.

    Raises:
        ImageError: It cannot be read.
    """
    loaded = load_source(source)
    pixels = np.asarray(_middle(decode(loaded)))
    drawn = _seed(loaded.key, corruption, severity, seed)
    return Image.fromarray(_corrupt(pixels, corruption, severity, drawn))


def _corrupt(pixels: Any, corruption: str, severity: int, drawn: int) -> Any:
    from imagecorruptions import corrupt

    own = {"seed": drawn} if corruption in _SEEDED else {}
    with _LOCK:
        before = np.random.get_state()
        try:
            np.random.seed(drawn)
            return corrupt(pixels, severity=severity, corruption_name=corruption, **own)
        finally:
            np.random.set_state(before)


def _seed(key: bytes, corruption: str, severity: int, seed: int) -> int:
    digest = hashlib.sha256(f"{seed} {corruption} {severity} ".encode() + key).digest()
    return int.from_bytes(digest[:4], "big")


def _middle(image: Image.Image) -> Image.Image:
    """Torchvision's Resize(256) and CenterCrop(224), rounding as they do."""
    short = min(image.size)
    width, height = (SCALED_SIDE * side // short for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - CROPPED_SIDE) / 2), round((height - CROPPED_SIDE) / 2)
    return image.crop((left, top, left + CROPPED_SIDE, top + CROPPED_SIDE))
