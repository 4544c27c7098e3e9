"""Images in folders by class, or by group and class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vlcls.arguments import takes
from vlcls.errors import ImageError
from vlcls.image_sources import find_images
from vlcls.labelled.images import LabelledImages
from vlcls.labelled.places import number_places, value_places, whole_number
from vlcls.labels import Known, Labels, as_labels

#: Group column of `folder/GROUP/CLASS/image.jpg`.
FOLDER_GROUP = "group"


@takes(folder="path")
def labelled_folder(
    folder: str | Path, labels: Labels | Mapping[str, str] | Iterable[str] | None = None
) -> LabelledImages:
    """Images in `folder/CLASS/` or `folder/GROUP/CLASS/`; then the group column is called "group".

    Args:
        folder: With labels, folders below CLASS are part of it. Without, all images must lie equally deep.
        labels: Classes that the folders are named after: by id, or by name, where case and underscores do
            not matter; folders that are all numbers also by place. Without labels, every folder is a class.

    Raises:
        ImageError: No images, or images that are in no class folder.
        LabelError: Folders that are no class; names them.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder; one with a subfolder for each class is expected")
    sources = find_images([folder])
    parents = [Path(source.data).relative_to(folder).parts[:-1] for source in sources]
    if () in parents:
        stray = sources[parents.index(())].name
        raise ImageError(
            f"{stray} is in no class folder: {folder}/CLASS/ or {folder}/GROUP/CLASS/ is expected"
        )
    if labels is None:
        level = _even_level(parents, folder)
        known = as_labels({name: name for name in _in_order(parts[level] for parts in parents)})
    else:
        known = as_labels(labels)
        level = _level_of_classes(parents, known, folder)
    places = value_places((parts[level] for parts in parents), known, str(folder))
    groups = {FOLDER_GROUP: tuple(parts[0] for parts in parents)} if level else {}
    return LabelledImages(sources, tuple(places[parts[level]] for parts in parents), groups, known)


def _even_level(parents: Sequence[tuple[str, ...]], folder: Path) -> int:
    depths = {len(parts) for parts in parents}
    if depths == {1} or depths == {2}:
        return depths.pop() - 1
    raise ImageError(
        f"{folder}: images lie {' and '.join(map(str, sorted(depths)))} folders deep, so it is not clear "
        f"which folders are classes: give the labels, or use {folder}/CLASS/ or {folder}/GROUP/CLASS/"
    )


def _level_of_classes(parents: Sequence[tuple[str, ...]], labels: Labels, folder: Path) -> int:
    """0 or 1: where the class is in the path. By names before numbers, which may count groups as well; if
    neither level fits, the one with fewer folders that are no class."""
    known = Known(labels)
    top = {parts[0] for parts in parents}
    if all(known.find(name) for name in top) or any(len(parts) < 2 for parts in parents):
        return 0
    below = {parts[1] for parts in parents}
    misses = [sum(not known.find(name) for name in names) for names in (top, below)]
    if misses[1] and any(number_places(names, labels) for names in (top, below)):
        return 0 if number_places(top, labels) else 1
    return int(misses[1] / len(below) < misses[0] / len(top))


def _in_order(names: Iterable[str]) -> list[str]:
    """Numbers by value, all else by letters."""
    found = sorted(set(names))
    if all(whole_number(name) is not None for name in found):
        found.sort(key=lambda name: whole_number(name) or 0)
    return found
