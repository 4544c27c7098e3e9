"""The photographs and labels of `vlcls demo`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from vlcls.errors import MissingExtraError
from vlcls.image_sources import ImageSource
from vlcls.labelled import LabelledImages
from vlcls.labels import as_labels

DEMO_LABELS = (
    "cat", "dog", "cup of coffee", "rocket", "motorcycle", "bicycle", "coins", "photographer with a camera",
    "galaxies", "printed page", "sandcastle", "lawn",
)  # fmt: skip

# scikit-image's astronaut and its textures are left out: they resemble nothing that the offline encoder's
# image tower was trained on, and it gets them wrong. docs/conse.md has figures on real test sets.
_PHOTOS = {
    "chelsea.png": "cat",
    "coffee.png": "cup of coffee",
    "rocket.jpg": "rocket",
    "motorcycle_left.png": "motorcycle",
    "coins.png": "coins",
    "camera.png": "photographer with a camera",
    "hubble_deep_field.jpg": "galaxies",
    "page.png": "printed page",
}


def demo_photos() -> list[ImageSource]:
    """Photographs that scikit-image ships in its wheel.

    Raises:
        MissingExtraError: scikit-image is not installed.
    """
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise MissingExtraError("vlcls demo", "demo")
    folder = Path(spec.origin).parent / "data"
    return [ImageSource(name, folder / name) for name in _PHOTOS if (folder / name).is_file()]


def demo_images() -> LabelledImages:
    """The photographs with their true classes among `DEMO_LABELS`.

    Raises:
        MissingExtraError: scikit-image is not installed.
    """
    sources = demo_photos()
    places = tuple(DEMO_LABELS.index(_PHOTOS[source.name]) for source in sources)
    return LabelledImages(sources, places, {}, as_labels(DEMO_LABELS))
