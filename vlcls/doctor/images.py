"""Probes of the image side: is an image turned into pixels as in training?"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vlcls.doctor.reference import STATISTICS_NAMES, Finding, Reference, Resize, Statistics, in_float32
from vlcls.encoders import Encoder

_RESIZE_WORDS: dict[Resize, str] = {
    "crop": "shortest side resized, then the centre cropped",
    "squash": "resized to the shape regardless of the aspect ratio",
    "pad": "longest side resized, then padded",
}


def synthetic_photo(width: int = 331, height: int = 247) -> Image.Image:
    """An image with what photos have: smooth shading, edges, fine texture, an uneven aspect ratio."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    grain = np.random.default_rng(0).normal(0, 6, (height, width))
    disc = 90.0 * (((x - 0.6 * width) ** 2 + (y - 0.45 * height) ** 2) < (0.25 * height) ** 2)
    stripes = 25 * np.sin(x / 3) * (y > 0.7 * height)
    channels = [60 + 120 * x / width + disc, 200 - 150 * y / height - disc / 2, 90 + stripes + disc / 3]
    pixels = np.stack([channel + grain for channel in channels], axis=-1)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def preprocessing(encoder: Encoder, reference: Reference) -> Finding:
    """Pixels and embedding of one image, against the model's own transform end to end."""
    image = synthetic_photo()
    own, ours = reference.images.own(image), _normalised(encoder, encoder.preprocess(image))
    if own.shape != ours.shape:
        return "fail", (
            f"vlcls makes pixels of shape {tuple(ours.shape)}, the model's own transform {tuple(own.shape)}: "
            "every image is seen wrongly; please report this as a bug of vlcls."
        )
    pixels = float((own - ours).abs().max())
    with in_float32(encoder):
        mine = encoder.encode_images(encoder.preprocess(image).unsqueeze(0))
        with torch.inference_mode():
            features = encoder.image_features(own.unsqueeze(0).to(encoder.device)).float()
    embedding = float((mine - F.normalize(features, dim=-1)).abs().max())
    measured = f"pixels differ by {pixels:.1e} and the embedding by {embedding:.1e} at most"
    # Written so that NaN fails.
    if not (pixels <= 1e-5 and embedding <= 1e-4):
        return "fail", (
            f"vlcls does not do what the model's own transform does ({measured}): every image is seen "
            "wrongly; please report this as a bug of vlcls."
        )
    interpolation, trained = reference.images.interpolation, reference.images.trained_interpolation
    if interpolation not in trained:
        return "warn", (
            f"equal to the model's own ({measured}), but that resizes with {interpolation} interpolation and "
            f"{reference.family} models are trained with {' or '.join(trained)}; see the preprocessing file "
            "saved with the model."
        )
    return "pass", f"equal to the model's own, {interpolation} ({measured})."


def mean_and_std(encoder: Encoder, reference: Reference) -> Finding:
    """The normalisation that is really applied, measured on a black and a white image."""
    found = _effective_statistics(encoder)
    known = _nearest(found, reference.images.statistics)
    if known is not None:
        whose = STATISTICS_NAMES.get(known, "its own")
        return "pass", f"{_words(found)}, {whose}, as {reference.family} models are trained with."
    expected = " or ".join(_words(pair) for pair in reference.images.statistics)
    elsewhere = _nearest(found, tuple(STATISTICS_NAMES))
    theirs = f" ({STATISTICS_NAMES[elsewhere]})" if elsewhere is not None else ""
    if _nearest(found, reference.images.doubtful) is not None:
        return "warn", (
            f"mean/std {_words(found)}{theirs}: a few {reference.family} models are trained with that, most "
            f"with {expected}; compare with the model's card."
        )
    return "fail", (
        f"mean/std {_words(found)}{theirs} is none that {reference.family} models are trained with: colours "
        f"reach the image tower shifted and scaled, which costs accuracy; expected {expected}: correct the "
        "preprocessing file saved with the model."
    )


def resize_mode(encoder: Encoder, reference: Reference) -> Finding:
    """Crop, squash or pad, seen from where a colour ramp ends up."""
    found = _observed_resize(encoder)
    if found in reference.images.resize:
        return "pass", f"{found}: {_RESIZE_WORDS[found]}, as in training."
    trained = " or ".join(f"{mode} ({_RESIZE_WORDS[mode]})" for mode in reference.images.resize)
    return "fail", (
        f"images are brought to shape by {found} ({_RESIZE_WORDS[found]}), but {reference.family} models are "
        f"trained with {trained}: objects have other proportions or fall outside of the picture; correct the "
        "preprocessing file saved with the model (unless you trained it this way yourself)."
    )


