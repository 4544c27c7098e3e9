"""Probes of what both towers share: activation, logits, probabilities, precision."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from vlcls.doctor.images import synthetic_photo
from vlcls.doctor.reference import Finding, Reference, conclude, in_float32
from vlcls.doctor.texts import TEXTS
from vlcls.encoders import Encoder

#: Where training starts: 1/0.07 (CLIP; methods.md 0.1), 10 (SigLIP), 1 (ALIGN's temperature, or no weights).
_INITIAL_SCALES = (1 / 0.07, 10.0, 1.0)
_INITIAL_BIAS = -10.0


def activation(encoder: Encoder, reference: Reference) -> Finding:
    """GELU against QuickGELU, as far as the files and open_clip's registry can tell."""
    return reference.activation


def embeddings(encoder: Encoder, reference: Reference) -> Finding:
    """Both towers give unit vectors of one space."""
    with in_float32(encoder):
        image = encoder.encode_images(encoder.preprocess(synthetic_photo()).unsqueeze(0))
        text = encoder.encode_texts(TEXTS)
    findings: list[Finding] = [
        (
            "fail",
            f"the {tower} tower gives {'numbers that are not finite' if length != length else 'zeros'}: its "
            "weights are damaged or were never loaded; take another copy of the checkpoint.",
        )
        for tower, length in (("image", float(image.norm())), ("text", float(text.norm(dim=1).min())))
        if not abs(length - 1) < 1e-3
    ]
    if image.shape[1] != text.shape[1]:
        widths = f"image embeddings have {image.shape[1]} dimensions, text embeddings {text.shape[1]}"
        findings.append(
            ("fail", f"{widths}: they cannot be compared; the two towers do not belong together.")
        )
    return conclude(findings, f"finite, of unit length, {image.shape[1]} dimensions each.")


def logit_scale_and_bias(encoder: Encoder, reference: Reference) -> Finding:
    """Present, plausible, and no longer where training starts."""
    scale, bias = encoder.logit_scale, encoder.logit_bias
    what = f"scale {scale:.4g}" + (f", bias {bias:.4g}" if reference.sigmoid else "")
    if reference.fixed_scale:
        return "pass", f"{what}, a constant of the method."
    findings = [*_scale_findings(reference, scale, bias, what)]
    return conclude(findings, f"{what}, as trained models have.")


def _scale_findings(reference: Reference, scale: float, bias: float, what: str) -> Iterator[Finding]:
    if reference.sigmoid and bias == 0:
        yield (
            "fail",
            f"missing bias: {reference.family} is trained with sigmoid(scale x cosine + bias) and this "
            "model has none (or exactly 0), so that probabilities are far too high; take a checkpoint "
            "that has logit_bias.",
        )
    if not math.isfinite(scale) or not 0 < scale <= 1000:
        yield (
            "fail",
            f"a logit scale of {scale:.4g} is not one that training gives (CLIP ends near 100): "
            "probabilities are meaningless; check the checkpoint's logit_scale (it is stored as a "
            "logarithm).",
        )
    elif any(math.isclose(scale, initial, rel_tol=1e-3) for initial in _INITIAL_SCALES):
        start = " and the bias too" if reference.sigmoid and bias == _INITIAL_BIAS else ""
        yield "warn", f"{what}: the scale is where training starts{start}: the model looks untrained."
    elif scale < 10:
        yield "warn", f"{what}: trained models have a scale near 100, so probabilities will be nearly flat."


def probabilities(encoder: Encoder, reference: Reference) -> Finding:
    """Softmax or sigmoid, as the training loss had it."""
    trained = "sigmoid" if reference.sigmoid else "softmax"
    if encoder.activation != trained:
        return "fail", (
            f"scores go through {encoder.activation}, but {reference.family} was trained with {trained} "
            "(a SigLIP saved without its logit bias is taken for a CLIP): the ranking holds, the "
            "probabilities do not; take a checkpoint that has logit_bias."
        )
    meaning = {
        "softmax": "softmax over the labels, which therefore sum to 1",
        "sigmoid": "sigmoid of each label by itself, so that none or several may be likely",
    }
    return "pass", f"{meaning[trained]}, as in the training loss."


def logits(encoder: Encoder, reference: Reference) -> Finding:
    """The whole path, scale x cosine + bias, against the library's own logits."""
    if reference.logits is None:
        return "skip", f"{reference.family} has no logits of its own to compare with."
    image = synthetic_photo()
    with in_float32(encoder):
        images = encoder.encode_images(encoder.preprocess(image).unsqueeze(0))
        cosines = images @ encoder.encode_texts(TEXTS).T
        with torch.inference_mode():
            own = reference.logits(reference.images.own(image).unsqueeze(0), TEXTS).float()
    difference = float((encoder.logit_scale * cosines + encoder.logit_bias - own).abs().max())
    if not difference <= 1e-3:
        return "fail", (
            f"logits differ from the model's own by {difference:.1e}: images, texts, scale or bias are not "
            "used as its library uses them; the other checks say which."
        )
    return "pass", f"equal to the model's own (difference {difference:.1e})."


def precision(encoder: Encoder, reference: Reference) -> Finding:
    """Embeddings in the chosen precision against float32."""
    if encoder.precision == "fp32":
        return "skip", "the model runs in float32."
    pixels = encoder.preprocess(synthetic_photo()).unsqueeze(0)
    chosen = torch.cat([encoder.encode_images(pixels), encoder.encode_texts(TEXTS)])
    with in_float32(encoder):
        exact = torch.cat([encoder.encode_images(pixels), encoder.encode_texts(TEXTS)])
    cosines = (chosen * exact).sum(dim=1)
    image, text = float(cosines[0]), float(cosines[1:].min())
    found = f"{encoder.precision} against float32: cosine {image:.5f} (image), {text:.5f} (worst text)"
    if not min(image, text) >= 0.99:
        return "fail", f"{found}: embeddings are damaged; run with --precision fp32."
    if min(image, text) < 0.999:
        return "warn", f"{found}: close decisions may change; fp32 is safer."
    return "pass", f"{found}."
