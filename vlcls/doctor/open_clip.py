"""What is known of a model of open_clip: from open_clip itself and from its registry of checkpoints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from vlcls.doctor.reference import (
    HALF,
    IMAGENET,
    OPENAI,
    Finding,
    Preprocessing,
    Reference,
    Resize,
    Statistics,
    TextTower,
)
from vlcls.encoders.open_clip import OpenClipEncoder

_RESIZE: dict[str, Resize] = {"shortest": "crop", "squash": "squash", "longest": "pad"}


def reference(encoder: OpenClipEncoder) -> Reference:
    """The reference of an encoder that `load_encoder` made."""
    import open_clip

    name, tag = _name_and_tag(encoder.spec)
    config: dict[str, Any] = open_clip.get_model_config(name) or {}
    sigmoid = _is_sigmoid(encoder.model, config)
    family = "SigLIP" if sigmoid else "CLIP"
    texts = _text_tower(encoder, sigmoid)

    def logits(pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        ids = encoder.tokenizer(list(prompts), context_length=encoder.context_length)
        images, _ = encoder.model.get_logits(pixels.to(encoder.device), ids.to(encoder.device))
        logits: Tensor = images
        return logits

    return Reference(
        family,
        _preprocessing(encoder.model, _registered(name, tag, config), sigmoid),
        texts,
        sigmoid,
        _activation(encoder, name, tag),
        logits if hasattr(encoder.model, "get_logits") else None,
    )


def _name_and_tag(spec: str) -> tuple[str, str | None]:
    rest = spec.partition(":")[2]
    if rest.startswith(("hf-hub:", "local-dir:")):
        return rest, None
    name, _, tag = rest.partition("/")
    return name, tag


def _registered(name: str, tag: str | None, config: dict[str, Any]) -> list[dict[str, Any]]:
    """What the registry says of this checkpoint; or, for one it does not have, of all that share its image
    tower's architecture. Empty for an architecture of somebody's own."""
    import open_clip

    if tag is not None:
        known = open_clip.get_pretrained_cfg(name, tag)
        return [known] if known else []
    alike = [
        architecture
        for architecture in open_clip.list_models()
        if (open_clip.get_model_config(architecture) or {}).get("vision_cfg") == config.get("vision_cfg")
    ]
    pairs = [(model, tag) for model in alike for tag in open_clip.list_pretrained_tags_by_model(model)]
    return [open_clip.get_pretrained_cfg(*pair) for pair in pairs]


def _is_sigmoid(model: Any, config: dict[str, Any]) -> bool:
    """A bias tells; so do SigLIP's towers, where the bias was lost."""
    if getattr(model, "logit_bias", None) is not None:
        return True
    if "siglip" in str(config.get("vision_cfg", {}).get("timm_model_name", "")):
        return True
    tower = getattr(model, "text", model)
    projection = getattr(tower, "text_projection", None)
    return (
        getattr(tower, "pool_type", "") == "last"
        and getattr(tower, "attn_mask", None) is None
        and isinstance(projection, nn.Linear)
        and projection.bias is not None
    )


def _preprocessing(model: Any, registered: list[dict[str, Any]], sigmoid: bool) -> Preprocessing:
    from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

    saved = merge_preprocess_dict(PreprocessCfg(), model.visual.preprocess_cfg)
    transform = image_transform_v2(PreprocessCfg(**saved), is_train=False)
    size = model.visual.image_size
    statistics: list[Statistics] = [(tuple(known["mean"]), tuple(known["std"])) for known in registered]
    resize = [_RESIZE[known["resize_mode"]] for known in registered]
    family: Resize = "squash" if sigmoid else "crop"
    return Preprocessing(
        own=transform,
        statistics=tuple(dict.fromkeys(statistics)) or ((HALF,) if sigmoid else (OPENAI,)),
        doubtful=() if registered or sigmoid else (HALF, IMAGENET),
        resize=tuple(dict.fromkeys(resize)) or (family,),
        interpolation=saved["interpolation"],
        trained_interpolation=tuple(dict.fromkeys(known["interpolation"] for known in registered))
        or ("bicubic",),
        tower_size=(size, size) if isinstance(size, int) else (int(size[0]), int(size[1])),
    )


