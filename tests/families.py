"""Small random models of every dual encoder that transformers has, as `save_pretrained` writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as t
from models import bert_tokenizer, clip_tokenizer, roberta_tokenizer, save_transformers, siglip_tokenizer

_BERT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_VISION = {**_BERT, "image_size": 32, "patch_size": 8}

Made = tuple[Any, Any, Any]


def _square(side: int = 32, **options: Any) -> Any:
    square = {"height": side, "width": side}
    return t.CLIPImageProcessor(size={"shortest_edge": side}, crop_size=square, **options)


def _text(tokenizer: Any, **options: Any) -> dict[str, Any]:
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    size = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    return {**_BERT, **size, **ends, "max_position_embeddings": 77, **options}


def _aimv2(folder: Path) -> Made:
    tokenizer = clip_tokenizer(folder)
    config = t.Aimv2Config(text_config=_text(tokenizer), vision_config=_VISION, projection_dim=24)
    model = t.Aimv2Model(config)
    model.logit_scale.data.fill_(9.0)  # above its greatest value, 100 = exp(4.6)
    return model, tokenizer, _square()


def _blip(folder: Path) -> Made:
    tokenizer = bert_tokenizer(folder)
    text = _text(tokenizer, encoder_hidden_size=32, bos_token_id=2, eos_token_id=3, sep_token_id=3)
    vision = {**_VISION, "initializer_range": 0.02}  # 1e-10 otherwise
    config = t.BlipConfig(text_config=text, vision_config=vision, projection_dim=24)
    return t.BlipModel(config), tokenizer, _square()


def _groupvit(folder: Path) -> Made:
    tokenizer = clip_tokenizer(folder)
    groups = {"depths": [1, 1], "num_group_tokens": [4, 2], "num_output_groups": [4, 2]}
    config = t.GroupViTConfig(
        text_config=_text(tokenizer), vision_config={**_VISION, **groups}, projection_dim=24,
        projection_intermediate_dim=32,
    )  # fmt: skip
    return t.GroupViTModel(config), tokenizer, _square()


def _metaclip_2(folder: Path) -> Made:
    tokenizer = roberta_tokenizer(folder)
    config = t.MetaClip2Config(text_config=_text(tokenizer), vision_config=_VISION, projection_dim=24)
    return t.MetaClip2Model(config), tokenizer, _square()


def _owlvit(folder: Path, kind: str = "OwlViT") -> Made:
    tokenizer = clip_tokenizer(folder)
    tokenizer.pad_token, tokenizer.model_max_length = "!", 16
    text = _text(tokenizer, max_position_embeddings=16, pad_token_id=0)
    config = getattr(t, f"{kind}Config")(text_config=text, vision_config=_VISION, projection_dim=24)
    return getattr(t, f"{kind}Model")(config), tokenizer, _square()


def _owlv2(folder: Path) -> Made:
    return _owlvit(folder, "Owlv2")


def _tipsv2(folder: Path) -> Made:
    tokenizer = siglip_tokenizer(folder)
    tokenizer.pad_token, tokenizer.model_input_names = "<pad>", ["input_ids", "attention_mask"]
    text = _text(tokenizer, max_position_embeddings=64)
    return t.Tipsv2Model(t.Tipsv2Config(text_config=text, vision_config=_VISION)), tokenizer, _square()


def _two_models(folder: Path) -> Made:
    tokenizer = roberta_tokenizer(folder)
    text = t.XLMRobertaConfig(**_text(tokenizer, max_position_embeddings=66))
    vision = t.ViTConfig(**_VISION)
    config = t.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=24)
    return t.VisionTextDualEncoderModel(config), tokenizer, _square()


def _two_models_with_clip(folder: Path) -> Made:
    tokenizer = bert_tokenizer(folder)
    text = t.BertConfig(**_text(tokenizer, max_position_embeddings=64))
    vision = t.CLIPVisionConfig(**_VISION)
    config = t.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=24)
    return t.VisionTextDualEncoderModel(config), tokenizer, _square()


def _flava(folder: Path) -> Made:
    tokenizer = bert_tokenizer(folder)
    text = _text(tokenizer, max_position_embeddings=64)
    config = t.FlavaConfig(text_config=text, image_config=_VISION, multimodal_config=_BERT, projection_dim=24)
    return t.FlavaModel(config), tokenizer, _square()


def _blip_2(folder: Path) -> Made:
    tokenizer = clip_tokenizer(folder)
    words = {"model_type": "opt", "word_embed_proj_dim": 32, "ffn_dim": 64, **_text(tokenizer)}
    config = t.Blip2Config(
        vision_config=_VISION, qformer_config={**_BERT, "encoder_hidden_size": 32}, text_config=words
    )
    return t.Blip2Model(config), tokenizer, _square()


#: model_type -> what makes one; the rest are in `models.save_transformers`.
_MAKERS: dict[str, Callable[[Path], Made]] = {
    "aimv2": _aimv2,
    "blip": _blip,
    "groupvit": _groupvit,
    "metaclip_2": _metaclip_2,
    "owlvit": _owlvit,
    "owlv2": _owlv2,
    "tipsv2": _tipsv2,
    "vision-text-dual-encoder": _two_models,
    "vision-text-dual-encoder of BERT and CLIP": _two_models_with_clip,
    "flava": _flava,
    "blip-2": _blip_2,
}


def save_family(family: str, folder: Path) -> Path:
    """Save a narrow one with random weights. `siglip2` of fixed size is a `siglip` to transformers."""
    if family not in _MAKERS:
        return save_transformers(folder, family)
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    model, tokenizer, processor = _MAKERS[family](folder)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:  # random towers are nearly blind
                parameter.mul_(3.0)
    for part in (model, tokenizer, processor):
        part.save_pretrained(folder)
    return folder
