"""Which files of a folder are images, and what is said of the others."""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from vlcls.errors import VlclsWarning

# Formats that Pillow knows by name but cannot decode by itself; EPS would start Ghostscript on the file.
NOT_DECODABLE = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

#: Folders that systems keep thumbnails and waste in (Synology, QNAP, macOS's ZIP files, Windows, Linux).
SYSTEM_FOLDERS = frozenset(
    {
        "@eadir", "@__thumb", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot",
        "__macosx", "$recycle.bin", "recycler", "system volume information", "lost+found", "__pycache__",
    }
)  # fmt: skip

#: Texts, tables, weights and notes that lie beside images and that nobody takes for images.
_SIDECARS = frozenset(
    {
        ".txt", ".lst", ".md", ".rst", ".log", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xml",
        ".yaml", ".yml", ".toml", ".ini", ".cfg", ".db", ".sqlite", ".html", ".htm", ".css", ".js",
        ".parquet", ".arrow", ".npy", ".npz", ".pt", ".pth", ".safetensors", ".pkl", ".mat", ".h5",
        ".hdf5", ".py", ".ipynb", ".sh", ".xmp", ".aae", ".thm", ".url", ".lnk", ".md5", ".sha256",
    }
)  # fmt: skip
_RAW = (".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw")
_NEITHER = {
    **dict.fromkeys(_RAW, "camera raw: export it as JPEG"),
    **dict.fromkeys((".svg", ".svgz", ".eps", ".ps", ".ai", ".pdf"), "a drawing: export it as PNG"),
    **dict.fromkeys((".mov", ".mp4", ".avi", ".mkv", ".webm", ".m4v"), "video"),
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"), "an archive: unpack it"),
}
_KINDS_SAID = 8


@dataclass(frozen=True)
class Plugin:
    """A package that teaches Pillow a format.

    Attributes:
        module: Imported when the first file of the format comes.
        extra: Of this package.
        what: What such a file is called.
        extensions: Of its files.
    """

    module: str
    extra: str
    what: str
    extensions: frozenset[str]

    @property
    def installed(self) -> bool:
        return find_spec(self.module) is not None

    @property
    def advice(self) -> str:
        return f'{self.what}: pip install "vlcls[{self.extra}]"'


PLUGINS = (
    Plugin("pillow_heif", "heif", "HEIF photo", frozenset({".heic", ".heif", ".hif", ".heics", ".heifs"})),
    Plugin("pillow_jxl", "jxl", "JPEG XL image", frozenset({".jxl"})),
)


def plugin_of(extension: str) -> Plugin | None:
    """The plug-in that reads files of an extension, installed or not; None if none is known."""
    return next((plugin for plugin in PLUGINS if extension.lower() in plugin.extensions), None)


@functools.cache
def register_plugins() -> tuple[str, ...]:
    """Make Pillow know the formats of the plug-ins that are installed.

    Returns:
        Pillow's names of the formats that came with them.
    """
    before = set(Image.ID)
    for plugin in PLUGINS:
        if plugin.installed:
            module = import_module(plugin.module)  # pillow_jxl registers itself
            getattr(module, "register_heif_opener", lambda: None)()
    return tuple(kind for kind in Image.ID if kind not in before)


@functools.cache
def image_extensions() -> frozenset[str]:
    """File name extensions taken from folders: ".jpg" and all others that Pillow can decode, by itself or by
    a plug-in that is installed."""
    # MPO is read by the JPEG plug-in, hence not registered for reading.
    extensions = Image.registered_extensions()
    readable = {*Image.OPEN, "MPO"} - NOT_DECODABLE
    own = {extension for extension, kind in extensions.items() if kind in readable}
    return frozenset(own).union(*(plugin.extensions for plugin in PLUGINS if plugin.installed))


def is_system_folder(name: str) -> bool:
    """Whether a folder of this name holds thumbnails or waste of some system, and no images of the user."""
    return name.startswith(".") or name.casefold() in SYSTEM_FOLDERS


@dataclass
class FilesLeftOut:
    """Counts the files that are passed over in folders, so that none of them is lost without a word.

    Attributes:
        files: What was passed over, but for texts and tables, which lie beside most images.
        folders: Where they were.
    """

    files: set[Path] = field(default_factory=set)
    folders: dict[str, None] = field(default_factory=dict)

    def add(self, folder: Path, files: Iterable[Path]) -> None:
        if found := [path for path in files if path.suffix.lower() not in _SIDECARS]:
            self.files.update(found)
            self.folders[str(folder)] = None

    def sentence(self) -> str:
        """ "3 files left out: 2 .heic (...), 1 .xyz"; empty if there are none."""
        if not self.files:
            return ""
        counts = Counter(path.suffix.lower() for path in self.files)
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        kinds = [_said(extension, count) for extension, count in ranked[:_KINDS_SAID]]
        more = ["..."] if len(ranked) > _KINDS_SAID else []
        total = len(self.files)
        return f"{total:,} {'file' if total == 1 else 'files'} left out: {', '.join(kinds + more)}"

    def say(self) -> None:
        """Warn, if anything was left out."""
        if self.files:
            first, *others = self.folders
            where = f"{first} and {len(others)} more" if others else first
            warnings.warn(f"{where}: {self.sentence()}", VlclsWarning, stacklevel=3)


def _said(extension: str, count: int) -> str:
    plugin = plugin_of(extension)
    why = plugin.advice if plugin else _NEITHER.get(extension, "")
    return f"{count} {extension or 'without an extension'}" + (f" ({why})" if why else "")
