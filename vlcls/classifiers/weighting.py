"""Weights of prompts, without labels: those that people choose as `--weighting`.

AutoCLIP (Metzen et al., "AutoCLIP: Auto-tuning Zero-Shot Classifiers for Vision-Language Models", TMLR
2024) takes one gradient step on log sum_c exp(score_c) over the template weights w = softmax(rho), from
uniform weights, with the step size that brings the entropy of w to `beta` log2 K. The gradient needs no
autograd: with p the softmax of the uniform scores and S [C, K] the cosines, it is (g_k - mean g) / K for
g_k = sum_c p_c S_ck. As the entropy sets the step size, only the direction counts:

    w = softmax(tau g),  tau >= 0 such that H(w) = beta log2 K bits,  score_c = sum_k w_k S_ck

An image's weights come from that image alone, whatever else is in the batch.

To add one that weighs templates in a direction of its own, register a rule at the end of this file; commands,
explanations and evaluations then have it:

    WEIGHTINGS.register(
        Rule("peak", "templates by their greatest cosine", {"beta"}, lambda cosines, scale: cosines.amax(-1))
    )

One that learns weights for all images alike has a function `learn` instead, as "zpe" has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vlcls.classifiers.banks import Bank, ClassGroups, bank_of, class_means, summed
from vlcls.classifiers.scorers import SCORERS
from vlcls.errors import TemplateError, VlclsError
from vlcls.registry import Registry, lazy
from vlcls.specs import as_number, as_truth, parse_spec

if TYPE_CHECKING:
    from torch import Tensor

    from vlcls.prompts import PromptSet

#: Cosines of single templates in memory at once (float32: 32 MiB).
_ENTRIES_AT_ONCE = 2**23
#: From a bracket of one octave to the resolution of float64.
_HALVINGS = 52


@dataclass(frozen=True)
class Weighting:
    """A rule that weighs prompts for each image, with its options.

    Attributes:
        name: One of `WEIGHTINGS`.
        beta: Target entropy as a share of the greatest possible, 0 to 1. At 1 all weights are equal, at 0 one
            template has all of it.
        scaled: Use the logit scale inside the logsumexp. The paper's code does not: its p is almost uniform.
            With it, the likeliest classes decide the weights.
    """

    name: str = "autoclip"
    beta: float = 0.85
    scaled: bool = False

    def __post_init__(self) -> None:
        if self.rule.learn is not None:
            raise VlclsError(f"{self.name} learns weights from images: see vlcls.weigh_templates")
        if not 0 <= self.beta <= 1:
            raise VlclsError(f"beta is a share of the greatest entropy, 0 to 1, not {self.beta}")
        if self.scaled and "scaled" not in self.rule.options:
            raise VlclsError(f"the logit scale has no part in {self.name!r}")

    @property
    def rule(self) -> Rule:
        return WEIGHTINGS.find(self.name)

    @classmethod
    def parse(cls, text: str) -> Weighting:
        """One as people type it: "autoclip", "autoclip:beta=0.7,scaled", "softmax:beta=0.9".

        Raises:
            VlclsError: No such weighting or option.
        """
        name, options = parse_spec(text)
        if unknown := set(options) - {"beta", "scaled"}:
            raise VlclsError(f"weighting {text!r}: no option {min(unknown)!r}; there are beta and scaled")
        return cls.of(name, options)

    @classmethod
    def of(cls, name: str, options: Mapping[str, str]) -> Weighting:
        """One whose options are text still; others than its own are passed over."""
        beta = as_number(options["beta"], "beta") if "beta" in options else cls.beta
        return cls(name, beta, as_truth(options.get("scaled", "false"), "scaled"))


def entropy_weights(scores: Tensor, beta: float) -> Tensor:
    """softmax(tau scores) over the last axis, tau >= 0 such that its entropy is `beta` times the greatest.

    The entropy falls as tau grows (its slope is -tau Var / ln 2), so that bisection finds the one solution.
    Where m scores tie for the greatest, it cannot fall below log2 m: then the tied share all weight alike.

    Args:
        scores: Tensor[..., K].

    Returns:
        Tensor[..., K] float64, rows that sum to 1.
    """
    import torch

    count = scores.shape[-1]
    target = beta * math.log2(count)
    below = scores.double() - scores.double().amax(-1, keepdim=True)
    # The spread sets the scale of tau: any bracket in absolute numbers would miss small spreads.
    below = below / (-below.amin(-1, keepdim=True)).clamp(min=torch.finfo(torch.float64).tiny)
    tied = (below == 0).double()
    low = torch.zeros_like(below[..., :1])
    high = torch.ones_like(low)
    for _ in range(60):
        short = _entropy(high * below) > target
        if not short.any():
            break
        low, high = torch.where(short, high, low), torch.where(short, 2 * high, high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = _entropy(middle * below) > target
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    unreachable = tied.sum(-1, keepdim=True).log2() >= target - 1e-12
    if beta == 1:
        return torch.full_like(below, 1 / count)
    return torch.where(unreachable, tied / tied.sum(-1, keepdim=True), ((low + high) / 2 * below).softmax(-1))


def _entropy(logits: Tensor) -> Tensor:
    """Entropy in bits of a softmax over the last axis, which is kept. The greatest logit must be 0."""
    weights = logits.exp()
    total = weights.sum(-1, keepdim=True)  # [..., K] -> [..., 1]
    return (total.log() - (weights * logits).sum(-1, keepdim=True) / total) / math.log(2)


class TemplateWeights:
    """Template weights for each image, and the scores they give.

    Several prompts of one template and class (templates x descriptors) count by their mean: weights are over
    templates.

    Args:
        prompts: Every class has the same templates (else `TemplateError`).
        embeddings: Tensor[M, D], unit rows, one a prompt.
        logit_scale: Used if `weighting.scaled`.
    """

    def __init__(
        self, prompts: PromptSet, embeddings: Tensor, weighting: Weighting, logit_scale: float
    ) -> None:
        self.weighting = weighting
        self.scale = logit_scale if weighting.scaled else 1.0
        self.templates = shared_templates(prompts)
        place: dict[int | None, int] = {template: row for row, template in enumerate(self.templates)}
        bank = bank_of(prompts, embeddings)
        # A prompt that weighs nothing adds nothing, wherever it is put.
        rows = bank.places.new_tensor([place[each.template] if each.weight else 0 for each in prompts])
        cells = rows * bank.classes + bank.places
        count = len(self.templates) * bank.classes
        means = class_means(Bank(embeddings, cells, bank.weights, count))
        self.texts = means.unflatten(0, (-1, bank.classes))  # [K * C, D] -> [K, C, D]
        weights = bank.weights.double()
        self.rows, self.parts = rows, weights / summed(weights, cells, count)[cells]

    def __call__(self, images: Tensor) -> Tensor:
        """Weighted similarities of unit image embeddings: Tensor[N, D] to Tensor[N, C]."""
        return self.chunked(images, lambda cosines: self._weighted(cosines)[0])

    def weights(self, images: Tensor) -> Tensor:
        """Template weights: Tensor[N, D] to Tensor[N, K], rows that sum to 1."""
        return self.chunked(images, lambda cosines: self._weighted(cosines)[1])

    def of_prompts(self, images: Tensor) -> Tensor:
        """Those of one class and template share its weight by their own."""
        weights = self.weights(images).double()
        return weights[:, self.rows.to(weights.device)] * self.parts.to(weights.device)

    def chunked(self, images: Tensor, step: Callable[[Tensor], Tensor]) -> Tensor:
        """What `step` makes of cosines Tensor[B, K, C], for all images, a chunk at a time."""
        import torch

        texts = self.texts.to(images.device)
        size = max(1, _ENTRIES_AT_ONCE // (texts.shape[0] * texts.shape[1]))
        flat = texts.flatten(0, 1).T  # [K, C, D] -> [D, K * C]
        # [B, D] @ [D, K * C] -> [B, K, C]
        parts = [step((part @ flat).unflatten(1, texts.shape[:2])) for part in images.split(size)]
        return torch.cat(parts)

    def _weighted(self, cosines: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines Tensor[B, K, C] to scores [B, C] and weights [B, K]."""
        direction = self.weighting.rule.direction(cosines, self.scale)
        weights = entropy_weights(direction, self.weighting.beta).to(cosines.dtype)
        return weights[:, None].bmm(cosines)[:, 0], weights  # [B, 1, K] @ [B, K, C] -> [B, C]


