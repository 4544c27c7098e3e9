"""Small random models saved in the real formats, so that tests run the real loading code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from vlcls.encoders.conse import ConseEncoder

_LETTERS = "abcdefghijklmnopqrstuvwxyz."

#: Kinds of `get_encoder` with an image tower that heat maps can look into, and how they do.
VITS = (
    *("open_clip-clip", "open_clip-siglip", "hf-clip", "hf-siglip", "hf-siglip2", "hf-altclip"),
    *("hf-chinese_clip", "hf-clipseg"),
)
HEAT_METHODS = ("gem", "legrad")


def save_open_clip(folder: Path, *, siglip: bool = False, seed: int = 0, **preprocess: Any) -> Path:
    """A two-layer open_clip model as `local-dir:`; CLIP, or SigLIP with sigmoid bias and attended padding."""
    import open_clip
    from open_clip.push_to_hf_hub import save_config_for_hf
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    text: dict[str, Any] = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2}
    config: dict[str, Any] = {
        "embed_dim": 48,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": text,
    }
    if siglip:
        preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"} | preprocess
        text |= {"context_length": 16, "no_causal_mask": True, "pool_type": "last", "proj_bias": True}
        config |= {"custom_text": True, "init_logit_bias": -10.0, "init_logit_scale": 2.3026}
    name = f"vlcls-test-{folder.name}"
    (folder / "arch").mkdir(parents=True)
    (folder / "arch" / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "arch")
    model = open_clip.create_model(name)
    with torch.no_grad():  # random towers are nearly blind: spread their outputs so that labels differ
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(3.0)
    save_file(model.state_dict(), str(folder / "open_clip_model.safetensors"))
    save_config_for_hf(model, config_path=folder / "open_clip_config.json", model_config=config)
    saved = json.loads((folder / "open_clip_config.json").read_text())
    saved["preprocess_cfg"] |= preprocess
    (folder / "open_clip_config.json").write_text(json.dumps(saved))
    return folder


def save_transformers(folder: Path, family: str = "clip", seed: int = 0, **processor: Any) -> Path:
    """A small random dual encoder of transformers: clip, siglip, siglip2 (fixed size), align, altclip,
    chinese_clip or clipseg, with tokenizer and image processor, as `save_pretrained` writes them."""
    torch.manual_seed(seed)
    tokenizer = _TOKENIZERS.get(family, clip_tokenizer)(folder)
    model = _model(family, len(tokenizer), tokenizer)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:  # ALIGN's image tower all but extinguishes its signal
                parameter.mul_(10.0 if family == "align" and "vision" in name else 3.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _image_processor(family, **processor).save_pretrained(folder)
    return folder


def _model(family: str, vocabulary: int, tokenizer: Any) -> Any:
    import transformers as t

    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = {**text, "image_size": 32, "patch_size": 8}
    text |= {"vocab_size": vocabulary, "pad_token_id": tokenizer.pad_token_id}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    if family in ("siglip", "siglip2"):
        text["max_position_embeddings"] = 64
        config: Any = t.SiglipConfig(
            text_config={**text, **ends, "projection_size": 32}, vision_config=vision
        )
        return _with_bias(t.SiglipModel(config))
    if family == "align":
        small = {"image_size": 32, "hidden_dim": 24, "width_coefficient": 0.2, "depth_coefficient": 0.2}
        config = t.AlignConfig(text_config=text, vision_config=small, projection_dim=64)
        config.text_config.hidden_size = 32
        return t.AlignModel(config)
    if family == "altclip":
        config = t.AltCLIPConfig(
            text_config={**text, "project_dim": 24, "max_position_embeddings": 66},
            vision_config=vision,
            projection_dim=24,
        )
        return t.AltCLIPModel(config)
    if family == "chinese_clip":
        return t.ChineseCLIPModel(
            t.ChineseCLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        )
    text |= {"max_position_embeddings": 77, **ends}
    if family == "clipseg":
        return t.CLIPSegModel(t.CLIPSegConfig(text_config=text, vision_config=vision, projection_dim=24))
    return t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))


def _with_bias(model: Any) -> Any:
    with torch.no_grad():
        model.logit_scale.fill_(2.3026)
        model.logit_bias.fill_(-10.0)
    return model


def _image_processor(family: str, **options: Any) -> Any:
    import transformers as t

    if family in ("siglip", "siglip2"):
        return t.SiglipImageProcessor(**{"size": {"height": 32, "width": 32}, **options})
    if family == "align":
        size = {"height": 36, "width": 36}
        return t.EfficientNetImageProcessor(size=size, crop_size={"height": 32, "width": 32}, **options)
    square = {"height": 32, "width": 32}
    return t.CLIPImageProcessor(**{"size": {"shortest_edge": 32}, "crop_size": square, **options})


def clip_tokenizer(folder: Path) -> Any:
    """OpenAI's byte-pair vocabulary, which open_clip carries in its wheel."""
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    simple = SimpleTokenizer()
    vocabulary = {**simple.encoder, "<|startoftext|>": 49406, "<|endoftext|>": 49407}
    del vocabulary["<start_of_text>"], vocabulary["<end_of_text>"]
    return CLIPTokenizer(vocab=vocabulary, merges=list(simple.bpe_ranks), model_max_length=77)