def image_size(encoder: Encoder, reference: Reference) -> Finding:
    """Height and width of the pixels, against the position embeddings of the image tower."""
    tower, made = reference.images.tower_size, encoder.image_size
    if tower is None:
        return "skip", f"a convolutional image tower takes any size; it is given {_size(made)}."
    if tower != tuple(made):
        return "fail", (
            f"preprocessing makes {_size(made)} pixels but the image tower is built for {_size(tower)}: its "
            "position embeddings do not fit; correct the size in the preprocessing file beside the model."
        )
    return "pass", f"{_size(made)}, the size of the image tower."


def fast_and_slow(encoder: Encoder, reference: Reference) -> Finding:
    """The model's processor against its other implementation; which one trained the model is not known."""
    if reference.images.alternative is None:
        return "skip", "there is only one implementation of this model's preprocessing."
    image = synthetic_photo()
    here, there, other = reference.images.alternative()
    if here == there:
        return "skip", f"transformers has only the {here} implementation of this processor."
    used, unused = reference.images.own(image), other(image)
    if used.shape != unused.shape:
        shapes = f"{tuple(used.shape)} and {tuple(unused.shape)}"
        return "warn", f"{here} (used) and {there} make pixels of shapes {shapes}."
    pixels = float((used - unused).abs().max())
    with in_float32(encoder), torch.inference_mode():
        pair = torch.stack([used, unused]).to(encoder.device)
        first, second = encoder.image_features(pair).float()
    cosine = float(F.cosine_similarity(first, second, dim=0))
    found = f"{here} (used) and {there}: pixels differ by {pixels:.3f}, embeddings have cosine {cosine:.5f}"
    if not cosine >= 0.999:
        return "warn", f"{found}: figures published with the other implementation may not be met exactly."
    return "pass", f"{found}."


def _normalised(encoder: Encoder, pixels: Tensor) -> Tensor:
    """What `Encoder.encode_images` documents that it makes of `preprocess`'s pixels."""
    if pixels.dtype != torch.uint8:
        return pixels
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (encoder.mean, encoder.std))
    return (pixels.float() / 255 - mean) / std


def _effective_statistics(encoder: Encoder) -> Statistics:
    """A black pixel becomes -mean/std and a white one (1 - mean)/std, whatever the steps in between."""
    black, white = (
        _normalised(encoder, encoder.preprocess(Image.new("RGB", (64, 64), (level,) * 3)))
        for level in (0, 255)
    )
    middle = (slice(None), black.shape[1] // 2, black.shape[2] // 2)
    std = 1 / (white[middle] - black[middle]).double()
    mean = -black[middle].double() * std
    return tuple(mean.tolist()), tuple(std.tolist())


def _observed_resize(encoder: Encoder) -> Resize:
    """How a picture twice as wide as high is brought to the tower's shape.

    Red rises from left to right, green from top to bottom. Where both are seen over equal shares of their
    range, the picture was squashed; where red's share is half of green's, its sides were cropped off.
    """
    height, width = encoder.image_size
    y, x = np.mgrid[0 : 2 * height, 0 : 4 * width]
    ramp = np.stack([x / (4 * width) * 200 + 55, y / (2 * height) * 200 + 55, 0 * x + 128], axis=-1)
    pixels = _normalised(encoder, encoder.preprocess(Image.fromarray(ramp.astype(np.uint8))))
    mean, std = _effective_statistics(encoder)
    red, green = pixels[0] * std[0] + mean[0], pixels[1] * std[1] + mean[1]
    if float(red[0].max() - red[0].min()) < 0.05:  # the first row is all of one colour
        return "pad"
    across, down = (
        float(ramp[-2] - ramp[1]) for ramp in (red[red.shape[0] // 2], green[:, green.shape[1] // 2])
    )
    return "crop" if across < 0.75 * down else "squash"


def _nearest(found: Statistics, pairs: tuple[Statistics, ...]) -> Statistics | None:
    """The pair that equals `found` to three decimals."""
    for pair in pairs:
        difference = torch.tensor(found, dtype=torch.float64) - torch.tensor(pair, dtype=torch.float64)
        if float(difference.abs().max()) < 2e-3:
            return pair
    return None


def _words(pair: Statistics) -> str:
    # Rounded first, and + 0.0, because -1e-17 is printed as -1e-17 or -0.
    rounded = [[round(value, 3) + 0.0 for value in values] for values in pair]
    return "/".join("(" + ", ".join(f"{value:.3g}" for value in values) + ")" for values in rounded)


def _size(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))
