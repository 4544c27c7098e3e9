"""Images whose classes are known: folders by class, and columns of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlcls.errors import ImageError, LabelError
from vlcls.image_sources import ImageSource, as_sources, find_images
from vlcls.labels import Labels, as_labels, clean_name

if TYPE_CHECKING:
    from torch import Tensor

    from vlcls.encoders import Encoder
    from vlcls.store import EmbeddingStore

#: Group column of `folder/GROUP/CLASS/image.jpg`.
FOLDER_GROUP = "group"


@dataclass(frozen=True)
class LabelledImages:
    """N images with their true classes.

    Attributes:
        sources: The images.
        class_indices: For each image, its place in `labels`.
        groups: Columns that divide the images (domain, background, ...): N values each.
        labels: The classes.
    """

    sources: Sequence[ImageSource]
    class_indices: tuple[int, ...]
    groups: Mapping[str, tuple[str, ...]]
    labels: Labels

    def __len__(self) -> int:
        return len(self.class_indices)


@dataclass(frozen=True)
class LabelledEmbeddings:
    """Those of some labelled images that could be read, embedded.

    Attributes:
        embeddings: Tensor[N, D] float32, unit rows, on the CPU.
        class_indices: Tensor[N] int64.
        groups: As in `LabelledImages`, N values each.
        names: What reports call each image.
        errors: Why the other images could not be read, by name.
    """

    embeddings: Tensor
    class_indices: Tensor
    groups: Mapping[str, tuple[str, ...]]
    names: tuple[str, ...]
    errors: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)


def labelled_folder(
    folder: str | Path, labels: Labels | Mapping[str, str] | Iterable[str] | None = None
) -> LabelledImages:
    """Images in `folder/CLASS/` or `folder/GROUP/CLASS/`; then the group column is called "group".

    Args:
        folder: With labels, folders below CLASS are part of it. Without, all images must lie equally deep.
        labels: Classes that the folders are named after: by id, or by name, where case and underscores do
            not matter. Without labels, every folder is a class.

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
        known = as_labels({name: name for name in sorted({parts[level] for parts in parents})})
    else:
        known = as_labels(labels)
        level = _level_of_classes(parents, known, folder)
    places = class_places((parts[level] for parts in parents), known, str(folder))
    groups = {FOLDER_GROUP: tuple(parts[0] for parts in parents)} if level else {}
    return LabelledImages(sources, tuple(places[parts[level]] for parts in parents), groups, known)


def labelled_dataset(
    dataset: Any,
    labels: Labels | Mapping[str, str] | Iterable[str] | None = None,
    *,
    image_column: str = "image",
    label_column: str = "label",
    group_columns: Sequence[str] = (),
) -> LabelledImages:
    """The rows of a `datasets.Dataset`; images are read only when they are embedded.

    Args:
        dataset: One split.
        labels: Classes; the data set's own where it has `ClassLabel` or text labels. Class names of the data
            set are matched to them as in `labelled_folder`; plain numbers are indices into them.
        image_column, label_column, group_columns: Names of columns.

    Raises:
        ImageError: No such column.
        LabelError: Rows without a class, or of a class that is not among the labels.
    """
    for column in (image_column, label_column, *group_columns):
        if column not in dataset.column_names:
            raise ImageError(
                f"the data set has no column {column!r}; it has {', '.join(dataset.column_names)}"
            )
    values: list[Any] = list(dataset[label_column])
    names = getattr(dataset.features[label_column], "names", None)
    if names is not None:
        if unnamed := [row for row, value in enumerate(values) if value is None or value < 0]:
            raise LabelError(f"row {unnamed[0]} of the data set has no class ({len(unnamed)} such rows)")
        values = [names[value] for value in values]
    own = names if names is not None else sorted(set(map(str, values)))
    known = as_labels(own if labels is None else labels)
    indices = _row_classes(values, known, f"column {label_column!r}")
    groups = {column: tuple(map(str, dataset[column])) for column in group_columns}
    return LabelledImages(as_sources(dataset[image_column]), indices, groups, known)


