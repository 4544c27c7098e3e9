"""Zero-shot classifiers made of prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vlcls.arguments import takes, whole_numbers
from vlcls.classifiers.banks import Bank, bank_of, class_means
from vlcls.classifiers.base import Classifier, EncoderInfo, open_store, unit_rows
from vlcls.classifiers.fitted import Fitted
from vlcls.classifiers.scorers import SCORERS, Scorer
from vlcls.classifiers.weighting import Weigher, Weighting, check_pair, shared_templates
from vlcls.errors import EmbeddingError, VlclsError
from vlcls.labels import Labels, as_labels
from vlcls.limits import logit_problem
from vlcls.prompts import Prompt, PromptSet, class_prompts

if TYPE_CHECKING:
    from vlcls.descriptors import DescriptorSet
    from vlcls.encoders import Encoder

#: A user who gives no encoder gets a good one of moderate size.
DEFAULT_ENCODER = "open_clip:ViT-B-32/laion2b_s34b_b79k"


class PromptClassifier(Classifier):
    """Compares an image with the prompts of each class.

    Keeps the embedding of every single prompt, so that explanations, edits and other ways to weigh prompts
    need no encoder.

    Attributes:
        prompts: M prompts of C classes.
        text_embeddings: Tensor[M, D] float32, unit rows, one a prompt.
        aggregate: How the prompts of a class become its similarity; see `vlcls.classifiers.scorers`.
        weighting: How prompts are weighted for each image; None if all images see the same weights.
        fitted: Which labelled images something in it was fitted on; see `vlcls.classifiers.fitted`.

    Raises:
        EmbeddingError: Not one finite row a prompt.
        VlclsError: A logit scale or bias outside the range of `vlcls.limits`; an unknown name.
    """

    @takes(
        prompts="prompts", text_embeddings="tensor", aggregate="text", weighting="made weighting?",
        logit_scale="real", logit_bias="real", activation="text",
    )  # fmt: skip
    def __init__(
        self,
        prompts: PromptSet,
        text_embeddings: Tensor,
        *,
        aggregate: str = "mean-embedding",
        weighting: Weighting | None = None,
        encoder_info: EncoderInfo | None = None,
        logit_scale: float = 100.0,
        logit_bias: float = 0.0,
        activation: Literal["softmax", "sigmoid"] = "softmax",
    ) -> None:
        if len(text_embeddings) != len(prompts):
            raise EmbeddingError(f"{len(text_embeddings)} text embeddings for {len(prompts)} prompts")
        if text_embeddings.ndim != 2:
            raise EmbeddingError(f"text embeddings must be rows [M, D], not {list(text_embeddings.shape)}")
        if not text_embeddings.isfinite().all():
            raise EmbeddingError("a text embedding holds NaN or infinity")
        if problem := logit_problem(logit_scale, logit_bias, activation):
            raise VlclsError(problem)
        self.prompts, self.labels = prompts, prompts.labels
        self.fitted = Fitted(recorded=not prompts.learned)
        self.text_embeddings = text_embeddings
        self.aggregate, self.weighting = aggregate, weighting
        check_pair(aggregate, None if weighting is None else weighting.rule)
        if weighting is not None and weighting.rule.shared:
            shared_templates(prompts)  # refused now, not when the first image comes
        self.encoder_info = encoder_info
        self.logit_scale, self.logit_bias, self.activation = logit_scale, logit_bias, activation

    @property
    def settings(self) -> dict[str, Any]:
        """What it was made with besides prompts and embeddings: the arguments of another one like it."""
        names = ("aggregate", "weighting", "encoder_info", "logit_scale", "logit_bias", "activation")
        return {name: getattr(self, name) for name in names}

    @property
    def scorer(self) -> Scorer:
        return SCORERS.find(self.aggregate)

    @cached_property
    def bank(self) -> Bank:
        """Its prompts as scorers see them."""
        return bank_of(self.prompts, self.text_embeddings)

    @cached_property
    def class_means(self) -> Tensor:
        """Tensor[C, D] float32: weighted mean of each class's unit prompt embeddings, not normalised."""
        return class_means(self.bank)

    @cached_property
    def zero_shot_weights(self) -> Tensor:
        """Tensor[C, D] float32, unit rows: one for each class (Radford et al. 2021, section 3.1.4)."""
        return F.normalize(self.class_means, dim=1)

    @takes(image_embeddings="tensor")
    def similarities(self, image_embeddings: Tensor) -> Tensor:
        self.check_width(image_embeddings, "image embeddings")
        return self._scores(image_embeddings)

    def check_width(self, rows: Tensor | np.ndarray, what: str) -> None:
        """Refuse embeddings of another encoder.

        Raises:
            EmbeddingError: They have another width than those of its texts.
        """
        width = self.text_embeddings.shape[1]
        if rows.shape[1] != width:
            raise EmbeddingError(
                f"{what} are {rows.shape[1]} wide, the classifier's text embeddings {width}: they come from "
                "different encoders"
            )

    @cached_property
    def _scores(self) -> Callable[[Tensor], Tensor]:
        return self.scorer.scoring(self.bank) if self.weighting is None else self.weigher

    @cached_property
    def weigher(self) -> Weigher:
        """What weighs its prompts for each image.

        Raises:
            VlclsError: The classifier weighs all images alike.
        """
        if self.weighting is None:
            raise VlclsError("this classifier weighs prompts alike for all images: give it a weighting")
        rule = self.weighting.rule
        return rule.weigher(self.prompts, self.text_embeddings, self.weighting, self.logit_scale)

    def prompt_weights(self, images: Any, **options: Any) -> Tensor:
        """Which prompts each image asked for.

        Args:
            images: N images, or a Tensor of embeddings [N, D], as for `predict`.
            options: cache, batch_size, ...: see `iter_predict`.

        Returns:
            Tensor[N, K], one weight for each of the K templates that the classes share, in the order of their
            indices; for "autoclip-within-class" Tensor[N, M], one for each prompt. The weights of an image
            (and, within classes, of a class) sum to 1. NaN for images that could not be read.

        Raises:
            VlclsError: The classifier weighs all images alike.
        """
        weigher, parts = self.weigher, []
        for names, rows, errors in self.embedded(images, **options):
            weights = weigher.weights(rows)
            part = weights.new_full((len(names), weights.shape[1]), math.nan)
            part[[row for row in range(len(names)) if row not in errors]] = weights
            parts.append(part)
        return torch.cat(parts)

    @takes(prompts="prompts", cache="cache", progress="function?")
    def with_prompts(
        self,
        prompts: PromptSet,
        *,
        cache: bool | str | Path = True,
        progress: Callable[[int], None] | None = None,
    ) -> PromptClassifier:
        """This classifier with other prompts. Only texts that it does not hold yet are encoded.

        Raises:
            EncoderError: There are new texts, and the classifier was built from embeddings alone.
        """
        from vlcls.classifiers.prompt_embeddings import embed_prompts

        rows = {text: row for row, text in enumerate(self.prompts.texts)}
        new = {prompt.text: prompt for prompt in prompts if prompt.text not in rows}
        known = self.text_embeddings
        if new:
            embedded = embed_prompts(
                list(new.values()), self.encoder, store=open_store(cache), progress=progress
            )
            rows.update({text: len(known) + place for place, text in enumerate(new)})
            known = torch.cat([known, embedded.to(known.device)])
        result = PromptClassifier(
            prompts,
            known[[rows[text] for text in prompts.texts]],
            **self.settings,
        )
        # Learned names come from what they were learned on, whatever is around them.
        if self.prompts.learned and prompts.learned:
            result.fitted = self.fitted
        result._encoder = self._encoder
        return result

    @takes(folder="path")
    def save_pretrained(self, folder: str | Path) -> Path:
        from vlcls.classifiers.saved import write_classifier

        parts = (self.prompts, self.text_embeddings, self.settings, self.fitted)
        return write_classifier(Path(folder).expanduser(), *parts)


