"""Every architecture that open_clip registers, made narrow: its kinds of parts stay, widths and depths go.

Saved as a `local-dir:` with random weights, so that tests load it as they would the real one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from models import bert_tokenizer, nllb_tokenizer, roberta_tokenizer, siglip_tokenizer, t5_tokenizer
from open_clip.push_to_hf_hub import save_config_for_hf
from safetensors.torch import save_file
from timm.models.vitamin import VitCfg, VitConvCfg

WIDTH = 32
_VIT = {"embed_dim": 64, "depth": 2, "num_heads": 2}
_PYRAMID = (16, 16, 32, 32, 64)

#: Words of a tokenizer's name -> one of its kind that needs no network.
_TOKENIZERS: dict[str, Callable[[Path], Any]] = {
    "siglip": siglip_tokenizer,
    "bert-base-uncased": bert_tokenizer,
    "roberta": roberta_tokenizer,
    "xlm-v": roberta_tokenizer,
    "mt5": t5_tokenizer,
    "nllb": nllb_tokenizer,
}


def save_narrow(name: str, folder: Path, **text: Any) -> tuple[Any, Path]:
    """The model, and the folder it was saved in. `text` replaces values of its `text_cfg`."""
    config = narrow(name, folder)
    config["text_cfg"] |= text
    (folder / "arch").mkdir()
    (folder / "arch" / f"narrow-{folder.name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "arch")
    torch.manual_seed(0)
    model = open_clip.create_model(f"narrow-{folder.name}", pretrained_text=False).eval()
    with torch.no_grad():
        for part, parameter in model.named_parameters():
            if part.endswith("gamma"):  # layer scale, which begins at one in a million
                parameter.fill_(0.5)
            elif parameter.ndim >= 2:  # random towers are nearly blind
                parameter.mul_(2.0)
    save_file(model.state_dict(), str(folder / "open_clip_model.safetensors"))
    save_config_for_hf(model, config_path=folder / "open_clip_config.json", model_config=config)
    tags = open_clip.list_pretrained_tags_by_model(name)
    trained = open_clip.get_pretrained_cfg(name, tags[0]) if tags else {}
    saved = json.loads((folder / "open_clip_config.json").read_text())
    for key in ("mean", "std", "interpolation", "resize_mode"):
        if key in trained:
            saved["preprocess_cfg"][key] = trained[key]
    (folder / "open_clip_config.json").write_text(json.dumps(saved))
    return model, folder


def narrow(name: str, folder: Path) -> dict[str, Any]:
    """The configuration of an architecture, narrow; its tokenizer is saved into `folder`."""
    config: dict[str, Any] = deepcopy(open_clip.get_model_config(name))
    text, vision = config["text_cfg"], config["vision_cfg"]
    folder.mkdir(parents=True)
    if "timm_model_name" in vision:
        vision["timm_model_name"], vision["image_size"] = _narrow_timm(vision["timm_model_name"])
        # A trunk that ends in its own pooling and no projection has the width of the embedding.
        config["embed_dim"] = 64
    elif isinstance(vision["layers"], list):
        vision |= {"layers": [1, 1, 1, 1], "width": 16, "image_size": 64}
        config["embed_dim"] = WIDTH
    else:
        vision |= {"layers": 2, "width": 64, "head_width": 32, "image_size": 2 * vision["patch_size"]}
        config["embed_dim"] = WIDTH
    text |= {"width": WIDTH, "heads": 2, "layers": 2}
    if text.get("proj_type") == "none":
        text["width"] = config["embed_dim"]
    if "multimodal_cfg" in config:
        config["multimodal_cfg"] |= {"width": WIDTH, "heads": 2, "layers": 1}
    if "hf_tokenizer_name" in text:
        kind = next(kind for kind in _TOKENIZERS if kind in text["hf_tokenizer_name"].lower())
        tokenizer = _TOKENIZERS[kind](folder)
        tokenizer.save_pretrained(folder)
        text["vocab_size"] = 128
        if "hf_model_name" in text:
            text["hf_model_name"] = str(_narrow_hf(text["hf_model_name"], tokenizer, folder / "tower"))
    return config


@cache
def _narrow_timm(name: str) -> tuple[str, int]:
    """Register a narrow model of timm, and the size of its images."""
    entry = timm.model_entrypoint(name)
    patch = re.search(r"patch(\d+)", name)
    side = 64 if patch is None else 2 * int(patch[1])
    options: dict[str, Any]
    if name.startswith("convnext"):
        options = {"depths": (1, 1, 1, 1), "dims": _PYRAMID[1:]}
    elif name.startswith("fastvit"):
        stages = 5 if name.endswith(("mci3", "mci4")) else 4
        options = {"layers": (1,) * stages, "embed_dims": _PYRAMID[:stages]}
    elif name.startswith("swin"):
        side = 56
        options = {"depths": (1, 1, 1, 1), "embed_dim": 16, "num_heads": (1, 2, 2, 4), "img_size": side}
    elif name.startswith("vitamin"):
        convolutions = VitConvCfg(norm_layer="layernorm2d", norm_eps=1e-6)
        stem = VitCfg(
            embed_dim=(16, 32, 64), depths=(1, 1, 1), stem_width=16, conv_cfg=convolutions, head_type="1d"
        )
        options = {**_VIT, "embed_cfg": stem, "img_size": side}
    elif name == "vit_base_mci_224":  # its stem fixes the width
        options = {"depth": 1, "img_size": side}
    else:
        options = {**_VIT, "img_size": side}

    def make(pretrained: bool = False, **given: Any) -> Any:
        return entry(pretrained=False, **given, **options)

    make.__name__ = f"narrow_{name}"
    timm.models.register_model(make)
    return make.__name__, side


def _narrow_hf(name: str, tokenizer: Any, folder: Path) -> Path:
    """The configuration of a narrow text tower of transformers."""
    import transformers as t

    ids = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    bert = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config: Any
    if "mt5" in name:
        config = t.MT5Config(d_model=WIDTH, d_kv=16, d_ff=64, num_layers=2, num_heads=2, **ids)
    elif "nllb" in name:
        sides = {"layers": 1, "attention_heads": 2, "ffn_dim": 64}
        both = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in sides.items()}
        config = t.M2M100Config(d_model=WIDTH, max_position_embeddings=130, **both, **ids)
    else:
        kind = t.XLMRobertaConfig if "xlm" in name else t.RobertaConfig
        config = kind(max_position_embeddings=130, **bert, **ids)
    config.save_pretrained(folder)
    return folder