def _row_classes(values: Sequence[Any], labels: Labels, where: str) -> tuple[int, ...]:
    if not values or not all(isinstance(value, int) for value in values):
        places = class_places(map(str, values), labels, where)
        return tuple(places[str(value)] for value in values)
    if min(values) < 0 or max(values) >= len(labels):
        span = f"goes from {min(values)} to {max(values)}"
        raise LabelError(f"{where} {span}, and there are {len(labels)} labels")
    return tuple(values)


def embed_labelled(
    images: LabelledImages,
    encoder: Encoder,
    *,
    store: EmbeddingStore | None = None,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> LabelledEmbeddings:
    """Embed labelled images through the store; those that cannot be read are left out and listed.

    Args:
        images: N images.
        encoder: Any encoder.
        store, progress, options: See `vlcls.embeddings.embed_images`.

    Raises:
        ImageError: None of them can be read.
    """
    import torch

    from vlcls.embeddings import embed_images

    parts: list[Tensor] = []
    rows: list[int] = []
    errors: dict[str, str] = {}
    for batch in embed_images(images.sources, encoder, store=store, progress=progress, **options):
        readable = [row for row in range(len(batch.sources)) if row not in batch.errors]
        parts.append(batch.embeddings[readable].float().cpu())
        rows += [batch.start + row for row in readable]
        errors |= {batch.sources[row].name: message for row, message in batch.errors.items()}
    if not rows:
        first = next(iter(errors.values()), "there are none")
        raise ImageError(f"none of {len(images)} images can be read: {first}")
    return LabelledEmbeddings(
        torch.cat(parts),
        torch.tensor([images.class_indices[row] for row in rows]),
        {column: tuple(values[row] for row in rows) for column, values in images.groups.items()},
        tuple(images.sources[row].name for row in rows),
        errors,
    )


def class_places(names: Iterable[str], labels: Labels, where: str) -> dict[str, int]:
    """The index of each name: by id, by `Labels.reported`, or by name whatever its case and underscores.

    Raises:
        LabelError: Names that are no class, or that several classes share; says which, and `where`.
    """
    known = _Known(labels)
    places: dict[str, int] = {}
    unknown: list[str] = []
    for name in dict.fromkeys(names):
        found = known.find(name)
        if len(found) > 1:
            ids = ", ".join(labels.ids[index] for index in found)
            raise LabelError(f"{where}: {name!r} is the name of {len(found)} classes: use their ids ({ids})")
        if found:
            places[name] = found[0]
        else:
            unknown.append(name)
    if unknown:
        few = ", ".join(map(repr, unknown[:10])) + (", ..." if len(unknown) > 10 else "")
        have = ", ".join(map(repr, labels.reported[:10])) + (", ..." if len(labels) > 10 else "")
        raise LabelError(f"{where}: not among the labels: {few}. The labels are {have}")
    return places


class _Known:
    """Class indices by all that a class may be called."""

    def __init__(self, labels: Labels) -> None:
        self._ids = {identifier: index for index, identifier in enumerate(labels.ids)}
        self._reported = {name: index for index, name in enumerate(labels.reported)}
        self._names: dict[str, list[int]] = {}
        for index, name in enumerate(labels.names):
            self._names.setdefault(clean_name(name).casefold(), []).append(index)

    def find(self, name: str) -> list[int]:
        for exact in (self._ids, self._reported):
            if name in exact:
                return [exact[name]]
        return self._names.get(clean_name(name).casefold(), [])


def _even_level(parents: Sequence[tuple[str, ...]], folder: Path) -> int:
    depths = {len(parts) for parts in parents}
    if depths == {1} or depths == {2}:
        return depths.pop() - 1
    raise ImageError(
        f"{folder}: images lie {' and '.join(map(str, sorted(depths)))} folders deep, so it is not clear "
        f"which folders are classes: give the labels, or use {folder}/CLASS/ or {folder}/GROUP/CLASS/"
    )


def _level_of_classes(parents: Sequence[tuple[str, ...]], labels: Labels, folder: Path) -> int:
    """0 or 1: where the class is in the path; the level with fewer folders that are no class."""
    known = _Known(labels)
    top = {parts[0] for parts in parents}
    if all(known.find(name) for name in top) or any(len(parts) < 2 for parts in parents):
        return 0
    below = {parts[1] for parts in parents}
    misses = [sum(not known.find(name) for name in names) for names in (top, below)]
    return int(misses[1] / len(below) < misses[0] / len(top))
