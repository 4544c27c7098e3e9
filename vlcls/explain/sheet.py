"""A contact sheet: small pictures in a grid, each with what it is labelled and what it looks like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from vlcls.errors import VlclsError, library
from vlcls.explain.names import Doubt
from vlcls.explain.picture import written_figure

_COLUMNS = 5
_INCHES = 2.1
_CAPTION = 0.72
_PIXELS = 400
_KINDS = (".png", ".pdf")


def save_sheet(doubts: Sequence[Doubt], images: Sequence[Any], path: str | Path) -> Path:
    """Draw doubted images, the most doubtful first.

    Args:
        doubts: At least one.
        images: The image of each: a path, a PIL image, bytes, an array.
        path: .png or .pdf.

    Raises:
        MissingExtraError: Matplotlib is not installed.
        ImageError: An image cannot be read.
        VlclsError: Nothing to draw, another kind of file, or it cannot be written.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in _KINDS:
        raise VlclsError(f"{path}: contact sheets are written as {', '.join(_KINDS)}")
    if not doubts:
        raise VlclsError(f"{path}: no label is doubted, so that there is nothing to draw")
    figures = library("matplotlib.figure", "a contact sheet", "plots")
    columns = min(_COLUMNS, len(doubts))
    rows = math.ceil(len(doubts) / columns)
    head = 0.4
    height = rows * (_INCHES + _CAPTION) + head
    figure = figures.Figure(figsize=(max(2, columns) * _INCHES, height))
    title = "Labels to look at"
    figure.text(0.5, 1 - 0.2 / height, title, ha="center", va="center", fontsize=12, fontweight="bold")
    grid = figure.add_gridspec(
        rows, columns, left=0.01, right=0.99, bottom=0.0, top=1 - (head + _CAPTION) / height,
        wspace=0.06, hspace=_CAPTION / _INCHES + 0.06,
    )  # fmt: skip
    for place, (doubt, image) in enumerate(zip(doubts, images, strict=True)):
        axes = figure.add_subplot(grid[place // columns, place % columns])
        axes.imshow(_thumbnail(image))
        axes.set_axis_off()
        axes.set_title(_caption(doubt), fontsize=8, parse_math=False, pad=3)
    return written_figure(figure, path, 130)


def _caption(doubt: Doubt) -> str:
    lines = [*wrap(Path(doubt.image).name, 26)[:1]]
    lines += wrap(f"labelled {doubt.label}", 26)[:2]
    return "\n".join([*lines, *wrap(f"looks like {doubt.predicted} ({doubt.score:.2f})", 28)[:2]])


def _thumbnail(image: Any) -> Any:
    """The image, whole, in the middle of a square."""
    from PIL import ImageOps

    from vlcls.images import opened_image

    return ImageOps.pad(opened_image(image, _PIXELS), (_PIXELS, _PIXELS), color="white")
