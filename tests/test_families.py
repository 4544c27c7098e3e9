"""Every dual encoder that transformers has: embeddings and logits as its own, or refused on loading."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from families import _MAKERS, save_family
from test_architectures import check_heat_map
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from vlcls.doctor import examine_encoder
from vlcls.encoders import load_encoder
from vlcls.encoders import transformers as ours
from vlcls.encoders.transformers import _TESTED
from vlcls.errors import EncoderError

pytestmark = pytest.mark.filterwarnings("ignore:.*were cut:vlcls.errors.VlclsWarning")

REFUSED = {
    "flava": "FlavaModel, a kind that vlcls does not know",
    "blip-2": "Blip2Model has neither a logit scale nor a temperature",
    "siglip2": "NaFlex",
}
#: siglip2 of fixed size is a siglip.
ACCEPTED = [*_TESTED, "siglip2", *(kind for kind in _MAKERS if " of " in kind)]
TEXTS = ["a photo of a cat.", "dog", "", "a dog of a cat " * 40]


def test_every_dual_encoder_of_transformers_is_known() -> None:
    """A release that adds one makes this fail: add it to one of the lists."""
    found = set()
    for path in (Path(transformers.__file__).parent / "models").glob("*/modeling_*.py"):
        for part in re.split(r"^class ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            if "def get_text_features" in part and "def get_image_features" in part:
                name = part[: part.index("(")]
                found |= {kind for kind, known in MODEL_MAPPING_NAMES.items() if known == name}
    assert found == set(_TESTED) | set(REFUSED)


@pytest.mark.parametrize("family", ACCEPTED)
@torch.no_grad()
def test_embeddings_and_logits_are_transformers_own(family: str, tmp_path: Path, picture: Any) -> None:
    folder = save_family(family, tmp_path / "model")
    encoder = load_encoder(f"hf:{folder}", "cpu", "fp32")
    model = AutoModel.from_pretrained(folder).eval()
    tokenizer, processor = AutoTokenizer.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
    length = encoder.context_length
    inputs = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    inputs.pop("token_type_ids", None)  # all zero, which is their default
    images = [picture(seed, 40 + 30 * seed, 50) for seed in range(3)]
    pixels = processor(images=images, return_tensors="pt")["pixel_values"]
    own = model(**inputs, pixel_values=pixels).logits_per_image
    texts = F.normalize(model.get_text_features(**inputs).pooler_output, dim=-1)
    seen = F.normalize(model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
    found = encoder.encode_images(torch.stack([encoder.preprocess(image) for image in images]))
    for size in (8192, 20):
        words = encoder.encode_texts(TEXTS, tokens_per_batch=size)
        assert (words - texts).abs().max() <= 1e-5
    assert (found - seen).abs().max() <= 1e-5
    logits = encoder.logit_scale * found @ words.T + encoder.logit_bias
    assert torch.allclose(logits, own, rtol=1e-4, atol=1e-4)
    assert (texts[0] - texts[1]).abs().max() > 1e-3 and (seen[0] - seen[1]).abs().max() > 1e-4
    tokens = encoder.tokenize(TEXTS)
    assert (
        encoder.encode_token_embeddings(encoder.embed_tokens(tokens.ids), tokens) - words
    ).abs().max() <= 1e-5
    assert tokens.cut.tolist() == [False, False, False, True]
    check_heat_map(encoder, images[0])


@pytest.mark.parametrize("family", ["flava", "blip-2"])
def test_others_are_refused_when_they_are_loaded(family: str, tmp_path: Path) -> None:
    folder = save_family(family, tmp_path / "model")
    with pytest.raises(EncoderError, match=REFUSED[family]):
        load_encoder(f"hf:{folder}", "cpu")


def test_an_unknown_family_has_to_show_its_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_family("blip", tmp_path / "model")
    monkeypatch.setattr(ours, "_TESTED", ["clip"])
    assert load_encoder(f"hf:{folder}", "cpu").family == "blip"
    monkeypatch.setattr(ours, "_logit_scale", lambda model: 3.0)
    with pytest.raises(EncoderError, match=r"BlipModel, a kind that vlcls does not know.*it knows clip"):
        load_encoder(f"hf:{folder}", "cpu")


@pytest.mark.parametrize("family", sorted(set(ACCEPTED) & set(_MAKERS)))
def test_the_doctor_finds_embeddings_and_logits_right(family: str, tmp_path: Path) -> None:
    encoder = load_encoder(f"hf:{save_family(family, tmp_path / 'model')}", "cpu", "fp32")
    checks = {check.name: check for check in examine_encoder(encoder)}
    for name in ("embeddings", "text padding", "token embeddings", "logits", "logit scale and bias"):
        assert checks[name].verdict in ("pass", "warn"), checks[name]
