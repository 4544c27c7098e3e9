"""Every architecture that open_clip registers gives open_clip's own embeddings, texts and images.

The reference is the library's model on the library's own input, padded to the full context.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from architectures import save_narrow
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2

from vlcls.encoders import Encoder, load_encoder
from vlcls.encoders.open_clip import OpenClipEncoder
from vlcls.errors import EncoderError
from vlcls.explain.heatmaps import heat_map
from vlcls.explain.heatmaps.towers import what_works
from vlcls.learning.tower import checkpointed_layers
from vlcls.slots import Slot, encode_slotted, slotted_texts

pytestmark = pytest.mark.filterwarnings("ignore:.*were cut:vlcls.errors.VlclsWarning")

TEXTS = ["a photo of a cat.", "dog", "", "a dog of a cat " * 40, "a photo of a dog.", "cat! " * 120]

#: OpenAI's token of the word, which some of these texts have.
CAT = SimpleTokenizer().encode("cat")[0]

#: What nothing registered has and a folder of somebody's own may: a tower's options that bear on where its
#: texts may be cut.
BEYOND: dict[str, dict[str, Any]] = {
    "first token": {"pool_type": "first", "no_causal_mask": True},
    "last token, causal": {"pool_type": "last"},
    "class token without a causal mask": {"embed_cls": True, "no_causal_mask": True},
    "end token, not the largest": {"pool_type": "eos", "eos_id": 49407},
    "end token that some texts lack": {"pool_type": "eos", "eos_id": CAT},
    "no projection": {"proj_type": "none", "width": 64},
    "its tokens too": {"output_tokens": True},
    "own attention": {"qk_norm": True, "scale_heads": True, "scale_attn": True, "scale_fc": True},
}


def test_all_architectures_are_tried() -> None:
    """open_clip ships some 144; a release with fewer would make this module say less than it claims."""
    assert len(open_clip.list_models()) >= 140


@pytest.mark.parametrize("name", open_clip.list_models())
def test_embeddings_are_open_clips_own(name: str, tmp_path: Path, picture: Any) -> None:
    model, folder = save_narrow(name, tmp_path / name)
    check(model, folder, [picture(seed, 40 + 30 * seed, 50) for seed in range(3)])


@pytest.mark.parametrize("what", BEYOND)
@pytest.mark.parametrize("name", ["EVA02-B-16", "ViT-B-32"])
def test_embeddings_of_folders_of_ones_own(name: str, what: str, tmp_path: Path, picture: Any) -> None:
    options = dict(BEYOND[what])
    if name == "ViT-B-32":  # open_clip's plain CLIP has no class token; neither does it give tokens
        options = {key: value for key, value in options.items() if key not in ("embed_cls", "output_tokens")}
        options |= {"width": 32} if "width" in options else {}
    model, folder = save_narrow(name, tmp_path / "own", **options)
    check(model, folder, [picture(seed) for seed in range(2)])


#: The same of tokenizers: values of tokenizer_config.json and of the tower's configuration.
TOKENIZERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "padding on the left, read": ("ViT-B-16-SigLIP", {"padding_side": "left"}, {}),
    "padding on the left, masked": ("xlm-roberta-base-ViT-B-32", {"padding_side": "left"}, {}),
    "padding on the left, causal": ("ViT-L-14-worldwide", {"padding_side": "left"}, {}),
    "class token last": ("xlm-roberta-base-ViT-B-32", {}, {"tokenizer_mode": "clips"}),
    "class token last, read": ("ViT-H-14-worldwide", {}, {"tokenizer_mode": "clips", "pool_type": "last"}),
}


@pytest.mark.parametrize("what", TOKENIZERS)
def test_embeddings_of_tokenizers_of_ones_own(what: str, tmp_path: Path, picture: Any) -> None:
    name, tokenizer, text = TOKENIZERS[what]
    model, folder = save_narrow(name, tmp_path / "own", **text)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **tokenizer}))
    check(model, folder, [picture(seed) for seed in range(2)], whole=True)


@torch.no_grad()
def check(model: Any, folder: Path, images: list[Any], whole: bool = False) -> None:
    """Whole batches, single texts, over-long texts, token embeddings, images: all as the library's own."""
    encoder = load_encoder(f"open_clip:local-dir:{folder}", "cpu", "fp32")
    assert isinstance(encoder, OpenClipEncoder)
    expected = unit(model.encode_text(encoder.tokenizer(TEXTS)))
    assert (expected[0] - expected[1]).abs().max() > 1e-3  # else the comparison says nothing
    for size in (8192, 20):
        assert close(encoder.encode_texts(TEXTS, tokens_per_batch=size), expected)
    tokens = encoder.tokenize(TEXTS)
    assert tokens.cut.tolist() == [False, False, False, True, False, True]
    assert close(encoder.encode_token_embeddings(encoder.embed_tokens(tokens.ids), tokens), expected)
    if whole:  # what is read lies behind the padding
        assert set(tokens.lengths.tolist()) == {encoder.context_length}
    else:
        check_cut(encoder, tokens.lengths)
    if tokens.ids[1, -1] == getattr(getattr(encoder.tokenizer, "tokenizer", None), "cls_token_id", None):
        with pytest.raises(
            EncoderError, match="no room"
        ):  # padding in the middle: no place is found, and said
            check_slot(encoder)
    else:
        check_slot(encoder)
    transform = image_transform_v2(PreprocessCfg(**encoder.model.visual.preprocess_cfg), is_train=False)
    own = unit(model.encode_image(torch.stack([transform(image) for image in images])))
    found = encoder.encode_images(torch.stack([encoder.preprocess(image) for image in images]))
    assert close(found, own)
    assert (own[0] - own[1]).abs().max() > 1e-4
    check_heat_map(encoder, images[0])


