"""Pixels of any kind to upright 8-bit RGB."""

from __future__ import annotations

from typing import Any

from PIL import Image

# Tops of the ranges that values of integers of 16 bits and of floats may be in; see `_to_8_bit`.
_RANGES_16 = (255.0, 4095.0, 65535.0)
_RANGES_F = (1.0, 255.0, 65535.0)


class ReadingError(Exception):
    """Carries a reason in plain words up to where the image's name is known."""


def image_of_array(array: Any) -> Image.Image:
    """Array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] to a PIL image of 8 bits a channel."""
    import numpy as np

    shape = " x ".join(map(str, array.shape))
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        hint = (
            "; channels come last: array.transpose(1, 2, 0)" if array.shape[:1] in ((1,), (3,), (4,)) else ""
        )
        raise ReadingError(f"an array of {shape} is not height x width (x 1, 3 or 4 channels){hint}")
    if 0 in array.shape:
        raise ReadingError(f"an array of {shape} has no pixels")
    if array.dtype == np.uint16:
        array = _scaled(array, _RANGES_16)
    elif np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):  # written so that NaN fails too
            raise ReadingError(
                f"a {array.dtype} array with values from {array.min()} to {array.max()}; "
                "floats must be in [0, 1] (for 0 to 255 use uint8)"
            )
        array = np.rint(array.astype(np.float32) * 255)
    elif array.dtype == np.bool_:
        array = array * np.uint8(255)
    elif array.dtype != np.uint8:
        raise ReadingError(f"an array of {array.dtype}; use uint8, uint16 or floats in [0, 1]")
    array = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    return Image.fromarray(np.ascontiguousarray(array, dtype=np.uint8))


def to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _to_8_bit(image).convert("RGB")
    if image.mode in ("La", "RGBa"):  # colours multiplied by alpha: Pillow has this one way out
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if "transparency" in image.info and isinstance(image.info["transparency"], bytes):
        # Pillow would warn that convert("RGB") drops it. A copy, as the image may be the user's.
        image = image.copy()
        del image.info["transparency"]
    return image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale wide pixels by the range that their values are in: its top becomes 255.

    I and I;16: the smallest of [0, 255], [0, 4095] (cameras of 12 bits) and [0, 65535]: 8 bits stored in 16
    would else be black. F: the smallest of [0, 1], [0, 255] and [0, 65535]. Values outside of all these: from
    the image's own least to its greatest.
    """
    import numpy as np

    return Image.fromarray(_scaled(np.asarray(image), _RANGES_F if image.mode == "F" else _RANGES_16))


def _scaled(array: Any, ranges: tuple[float, ...]) -> Any:
    import numpy as np

    pixels = array.astype(np.float32)
    least, greatest = float(pixels.min()), float(pixels.max())
    if not (np.isfinite(least) and np.isfinite(greatest)):
        raise ReadingError("holds NaN or infinite values")
    low, high = 0.0, next((top for top in ranges if greatest <= top), None)
    if least < 0 or high is None:
        low, high = least, greatest
    return np.rint((pixels - low) * (255 / max(high - low, 1e-30))).astype(np.uint8)


def orientation_of(image: Image.Image) -> int:
    """EXIF (or XMP) orientation, 1 to 8; 1 (upright) where there is none, or a damaged one."""
    try:
        orientation = image.getexif().get(0x0112, 1)
        return int(orientation) if orientation in range(1, 9) else 1
    except Exception:  # the metadata is broken, the picture need not be
        return 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    method = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    if method is None:
        return image
    image = image.transpose(method)
    image.info.clear()  # else whoever looks at the EXIF data next turns it again
    return image
