"""What the probes measure an encoder against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from PIL import Image
from torch import Tensor

from vlcls.encoders.base import Encoder

Verdict = Literal["pass", "warn", "fail", "skip"]
Resize = Literal["crop", "squash", "pad"]

#: (mean, std) of the three channels, for pixels in [0, 1].
Statistics = tuple[tuple[float, ...], tuple[float, ...]]

OPENAI: Statistics = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: Statistics = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
UNIT: Statistics = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

STATISTICS_NAMES = {
    OPENAI: "OpenAI CLIP's",
    IMAGENET: "ImageNet's",
    HALF: "the Inception ones of SigLIP",
    UNIT: "no normalisation at all",
}

_WORST: tuple[Verdict, ...] = ("fail", "warn", "skip", "pass")


#: What one probe found: its verdict and its sentence; see `Check`.
Finding = tuple[Verdict, str]


@dataclass(frozen=True)
class Check:
    """The verdict of one probe.

    Attributes:
        name: What was examined, e.g. "text padding".
        verdict: "fail": embeddings or scores are not what the model was trained to give. "warn": they may
            not be, or the model looks untrained. "skip": the question does not arise for this model.
        detail: One sentence: what was found; on a failure what it costs and what to do.
    """

    name: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True)
class Preprocessing:
    """How images reach models of this kind.

    Attributes:
        own: The model's own transform, end to end: PIL image -> Tensor[3, H, W] float32, normalised.
        statistics: The (mean, std) that models of this kind are trained with.
        doubtful: Pairs that some checkpoints of this kind have, so that they are a warning only.
        resize: How the image is brought to the tower's shape in training.
        interpolation: As saved with the model.
        trained_interpolation: Those that models of this kind are trained with.
        tower_size: (height, width) that the image tower's positions need; None where any size will do.
        alternative: The model's other implementation of the same transform ("slow" where `own` is "fast"),
            as (name of own, name of the other, transform); None where there is one only.
    """

    own: Callable[[Image.Image], Tensor]
    statistics: tuple[Statistics, ...]
    doubtful: tuple[Statistics, ...]
    resize: tuple[Resize, ...]
    interpolation: str
    trained_interpolation: tuple[str, ...]
    tower_size: tuple[int, int] | None
    alternative: Callable[[], tuple[str, str, Callable[[Image.Image], Tensor]]] | None = None


@dataclass(frozen=True)
class TextTower:
    """How texts reach models of this kind.

    Attributes:
        own: The library's own text features, of input padded to the full context:
            M texts -> Tensor[M, D], not normalised.
        vocabulary: Number of ids that the tokenizer can give.
        positions: Rows of the table of positions that tokens can have.
        short_context: Whether a context shorter than `positions` is as trained (BERT towers).
        attends_padding: Whether padding is part of what the tower was trained on.
        end_id: Id of the token that ends a text; None where the tokenizer has none by design.
        pools_at: "end": the embedding is read at the end token; "largest": at the largest id, which the
            end token must therefore have; "elsewhere".
        lower_cased: Whether the texts were lower-cased in training; None where nothing says so.
        without_punctuation: Whether punctuation was removed too.
    """

    own: Callable[[Sequence[str]], Tensor]
    vocabulary: int
    positions: int
    short_context: bool
    attends_padding: bool
    end_id: int | None
    pools_at: Literal["end", "largest", "elsewhere"]
    lower_cased: bool | None
    without_punctuation: bool = False


@dataclass(frozen=True)
class Reference:
    """All that is known of a model from its own library and from how its family was trained.

    Attributes:
        family: As people call it: "CLIP", "SigLIP", ...
        images: See `Preprocessing`.
        texts: See `TextTower`.
        sigmoid: Whether it was trained with the sigmoid loss, and so has a bias.
        activation: Verdict and sentence about GELU against QuickGELU.
        logits: The library's own logits, of `images.own` pixels Tensor[N, 3, H, W] and M texts:
            Tensor[N, M]; None where the library has none.
        fixed_scale: Whether the logit scale is a constant of the method and not a trained parameter.
    """

    family: str
    images: Preprocessing
    texts: TextTower
    sigmoid: bool
    activation: Finding
    logits: Callable[[Tensor, Sequence[str]], Tensor] | None
    fixed_scale: bool = False


def conclude(findings: Sequence[Finding], otherwise: str) -> Finding:
    """The worst of the findings with the sentences of all that are as bad; `otherwise` if there are none."""
    if not findings:
        return "pass", otherwise
    worst = min((verdict for verdict, _ in findings), key=_WORST.index)
    return worst, " ".join(sentence for verdict, sentence in findings if verdict == worst)


@contextmanager
def in_float32(encoder: Encoder) -> Iterator[None]:
    """While this lasts, the encoder computes in float32, so that differences are not those of rounding."""
    chosen, encoder.precision = encoder.precision, "fp32"
    try:
        yield
    finally:
        encoder.precision = chosen
