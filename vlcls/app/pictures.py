"""The session's images as small JPEGs: by place, so that no path ever comes from a request."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from vlcls.errors import ImageError
from vlcls.images import decode, load_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlcls.image_sources import ImageSource

#: Sides in pixels: twice what is shown, for screens with two pixels to one.
THUMBNAIL, PICTURE = 224, 960
#: Bytes of JPEGs that are kept.
_MOST_BYTES = 64 << 20


class Pictures:
    """JPEGs of the images of a session, the last used ones kept in memory."""

    def __init__(self, sources: Sequence[ImageSource]) -> None:
        self._sources = sources
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._bytes = 0

    def jpeg(self, place: int, side: int) -> bytes | None:
        """Image `place`, at most `side` pixels wide and high; None if it cannot be had."""
        if not 0 <= place < len(self._sources):
            return None
        with self._lock:
            if found := self._kept.get((place, side)):
                self._kept.move_to_end((place, side))
                return found
        try:
            image = decode(load_source(self._sources[place]), min_side=side)
        except ImageError:
            return None
        image.thumbnail((side, side))
        written = io.BytesIO()
        image.save(written, "JPEG", quality=85)
        with self._lock:
            self._kept[place, side] = written.getvalue()
            self._bytes += len(written.getvalue())
            while self._bytes > _MOST_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return written.getvalue()
