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
from importlib.util import find_spec
from typing import Any, overload

from PIL import Image

from vlcls.errors import EvaluationError, MissingExtraError
from vlcls.evaluation.data.parts import EvaluationSet, LabelledPart
from vlcls.evaluation.metrics.corruptions import ALEXNET, SEVERITIES
from vlcls.image_sources import DatasetRow, ImageSource
from vlcls.images import decode, load_source

CORRUPTIONS = tuple(ALEXNET)

SCALED_SIDE = 256
CROPPED_SIDE = 224

#: Those that draw with generators of their own, and take a seed instead of NumPy's global state.
_SEEDED = ("impulse_noise", "glass_blur")
#: The library draws from NumPy's global state, which is everyone's.
_LOCK = threading.Lock()


class _CorruptedImages(Sequence[Image.Image]):
    """The images of some sources, corrupted when they are asked for."""

    def __init__(self, sources: Sequence[ImageSource], corruption: str, severity: int, seed: int) -> None:
        self._sources = sources
        self._recipe = (corruption, severity, seed)

    def __len__(self) -> int:
        return len(self._sources)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> list[Image.Image]: ...
    def __getitem__(self, index: int | slice) -> Image.Image | list[Image.Image]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        return corrupted_image(self._sources[index], *self._recipe)


class _CorruptedSources(Sequence[ImageSource]):
    """Sources whose images are corrupted by whoever reads them."""

    def __init__(self, sources: Sequence[ImageSource], images: _CorruptedImages) -> None:
        self._sources = sources
        self._images = images

    def __len__(self) -> int:
        return len(self._sources)

    @overload
    def __getitem__(self, index: int) -> ImageSource: ...
    @overload
    def __getitem__(self, index: slice) -> list[ImageSource]: ...
    def __getitem__(self, index: int | slice) -> ImageSource | list[ImageSource]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        index = range(len(self))[index]
        return ImageSource(self._sources[index].name, DatasetRow(self._images, index))


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
            images = _CorruptedImages(part.sources, corruption, severity, seed)
            yield LabelledPart(_CorruptedSources(part.sources, images), part.truth, part.groups)

    recipe = {"corruption": corruption, "severity": str(severity), "corruption_seed": str(seed)}
    return replace(
        given,
        name=f"{given.name}-{corruption}-{severity}",
        parts=parts,
        source={**given.source, **recipe},
    )


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
    import numpy as np

    loaded = load_source(source)
    pixels = np.asarray(_middle(decode(loaded)))
    drawn = _seed(loaded.key, corruption, severity, seed)
    return Image.fromarray(_corrupt(pixels, corruption, severity, drawn))


def _corrupt(pixels: Any, corruption: str, severity: int, drawn: int) -> Any:
    import numpy as np
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
