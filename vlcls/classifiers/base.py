"""What every classifier can do once it can compare image embeddings with its classes."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from vlcls.arguments import takes
from vlcls.errors import EmbeddingError, EncoderError, EncoderMismatchError
from vlcls.labels import Labels
from vlcls.limits import logit_problem
from vlcls.store import EmbeddingStore

if TYPE_CHECKING:
    from vlcls.encoders import Encoder

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Prediction:
    """One class for one image.

    Attributes:
        label: The class, as `Labels.reported` names it.
        score: Its probability: softmax over the classes, or a sigmoid of its own for SigLIP models.
        index: The class's place in the labels.
        id: The class's id: the name itself unless ids were given with the labels.
        rationale: Why: the texts that decided it; empty for classifiers that do not explain.
    """

    label: str
    score: float
    index: int
    id: str
    rationale: tuple[str, ...] = ()


@dataclass(frozen=True)
class Classification:
    """One image's result.

    Attributes:
        image: The image's path as it was given, or its place among images given in memory.
        top_k: The best classes, best first; empty if the image could not be read.
        error: Why it could not be read, else None.
    """

    image: str
    top_k: tuple[Prediction, ...]
    error: str | None = None

    @property
    def label(self) -> str | None:
        return self.top_k[0].label if self.top_k else None

    @property
    def score(self) -> float | None:
        return self.top_k[0].score if self.top_k else None


@dataclass(frozen=True)
class EncoderInfo:
    """The encoder that a classifier's texts were embedded with."""

    spec: str
    fingerprint: str


