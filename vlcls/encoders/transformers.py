"""Dual encoders of transformers: CLIP, SigLIP, SigLIP 2, ALIGN, AltCLIP, Chinese-CLIP, CLIPSeg and kin."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from vlcls.encoders.base import Encoder, Precision, Tokens
from vlcls.encoders.loading import loading, quiet_loading, refuse_custom_classes, refuse_custom_tokenizer
from vlcls.errors import EncoderError

# Trained on texts padded to the full context with the padding attended to (SigLIP, section 4 of
# Zhai et al. 2023 in the authors' code): anything shorter is another input.
_READS_PADDING = "siglip"

# AIMv2's text tower is causal, but scaled_dot_product_attention loses its mask where nothing is padding:
# a text alone would have another embedding than among longer ones.
_CAUSAL_IN_COMPANY = "aimv2"

#: Families whose embeddings are tested to be transformers' own. Any other has to show it when it is loaded.
_TESTED = (
    "align", "aimv2", "altclip", "blip", "chinese_clip", "clip", "clipseg", "groupvit", "metaclip_2", "owlv2",
    "owlvit", "siglip", "tipsv2", "vision-text-dual-encoder",
)  # fmt: skip


def load(rest: str, device: torch.device, precision: Precision) -> TransformersEncoder:
    """Load `ORG/NAME` or a folder (the part after `hf:`) through the Auto classes."""
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    if not rest:
        raise EncoderError(
            "hf: needs a model, for example hf:openai/clip-vit-base-patch32 or hf:path/to/folder"
        )
    rest = str(Path(rest).expanduser())
    hint = "without a network, use a local folder or the offline encoder, conse"
    with loading(f"hf:{rest}", hint), quiet_loading() if Path(rest).is_dir() else nullcontext():
        model, found = AutoModel.from_pretrained(
            rest,
            dtype=torch.float32,
            output_loading_info=True,
            weights_only=True,
            trust_remote_code=False,
        )
        tokenizer = AutoTokenizer.from_pretrained(rest, trust_remote_code=False)
        processor = AutoImageProcessor.from_pretrained(rest, trust_remote_code=False)
        refuse_custom_tokenizer(rest)
        refuse_custom_classes(rest, model)
        _check_model(rest, model, sorted(found["missing_keys"]))
        encoder = TransformersEncoder(model, tokenizer, processor, device, precision)
        if encoder.family not in _TESTED:
            _check_logits(rest, encoder)
        return encoder


def _check_model(rest: str, model: Any, missing: Sequence[str]) -> None:
    if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
        raise EncoderError(
            f"hf:{rest} is a {type(model).__name__}, which has no image and text features to compare"
        )
    if model.config.model_type == "siglip2":
        raise EncoderError(
            f"hf:{rest} is a NaFlex model (images of variable size), which is not supported; take a SigLIP 2 "
            "checkpoint of fixed size, such as hf:google/siglip2-base-patch16-224"
        )
    if missing:  # transformers fills them in at random, with a line in its log
        raise EncoderError(
            f"hf:{rest} lacks weights that a {type(model).__name__} has: {', '.join(missing[:5])}"
        )


def _check_logits(rest: str, encoder: TransformersEncoder) -> None:
    """Refuse a model whose own logits are not the scaled cosines of its image and text features, or whose
    texts do not have the same features alone as among longer ones."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 48, 3), dtype=np.uint8)
    pixels = torch.stack([encoder.preprocess(Image.fromarray(image)) for image in noise])
    tokens = encoder.tokenize(["a", "a photo of it"]).to(encoder.device)
    mask = {} if tokens.mask is None else {"attention_mask": tokens.mask}
    with torch.inference_mode():
        try:
            own = encoder.model(pixel_values=encoder.normalise(pixels), input_ids=tokens.ids, **mask)
            texts = F.normalize(encoder.text_features(tokens), dim=-1)
            images = F.normalize(encoder.image_features(encoder.normalise(pixels)), dim=-1)
            logits = encoder.logit_scale * images @ texts.T + encoder.logit_bias
            alone = F.normalize(encoder.text_features(tokens.rows(torch.tensor([0]))), dim=-1)
            same = torch.allclose(alone, texts[:1], atol=1e-4)
            if same and torch.allclose(logits, own.logits_per_image, rtol=1e-3, atol=1e-3):
                return
        except (AttributeError, RuntimeError, TypeError, ValueError):  # each model's own
            pass
    raise EncoderError(
        f"hf:{rest} is a {type(encoder.model).__name__}, a kind that vlcls does not know, and its logits are "
        f"not the cosines of its image and text features, each alone; it knows {', '.join(_TESTED)}"
    )


