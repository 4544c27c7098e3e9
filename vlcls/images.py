"""From an image source to upright 8-bit RGB: reading, hashing and decoding.

One read of a file serves both the embedding store's key and the decoder, and an image whose embedding is
already known is never decoded:

    ImageSource -> load_source -> Loaded (bytes + key) -> decode -> RGB

Both steps run in workers. Whatever is wrong with one image becomes an `ImageError` that names it.

What "RGB" means here: the first frame, the EXIF orientation applied, and otherwise exactly Pillow's
`convert("RGB")`, which is what CLIP and its successors were trained and evaluated with: alpha is dropped (not
composited), ICC profiles are ignored. The one departure: 16-bit, 32-bit and float images are scaled to 8
bits, where Pillow would clip them to white.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from vlcls.errors import ImageError
from vlcls.image_sources import NOT_DECODABLE, DatasetRow, ImageSource, is_array, unknown_type

#: Twice Pillow's own default limit, where Pillow too turns its warning into an error.
MAX_PIXELS = 178_956_970
#: Long side over short side. Models scale the short side up to their input, so 1 x 100,000 pixels, which pass
#: every other check, would become 224 x 22,400,000.
MAX_ASPECT_RATIO = 1000
#: No encoded image within MAX_PIXELS needs more; anything above would only fill the memory.
MAX_FILE_BYTES = 2 * 1024**3


_NOT_IMAGES = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the image itself (run `git lfs pull`)"),
    (rb"\s*<(!doctype html|html)", "a web page, not an image"),
    (
        rb"\s*<(\?xml[^>]*>\s*)?(<!--.*?-->\s*|<!doctype svg[^>]*>\s*)*<?svg",
        "an SVG drawing (export it as PNG)",
    ),
    (rb"%PDF", "a PDF document (export its pages as PNG)"),
    (rb"%!PS", "a PostScript drawing (export it as PNG)"),
    (rb"....ftyp(hei|hev|mif1|msf1)", "a HEIF photo, which Pillow cannot read (convert it to JPEG)"),
)

_LOCKS = tuple(threading.Lock() for _ in range(64))


@dataclass(frozen=True, slots=True)
class Loaded:
    """An image that was read but not decoded.

    Attributes:
        name: The source's name.
        raw: The encoded file, or a PIL image for sources that were pixels already.
        key: 16 bytes, equal only for equal content; see `content_key`.
    """

    name: str
    raw: bytes | Image.Image
    key: bytes


class _ReadingError(Exception):
    """Carries a reason in plain words up to where the image's name is known."""


# ---- reading -------------------------------------------------------------------------------------------


def load_source(source: ImageSource) -> Loaded:
    """Read one image without decoding it. Safe to call from many threads.

    Raises:
        ImageError: Missing, unreadable, empty, not a regular file, or an array that is no image.
    """
    try:
        raw = _raw(source.data)
        return Loaded(source.name, raw, content_key(raw))
    except _ReadingError as error:
        raise ImageError(f"{source.name}: {error}") from None
    except ImageError:  # of a row that is made out of another image, and names it
        raise
    except Exception as error:  # a lazily opened PIL image may raise whatever its plug-in raises
        raise ImageError(f"{source.name}: cannot be read ({_words(error)})") from error


def content_key(raw: bytes | Image.Image) -> bytes:
    """What the embedding store files an image under, next to the encoder's fingerprint.

    Returns:
        First 16 bytes of the SHA-256 of the encoded file; for a PIL image, of its mode, size, orientation,
        palette and pixels.
    """
    if isinstance(raw, bytes):
        return hashlib.sha256(raw).digest()[:16]
    with _lock(raw):
        pixels = raw.tobytes()
    palette = bytes(raw.getpalette() or ()) if raw.mode in ("P", "PA") else b""
    digest = hashlib.sha256(f"{raw.mode} {raw.size} {_orientation(raw)} {len(palette)} ".encode() + palette)
    digest.update(pixels)
    return digest.digest()[:16]