def _sentencepiece(folder: Path, **options: Any) -> str:
    import sentencepiece

    words = "a photo of the small large cat dog horse elephant person red green blue striped origami".split()  # noqa: SIM905
    lines = [" ".join(words[i:] + words[:i]) for i in range(len(words))]
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(folder / "spiece"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return str(folder / "spiece.model")


def siglip_tokenizer(folder: Path) -> Any:
    from transformers import SiglipTokenizer

    model = _sentencepiece(folder, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    return SiglipTokenizer(model, model_max_length=64, model_input_names=["input_ids"])


def siglip2_tokenizer(folder: Path) -> Any:
    from transformers import Siglip2Tokenizer

    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ▁.,"
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    vocabulary = {token: row for row, token in enumerate([*special, *letters, "▁a", "▁c"])}
    return Siglip2Tokenizer(
        vocab=vocabulary,
        merges=[("▁", "a"), ("▁", "c")],
        model_max_length=64,
        model_input_names=["input_ids"],
    )


def bert_tokenizer(folder: Path) -> Any:
    from transformers import BertTokenizer

    words = "a photo of the small large cat dog horse elephant person . 狗 猫".split()  # noqa: SIM905
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return BertTokenizer(vocab={w: i for i, w in enumerate([*special, *words])}, model_max_length=64)


def t5_tokenizer(folder: Path) -> Any:
    from transformers import T5Tokenizer

    pieces = ["<pad>", "</s>", "<unk>", "▁a", "▁photo", "▁of", "▁cat", "▁dog", "▁", *_LETTERS]
    return T5Tokenizer(vocab=[(piece, -float(row)) for row, piece in enumerate(pieces)], extra_ids=0)


def nllb_tokenizer(folder: Path) -> Any:
    """Texts begin with their language and end in </s>."""
    from transformers import NllbTokenizer

    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "▁photo", "▁of", "▁cat", "▁dog", "▁", *_LETTERS]
    vocabulary = {piece: row for row, piece in enumerate(pieces)}
    return NllbTokenizer(vocab=vocabulary, merges=[], src_lang="eng_Latn", model_max_length=64)


def roberta_tokenizer(folder: Path) -> Any:
    from transformers import XLMRobertaTokenizer

    pieces = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        "▁a",
        "▁photo",
        "▁of",
        "▁cat",
        "▁dog",
        "▁",
        *"abcdefghijklmnopqrstuvwxyz.",
    ]
    vocabulary = [(piece, -float(row)) for row, piece in enumerate(pieces)] + [("<mask>", 0.0)]
    return XLMRobertaTokenizer(vocab=vocabulary, model_max_length=64)


_TOKENIZERS = {
    "siglip": siglip_tokenizer,
    "siglip2": siglip2_tokenizer,
    "align": bert_tokenizer,
    "chinese_clip": bert_tokenizer,
    "altclip": roberta_tokenizer,
}


def with_variant(encoder: ConseEncoder, variant: str) -> ConseEncoder:
    """Another variant of `conse` on the same towers, without loading them again."""
    return ConseEncoder(variant, encoder.towers, encoder.seen, encoder.device, encoder.precision)