class TransformersEncoder(Encoder):
    """A dual encoder of transformers with the tokenizer and image processor saved beside it."""

    def __init__(
        self, model: Any, tokenizer: Any, processor: Any, device: torch.device, precision: Precision
    ) -> None:
        self.model = model.to(device).eval().requires_grad_(False)
        if model.config.model_type == _CAUSAL_IN_COMPANY:
            model.set_attn_implementation({"text_config": "eager"})
        self.tokenizer, self.processor = tokenizer, processor
        self.device, self.precision = device, precision
        self.family: str = self.model.config.model_type
        self.reads_padding = self.family == _READS_PADDING
        self.activation = "sigmoid" if self.reads_padding else "softmax"
        self.logit_scale, self.logit_bias = _logit_scale(self.model), _logit_bias(self.model)
        self.context_length = _context_length(self.model, tokenizer)
        self.mean, self.std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        self._splits = self._check_split()
        if self._splits:
            self.mean, self.std = _channel_statistics(processor)
        self.image_size = tuple(self.preprocess(Image.new("RGB", (8, 8))).shape[-2:])  # type: ignore[assignment]
        with torch.inference_mode():
            self.embedding_dim = int(self.text_features(self.tokenize(["a"]).to(device)).shape[-1])

    @property
    def modules(self) -> nn.Module:
        return self.model

    @property
    def token_table(self) -> nn.Module:
        tower = self.model.text_model
        try:
            return tower.get_input_embeddings()
        except NotImplementedError:  # the towers of GroupViT and OWL do not say
            return tower.embeddings.token_embedding

    @property
    def vocabulary(self) -> dict[str, int]:
        return dict(self.tokenizer.get_vocab())

    @property
    def description(self) -> dict[str, Any]:
        ignored = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures")
        return {
            "family": "transformers",
            "config": _without(self.model.config.to_dict(), ignored),
            "preprocess": _without(self.processor.to_dict(), ("processor_class", "_processor_class")),
            "backend": type(self.processor).__name__,
            "context_length": self.context_length,
        }

    def preprocess(self, image: Image.Image) -> Tensor:
        if not self._splits:
            return self._whole(image)
        return self._until_rescaling(image)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        # SigLIP was trained on lower case. Its own tokenizer sees to that; Gemma's (SigLIP 2) need not.
        texts = [text.lower() for text in texts] if self.reads_padding else list(texts)
        free = self.tokenizer(texts, padding=False, truncation=False, verbose=False)["input_ids"]
        cut = torch.tensor([len(ids) > self.context_length for ids in free])
        # Masked or causal towers read nothing behind a text's end: padding goes to the right, where it
        # can be dropped. A tower that reads its padding keeps the side it was trained with.
        side = {} if self.reads_padding else {"padding_side": "right"}
        batch = self.tokenizer(
            texts,
            padding="max_length" if self.reads_padding else "longest",
            truncation=True,
            max_length=self.context_length,
            return_tensors="pt",
            **side,
        )
        ids, mask = batch["input_ids"], batch.get("attention_mask")
        if self.reads_padding or mask is None:
            return Tokens(ids, torch.full((len(ids),), ids.shape[1]), cut)
        return Tokens(ids, mask.sum(1).clamp(min=1), cut, mask)

    def image_features(self, pixels: Tensor) -> Tensor:
        return _pooled(self.model.get_image_features(pixel_values=pixels))

    def text_features(self, tokens: Tokens) -> Tensor:
        mask = {} if tokens.mask is None else {"attention_mask": tokens.mask}
        return _pooled(self.model.get_text_features(input_ids=tokens.ids, **mask))

    def _whole(self, image: Image.Image) -> Tensor:
        pixels: Tensor = self.processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels

    def _until_rescaling(self, image: Image.Image) -> Tensor:
        pixels = self.processor(images=image, do_rescale=False, do_normalize=False, return_tensors="pt")
        values: Tensor = pixels["pixel_values"][0]
        return values.to(torch.uint8)

    def _check_split(self) -> bool:
        """Whether uint8 pixels, normalised later, give what the processor itself gives (they do not where
        it rescales with an offset, or normalises twice)."""
        noise = np.random.default_rng(0).integers(0, 256, (97, 61, 3), dtype=np.uint8)
        image = Image.fromarray(noise)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in _channel_statistics(self.processor))
        whole = self._whole(image)
        try:
            split = (self._until_rescaling(image).float() / 255 - mean) / std
        except (TypeError, ValueError, RuntimeError):  # ALIGN's processor normalises a second time on its own
            return False
        return split.shape == whole.shape and bool((split - whole).abs().max() < 1e-5)


def _channel_statistics(processor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not getattr(processor, "do_normalize", True):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return tuple(map(float, processor.image_mean)), tuple(map(float, processor.image_std))


def _pooled(output: Any) -> Tensor:
    """Features as a tensor: transformers 5 wraps them in an output object, earlier releases do not."""
    return output if isinstance(output, Tensor) else output.pooler_output


def _logit_scale(model: Any) -> float:
    if hasattr(model, "logit_scale"):
        most = getattr(model, "max_log_logit_scale", None)  # AIMv2 clamps it
        scale = model.logit_scale if most is None else model.logit_scale.clamp(0.0, most)
        return float(scale.exp())
    if hasattr(model, "temperature"):  # ALIGN divides by it
        return float(1 / model.temperature)
    raise EncoderError(f"{type(model).__name__} has neither a logit scale nor a temperature")


def _logit_bias(model: Any) -> float:
    bias = getattr(model, "logit_bias", None)
    return 0.0 if bias is None else float(bias)


def _context_length(model: Any, tokenizer: Any) -> int:
    config = getattr(model.config, "text_config", model.config)
    positions = int(getattr(config, "max_position_embeddings", 512))
    if "roberta" in type(model.text_model).__name__.lower():  # numbers positions from the padding id + 1
        positions -= int(config.pad_token_id) + 1
    return min(positions, int(min(tokenizer.model_max_length, 10**6)))


def _without(mapping: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """A copy as plain JSON data, without `keys` at any depth."""
    return {
        key: _without(value, keys) if isinstance(value, dict) else value if _is_plain(value) else str(value)
        for key, value in mapping.items()
        if key not in keys
    }


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, list, tuple))
