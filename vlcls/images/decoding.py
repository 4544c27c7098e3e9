"""From an image source to upright 8-bit RGB: reading, hashing and decoding.

One read of a file serves both the embedding store's key and the decoder, and an image whose embedding is
already known is never decoded:

    ImageSource -> load_source -> Loaded (bytes + key) -> decode -> RGB

Both steps run in workers. Whatever is wrong with one image becomes an `ImageError` that names it.

What "RGB" means here: the first frame, the EXIF orientation applied, and otherwise exactly Pillow's
`convert("RGB")`, which is what CLIP and its successors were trained and evaluated with: alpha is dropped (not
composited), ICC profiles are ignored. The one departure: 16-bit, 32-bit and float images are scaled to 8
bits by the range that their values are in, where Pillow would clip them to white.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import stat
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from vlcls.errors import ImageError
from vlcls.image_sources import (
    NOT_DECODABLE,
    DatasetRow,
    ImageSource,
    as_sources,
    base64_bytes,
    is_array,
    is_missing,
    plugin_of,
    register_plugins,
    unknown_type,
)
from vlcls.images.pixels import ReadingError, image_of_array, orientation_of, to_rgb, upright

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
    (rb"....ftyp(hei|hev|mif1|msf1)", ".heic"),
    (rb"\0\0\0\x0cJXL |\xff\x0a", ".jxl"),
    (rb"....ftypavi[fs]", "an AVIF image, which Pillow reads from release 11.3 on"),
)
# Formats whose signature is a few small numbers, which files without any signature (TGA) may begin with.
_WEAK_SIGNATURES = frozenset({"CUR", "ICO", "PCX"})

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


# ---- reading -------------------------------------------------------------------------------------------


def load_source(source: ImageSource) -> Loaded:
    """Read one image without decoding it. Safe to call from many threads.

    Raises:
        ImageError: Missing, unreadable, empty, not a regular file, or an array that is no image.
    """
    try:
        raw = _raw(source.data)
        return Loaded(source.name, raw, content_key(raw))
    except ReadingError as error:
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
    digest = hashlib.sha256(f"{raw.mode} {raw.size} {orientation_of(raw)} {len(palette)} ".encode() + palette)
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
    if isinstance(data, (str, bytes)):
        data = _of_base64(data)
    if isinstance(data, (str, Path)):
        data = _read_file(Path(data))
    if isinstance(data, (bytes, bytearray, memoryview)):
        if not len(data):
            raise ReadingError("empty file")
        return bytes(data)
    if isinstance(data, Image.Image):
        _check_size(data.size, MAX_PIXELS)
        return data
    if is_array(data):
        return image_of_array(data)
    raise ReadingError("no image in this row" if is_missing(data) else unknown_type(data))


def _of_base64(data: str | bytes) -> str | bytes:
    """What base64 text of an image stands for; anything else as it is."""
    try:
        if isinstance(data, str):
            return base64_bytes(data) or data
        if data[:48].isascii() and b"\0" not in data[:48]:  # as base64.b64encode returns it
            return base64_bytes(data.decode("ascii", "replace")) or data
    except ValueError as error:
        raise ReadingError(str(error)) from None
    return data


def _read_file(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            readable = os.access(path, os.R_OK | os.X_OK)
            raise ReadingError("a folder, not an image" if readable else "a folder that may not be read")
        if not stat.S_ISREG(status.st_mode):
            raise ReadingError("not a regular file (a pipe, socket or device)")
        if status.st_size > MAX_FILE_BYTES:
            raise ReadingError(
                f"a file of {status.st_size:,} bytes, more than the limit of {MAX_FILE_BYTES:,}"
            )
        return path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise ReadingError("broken symbolic link") from None
        foreign = "\\" in str(path) and os.sep == "/"
        raise ReadingError(
            "no such file" + (" (here, backslashes separate no folders)" if foreign else "")
        ) from None
    except PermissionError:
        raise ReadingError("permission denied") from None
    except (OSError, ValueError) as error:
        raise ReadingError(f"cannot be read ({_words(error)})") from error


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
            if isinstance(loaded.raw, bytes) and image.format == "PNG":
                _check_png(loaded.raw)
            image.load()  # before _orientation: the TIFF plug-in turns the image here, and drops the tag
        return upright(to_rgb(image), orientation_of(image))
    except ReadingError as error:
        raise ImageError(f"{loaded.name}: {error}") from None
    except Exception as error:  # on garbage, Pillow's plug-ins raise nearly every exception there is
        kind = (image.format if image else None) or "image"
        raise ImageError(f"{loaded.name}: {_what_broke(error, kind)}") from error


def opened_image(image: Any, min_side: int | None = None) -> Image.Image:
    """One image in any form that `as_sources` takes, upright RGB; arguments and errors as of `decode`."""
    return decode(load_source(as_sources(image)[0]), min_side=min_side)


def _identify(data: bytes) -> Image.Image:
    """The image behind the header of an encoded file, its pixels not decoded yet.

    Not `Image.open`: above half of MAX_PIXELS that warns, and with threads a warning cannot be silenced for
    one call; and its limit is a global setting, which belongs to the user.
    """
    damaged = weak = ""
    tried = set(NOT_DECODABLE)
    # The five commonest formats, then all, then those of plug-ins.
    for register in (Image.preinit, Image.init, register_plugins):
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
                if accept and kind not in _WEAK_SIGNATURES:
                    damaged = damaged or _what_broke(error, kind)
                weak = weak or (_what_broke(error, kind) if accept else "")
    raise ReadingError(damaged or weak or _what_else(data))


def _accepts(accept: Callable[[bytes], bool | str] | None, prefix: bytes) -> bool:
    try:
        return accept is None or accept(prefix) is True
    except Exception:  # a prefix too short for the fields that the plug-in looks at
        return False


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ReadingError(f"{width} x {height} pixels: nothing to see")
    if width * height > max_pixels:
        raise ReadingError(f"claims {width} x {height} pixels, more than the limit of {max_pixels:,}")
    if max(size) > MAX_ASPECT_RATIO * min(size):
        raise ReadingError(f"{width} x {height} pixels: one side is over {MAX_ASPECT_RATIO} times the other")


def _check_png(data: bytes) -> None:
    """The checksums of the chunks that make the picture, most of which Pillow passes over."""
    start = 8
    while start + 12 <= len(data):
        kind, end = data[start + 4 : start + 8], start + 8 + int.from_bytes(data[start : start + 4], "big")
        if end + 4 > len(data):
            return  # cut off, which the decoder says
        known = int.from_bytes(data[end : end + 4], "big")
        critical = not kind[0] & 32
        if critical and zlib.crc32(memoryview(data)[start + 4 : end]) != known:
            raise ReadingError(f"damaged PNG (wrong checksum of a part, {kind.decode('ascii', 'replace')})")
        if kind == b"IEND":
            return
        start = end + 4


def _reduce(image: Image.Image, min_side: int) -> None:
    """Set a JPEG (no other format can) to be decoded at 1/2, 1/4 or 1/8 of its size."""
    width, height = image.size
    for scale in (8, 4, 2):
        # With a remainder the aspect ratio would change a little: enough for the model's own resize to round
        # to another size, and for its crop to move by a pixel, which costs more than the reduction itself.
        if min(image.size) >= scale * min_side and width % scale == height % scale == 0:
            image.draft("RGB", (width // scale, height // scale))
            return


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
            plugin = plugin_of(what)
            return f"a {plugin.what}, which Pillow cannot read by itself: {plugin.advice}" if plugin else what
    if not any(data):
        return f"not an image ({len(data):,} bytes, all zero)"
    return f"not an image (starts with {data[:12]!r})"
