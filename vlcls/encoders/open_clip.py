"""Encoders of open_clip: built-in architectures, Hugging Face Hub repositories, local folders."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.model import CLIP
from open_clip.transformer import TextTransformer, text_global_pool
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import Compose, Normalize, ToTensor

from vlcls.encoders.base import Encoder, Precision, Tokens
from vlcls.encoders.loading import loading, refuse_custom_tokenizer
from vlcls.errors import EncoderError

_OFFLINE_HINT = (
    "without a network, use a local folder (open_clip:local-dir:PATH) or the offline encoder (conse)"
)


def load(rest: str, device: torch.device, precision: Precision) -> OpenClipEncoder:
    """Load `ARCH/PRETRAINED`, `hf-hub:ORG/NAME` or `local-dir:PATH` (the part after `open_clip:`)."""
    name, pretrained = _split(rest)
    with loading(f"open_clip:{rest}", _OFFLINE_HINT):
        # A text tower of transformers has its weights in the same file: its own are not even looked for.
        model, transform = open_clip.create_model_from_pretrained(
            name, pretrained, device="cpu", weights_only=True, pretrained_text=False
        )
        tokenizer = open_clip.get_tokenizer(name)
        if hasattr(tokenizer, "tokenizer"):
            refuse_custom_tokenizer(tokenizer.tokenizer.name_or_path)
        return OpenClipEncoder(model, transform, tokenizer, device, precision)


def _split(rest: str) -> tuple[str, str | None]:
    if rest.startswith("local-dir:"):
        return f"local-dir:{Path(rest.removeprefix('local-dir:')).expanduser()}", None
    if rest.startswith("hf-hub:"):
        return rest, None
    name, _, pretrained = rest.partition("/")
    if name not in open_clip.list_models():
        raise EncoderError(
            f"open_clip has no architecture {name!r}; a spec looks like open_clip:ViT-B-32/laion2b_s34b_b79k "
            "(`python -c 'import open_clip; print(open_clip.list_pretrained())'` lists all)"
        )
    if not pretrained:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise EncoderError(f"open_clip:{rest} names no weights: add one of these after a slash: {tags}")
    check_activation(name, pretrained)
    return name, pretrained


def check_activation(name: str, pretrained: str) -> None:
    """Refuse weights trained with QuickGELU in an architecture built with GELU.

    The mismatch costs several points of accuracy. open_clip only warns, after the download.

    Raises:
        EncoderError: The two disagree; the message names the architecture to use instead.
    """
    weights: dict[str, Any] = open_clip.get_pretrained_cfg(name, pretrained) or {}
    if not weights:  # a file of the user's own: nothing is known about it
        return
    built: dict[str, Any] = open_clip.get_model_config(name) or {}
    # Only this direction is known: tags of models whose architecture says QuickGELU need not repeat it.
    if weights.get("quick_gelu") and not built.get("quick_gelu"):
        raise EncoderError(
            f"open_clip:{name}/{pretrained}: these weights were trained with QuickGELU and {name} is built "
            f"with GELU; use open_clip:{name}-quickgelu/{pretrained}"
        )


class OpenClipEncoder(Encoder):
    """A model of open_clip with the transform and tokenizer that belong to it."""

    def __init__(
        self,
        model: Any,
        transform: Compose,
        tokenizer: Any,
        device: torch.device,
        precision: Precision,
    ) -> None:
        self.model = model.to(device).eval().requires_grad_(False)
        self.device, self.precision = device, precision
        self.tokenizer = tokenizer
        self.logit_scale = float(self.model.logit_scale.exp())
        bias = getattr(self.model, "logit_bias", None)
        self.logit_bias = 0.0 if bias is None else float(bias)
        # Only models trained with SigLIP's sigmoid loss carry a bias (open_clip `init_logit_bias`).
        self.activation = "softmax" if bias is None else "sigmoid"
        self._transform, self.mean, self.std = _split_transform(transform)
        # HF text towers live in `.text`; so do open_clip's own when the model was built with custom text.
        self._tower: Any = getattr(self.model, "text", self.model)
        self._may_cut = _may_cut(self._tower)
        self.context_length = int(
            getattr(self.tokenizer, "context_length", None) or self._tower.context_length
        )
        self.image_size = tuple(self.preprocess(Image.new("RGB", (8, 8))).shape[-2:])  # type: ignore[assignment]
        with torch.inference_mode():
            self.embedding_dim = int(self.text_features(self.tokenize(["a"]).to(device)).shape[-1])

    @property
    def modules(self) -> nn.Module:
        return self.model

    @property
    def token_table(self) -> nn.Module:
        if _is_hf_tower(self._tower):
            return self._tower.transformer.get_input_embeddings()
        return self._tower.token_embedding

    @property
    def vocabulary(self) -> dict[str, int]:
        inner = getattr(self.tokenizer, "tokenizer", None)
        return dict(self.tokenizer.encoder if inner is None else inner.get_vocab())

    @property
    def description(self) -> dict[str, Any]:
        heads = [
            f"{name} {module.num_heads}"
            for name, module in self.model.named_modules()
            if hasattr(module, "num_heads")
        ]
        return {
            "family": "open_clip",
            "layers": [f"{name} {type(module).__name__}" for name, module in self.model.named_modules()],
            "heads": heads,
            "pooling": _pooling(self._tower),
            "context_length": self.context_length,
            "preprocess": self.model.visual.preprocess_cfg,
            "logit_bias": self.logit_bias,
        }

    def preprocess(self, image: Image.Image) -> Tensor:
        result = self._transform(image)
        if isinstance(result, Tensor):  # a transform that could not be split: already normalised
            return result
        return torch.from_numpy(np.array(result)).permute(2, 0, 1).contiguous()

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        # One token more than the context: what still ends in two paddings fits, and only the few others are
        # tokenised twice. (Two, for padding may be the end token, or stand in its place as in CLIPA.)
        inner = getattr(self.tokenizer, "tokenizer", None)
        pad_id = int(getattr(inner, "pad_token_id", None) or 0)
        longer = self.tokenizer(list(texts), context_length=self.context_length + 1)
        ids = longer[:, : self.context_length].clone()
        cut = (longer[:, -2:] != pad_id).any(1)
        if cut.any():
            doubtful = cut.nonzero().flatten()
            own = self.tokenizer(
                [texts[row] for row in doubtful.tolist()], context_length=self.context_length
            )
            ids[doubtful] = own
            cut[doubtful] = (longer[doubtful] != pad_id).sum(1) > (own != pad_id).sum(1)
        return Tokens(ids, self._lengths(ids), cut)

    def image_features(self, pixels: Tensor) -> Tensor:
        return self.model.encode_image(pixels)

    def text_features(self, tokens: Tokens) -> Tensor:
        if self._may_cut:
            return _causal_text_features(self._tower, tokens.ids)
        features = self.model.encode_text(tokens.ids)
        return features[0] if isinstance(features, tuple) else features  # a tower may return its tokens too

    def _lengths(self, ids: Tensor) -> Tensor:
        """Where each text may be cut without a change: after its pooled token in a causal tower, after its
        last unmasked token in one that masks padding, nowhere in any other."""
        width = ids.shape[1]
        full = torch.full((len(ids),), width)
        if _is_hf_tower(self._tower):
            seen = ids != self._tower.config.pad_token_id
            return width - seen.flip(1).int().argmax(1)
        if not self._may_cut:
            return full
        if _pool_type(self._tower) == "argmax":
            return ids.argmax(1) + 1
        end = ids.eq(_end_id(self._tower))
        return torch.where(end.any(1), end.int().argmax(1) + 1, full)


def _may_cut(tower: Any) -> bool:
    """Whether `_causal_text_features` gives what the tower gives at full length: it is open_clip's own, no
    token looks at those behind it, and nothing (such as CoCa's class token) is read behind the end token."""
    if not isinstance(tower, (CLIP, TextTransformer)) or tower.attn_mask is None:
        return False
    if getattr(tower, "cls_emb", None) is not None or getattr(tower, "use_pad_mask", False):
        return False
    positions = tower.positional_embedding.shape[0]
    causal = torch.full((positions, positions), -torch.inf).triu(1)
    mask = tower.attn_mask.detach().cpu().float()
    return torch.equal(mask, causal) and _pool_type(tower) in ("argmax", "eos")


def _causal_text_features(tower: Any, ids: Tensor) -> Tensor:
    """The text half of open_clip's `CLIP`, or its `TextTransformer`, for any length up to the context.

    Both take the mask of their full context and so refuse shorter input. A causal tower pooled at the end
    token never looks behind it, so leaving the padding out changes nothing.
    """
    length = ids.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(ids).to(dtype) + tower.positional_embedding[:length].to(dtype)
    x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:length, :length]))
    x = text_global_pool(x, ids, _pool_type(tower), eos_token_id=_end_id(tower))
    if tower.text_projection is None:
        return x
    if isinstance(tower.text_projection, nn.Linear):
        return tower.text_projection(x)
    return x @ tower.text_projection


