"""The nearest of all category x rationale texts, for sets too large to hold: ImageNet's are 5.8 million.

Texts are made and encoded block by block, and each image keeps its K nearest so far. Memory is that of one
block of text embeddings, a tile of similarities, and K numbers an image. After blocks the state is written to
a file; a search that was killed goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlcls.classifiers.base import unit_rows
from vlcls.errors import EvaluationError, VlclsWarning
from vlcls.files.tensors import read_safetensors
from vlcls.files.writing import write_atomically

TEMPLATE = "This is a photo of a {category} because there is {rationale}"
BLOCK = 5000
#: Similarities in memory at once, and the most bytes that one takes: where all are equal they are sorted.
_ENTRIES_AT_ONCE = 2**21
_BYTES_OF_ENTRY = 24
_SAVE_SECONDS = 30.0

Encode = Callable[[Sequence[str]], Tensor]


@dataclass(frozen=True)
class RationaleTexts:
    """Every category with every rationale, each distinct text once.

    The same rationale belongs to several categories ("four legs"): as one index, so that equal texts do not
    compete for the few places that count.

    Attributes:
        categories: C distinct names.
        rationales: R distinct rationales, of all categories.
        template: With {category} and {rationale}.
    """

    categories: tuple[str, ...]
    rationales: tuple[str, ...]
    template: str = TEMPLATE

    def __post_init__(self) -> None:
        for what, names in (("category", self.categories), ("rationale", self.rationales)):
            if not names or len(set(names)) != len(names):
                raise EvaluationError(f"each {what} must be there once, and at least one: use `of`")
        if not all(slot in self.template for slot in ("{category}", "{rationale}")):
            raise EvaluationError(f"template {self.template!r} needs {{category}} and {{rationale}}")

    @classmethod
    def of(cls, rationales: Mapping[str, Iterable[str]], template: str = TEMPLATE) -> RationaleTexts:
        """Of categories with their own rationales, as in the published files."""
        distinct = dict.fromkeys(text for own in rationales.values() for text in own)
        return cls(tuple(rationales), tuple(distinct), template)

    def __len__(self) -> int:
        return len(self.categories) * len(self.rationales)

    def block(self, start: int, stop: int) -> list[str]:
        """Texts `start` to `stop`, category by category."""
        pairs = (divmod(place, len(self.rationales)) for place in range(start, min(stop, len(self))))
        return [self._text(category, rationale) for category, rationale in pairs]

    def truth(self, pairs: Iterable[tuple[str, str]]) -> tuple[list[int], list[int]]:
        """Indices of the true (category, rationale) of images.

        Raises:
            EvaluationError: A name that is not there.
        """
        places = [
            {name: index for index, name in enumerate(names)} for names in (self.categories, self.rationales)
        ]
        found: tuple[list[int], list[int]] = ([], [])
        for row, pair in enumerate(pairs):
            for known, name, column, what in zip(places, pair, found, ("category", "rationale"), strict=True):
                if name not in known:
                    raise EvaluationError(f"image {row}: {name!r} is no {what} of the texts")
                column.append(known[name])
        return found

    def _text(self, category: int, rationale: int) -> str:
        # Not str.format: names may hold braces, and a slot's name.
        before, _, after = self.template.partition("{category}")
        name, reason = self.categories[category], self.rationales[rationale]
        return before.replace("{rationale}", reason) + name + after.replace("{rationale}", reason)


@dataclass(frozen=True)
class Nearest:
    """The K texts nearest to each of N images, nearest first; of equally near ones the first in order.

    Attributes:
        categories, rationales: Tensor[N, K] int64 indices; -1 where there are fewer than K texts.
        similarities: Tensor[N, K] float32, cosines; -inf there.
    """

    categories: Tensor
    rationales: Tensor
    similarities: Tensor


@dataclass(frozen=True)
class SearchEstimate:
    """What a search will cost, from a probe.

    Attributes:
        texts: How many there are to encode.
        seconds: For all of them.
        bytes: Of memory at most, for the search itself.
    """

    texts: int
    seconds: float
    bytes: int


def estimate_search(
    images: Any, texts: RationaleTexts, encode: Encode, *, top_k: int = 5, block: int = BLOCK,
    probe: int = 256,
) -> SearchEstimate:  # fmt: skip
    """Time a few blocks that are spread over all texts; the first of them, which warms up, does not count.

    Args:
        images, texts, encode, top_k, block: As of `search_rationales`.
        probe: Texts to encode, twice.
    """
    rows = unit_rows(images, "image embeddings").cpu()
    size = min(probe, block, len(texts))
    step = max(1, len(texts) // size)
    spread = [text for place in range(size) for text in texts.block(place * step, place * step + 1)]
    empty = _State.empty(len(rows), top_k)
    for _ in range(2):
        start = time.perf_counter()
        _merged(empty, rows, encode(spread), 0)
        spent = time.perf_counter() - start
    held = min(block, len(texts)) * rows.shape[1] * 4 + rows.numel() * 4
    tiles = _BYTES_OF_ENTRY * min(_ENTRIES_AT_ONCE, len(rows) * min(block, len(texts)))
    return SearchEstimate(
        len(texts), spent / size * len(texts), held + tiles + 2 * len(rows) * top_k * (4 + 8)
    )


def search_rationales(
    images: Any,
    texts: RationaleTexts,
    encode: Encode,
    *,
    fingerprint: str = "",
    folder: str | Path | None = None,
    top_k: int = 5,
    block: int = BLOCK,
    progress: Callable[[int], None] | None = None,
) -> Nearest:
    """Find the texts nearest to each image.

    Args:
        images: [N, D] image embeddings.
        texts: What to search in.
        encode: Texts to Tensor[B, D] of unit rows: `encoder.encode_texts`. The store is no good here, with
            millions of texts that are never asked for again.
        fingerprint: Of the encoder: part of the key of a search that can be gone on with.
        folder: Where to keep its state; None to start anew each time. The file is named by a hash of texts,
            fingerprint, images and `top_k`, and stays when the search is done, as its result.
        top_k: K.
        block: Texts to encode at once. Does not change the result beyond rounding.
        progress: Called with the number of texts just finished; at first with those of an earlier run.

    Raises:
        EvaluationError: Texts embedded in another width than the images.
    """
    rows = unit_rows(images, "image embeddings").cpu()
    name = f"rationales-{_key(rows, texts, fingerprint, top_k)[:32]}.safetensors"
    path = None if folder is None else Path(folder) / name
    state = _State.empty(len(rows), top_k)
    if path is not None and path.exists():
        state = _State.read(path, state.values.shape, len(texts)) or state
    if state.done and progress is not None:
        progress(state.done)
    saved = time.monotonic()
    if block < 1:
        raise EvaluationError(f"block must be at least 1, not {block}")
    for start in range(state.done, len(texts), block):
        stop = min(start + block, len(texts))
        state = _merged(state, rows, encode(texts.block(start, stop)), start)
        if path is not None and (time.monotonic() - saved > _SAVE_SECONDS or stop == len(texts)):
            state.write(path)
            saved = time.monotonic()
        if progress is not None:
            progress(stop - start)
    missing = state.places < 0
    count = len(texts.rationales)
    categories, rationales = state.places // count, state.places % count
    return Nearest(categories.masked_fill(missing, -1), rationales.masked_fill(missing, -1), state.values)


@dataclass(frozen=True)
class _State:
    """The nearest of the first `done` texts: values Tensor[N, K] float32, places Tensor[N, K] int64."""

    done: int
    values: Tensor
    places: Tensor

    @classmethod
    def empty(cls, images: int, top_k: int) -> _State:
        if top_k < 1:
            raise EvaluationError(f"top_k must be at least 1, not {top_k}")
        places = torch.full((images, top_k), -1, dtype=torch.int64)
        return cls(0, torch.full((images, top_k), -torch.inf), places)

    def write(self, path: Path) -> None:
        from safetensors.torch import save

        data = {"values": self.values.contiguous(), "places": self.places.contiguous()}
        # What was found so far is the result of an hour: a flipped bit in it would be an answer.
        write_atomically(path, save(data, {"done": str(self.done), "sha256": self._digest()}))

    def _digest(self) -> str:
        content = hashlib.sha256(str(self.done).encode())
        for tensor in (self.values, self.places):
            content.update(np.ascontiguousarray(tensor.numpy()).data)
        return content.hexdigest()

    @classmethod
    def read(cls, path: Path, shape: torch.Size, texts: int) -> _State | None:
        try:
            # Places that are still free are -inf: finite=False.
            arrays, about = read_safetensors(path, EvaluationError, finite=False)
            state = cls(
                int(about["done"]), *(torch.from_numpy(arrays[name]) for name in ("values", "places"))
            )
            if state._digest() != about["sha256"]:
                raise ValueError("it is not what was written")
            fits = state.values.shape == state.places.shape == shape and 0 <= state.done <= texts
            if not fits or (state.values.dtype, state.places.dtype) != (torch.float32, torch.int64):
                raise ValueError("it belongs to other images")
            if state.values.isnan().any() or not ((state.places >= -1) & (state.places < texts)).all():
                raise ValueError("it names texts that are not there")
            return state
        except (EvaluationError, KeyError, TypeError, ValueError) as error:
            warnings.warn(f"{path} is damaged ({error}): the search starts anew", VlclsWarning, stacklevel=3)
            return None


def _merged(state: _State, images: Tensor, block: Tensor, start: int) -> _State:
    """The state with one more block of text embeddings Tensor[B, D], whose first text is number `start`."""
    if block.ndim != 2 or block.shape[1] != images.shape[1]:
        raise EvaluationError(
            f"image embeddings are {images.shape[1]} wide, text embeddings {tuple(block.shape)}: "
            "they come from different encoders"
        )
    texts = block.detach().float()
    if not texts.isfinite().all():
        raise EvaluationError(f"an embedding of texts {start} to {start + len(texts)} is not finite")
    tile, top_k = max(1, _ENTRIES_AT_ONCE // len(texts)), state.values.shape[1]
    parts = []
    tiles = (each.split(tile) for each in (images, state.values, state.places))
    for rows, values, places in zip(*tiles, strict=True):
        cosines = (rows.to(texts.device) @ texts.T).cpu()
        best, where = _first_largest(cosines, min(top_k, len(texts)))
        # What was found before comes first: of equally near texts a stable sort keeps those.
        both, numbers = torch.cat([values, best], 1), torch.cat([places, where + start], 1)
        order = both.sort(dim=1, descending=True, stable=True).indices[:, :top_k]
        parts.append((both.gather(1, order), numbers.gather(1, order)))
    return _State(start + len(texts), *map(torch.cat, zip(*parts, strict=True)))


def _first_largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of each row of Tensor[n, B] in order; of equal ones the first.

    `topk` alone takes any of the equal ones, so rows where that matters are sorted.
    """
    best, where = values.topk(count, 1)
    tied = (values >= best[:, -1:]).sum(1) > count
    tied |= (best[:, 1:] == best[:, :-1]).any(1)
    if tied.any():
        order = values[tied].sort(dim=1, descending=True, stable=True).indices[:, :count]
        where[tied] = order
        best[tied] = values[tied].gather(1, order)
    return best, where


def _key(images: Tensor, texts: RationaleTexts, fingerprint: str, top_k: int) -> str:
    about = [fingerprint, top_k, texts.template, texts.categories, texts.rationales, list(images.shape)]
    digest = hashlib.sha256(json.dumps(about).encode())
    digest.update(np.ascontiguousarray(images.numpy()).data)
    return digest.hexdigest()
