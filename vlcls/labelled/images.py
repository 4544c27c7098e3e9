"""Images with known classes, and their embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vlcls.errors import ImageError
from vlcls.image_sources import ImageSource
from vlcls.labels import Labels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from vlcls.encoders import Encoder
    from vlcls.store import EmbeddingStore


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
        keys: Their `vlcls.images.content_key`s; empty if only embeddings are known.
    """

    embeddings: Tensor
    class_indices: Tensor
    groups: Mapping[str, tuple[str, ...]]
    names: tuple[str, ...]
    errors: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[bytes, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def some(self, rows: Sequence[int] | NDArray[np.int64]) -> LabelledEmbeddings:
        """Some of the images; what could not be read stays said."""
        return LabelledEmbeddings(
            self.embeddings[rows],
            self.class_indices[rows],
            {name: tuple(values[row] for row in rows) for name, values in self.groups.items()},
            tuple(self.names[row] for row in rows),
            self.errors,
            tuple(self.keys[row] for row in rows) if self.keys else (),
        )


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
    keys: list[bytes] = []
    errors: dict[str, str] = {}
    for batch in embed_images(images.sources, encoder, store=store, progress=progress, **options):
        readable = [row for row in range(len(batch.sources)) if row not in batch.errors]
        parts.append(batch.embeddings[readable].float().cpu())
        rows += [batch.start + row for row in readable]
        keys += [batch.keys[row] for row in readable]
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
        tuple(keys),
    )