def _lock(image: Image.Image) -> threading.Lock:
    """A lock to load an image under: Pillow decodes at first use, in place, and one lazily opened image may
    be in a list twice, so that two workers meet there. Striped, so that different images seldom do."""
    return _LOCKS[id(image) // 16 % len(_LOCKS)]


def _raw(data: Any) -> bytes | Image.Image:
    if isinstance(data, DatasetRow):
        data = data.column[data.index]
    if isinstance(data, dict):  # an undecoded datasets.Image
        data = data.get("path") if data.get("bytes") is None else data["bytes"]
    if isinstance(data, (str, Path)):
        data = _read_file(Path(data))
    if isinstance(data, (bytes, bytearray, memoryview)):
        if not len(data):
            raise _ReadingError("empty file")
        return bytes(data)
    if isinstance(data, Image.Image):
        _check_size(data.size, MAX_PIXELS)
        return data
    if is_array(data):
        return _image_of_array(data)
    raise _ReadingError("no image in this row" if data is None else unknown_type(data))


def _read_file(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            readable = os.access(path, os.R_OK | os.X_OK)
            raise _ReadingError("a folder, not an image" if readable else "a folder that may not be read")
        if not stat.S_ISREG(status.st_mode):
            raise _ReadingError("not a regular file (a pipe, socket or device)")
        if status.st_size > MAX_FILE_BYTES:
            raise _ReadingError(
                f"a file of {status.st_size:,} bytes, more than the limit of {MAX_FILE_BYTES:,}"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise _ReadingError("broken symbolic link" if path.is_symlink() else "no such file") from None
    except PermissionError:
        raise _ReadingError("permission denied") from None
    except (OSError, ValueError) as error:
        raise _ReadingError(f"cannot be read ({_words(error)})") from error


def _image_of_array(array: Any) -> Image.Image:
    """Array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] to a PIL image of 8 bits a channel."""
    import numpy as np

    shape = " x ".join(map(str, array.shape))
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        hint = (
            "; channels come last: array.transpose(1, 2, 0)" if array.shape[:1] in ((1,), (3,), (4,)) else ""
        )
        raise _ReadingError(f"an array of {shape} is not height x width (x 1, 3 or 4 channels){hint}")
    if 0 in array.shape:
        raise _ReadingError(f"an array of {shape} has no pixels")
    if array.dtype == np.uint16:
        array = (array.astype(np.uint32) + 128) // 257
    elif np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):  # written so that NaN fails too
            raise _ReadingError(
                f"a {array.dtype} array with values from {array.min()} to {array.max()}; "
                "floats must be in [0, 1] (for 0 to 255 use uint8)"
            )
        array = np.rint(array.astype(np.float32) * 255)
    elif array.dtype == np.bool_:
        array = array * np.uint8(255)
    elif array.dtype != np.uint8:
        raise _ReadingError(f"an array of {array.dtype}; use uint8, uint16 or floats in [0, 1]")
    array = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    return Image.fromarray(np.ascontiguousarray(array, dtype=np.uint8))


# ---- decoding ------------------------------------------------------------------------------------------


def decode(loaded: Loaded, *, min_side: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image to upright RGB. Safe to call from many threads; leaves Pillow's settings alone.

    Args:
        loaded: What `load_source` returned.
        min_side: Let the JPEG decoder shrink the image by 2, 4 or 8 (far cheaper than decoding all of it) as
            long as the short side keeps at least this many pixels and both sides divide evenly. None: full
            size. benchmarks/jpeg_draft.py measures what a value does to embeddings.
        max_pixels: Refuse images that claim more, before any memory is taken for them.

    Returns:
        PIL image of mode RGB.

    Raises:
        ImageError: Not an image, truncated, damaged, or too large.
    """
    image = None
    try:
        image = _identify(loaded.raw) if isinstance(loaded.raw, bytes) else loaded.raw
        _check_size(image.size, max_pixels)
        if min_side is not None and image is not loaded.raw:
            _reduce(image, min_side)
        with _lock(image) if image is loaded.raw else contextlib.nullcontext():
            image.load()  # before _orientation: the TIFF plug-in turns the image here, and drops the tag
        return _upright(_rgb(image), _orientation(image))
    except _ReadingError as error:
        raise ImageError(f"{loaded.name}: {error}") from None
    except Exception as error:  # on garbage, Pillow's plug-ins raise nearly every exception there is
        kind = (image.format if image else None) or "image"
        raise ImageError(f"{loaded.name}: {_what_broke(error, kind)}") from error


def _identify(data: bytes) -> Image.Image:
    """The image behind the header of an encoded file, its pixels not decoded yet.

    Not `Image.open`: above half of MAX_PIXELS that warns, and with threads a warning cannot be silenced for
    one call; and its limit is a global setting, which belongs to the user.
    """
    damaged = ""
    tried = set(NOT_DECODABLE)
    for register in (Image.preinit, Image.init):  # the five commonest formats, then all
        register()
        for kind in [kind for kind in Image.ID if kind not in tried]:
            tried.add(kind)
            factory, accept = Image.OPEN[kind]
            # Formats without a signature (TGA) would see an image in the rubble of another one.
            if not _accepts(accept, data[:16]) or (damaged and accept is None):
                continue
            try:
                return factory(io.BytesIO(data), "")
            except Exception as error:
                damaged = damaged or (_what_broke(error, kind) if accept else "")
    raise _ReadingError(damaged or _what_else(data))


def _accepts(accept: Callable[[bytes], bool | str] | None, prefix: bytes) -> bool:
    try:
        return accept is None or accept(prefix) is True
    except Exception:  # a prefix too short for the fields that the plug-in looks at
        return False


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise _ReadingError(f"{width} x {height} pixels: nothing to see")
    if width * height > max_pixels:
        raise _ReadingError(f"claims {width} x {height} pixels, more than the limit of {max_pixels:,}")
    if max(size) > MAX_ASPECT_RATIO * min(size):
        raise _ReadingError(f"{width} x {height} pixels: one side is over {MAX_ASPECT_RATIO} times the other")


def _reduce(image: Image.Image, min_side: int) -> None:
    """Set a JPEG (no other format can) to be decoded at 1/2, 1/4 or 1/8 of its size."""
    width, height = image.size
    for scale in (8, 4, 2):
        # With a remainder the aspect ratio would change a little: enough for the model's own resize to round
        # to another size, and for its crop to move by a pixel, which costs more than the reduction itself.
        if min(image.size) >= scale * min_side and width % scale == height % scale == 0:
            image.draft("RGB", (width // scale, height // scale))
            return


def _rgb(image: Image.Image) -> Image.Image:
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
    """Scale I;16 by its range (65535 becomes 255), and I and F by the range that their values are in.

    I: 16 bits, which is what older versions of Pillow read 16-bit PNGs to. F: the smallest of [0, 1],
    [0, 255] and [0, 65535]. Values outside of all these: from the image's own least to its greatest.
    """
    import numpy as np

    pixels = np.asarray(image).astype(np.float32)
    least, greatest = float(pixels.min()), float(pixels.max())
    if not (np.isfinite(least) and np.isfinite(greatest)):
        raise _ReadingError("holds NaN or infinite values")
    ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
    low, high = 0.0, next((top for top in ranges if greatest <= top), None)
    if least < 0 or high is None:
        low, high = least, greatest
    scaled = (pixels - low) * (255 / max(high - low, 1e-30))
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    """EXIF (or XMP) orientation, 1 to 8; 1 (upright) where there is none, or a damaged one."""
    try:
        orientation = image.getexif().get(0x0112, 1)
        return int(orientation) if orientation in range(1, 9) else 1
    except Exception:  # the metadata is broken, the picture need not be
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
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


# ---- saying what is wrong ------------------------------------------------------------------------------


def _words(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")


def _what_broke(error: Exception, kind: str) -> str:
    if isinstance(error, MemoryError):
        return f"not enough memory to decode this {kind}"
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return f"truncated {kind}: the file ends before the picture does ({_words(error)})"
    return f"damaged {kind} ({_words(error)})"


def _what_else(data: bytes) -> str:
    """What a file that no plug-in takes seems to be."""
    for pattern, what in _NOT_IMAGES:
        if re.match(pattern, data[:1000], re.IGNORECASE | re.DOTALL):
            return what
    if not any(data):
        return f"not an image ({len(data):,} bytes, all zero)"
    return f"not an image (starts with {data[:12]!r})"
