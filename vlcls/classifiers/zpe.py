"""One weight for each template from unlabelled images: zero-shot prompt ensembling (ZPE).

Allingham et al., "A Simple Zero-shot Prompt Weighting Technique to Improve Prompt Ensembling in Text-Image
Models" (ICML 2023). A template is good if images have a class that stands out under it, once the logits that
every image has with a class (a frequent word, a frequent sight) are taken away:

    score_k = mean over images of max_c (l_ck - offset_ck),    w = softmax(score / temperature)
    offset_ck = 1/2 (mean of l_ck over the images + mean of l_ck over a reference set)

Offsets, maximum and means are those of the authors' notebook (google/uncertainty-baselines,
experimental/multimodal, `get_weights` with debias_mode "both"; without a reference set, "test"), and so is
the weighted mean of logits ("mean-similarity"). Its reference set is 20,000 images of LAION-400M. It reports
weights that are the scores themselves, weights that are their softmax, and a selection of templates by the
median absolute deviation of their scores; here weights are the softmax. Of the paper's text only the abstract
was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vlcls.arguments import takes
from vlcls.classifiers.base import Classifier
from vlcls.classifiers.prompt import PromptClassifier
from vlcls.classifiers.weighting import TemplateWeights, Weighting, shared_templates
from vlcls.errors import EmbeddingError, VlclsError
from vlcls.limits import LEAST_SCALE, LEAST_WEIGHT, MOST_SCALE
from vlcls.prompts import PromptSet


@takes(classifier="classifier", temperature="number")
def weigh_templates(
    classifier: PromptClassifier,
    images: Any,
    reference: Any = None,
    *,
    temperature: float = 1.0,
    **options: Any,
) -> PromptClassifier:
    """The classifier with a weight for each template, the same for all images, learned from images without
    labels. Give it "mean-similarity" as its aggregate to do as the authors do.

    Args:
        classifier: Every class has the same K templates.
        images: Those to be classified, or others of their kind, as for `Classifier.predict`. Unreadable ones
            are left out.
        reference: Images of all kinds, standing for those of pre-training.
        temperature: Of the softmax, on the scale of logits. The higher, the more alike the weights.
        options: cache, batch_size, workers, ...: see `Classifier.iter_predict`.

    Raises:
        TemplateError: Classes have templates of their own.
        VlclsError: The classifier weighs prompts for each image already.
        EmbeddingError: No image can be read.
    """
    if classifier.weighting is not None:
        raise VlclsError(
            f"the classifier weighs prompts for each image already ({classifier.weighting.name})"
        )
    weights = zpe_weights(
        classifier.prompts,
        classifier.text_embeddings,
        _rows(classifier, images, options),
        None if reference is None else _rows(classifier, reference, options),
        logit_scale=classifier.logit_scale,
        temperature=temperature,
    )
    return classifier.with_prompts(with_template_weights(classifier.prompts, weights))


def zpe_weights(
    prompts: PromptSet,
    embeddings: Tensor,
    images: Tensor,
    reference: Tensor | None = None,
    *,
    logit_scale: float = 100.0,
    temperature: float = 1.0,
) -> Tensor:
    """The weights of templates from embeddings.

    Args:
        prompts: Every class has the same K templates.
        embeddings: Tensor[M, D], unit rows, one a prompt.
        images: Tensor[N, D], unit rows.
        reference: Tensor[R, D], unit rows.
        logit_scale: Factor from cosine to logit.
        temperature: Of the softmax.

    Returns:
        Tensor[K] float64 that sums to 1, in the order of `shared_templates(prompts)`.
    """
    if not LEAST_SCALE <= temperature <= MOST_SCALE:
        raise VlclsError(
            f"temperature must be above 0, from {LEAST_SCALE:g} to {MOST_SCALE:g}: {temperature} is not"
        )
    weigher = TemplateWeights(prompts, embeddings, Weighting(), logit_scale)
    centre = images.mean(0) if reference is None else (images.mean(0) + reference.mean(0)) / 2
    # A mean of cosines with many images is the cosine's numerator with their mean: one pass is enough.
    offsets = weigher.texts.to(images.device) @ centre
    best = weigher.chunked(images, lambda cosines: (cosines - offsets).amax(-1).double())
    return (logit_scale / temperature * best.mean(0)).softmax(0)


def with_template_weights(prompts: PromptSet, weights: Sequence[float] | Tensor) -> PromptSet:
    """The prompts with each one's weight multiplied by its template's, for `shared_templates(prompts)`."""
    shares = dict(zip(shared_templates(prompts), map(float, weights), strict=True))
    weighted = (
        replace(prompt, weight=_product(prompt.weight, shares[prompt.template]))
        for prompt in prompts
        if prompt.template is not None
    )
    return PromptSet(prompts.labels, tuple(weighted))


def _product(weight: float, share: float) -> float:
    """Of two weights; what float32 would take for nothing is nothing."""
    product = weight * share
    return 0.0 if product < LEAST_WEIGHT else product


def _rows(classifier: Classifier, images: Any, options: dict[str, Any]) -> Tensor:
    rows = [embedded for _, embedded, _ in classifier.embedded(images, **options)]
    if not sum(map(len, rows)):
        raise EmbeddingError("there is no readable image to learn weights from")
    return torch.cat(rows)