class Classifier(ABC):
    """Scores images against a fixed list of classes.

    Attributes:
        labels: The C classes.
        encoder_info: Whose embeddings this classifier takes; None if the user brought the embeddings.
        logit_scale, logit_bias: logits = logit_scale * cosine + logit_bias, as the encoder was trained.
        activation: "softmax" or "sigmoid": how logits become probabilities.
    """

    labels: Labels
    encoder_info: EncoderInfo | None
    logit_scale: float
    logit_bias: float
    activation: Literal["softmax", "sigmoid"]
    _encoder: Encoder | None = None

    @abstractmethod
    def similarities(self, image_embeddings: Tensor) -> Tensor:
        """Cosine-scale similarity of unit image embeddings Tensor[N, D] to each class, Tensor[N, C]."""

    @abstractmethod
    def save_pretrained(self, folder: str | Path) -> Path:
        """Write JSON and safetensors into a folder that `vlcls.load` reads. Returns the folder."""

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded when first needed.

        Raises:
            EncoderError: The classifier was built from embeddings alone.
            EncoderMismatchError: What the spec loads now is not what the classifier was built with.
        """
        if self._encoder is None:
            if self.encoder_info is None:
                raise EncoderError(
                    "this classifier was built from embeddings and has no encoder: give it image embeddings "
                    "(a Tensor or array [N, D]), or set `classifier.encoder`"
                )
            from vlcls.encoders import load_named_encoder

            self.encoder = load_named_encoder(self.encoder_info.spec, "this classifier")
        assert self._encoder is not None
        return self._encoder

    @encoder.setter
    def encoder(self, encoder: Encoder) -> None:
        from vlcls.encoders import as_encoder

        encoder = as_encoder(encoder)
        known = self.encoder_info
        if known is not None and encoder.fingerprint != known.fingerprint:
            raise EncoderMismatchError(
                f"this classifier was built with {known.spec} (fingerprint {known.fingerprint[:12]}), but "
                f"{encoder.spec} has fingerprint {encoder.fingerprint[:12]}: other weights, preprocessing or "
                "tokenizer. Load the same encoder, or build the classifier again"
            )
        self._encoder = encoder

    def scores(self, image_embeddings: Tensor | np.ndarray) -> Tensor:
        """Logits of image embeddings [N, D] (normalised here): Tensor[N, C] float32.

        Raises:
            EmbeddingError: Wrong width, NaN or infinite values, or a row of length zero.
        """
        return self._logits(self.similarities(unit_rows(image_embeddings, "image embeddings")))

    def probabilities(self, image_embeddings: Tensor | np.ndarray) -> Tensor:
        """Softmax of the logits over classes, or their sigmoid, as the encoder was trained: Tensor[N, C]."""
        return self._as_probabilities(self.similarities(unit_rows(image_embeddings, "image embeddings")))

    def _logits(self, similarities: Tensor) -> Tensor:
        return self.logit_scale * similarities + self.logit_bias

    def _as_probabilities(self, similarities: Tensor) -> Tensor:
        logits = self._logits(similarities)
        return logits.softmax(-1) if self.activation == "softmax" else logits.sigmoid()

    def predict(self, images: Any, top_k: int = 5, **options: Any) -> list[Classification]:
        """Classify images; see `iter_predict`."""
        return list(self.iter_predict(images, top_k, **options))

    @takes(
        top_k="count",
        cache="cache",
        batch_size="count?",
        workers="count?",
        reduced_decode="flag",
        progress="function?",
    )
    def iter_predict(
        self,
        images: Any,
        top_k: int = 5,
        *,
        cache: bool | str | Path = True,
        batch_size: int | None = None,
        workers: int | None = None,
        reduced_decode: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[Classification]:
        """Classify images one after the other, in order, in flat memory.

        Args:
            images: Paths, folders, globs, PIL images, bytes, open files, arrays, one of these or a list of
                them, a column of a table or of a `datasets.Dataset`; see `vlcls.image_sources.as_sources`. A
                Tensor [N, D] of anything but uint8 is taken as image embeddings, and so is all that is given
                to a classifier without an encoder. An array [N, D] of floats, D the width of the embeddings,
                could be either and is refused.
            top_k: How many classes to report for each image; ties go to the class that comes first.
            cache: Keep embeddings on disk, in the default folder or the one given; False for neither reading
                nor writing.
            batch_size, workers, reduced_decode, progress: See `vlcls.embeddings.embed_images`.

        Yields:
            One `Classification` an image; an unreadable image has `error` set and stops nothing.

        Raises:
            ArgumentError: Something is not of the kind it should be: `top_k` is below 1, ...
        """
        batches = self.embedded(
            images, cache=cache, batch_size=batch_size, workers=workers, reduced_decode=reduced_decode,
            progress=progress,
        )  # fmt: skip
        for names, rows, errors in batches:
            found = iter(self._top_k(rows, top_k))
            for row, name in enumerate(names):
                yield Classification(name, () if row in errors else next(found), errors.get(row))

    def embedded(
        self, images: Any, *, cache: bool | str | Path = True, **options: Any
    ) -> Iterator[tuple[list[str], Tensor, dict[int, str]]]:
        """Image embeddings, a batch at a time, of whatever `iter_predict` takes.

        Yields:
            Names of the images; unit embeddings Tensor[n, D] of those that could be read, in order; and the
            errors of the others, by their place among the names.
        """
        if self._are_embeddings(images):
            if isinstance(images, Tensor):
                _check_dense(images, "image embeddings")
            elif not hasattr(images, "shape"):
                images = _as_array(images)
            for start in range(0, len(images), _ROWS_AT_ONCE):
                rows = unit_rows(images[start : start + _ROWS_AT_ONCE], "image embeddings", start)
                yield [f"embedding {start + row}" for row in range(len(rows))], rows, {}
            return
        from vlcls.embeddings import embed_images
        from vlcls.image_sources import as_sources

        for batch in embed_images(as_sources(images), self.encoder, store=open_store(cache), **options):
            readable = [row for row in range(len(batch.sources)) if row not in batch.errors]
            yield [source.name for source in batch.sources], batch.embeddings[readable], batch.errors

    def _are_embeddings(self, images: Any) -> bool:
        """Whether `images` are embeddings, by the rule of `iter_predict`.

        Raises:
            EmbeddingError: An array that could be one as well as the other.
            EncoderError: Paths or pictures for a classifier without an encoder.
        """
        if self.encoder_info is None and self._encoder is None:
            first = next(iter(images), None) if isinstance(images, (list, tuple)) else images
            if isinstance(first, (str, os.PathLike, bytes)) or hasattr(first, "read"):
                _ = self.encoder  # says that there is none, and what can be done
            return True
        if isinstance(images, Tensor):
            return images.ndim == 2 and images.dtype != torch.uint8
        floats = isinstance(images, np.ndarray) and images.ndim == 2 and images.dtype.kind == "f"
        if floats and images.shape[1] == self.encoder.embedding_dim:
            raise EmbeddingError(
                f"an array of floats, {images.shape[0]} x {images.shape[1]}, could be embeddings as well as "
                "one grey image: give embeddings as a Tensor, torch.from_numpy(array), and an image with its "
                "channels, array[:, :, None]"
            )
        return False

    def _top_k(self, embeddings: Tensor, top_k: int) -> list[tuple[Prediction, ...]]:
        if not len(embeddings):
            return []
        similarities = self.similarities(unit_rows(embeddings, "image embeddings"))
        # Not by probability, which is 0 or 1 for several classes where logits are far apart. A stable sort,
        # not topk: among equally similar classes the first wins, on every device.
        indices = similarities.sort(dim=-1, descending=True, stable=True).indices
        values = self._as_probabilities(similarities).gather(-1, indices)
        names, ids = self.labels.reported, self.labels.ids
        return [
            tuple(Prediction(names[i], v, i, ids[i]) for v, i in zip(vs, cs, strict=True))
            for vs, cs in zip(values[:, :top_k].tolist(), indices[:, :top_k].tolist(), strict=True)
        ]

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Save to a Hugging Face Hub repository, made if it does not exist. Options go to
        `huggingface_hub.HfApi.create_repo` (private=True, ...). Returns the address of the commit."""
        import tempfile

        from huggingface_hub import HfApi

        api = HfApi()
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            api.create_repo(repo_id, exist_ok=True, **options)
            return str(api.upload_folder(repo_id=repo_id, folder_path=folder))


