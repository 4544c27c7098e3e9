"""What kind of data set a folder is: told by its folders of images first, so that no stray file decides."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vlcls.errors import EvaluationError, VlclsError
from vlcls.evaluation.data.hf_sets import BUILDERS
from vlcls.evaluation.data.shards import CLASS_NAMES, is_shard_folder
from vlcls.evaluation.data.tables import SUFFIXES, first_image, is_metadata
from vlcls.files.terminal import few
from vlcls.image_sources import image_extensions, is_system_folder

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_TABLES = {*SUFFIXES, *BUILDERS}
#: Files of a data set that may lie beside folders of images for other reasons.
_DATA = _TABLES | {".tar"}
_NAMED = 5


@dataclass(frozen=True)
class Layout:
    """Attributes:
    kind: "saved" by `save_to_disk`, webdataset "shards", an image folder with "metadata", "tables" that
        `datasets` reads, "table" (one that names images in the folder), or folders by "class".
    tables: Of "table": those that do.
    beside: Files that would be a data set by themselves, and are left aside.
    """

    kind: Literal["saved", "shards", "metadata", "tables", "table", "class"]
    tables: tuple[Path, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences for people."""
        if not self.beside:
            return ()
        return (f"Left aside, as the folders of images are the data set: {few(self.beside, _NAMED)}.",)


def layout_of(folder: Path) -> Layout:
    """Look at a folder: at names, and at the first lines of a table where folders leave it open.

    Two or more folders with images in them are classes or groups, whatever else lies there: notes, results,
    lists of classes. One such folder, or none, is beside a table that names images in it no class.

    Raises:
        EvaluationError: A table and the folders in the only folder may both be meant.
    """
    if (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file():
        return Layout("saved")
    if (folder / "dataset_dict.json").is_file():
        return Layout("saved")
    here = [folder, *subfolders(folder)]
    filled = [place for place in here[1:] if _has_images(place)]
    described = [place for place in here if any(_is_metadata(place / name) for name in _METADATA)]
    # A folder of splits has such a file in each of them; one in a single class or group describes no other.
    if folder in described or (described and set(filled) <= set(described)):
        return Layout("metadata")
    if len(filled) >= 2:
        return Layout(
            "class", beside=_data_files(folder, [*here, *(s for h in here[1:] for s in subfolders(h))])
        )
    if (folder / CLASS_NAMES).is_file() or is_shard_folder(folder):
        return Layout("shards")
    tables = [path for place in here for path in _visible(place) if path.suffix.lower() in _TABLES]
    if not filled and not _has_images(folder):
        return Layout("tables" if tables else "class")
    naming = tuple(path for path in tables if path.suffix.lower() in SUFFIXES and _names_images(path))
    if naming:
        classes = [place.name for each in filled for place in subfolders(each) if _has_images(place)]
        if len(classes) >= 2:
            raise EvaluationError(
                f"{folder}: both {naming[0].name}, which names images in it, and the folders "
                f"{', '.join(classes[:_NAMED])} may say their classes: give the path of the table, or of "
                f"{filled[0]}"
            )
        return Layout("table", tables=naming)
    if any(path.suffix.lower() in (".parquet", ".arrow") for path in tables):
        return Layout("tables")
    return Layout("class", beside=_data_files(folder, here))


def subfolders(folder: Path) -> list[Path]:
    """Those that may hold images."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_system_folder(path.name))


def _visible(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        yield from (Path(e.path) for e in entries if not e.name.startswith(".") and e.is_file())


def _data_files(folder: Path, places: list[Path]) -> tuple[str, ...]:
    found = (path for place in places for path in _visible(place))
    files = [path for path in found if path.suffix.lower() in _DATA or path.name == CLASS_NAMES]
    return tuple(sorted(path.relative_to(folder).as_posix() for path in files))


def _has_images(folder: Path) -> bool:
    wanted = image_extensions()
    for _, folders, files in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not is_system_folder(name)]
        if any(not name.startswith(".") and Path(name).suffix.lower() in wanted for name in files):
            return True
    return False


def _is_metadata(path: Path) -> bool:
    return path.is_file() and (path.suffix == ".parquet" or is_metadata(path))


def _names_images(path: Path) -> bool:
    try:
        image = first_image(path)
    except VlclsError:
        return False
    return image is not None and image.is_file()
