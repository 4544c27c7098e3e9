"""What a user names, expanded into a list of images to be read: paths, globs, lists, data sets, arrays.

Nothing is opened here but folders and lists of paths; `vlcls.images` reads and decodes.
"""

from vlcls.image_sources.finding import find_images, path_beside
from vlcls.image_sources.given import as_sources, is_array, is_missing, is_tensor, unknown_type
from vlcls.image_sources.kinds import (
    NOT_DECODABLE,
    image_extensions,
    is_system_folder,
    plugin_of,
    register_plugins,
)
from vlcls.image_sources.sources import DatasetRow, ImageSource, base64_bytes

__all__ = [
    "NOT_DECODABLE", "DatasetRow", "ImageSource", "as_sources", "base64_bytes", "find_images",
    "image_extensions", "is_array", "is_missing", "is_system_folder", "is_tensor", "path_beside", "plugin_of",
    "register_plugins", "unknown_type",
]  # fmt: skip
