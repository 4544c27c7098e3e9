"""Proof that a model is used as it was trained: one probe for each known trap, one plain verdict each.

`examine` loads an encoder and measures it against two things that do not depend on `vlcls.encoders`: what the
model's own library computes for the same inputs, and what models of its family are known to be trained with
(`reference.py`). What no file and no probe can tell is said in the verdict's sentence.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial

from vlcls.doctor import images, scores, texts
from vlcls.doctor.reference import Check, Finding, Reference, Verdict
from vlcls.encoders import Encoder, load_encoder
from vlcls.encoders.base import Precision
from vlcls.encoders.families import family_of
from vlcls.errors import VlclsError, VlclsWarning

__all__ = ["PROBES", "Check", "Verdict", "examine", "examine_encoder"]

#: Every probe by the name of its check, in the order in which they run.
PROBES: dict[str, Callable[[Encoder, Reference], Finding]] = {
    "preprocessing": images.preprocessing,
    "mean and std": images.mean_and_std,
    "resize mode": images.resize_mode,
    "image size": images.image_size,
    "embeddings": scores.embeddings,
    "fast and slow image processor": images.fast_and_slow,
    "activation": scores.activation,
    "tokenizer vocabulary": texts.vocabulary,
    "context and end token": texts.context_and_end_token,
    "text padding": texts.padding,
    "lower-casing": texts.lower_casing,
    "token embeddings": texts.token_embeddings,
    "logit scale and bias": scores.logit_scale_and_bias,
    "probabilities": scores.probabilities,
    "logits": scores.logits,
    "precision": scores.precision,
}


#: What the message of a failed load names -> the check that it fails, and the trap.
_LOADING_TRAPS = {"QuickGELU": ("activation", ""), "logit_bias": ("logit scale and bias", "missing bias: ")}


def examine(spec: str, device: str | None = None, precision: Precision | None = None) -> Iterator[Check]:
    """Load an encoder and examine it; the checks come one by one, as they are done.

    A model that cannot be loaded is one failed check, "loading" (or "activation", where it was refused for
    that), and nothing after it. No error is raised for a broken model.

    Args:
        spec: As for `load_encoder`.
        device: As for `load_encoder`.
        precision: As for `load_encoder`. All probes but "precision" run in float32.

    Yields:
        One Check for every entry of `PROBES`, after one for the loading.
    """
    try:
        encoder = load_encoder(spec, device, precision)
    except VlclsError as error:
        named = (check for trap, check in _LOADING_TRAPS.items() if trap in str(error))
        name, trap = next(named, ("loading", ""))
        yield Check(name, "fail", f"{trap}{error}")
        return
    except Exception as error:  # whatever a broken file makes its library raise is this check's finding
        yield Check("loading", "fail", f"{spec} could not be loaded: {_reason(error)}")
        return
    what = f"{type(encoder).__name__} with {encoder.embedding_dim}-dimensional embeddings"
    yield Check("loading", "pass", f"{what} on {encoder.device}, {encoder.precision}.")
    yield from examine_encoder(encoder)


def examine_encoder(encoder: Encoder) -> Iterator[Check]:
    """The same for an encoder that is loaded already."""
    try:
        reference = _reference(encoder)
    except Exception as error:
        yield Check("reference", "fail", f"the model's own library could not be asked: {_reason(error)}")
        return
    for name, probe in PROBES.items():
        yield Check(name, *_found(partial(probe, encoder, reference)))


def _found(probe: Callable[[], Finding]) -> Finding:
    """A probe that raises has found something too: the others still run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VlclsWarning)  # probe texts are cut on purpose
            return probe()
    except Exception as error:
        return "fail", f"the probe could not be run on this model: {_reason(error)}"


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"


def _reference(encoder: Encoder) -> Reference:
    family = family_of(encoder)
    if family is None or family.reference is None:
        raise VlclsError(f"no reference is known for encoders of type {type(encoder).__name__}")
    return family.reference(encoder)