def check_cut(encoder: OpenClipEncoder, lengths: torch.Tensor) -> None:
    """Short texts are cut where the tower is causal and read at the end token, or masks what is behind."""
    tower = getattr(encoder.model, "text", encoder.model)
    pooled = getattr(tower, "text_pool_type", getattr(tower, "pool_type", None))
    causal = getattr(tower, "attn_mask", None) is not None and getattr(tower, "cls_emb", None) is None
    if getattr(tower, "text_eos_id", getattr(tower, "eos_id", None)) == CAT:
        assert int(lengths[0]) < encoder.context_length == int(lengths[1])
    elif hasattr(tower, "pooler") or (causal and pooled in ("argmax", "eos")):
        assert int(lengths[1]) < encoder.context_length
    else:
        assert set(lengths.tolist()) == {encoder.context_length}


def check_slot(encoder: Encoder) -> None:
    """A name's own token embeddings as vectors give the name's embedding, with a gradient that checkpoints
    do not change."""
    slot = Slot("a photo of a ", " .", "cat")
    texts = slotted_texts(encoder, [slot], [1], [0])
    vectors = encoder.embed_tokens(texts.tokens.ids[0, texts.positions]).clone().requires_grad_()
    gradients = []
    for layers in (nullcontext(), checkpointed_layers(encoder)):
        with torch.enable_grad(), layers:
            embedding = encode_slotted(encoder, texts, vectors)
            gradients += torch.autograd.grad(embedding[0, 0], vectors)
    own = encoder.encode_token_embeddings(encoder.embed_tokens(texts.tokens.ids), texts.tokens)
    assert close(embedding.detach(), own)
    assert gradients[0].abs().max() > 0 and close(*gradients)


def check_heat_map(encoder: Encoder, image: Any) -> None:
    """Of a tower that the method knows, or an error that says what is known."""
    try:
        with torch.enable_grad():
            found = heat_map(encoder, image, "a cat")
    except EncoderError as error:
        assert what_works() in str(error)
        trunk = getattr(getattr(encoder.modules, "visual", None), "trunk", None)
        assert type(trunk).__name__ != "VisionTransformer" or trunk.attn_pool is not None
        return
    assert (
        found.shape == encoder.image_size and found.isfinite().all() and 0 <= found.min() <= found.max() <= 1
    )


def unit(features: Any) -> torch.Tensor:
    return F.normalize(features[0] if isinstance(features, tuple) else features, dim=-1)


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= 1e-5)