@takes(
    templates="templates?",
    descriptors="descriptors?",
    phrasing="text?",
    aggregate="text?",
    weighting="weighting?",
    clean_names="flag",
    articles="flag?",
    device="device?",
    precision="precision?",
    cache="cache",
    progress="function?",
)
def build_classifier(
    labels: Labels | Mapping[str, str] | Iterable[str] | None = None,
    encoder: str | Encoder = DEFAULT_ENCODER,
    templates: str | Path | Sequence[str] | None = None,
    *,
    descriptors: DescriptorSet | str | Path | None = None,
    phrasing: str | None = None,
    aggregate: str | None = None,
    weighting: Weighting | str | None = None,
    clean_names: bool = True,
    articles: bool | None = None,
    device: str | None = None,
    precision: Literal["fp32", "bf16", "fp16"] | None = None,
    cache: bool | str | Path = True,
    progress: Callable[[int], None] | None = None,
) -> PromptClassifier:
    """Turn class names into an image classifier.

    Args:
        labels: Class names in order, or a mapping of distinct ids to names. May be left out with
            `descriptors`, which bring theirs.
        encoder: A spec for `load_encoder`, or an encoder that is loaded already.
        templates: A built-in set ("name", "photo", "simple", "openai-imagenet", ...), a file, one template,
            or a list, with `{}` where the class name goes. "photo" if there are no descriptors.
        descriptors: What the classes look like: a `DescriptorSet`, a file, or a built-in set ("pacs", ...).
        phrasing: How a descriptor follows the class name; see `vlcls.prompts.prompts_from_descriptors`.
        aggregate: How the prompts of a class make its score; see `vlcls.classifiers.scorers`. By default
            as the papers do: "mean-similarity" for descriptors or with a weighting, else "mean-embedding".
        weighting: How prompts are weighted for each image: a `Weighting`, or "autoclip", "autoclip:beta=0.7",
            "softmax", ... `weigh_templates` learns weights that are the same for all images.
        clean_names: Underscores to spaces, white space tidied, Unicode composed.
        articles: "an" instead of "a" before names that need it; None: in all templates but published sets,
            which are used letter for letter.
        device, precision: For an encoder given as a spec; see `load_encoder`.
        cache: Keep text embeddings on disk: True, False, or a folder.
        progress: Called with the number of texts just embedded.

    Raises:
        LabelError, TemplateError, DescriptorError, EncoderError: Named in the message.
    """
    prompts = class_prompts(
        labels, templates, descriptors, phrasing=phrasing, articles=articles, clean_names=clean_names
    )
    from vlcls.encoders import as_encoder

    return classifier_from_prompts(
        prompts,
        as_encoder(encoder, device, precision),
        aggregate=aggregate,
        weighting=weighting,
        cache=cache,
        progress=progress,
    )


