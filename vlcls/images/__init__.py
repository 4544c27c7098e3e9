"""From an image source to upright 8-bit RGB: reading, hashing and decoding; any pixels made RGB."""

from vlcls.images.decoding import MAX_PIXELS, Loaded, content_key, decode, load_source, opened_image

__all__ = ["MAX_PIXELS", "Loaded", "content_key", "decode", "load_source", "opened_image"]
