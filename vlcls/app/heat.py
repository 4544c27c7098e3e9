"""Where one image matched one descriptor, drawn over the image as the encoder saw it."""

from __future__ import annotations

import base64
import io
import threading

import numpy as np
from PIL import Image

from vlcls.app.markup import text
from vlcls.app.workbench import Workbench
from vlcls.explain.overlay import text_overlay
from vlcls.images import decode, load_source

#: Side in pixels of the drawn map.
_SIDE = 320
#: One map at a time: each listens to the model while it runs.
_ONE = threading.Lock()


def heat_figure(bench: Workbench, place: int, index: int, descriptor: str) -> str:
    """A figure of the heat map of a descriptor of class `index` over shown image `place`.

    Raises:
        EncoderError, ImageError: It cannot be made.
    """
    from matplotlib import colormaps

    image = decode(load_source(bench.material.sources[int(bench.material.shown.rows[place])]))
    with _ONE:
        found = text_overlay(bench.seen.now.classifier, image, descriptor, index)
    heat = colormaps["inferno"](found.heat.numpy())[..., :3]
    mixed = (0.5 * found.seen / 255 + 0.5 * heat).clip(0, 1)
    drawn = Image.fromarray((255 * mixed).astype(np.uint8)).resize((_SIDE, _SIDE))
    written = io.BytesIO()
    drawn.save(written, "PNG")
    source = f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"
    said = f"where it matched “{text(descriptor)}”"
    return (
        f'<figure><img class="vx-heat" src="{source}" alt="heat map: {said}">'
        f"<figcaption>{said}, bright where it did most; not how much</figcaption></figure>"
    )