def check_logits(encoder: Encoder) -> None:
    """Refuse an encoder whose logit scale or bias makes NaN of every cosine.

    Raises:
        EncoderError: Says which number it is.
    """
    if problem := logit_problem(encoder.logit_scale, encoder.logit_bias, encoder.activation):
        raise EncoderError(f"{encoder.spec}: {problem}; `vlcls doctor {encoder.spec}` looks at such a model")


def unit_rows(embeddings: Any, what: str, first_row: int = 0) -> Tensor:
    """Check embeddings and bring their rows to unit length: Tensor[N, D] float32.

    Args:
        embeddings: [N, D] numbers: a Tensor, an array, or nested lists.
        what: What they are, for messages.
        first_row: The number of row 0 in messages.

    Raises:
        EmbeddingError: Not two-dimensional, not finite, or a row of length zero; names the row.
    """
    if isinstance(embeddings, Tensor):
        _check_dense(embeddings, what)
        rows = embeddings.detach()
    else:
        rows = torch.from_numpy(_as_array(embeddings))
    if rows.ndim != 2 or not rows.shape[1]:
        raise EmbeddingError(f"{what}: two dimensions [rows, width] are expected, not {tuple(rows.shape)}")
    if rows.device.type != "mps":  # which has no float64
        rows = rows.double()
    bad = (~rows.isfinite()).any(1).nonzero().flatten() + first_row
    if len(bad):
        raise EmbeddingError(f"{what}: row {int(bad[0])} holds NaN or infinity ({len(bad)} such rows)")
    peaks = rows.abs().amax(1, keepdim=True)
    zero = (peaks[:, 0] == 0).nonzero().flatten() + first_row
    if len(zero):
        raise EmbeddingError(f"{what}: row {int(zero[0])} is all zeros ({len(zero)} such rows)")
    # Squares of very large or small numbers are infinite or nothing: their rows are brought near 1 first.
    far = torch.finfo(rows.dtype).max ** 0.25 if rows.is_floating_point() else 1e9
    if (odd := (peaks > far) | (peaks < 1 / far)).any():
        rows = torch.where(odd, rows / peaks, rows)
    return (rows / rows.norm(dim=1, keepdim=True)).float()


def _check_dense(tensor: Tensor, what: str) -> None:
    kinds = {
        "without data (on the meta device)": tensor.is_meta,
        "sparse": tensor.layout is not torch.strided,
        "complex": tensor.is_complex(),
        "quantised": tensor.is_quantized,
    }
    if unlike := next((kind for kind, so in kinds.items() if so), None):
        raise EmbeddingError(f"{what}: a dense tensor of real numbers is expected, not one that is {unlike}")


def _as_array(embeddings: Any) -> np.ndarray:
    """A float64 copy (files are often mapped read-only, which tensors cannot be)."""
    try:
        array = np.asarray(embeddings)
        if array.dtype.kind in "biuf":
            return np.array(array, dtype=np.float64)
        reason = f"holds {array.dtype}"
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        reason = str(error)
    kind = type(embeddings).__name__
    raise EmbeddingError(f"embeddings: numbers are expected, [rows, width], not {kind} ({reason})")


def open_store(cache: bool | str | Path) -> EmbeddingStore | None:
    """The store that a `cache` argument means."""
    if cache is False:
        return None
    return EmbeddingStore(None if cache is True else cache)