def _text_tower(encoder: OpenClipEncoder, sigmoid: bool) -> TextTower:
    from open_clip.tokenizer import SimpleTokenizer

    tower = getattr(encoder.model, "text", encoder.model)
    from_hub = hasattr(tower, "config") and hasattr(tower, "pooler")
    inner = getattr(encoder.tokenizer, "tokenizer", None)
    pooling = getattr(tower, "text_pool_type", getattr(tower, "pool_type", ""))

    def own(texts: Sequence[str]) -> Tensor:
        ids = encoder.tokenizer(list(texts), context_length=encoder.context_length)
        features: Tensor = encoder.model.encode_text(ids.to(encoder.device))
        return features

    # A tower with relative positions has no table of them.
    positions = (
        getattr(tower.config, "max_position_embeddings", encoder.context_length)
        if from_hub
        else tower.context_length
    )
    simple = isinstance(encoder.tokenizer, SimpleTokenizer)
    return TextTower(
        own=own,
        vocabulary=int(encoder.tokenizer.vocab_size) if inner is None else len(inner),
        positions=int(positions),
        short_context=from_hub,
        attends_padding=not from_hub and getattr(tower, "attn_mask", None) is None,
        end_id=_end_id(encoder.tokenizer, inner),
        pools_at={"argmax": "largest", "eos": "end"}.get(pooling, "elsewhere"),  # type: ignore[arg-type]
        lower_cased=True if simple or (sigmoid and not from_hub) else None,
        without_punctuation=sigmoid and not from_hub,
    )


def _end_id(tokenizer: Any, inner: Any) -> int | None:
    if inner is None:
        return int(tokenizer.eot_token_id)
    if tokenizer.strip_sep_token:  # CLIPA
        return None
    end = inner.eos_token_id if inner.eos_token_id is not None else inner.sep_token_id
    return None if end is None else int(end)


def _activation(encoder: OpenClipEncoder, name: str, tag: str | None) -> Finding:
    import open_clip

    towers = encoder.model.visual, getattr(encoder.model, "text", None) or encoder.model.transformer
    images, texts = map(_activations, towers)
    built = "QuickGELU" if "QuickGELU" in images | texts else "GELU"
    known = open_clip.get_pretrained_cfg(name, tag) if tag else None
    if known and known.get("quick_gelu") and built == "GELU":
        return "fail", (
            f"{name}/{tag} was trained with QuickGELU and is built with GELU, which costs several points of "
            f"accuracy; load {name}-quickgelu/{tag}."
        )
    if known:  # a tag without the flag leaves the word to the architecture, as roberta-ViT-B-32 has it
        return "pass", f"{built}, which open_clip's registry gives for {name}/{tag}."
    if built == "GELU" and re.search(r"\bopenai\b", "/".join(name.split("/")[-2:]).lower()):
        return "fail", (
            "the name says OpenAI, whose weights were trained with QuickGELU, but the model is built with "
            'GELU, which costs several points of accuracy; set "quick_gelu": true in open_clip_config.json.'
        )
    if images and texts and ("QuickGELU" in images) != ("QuickGELU" in texts):
        return "warn", (
            "one tower has QuickGELU and the other GELU, which is right only for a text tower that was "
            "trained elsewhere."
        )
    return "pass", (
        f"{built}, as the model's file says; nothing says which one the weights were trained with."
    )


def _activations(module: nn.Module) -> set[str]:
    names = {type(part).__name__ for part in module.modules()}
    gelus = {name.lower() for name in names if "gelu" in name.lower()}
    return {"QuickGELU" if "quickgelu" in name else "GELU" for name in gelus}
