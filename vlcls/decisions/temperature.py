"""One number that makes probabilities say how often they are right: Guo et al., "On Calibration of Modern
Neural Networks" (ICML 2017), section 4.2."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vlcls.errors import EvaluationError, VlclsWarning

Activation = Literal["softmax", "sigmoid"]

#: Temperatures looked at lie between e^-12 and e^12.
_RANGE = 12.0


def fit_temperature(logits: Any, truth: Any, activation: Activation = "softmax") -> float:
    """The T > 0 for which logits / T have the least negative log likelihood.

    Fit it on images other than those it is judged on, and one for each method: an ensemble's similarities
    have a shorter range than one prompt's. Predictions do not change. The published code takes 50 L-BFGS
    steps from T = 1.5, which may stop short; this is the minimum itself (the NLL is convex in 1 / T).

    Args:
        logits: [N, C].
        truth: [N].
        activation: How logits become probabilities.

    Returns:
        T. Logits that are right about every image are never confident enough, and some say less than
        nothing: then a `VlclsWarning`, and an extreme T.
    """
    from scipy.optimize import minimize_scalar

    table, classes = checked(logits, truth)
    table = table.double()

    def loss(log_inverse: float) -> float:
        return float(nlls(table * math.exp(log_inverse), classes, activation).mean())

    # Raw cosines need T near 0.01 and scaled ones T near 1: search on a log scale.
    found = minimize_scalar(loss, bounds=(-_RANGE, _RANGE), method="bounded", options={"xatol": 1e-7})
    if abs(found.x) > _RANGE - 0.01 or not found.fun:
        warnings.warn(
            f"no temperature is best for these {len(table)} images: the more extreme, the likelier. "
            "Take more images, of which some are predicted wrongly",
            VlclsWarning,
            stacklevel=2,
        )
    return math.exp(-found.x)


def checked(scores: Any, truth: Any) -> tuple[Tensor, Tensor]:
    """Tensor[N, C] and Tensor[N] int64 on the CPU, N and C at least 1.

    Raises:
        EvaluationError: Shapes that do not fit, NaN, or a true class that is none of the C.
    """
    table = torch.as_tensor(scores).detach().cpu()
    given = torch.as_tensor(truth).detach().cpu()
    if table.ndim != 2 or not table.numel():
        raise EvaluationError(f"scores must be [images, classes], neither empty, not {tuple(table.shape)}")
    if given.shape != table.shape[:1] or given.is_floating_point():
        raise EvaluationError(
            f"true classes must be {len(table)} indices, one for each image, not {tuple(given.shape)} "
            f"of {given.dtype}"
        )
    places = given.long()
    outside = ((places < 0) | (places >= table.shape[1])).nonzero().flatten()
    if len(outside):
        row = int(outside[0])
        raise EvaluationError(
            f"image {row} has true class {int(places[row])}, which is none of {table.shape[1]} classes "
            f"({len(outside)} such images): leave out images without a class"
        )
    bad = (table.isnan() | table.isposinf()).any(1).nonzero().flatten()
    if len(bad):
        raise EvaluationError(
            f"the scores of image {int(bad[0])} hold NaN or infinity ({len(bad)} such images)"
        )
    return table, places


def nlls(logits: Tensor, truth: Tensor, activation: Activation) -> Tensor:
    """`Outcomes.nll` of logits Tensor[N, C] for true classes Tensor[N]: Tensor[N]."""
    own = logits.gather(1, truth[:, None])[:, 0]
    if activation == "softmax":
        return logits.logsumexp(1) - own
    # -log(1 - sigmoid(z)) = softplus(z), and of the true class softplus(-z) = softplus(z) - z.
    return F.softplus(logits, threshold=50).sum(1) - own