class ClassWeights:
    """Weights of the prompts within each class, for lists of any length ("autoclip-within-class")."""

    def __init__(self, prompts: PromptSet, embeddings: Tensor, weighting: Weighting) -> None:
        self.weighting, self.templates = weighting, list[int]()
        self.bank = bank_of(prompts, embeddings)
        self.groups = ClassGroups(self.bank)

    def __call__(self, images: Tensor) -> Tensor:
        """Weighted similarities of unit image embeddings: Tensor[N, D] to Tensor[N, C]."""
        result = images.new_empty(len(images), self.bank.classes)
        for rows, members, _, cosines in self.groups.cosines(images, _ENTRIES_AT_ONCE):
            weights = entropy_weights(cosines, self.weighting.beta)
            result[rows, members] = (cosines * weights.to(cosines.dtype)).sum(-1)  # [B, C, K] -> [B, C]
        return result

    def weights(self, images: Tensor) -> Tensor:
        """Prompt weights: Tensor[N, D] to Tensor[N, M]; those of a class sum to 1."""
        result = images.new_zeros(len(images), len(self.bank.weights))
        for rows, _, places, cosines in self.groups.cosines(images, _ENTRIES_AT_ONCE):
            weights = entropy_weights(cosines, self.weighting.beta)
            result[rows, places.flatten()] = weights.flatten(1).to(result.dtype)  # [B, C, K] -> [B, C * K]
        return result

    def of_prompts(self, images: Tensor) -> Tensor:
        return self.weights(images).double()