def usual_aggregate(prompts: PromptSet, weighted: bool = False) -> str:
    """The papers' way: mean of cosines for descriptors, random words and weightings, else mean embedding."""
    described = any(prompt.kind in ("descriptor", "random") for prompt in prompts)
    return "mean-similarity" if described or weighted else "mean-embedding"


@takes(
    prompts="prompts",
    encoder="loaded encoder",
    aggregate="text?",
    weighting="weighting?",
    cache="cache",
    progress="function?",
)
def classifier_from_prompts(
    prompts: PromptSet,
    encoder: Encoder,
    *,
    aggregate: str | None = None,
    weighting: Weighting | str | None = None,
    cache: bool | str | Path = True,
    progress: Callable[[int], None] | None = None,
) -> PromptClassifier:
    """A classifier of any prompt set: its texts are embedded, each distinct text once. Arguments as for
    `build_classifier`."""
    from vlcls.classifiers.prompt_embeddings import embed_prompts

    if isinstance(weighting, str):
        weighting = Weighting.parse(weighting)
    aggregate = aggregate or usual_aggregate(prompts, weighting is not None)
    check_pair(aggregate, None if weighting is None else weighting.rule)  # before anything is embedded
    classifier = PromptClassifier(
        prompts,
        embed_prompts(prompts.prompts, encoder, store=open_store(cache), progress=progress),
        aggregate=aggregate,
        weighting=weighting,
        encoder_info=EncoderInfo(encoder.spec, encoder.fingerprint),
        logit_scale=encoder.logit_scale,
        logit_bias=encoder.logit_bias,
        activation=encoder.activation,
    )
    classifier.encoder = encoder
    return classifier


@takes(logit_scale="number", logit_bias="number", activation="activation")
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
        VlclsError: A logit scale or bias outside the range of `vlcls.limits`, or an unknown activation.
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
    class_indices = whole_numbers("class_indices", class_indices)
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
