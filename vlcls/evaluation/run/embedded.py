"""An evaluation set, read and embedded once for all methods."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import EvaluationError
from vlcls.labels import Labels

if TYPE_CHECKING:
    from torch import Tensor

    from vlcls.classifiers.fitted import Fitted
    from vlcls.encoders import Encoder
    from vlcls.evaluation.data import EvaluationSet
    from vlcls.store import EmbeddingStore


@dataclass(frozen=True, eq=False)
class EmbeddedSet:
    """Those images of a set that could be read, embedded.

    Attributes:
        name, labels: Of the set.
        embeddings: Tensor[N, D] float32, unit rows, on the CPU.
        truth: For each image its classes; one each unless `multi_label`.
        groups: Columns of N values.
        names: What reports call each image.
        errors: Why the other images could not be read, by name.
        content: SHA-256 over the images' content, their classes and the class names.
        multi_label: Images may have several classes or none.
        encoded: How many images were encoded now, and did not come from the store.
        keys: The images' `vlcls.images.content_key`s in hexadecimal; of a corrupted set those before it.
    """

    name: str
    labels: Labels
    embeddings: Tensor
    truth: tuple[tuple[int, ...], ...]
    groups: Mapping[str, tuple[str, ...]]
    names: tuple[str, ...]
    errors: Mapping[str, str]
    content: str
    multi_label: bool
    encoded: int
    keys: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def classes(self) -> NDArray[np.int64]:
        """int64[N]: the one class of each image."""
        return np.array([own[0] for own in self.truth], dtype=np.int64)

    @cached_property
    def membership(self) -> NDArray[np.bool_]:
        """bool[N, C]: the classes of each image."""
        result = np.zeros((len(self), len(self.labels)), dtype=np.bool_)
        for row, own in enumerate(self.truth):
            result[row, list(own)] = True
        return result

    def unseen(self, fitted: Fitted) -> NDArray[np.bool_]:
        """bool[N]: the images that something was not fitted on, labels and all."""
        seen = fitted.labelled
        return np.array([key not in seen for key in self.keys] or [True] * len(self), dtype=np.bool_)

    def without_seen(self, fitted: Fitted) -> EmbeddedSet:
        """Only the images that something was not fitted on; the set itself if these are all.

        Raises:
            EvaluationError: None is left.
        """
        rows = self.unseen(fitted).nonzero()[0].tolist()
        if len(rows) == len(self):
            return self
        if not rows:
            raise EvaluationError(
                f"{self.name}: it was trained on all {len(self)} images of this set: evaluate it on others"
            )
        return self._some(rows, f"rows {rows}")

    def _some(self, rows: Sequence[int], told: str) -> EmbeddedSet:
        """Only some images; `told` goes into the hash of the content."""
        return replace(
            self, embeddings=self.embeddings[rows], truth=tuple(self.truth[row] for row in rows),
            groups={column: tuple(values[row] for row in rows) for column, values in self.groups.items()},
            names=tuple(self.names[row] for row in rows),
            content=hashlib.sha256(f"{self.content} {told}".encode()).hexdigest(),
            keys=tuple(self.keys[row] for row in rows if self.keys),
        )  # fmt: skip

    def changed_from(self, clean: EmbeddedSet) -> EmbeddedSet:
        """This set of changed (corrupted) images, told apart by the contents before the change."""
        before = dict(zip(clean.names, clean.keys, strict=False))
        return replace(self, keys=tuple(before.get(name, "") for name in self.names))

    def restricted(self, name: str, kept: Collection[int]) -> EmbeddedSet:
        """Only the images and names of some classes, as a set of its own."""
        if self.multi_label:
            raise EvaluationError(
                f"{self.name}: a set with several classes an image has no part of its classes"
            )
        order = sorted(kept)
        place = {index: new for new, index in enumerate(order)}
        rows = [row for row, own in enumerate(self.truth) if own[0] in place]
        if not rows:
            raise EvaluationError(f"{name}: the set has no image of these classes")
        truth = tuple((place[self.truth[row][0]],) for row in rows)
        some = self._some(rows, str(order))
        return replace(some, name=name, labels=self.labels.some(order), truth=truth, errors={}, encoded=0)


def embed_set(
    given: EvaluationSet,
    encoder: Encoder,
    *,
    store: EmbeddingStore | None = None,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> EmbeddedSet:
    """Read and embed a set; what cannot be read is left out and listed.

    Args:
        given: The set.
        encoder: Any encoder.
        store, progress, options: See `vlcls.embeddings.embed_images`.
        limit: At most so many images, the first ones.

    Raises:
        EvaluationError: None of its images can be read.
    """
    import torch

    from vlcls.embeddings import embed_images

    parts: list[Tensor] = []
    truth: list[tuple[int, ...]] = []
    names: list[str] = []
    keys: list[str] = []
    columns: dict[str, list[str]] = {}
    errors: dict[str, str] = {}
    digest = hashlib.sha256(json.dumps([given.labels.names, given.labels.ids]).encode())
    encoded = 0
    for part in given.parts(limit):
        batches = embed_images(part.sources, encoder, store=store, progress=progress, **options)
        for batch in batches:
            encoded += batch.encoded
            readable = [row for row in range(len(batch.sources)) if row not in batch.errors]
            parts.append(batch.embeddings[readable].float().cpu())
            errors |= {batch.sources[row].name: message for row, message in batch.errors.items()}
            for row in readable:
                place = batch.start + row
                truth.append(tuple(part.truth[place]))
                names.append(batch.sources[row].name)
                keys.append(batch.keys[row].hex())
                for column, values in part.groups.items():
                    columns.setdefault(column, []).append(values[place])
                digest.update(batch.keys[row] + json.dumps(truth[-1]).encode())
    if not names:
        first = next(iter(errors.values()), "it has none")
        raise EvaluationError(f"data set {given.name}: no image can be read: {first}")
    groups = {column: tuple(values) for column, values in columns.items()}
    return EmbeddedSet(
        given.name, given.labels, torch.cat(parts), tuple(truth), groups, tuple(names), errors,
        digest.hexdigest(), given.multi_label, encoded, tuple(keys),
    )  # fmt: skip
