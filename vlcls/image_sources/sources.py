"""What one image is before it is read."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: Base64 is told from a path by what it decodes to: the first bytes of the formats that are sent so.
_SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|BM....\0\0\0\0|II\*\0|MM\0\*|....ftyp", re.DOTALL
)
_DATA_URL = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]+={0,2}\s*")
#: Shorter than any image's base64.
_LEAST = 48


@dataclass(frozen=True, slots=True)
class ImageSource:
    """One image to be read: a path, or something already in memory.

    Attributes:
        name: What reports call it: the path as the user gave it, or "image 3" (its index, from 0).
        data: Path, bytes of an image file or their base64 text, PIL.Image.Image, np.ndarray, or a DatasetRow.
    """

    name: str
    data: Any


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A cell of a `datasets.Dataset`, read when a worker gets to it."""

    column: Sequence[Any]
    index: int


def is_encoded(data: bytes) -> bool:
    """Whether bytes begin like an image file of one of the common formats."""
    return _SIGNATURES.match(data) is not None


def base64_bytes(text: str) -> bytes | None:
    """The bytes that a text stands for if it is an image in base64: a `data:` URL, or the plain text.

    Returns:
        None for anything else, a path above all.

    Raises:
        ValueError: A `data:` URL that is not base64.
    """
    if head := _DATA_URL.match(text):
        if not head[0].lower().endswith(";base64,"):
            raise ValueError("a data: URL that is not base64")
        try:
            return _decoded(text[head.end() :])
        except binascii.Error as error:
            raise ValueError(f"a data: URL with damaged base64 ({error})") from error
    if len(text) < _LEAST or not _BASE64.fullmatch(text[:_LEAST].rstrip("=")):
        return None
    try:  # the beginning first: a long path costs no more than that
        if is_encoded(_decoded("".join(text[: 2 * _LEAST].split())[:16])) and _BASE64.fullmatch(text):
            return _decoded(text)
    except binascii.Error:
        return None
    return None


def _decoded(text: str) -> bytes:
    tidy = "".join(text.split()).translate(str.maketrans("-_", "+/"))
    return base64.b64decode(tidy + "=" * (-len(tidy) % 4), validate=True)
