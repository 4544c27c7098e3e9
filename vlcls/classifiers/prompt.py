"""Zero-shot classifiers made of prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vlcls.classifiers.base import Classifier, EncoderInfo, open_store, unit_rows
from vlcls.errors import EmbeddingError
from vlcls.labels import Labels, as_labels
from vlcls.prompts import DEFAULT_TEMPLATES, Prompt, PromptSet, prompts_from_templates

if TYPE_CHECKING:
    from vlcls.encoders import Encoder

#: A user who gives no encoder gets a good one of moderate size.
DEFAULT_ENCODER = "open_clip:ViT-B-32/laion2b_s34b_b79k"


class PromptClassifier(Classifier):
    """Compares an image with the mean of each class's prompt embeddings.

    Follows CLIP (Radford et al. 2021, section 3.1.4): unit text embeddings, weighted mean over the prompts
    of a class, unit length again. Keeps the embedding of every single prompt, so that other ways to weigh
    them need no encoder.

    Attributes:
        prompts: M prompts of C classes.
        text_embeddings: Tensor[M, D] float32, unit rows, one a prompt.
    """

    def __init__(
        self,
        prompts: PromptSet,
        text_embeddings: Tensor,
        *,
        encoder_info: EncoderInfo | None = None,
        logit_scale: float = 100.0,
        logit_bias: float = 0.0,
        activation: Literal["softmax", "sigmoid"] = "softmax",
    ) -> None:
        if len(text_embeddings) != len(prompts):
            raise EmbeddingError(f"{len(text_embeddings)} text embeddings for {len(prompts)} prompts")
        self.prompts, self.labels = prompts, prompts.labels
        self.text_embeddings = text_embeddings
        self.encoder_info = encoder_info
        self.logit_scale, self.logit_bias, self.activation = logit_scale, logit_bias, activation

    @cached_property
    def zero_shot_weights(self) -> Tensor:
        """Tensor[C, D] float32, unit rows: one for each class."""
        device = self.text_embeddings.device
        classes = torch.tensor(self.prompts.class_indices, device=device)
        shares = torch.tensor([prompt.weight for prompt in self.prompts], device=device)
        sums = torch.zeros(len(self.labels), self.text_embeddings.shape[1], device=device)
        # The mean's divisor cancels in the normalisation.
        sums.index_add_(0, classes, self.text_embeddings * shares[:, None])
        return F.normalize(sums, dim=1)

    def similarities(self, image_embeddings: Tensor) -> Tensor:
        weights = self.zero_shot_weights
        if image_embeddings.shape[1] != weights.shape[1]:
            raise EmbeddingError(
                f"image embeddings are {image_embeddings.shape[1]} wide, the classifier's text embeddings "
                f"{weights.shape[1]}: they come from different encoders"
            )
        return image_embeddings @ weights.to(image_embeddings.device).T

    def save_pretrained(self, folder: str | Path) -> Path:
        from vlcls.classifiers.saved import save_prompt_classifier

        return save_prompt_classifier(self, Path(folder).expanduser())


def build_classifier(
    labels: Labels | Mapping[str, str] | Iterable[str],
    encoder: str | Encoder = DEFAULT_ENCODER,
    templates: str | Path | Sequence[str] = DEFAULT_TEMPLATES,
    *,
    clean_names: bool = True,
    articles: bool = True,
    device: str | None = None,
    precision: Literal["fp32", "bf16", "fp16"] | None = None,
    cache: bool | str | Path = True,
    progress: Callable[[int], None] | None = None,
) -> PromptClassifier:
    """Turn class names into an image classifier.

    Args:
        labels: Class names in order, or a mapping of distinct ids to names.
        encoder: A spec for `load_encoder`, or an encoder that is loaded already.
        templates: A built-in set ("name", "photo", "simple", "openai-imagenet", ...), a file, one template,
            or a list, with `{}` where the class name goes.
        clean_names: Underscores to spaces, white space tidied, Unicode composed.
        articles: "an" instead of "a" before names that need it.
        device, precision: For an encoder given as a spec; see `load_encoder`.
        cache: Keep text embeddings on disk: True, False, or a folder.
        progress: Called with the number of texts just embedded.

    Raises:
        LabelError, TemplateError, EncoderError: Named in the message.
    """
    prompts = prompts_from_templates(as_labels(labels, clean=clean_names), templates, articles=articles)
    if isinstance(encoder, str):
        from vlcls.encoders import load_encoder

        encoder = load_encoder(encoder, device, precision)
    return classifier_from_prompts(prompts, encoder, cache=cache, progress=progress)


def classifier_from_prompts(
    prompts: PromptSet,
    encoder: Encoder,
    *,
    cache: bool | str | Path = True,
    progress: Callable[[int], None] | None = None,
) -> PromptClassifier:
    """A classifier of any prompt set: its texts are embedded, each distinct text once."""
    from vlcls.embeddings import embed_texts

    classifier = PromptClassifier(
        prompts,
        embed_texts(prompts.texts, encoder, store=open_store(cache), progress=progress),
        encoder_info=EncoderInfo(encoder.spec, encoder.fingerprint),
        logit_scale=encoder.logit_scale,
        logit_bias=encoder.logit_bias,
        activation=encoder.activation,
    )
    classifier.encoder = encoder
    return classifier


def classifier_from_embeddings(
    labels: Labels | Mapping[str, str] | Iterable[str],
    text_embeddings: Tensor | np.ndarray | Any,
    logit_scale: float = 100.0,
    *,
    class_indices: Sequence[int] | None = None,
    logit_bias: float = 0.0,
    activation: Literal["softmax", "sigmoid"] = "softmax",
) -> PromptClassifier:
    """A classifier of embeddings made elsewhere.

    Args:
        labels: C class names in order, or a mapping of distinct ids to names.
        text_embeddings: [C, D], one row a class; or [M, D] with `class_indices`. Rows are normalised.
        logit_scale: Factor from cosine to logit; 100 for released CLIP models.
        class_indices: For [M, D]: the class 0..C-1 of each row.
        logit_bias, activation: As in `Classifier`.

    Raises:
        EmbeddingError: Row counts do not fit, NaN, a row of length zero.
    """
    known = as_labels(labels)
    rows = unit_rows(text_embeddings, "text embeddings")
    if class_indices is None:
        if len(rows) != len(known):
            raise EmbeddingError(
                f"{len(rows)} text embeddings for {len(known)} labels: give one row a class, "
                "or `class_indices`"
            )
        class_indices = range(len(known))
    if len(class_indices) != len(rows):
        raise EmbeddingError(f"{len(class_indices)} class indices for {len(rows)} text embeddings")
    missing = sorted(set(range(len(known))) - {int(index) for index in class_indices})
    if missing or min(class_indices) < 0 or max(class_indices) >= len(known):
        problem = (
            f"class {known.reported[missing[0]]!r} has no row" if missing else "an index is out of range"
        )
        raise EmbeddingError(f"class indices must cover 0..{len(known) - 1}: {problem}")
    prompts = PromptSet(known, tuple(Prompt("", int(index), "embedding") for index in class_indices))
    return PromptClassifier(
        prompts, rows, logit_scale=logit_scale, logit_bias=logit_bias, activation=activation
    )