def shared_templates(prompts: PromptSet) -> list[int]:
    """The template indices that all classes have.

    Raises:
        TemplateError: Some class has others: lists of descriptors of its own, say.
    """
    of_class: list[set[int | None]] = [set() for _ in prompts.labels.names]
    for prompt in prompts:
        if prompt.weight:
            of_class[prompt.class_index].add(prompt.template)
    first = of_class[0]
    for index, templates in enumerate(of_class):
        if None in templates or templates != first:
            name = prompts.labels.reported[index]
            raise TemplateError(
                "AutoCLIP weighs templates that all classes share, and the prompts of class "
                f'{name!r} are its own: use the weighting "autoclip-within-class", or templates x descriptors'
            )
    return sorted(template for template in first if template is not None)


# ---- the rules -----------------------------------------------------------------------------------------


class Weigher(Protocol):
    """Weighs some prompts for each image.

    Attributes:
        templates: The template indices that `weights` is about; none if it is about single prompts.
    """

    templates: list[int]

    def __call__(self, images: Tensor) -> Tensor:
        """Weighted similarities of unit image embeddings: Tensor[N, D] to Tensor[N, C]."""

    def weights(self, images: Tensor) -> Tensor:
        """Tensor[N, D] to Tensor[N, K], a template each; or Tensor[N, M], a prompt each."""

    def of_prompts(self, images: Tensor) -> Tensor:
        """The weight of each prompt: Tensor[N, D] to Tensor[N, M] float64; those of a class sum to 1."""


@dataclass(frozen=True)
class Rule:
    """A way to weigh prompts.

    Attributes:
        name, about: What people type, and what `--help` says of it.
        options: Which of "beta", "scaled" and "temperature" mean something to it.
        direction: Of templates' weights before the entropy is set: cosines Tensor[B, K, C] and the logit
            scale (1 unless scaled) to Tensor[B, K].
        weigher: Prompts, their embeddings Tensor[M, D], a `Weighting` and the logit scale to a `Weigher`.
        shared: It weighs templates, which all classes must have in common.
        learn: For weights that all images share: a classifier and images without labels, with the options, to
            the weighted classifier. The fields above have no part in it.
    """

    name: str
    about: str
    options: Set[str]
    direction: Callable[[Tensor, float], Tensor] = lambda cosines, scale: cosines.mean(-1)
    weigher: Callable[[PromptSet, Tensor, Weighting, float], Weigher] = TemplateWeights
    shared: bool = True
    learn: Callable[..., Any] | None = None

    def numbers(self, options: Mapping[str, str]) -> dict[str, float]:
        """Those of its options that were typed: what `learn` takes by name."""
        return {name: as_number(options[name], name) for name in self.options if name in options}


def _towards_likely(cosines: Tensor, scale: float) -> Tensor:
    """AutoCLIP's: each template's mean cosine over classes, the likelier a class the more."""
    likely = (scale * cosines.mean(1)).softmax(-1)  # [B, K, C] -> [B, C]
    return cosines.bmm(likely[:, :, None])[:, :, 0]  # [B, K, C] @ [B, C, 1] -> [B, K]


WEIGHTINGS = Registry(Rule, "weighting")
WEIGHTINGS.register(
    Rule(
        "autoclip",
        "templates, for each image, by how near they are to the likely classes (beta=0.85, scaled)",
        {"beta", "scaled"},
        _towards_likely,
    )
)
WEIGHTINGS.register(
    Rule(
        "softmax",
        "templates, for each image, by their mean cosine, as AutoCLIP's baseline has it (beta=0.85)",
        {"beta"},
    )
)
WEIGHTINGS.register(
    Rule(
        # For classes with lists of their own, where the paper is silent: the gradient within a class points
        # along its cosines, so w = softmax(tau_c S_c) with H(w) = beta log2 K_c. If all classes have equal
        # cosines, it is AutoCLIP.
        "autoclip-within-class",
        "each class's own prompts, for each image (beta=0.85)",
        {"beta"},
        weigher=lambda prompts, texts, weighting, scale: ClassWeights(prompts, texts, weighting),
        shared=False,
    )
)
WEIGHTINGS.register(
    Rule(
        "zpe",
        "templates, for all images alike, learned from images without labels (temperature=1)",
        {"temperature"},
        learn=lazy("vlcls.classifiers.zpe:weigh_templates"),
    )
)


def check_pair(aggregate: str, rule: Rule | None) -> None:
    """Refuse a scorer that there is not, and weights for each image where the scorer is no mean of cosines.

    Raises:
        VlclsError: Says which.
    """
    scorer = SCORERS.find(aggregate)
    if rule is not None and rule.learn is None and not scorer.per_image:
        raise VlclsError(f"{rule.name} is a weighted mean of similarities, not a {aggregate}")