def _is_hf_tower(tower: Any) -> bool:
    return hasattr(tower, "config") and hasattr(tower, "pooler")


def _pool_type(tower: Any) -> str:
    return str(getattr(tower, "text_pool_type", getattr(tower, "pool_type", "")))


def _end_id(tower: Any) -> Any:
    return getattr(tower, "text_eos_id", getattr(tower, "eos_id", None))


def _pooling(tower: Any) -> str:
    """How a text tower ends, in two words."""
    if _is_hf_tower(tower):
        return f"masked {type(tower.pooler).__name__}"
    direction = "bidirectional" if getattr(tower, "attn_mask", None) is None else "causal"
    if getattr(tower, "cls_emb", None) is not None:  # CoCa's class token sits behind the padding
        return f"{direction} appended"
    return f"{direction} {_pool_type(tower)}"


def _split_transform(transform: Compose) -> tuple[Compose, tuple[float, ...], tuple[float, ...]]:
    """The steps before ToTensor, and the mean and standard deviation of those after it.

    What does not end in ToTensor, Normalize is kept whole: its pixels are then normalised already.
    """
    steps = list(transform.transforms)
    if len(steps) >= 2 and isinstance(steps[-2], ToTensor) and isinstance(steps[-1], Normalize):
        return Compose(steps[:-2]), tuple(map(float, steps[-1].mean)), tuple(map(float, steps[-1].std))
    logging.getLogger(__name__).info("transform %s cannot be split: pixels travel as float32", transform)
    return transform, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
