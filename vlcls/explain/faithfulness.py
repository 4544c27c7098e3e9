"""Whether a heat map is true of the model: the similarity as the marked pixels go, and as they come.

Deletion and insertion of Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of
Black-box Models", BMVC 2018 (arXiv 1806.07421), as in the authors' public code (github.com/eclique/RISE,
evaluation.py `CausalMetric`): pixels in the order of the map are replaced by the mean colour, or put into a
blurred copy of the image. A true map has a small area under the deletion curve and a large one under that of
insertion. The paper's curve is a class's probability; here it is the cosine of image and text, so that a map
of any text can be judged without a list of classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vlcls.encoders import Encoder
from vlcls.errors import VlclsError
from vlcls.explain.heatmaps import image_pixels

STEPS = 28

#: The blur under insertion, in pixels, as the authors' example has it for 224 x 224.
_KERNEL, _DEVIATION = 11, 5.0


@dataclass(frozen=True)
class Faithfulness:
    """The two curves of one map.

    Attributes:
        deletion: S + 1 cosines of image and text: none of the pixels replaced, then 1/S of them, ..., all.
        insertion: The same as they are put into the blurred image.
    """

    deletion: tuple[float, ...]
    insertion: tuple[float, ...]

    @property
    def deletion_area(self) -> float:
        """Mean height of the deletion curve (trapezoid rule over [0, 1]): the smaller, the truer the map."""
        return area(self.deletion)

    @property
    def insertion_area(self) -> float:
        """Mean height of the insertion curve: the larger, the truer the map."""
        return area(self.insertion)


def area(curve: Sequence[float]) -> float:
    """Area under a curve of equally spaced points over [0, 1], trapezoid rule."""
    return (sum(curve) - (curve[0] + curve[-1]) / 2) / (len(curve) - 1)


def faithfulness(
    encoder: Encoder,
    image: Any,
    text: str | Tensor,
    heat_map: Tensor,
    *,
    steps: int = STEPS,
    batch_size: int = 32,
) -> Faithfulness:
    """Deletion and insertion curves of one map.

    Among equal values of the map the upper left pixel goes first.

    Args:
        encoder: Any: it is only asked for embeddings.
        image: As for `heat_map`.
        text: What the map is of, or its embedding Tensor[D].
        heat_map: Tensor[H, W] of the size of `encoder.image_size`; only its order counts.
        steps: S, in how many equal portions the pixels are replaced.
        batch_size: Images in one pass.

    Raises:
        ImageError: The image cannot be read.
        VlclsError: The map is of another size or holds NaN, or there are no steps.
    """
    if tuple(heat_map.shape) != tuple(encoder.image_size) or bool(heat_map.isnan().any()):
        raise VlclsError(
            f"a map of shape {tuple(heat_map.shape)} was given where the encoder sees "
            f"{tuple(encoder.image_size)} pixels, or it holds NaN"
        )
    if not 1 <= steps <= heat_map.numel():
        raise VlclsError(
            f"{steps} steps over {heat_map.numel()} pixels: choose at least 1 and no more than these"
        )
    with torch.no_grad():
        pixels = encoder.normalise(image_pixels(encoder, image)[None])[0].float()
        row = encoder.encode_texts([text])[0] if isinstance(text, str) else text
        row = F.normalize(row.to(pixels.device).float(), dim=-1)
        order = heat_map.to(pixels.device).flatten().argsort(descending=True, stable=True)
        mean_colour = torch.zeros_like(pixels)  # normalised: 0 is the mean of the training images
        deleted = _curve(encoder, pixels, mean_colour, row, order, steps, batch_size)
        inserted = _curve(encoder, blurred(pixels), pixels, row, order, steps, batch_size)
    return Faithfulness(deleted, inserted)


def _curve(
    encoder: Encoder, start: Tensor, end: Tensor, text: Tensor, order: Tensor, steps: int, batch_size: int
) -> tuple[float, ...]:
    """Cosines as the pixels of `start` are replaced by those of `end`, in `order`."""
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    limits = torch.tensor([round(len(order) * step / steps) for step in range(steps + 1)], device=rank.device)
    curve: list[float] = []
    for some in limits.split(batch_size):
        replaced = (rank < some[:, None]).view(-1, 1, *start.shape[-2:])
        curve += (encoder.encode_images(torch.where(replaced, end, start)) @ text).tolist()
    return tuple(curve)


def blurred(pixels: Tensor) -> Tensor:
    """A Gaussian blur of Tensor[3, H, W]; the edge goes on outside of it."""
    offsets = torch.arange(_KERNEL, device=pixels.device, dtype=pixels.dtype) - _KERNEL // 2
    kernel = torch.exp(-(offsets**2) / (2 * _DEVIATION**2))
    kernel = kernel / kernel.sum()
    channels = pixels[:, None]
    padded = F.pad(channels, [_KERNEL // 2] * 4, mode="replicate")
    across = F.conv2d(padded, kernel.view(1, 1, 1, -1))
    return F.conv2d(across, kernel.view(1, 1, -1, 1))[:, 0]


def random_maps(size: tuple[int, int], grid: tuple[int, int], count: int, seed: int = 0) -> Tensor:
    """Maps that know nothing, to compare with: random values on a grid, enlarged as heat maps are.

    The grid should be that of the map under test. Values drawn pixel by pixel are no fair comparison:
    scattered holes destroy an image sooner than the same number of pixels in one piece.

    Args:
        size: (height, width) of the maps.
        grid: (rows, columns) of the random values.
        count: How many maps.
        seed: Of the values.

    Returns:
        Tensor[count, height, width], values from 0 to 1.
    """
    values = torch.rand(count, 1, *grid, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(values, size=size, mode="bilinear", align_corners=False)[:, 0]
