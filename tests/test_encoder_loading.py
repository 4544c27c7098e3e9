"""Loading encoders: fingerprints, what cannot be loaded and how it is said, device and precision."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MODELS
from models import save_open_clip, save_transformers

import vlcls
from vlcls.encoders import FAMILIES, Encoder, families, load_encoder, placement
from vlcls.encoders.open_clip import check_activation
from vlcls.errors import EncoderError, MissingExtraError

# ---- fingerprints --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_fingerprint_of_a_second_load_is_the_same_and_of_one_changed_weight_is_not(
    kind: str, get_encoder, model_spec
):
    expected = get_encoder(kind).fingerprint
    assert len(expected) == 64 and set(expected) <= set("0123456789abcdef")
    again = load_encoder(model_spec(kind), "cpu", "bf16")
    changed = load_encoder(model_spec(kind), "cpu", "fp32")
    assert again.fingerprint == expected  # whatever the precision
    with torch.no_grad():
        weights = next(p for p in changed.modules.parameters() if p.ndim >= 2)
        weights.view(-1)[5] += 1e-4
    assert changed.fingerprint != expected


def test_fingerprint_does_not_know_the_folder(tmp_path: Path, clip: Encoder, get_encoder):
    moved = load_encoder(f"open_clip:local-dir:{save_open_clip(tmp_path / 'a')}")
    assert moved.fingerprint == clip.fingerprint
    moved = load_encoder(f"hf:{save_transformers(tmp_path / 'b')}")
    assert moved.fingerprint == get_encoder("hf-clip").fingerprint


def test_fingerprint_knows_the_preprocessing(tmp_path: Path, clip: Encoder, get_encoder):
    variants = [
        save_open_clip(tmp_path / f"o{row}", **changed)
        for row, changed in enumerate(
            [{"mean": [0.5, 0.5, 0.5]}, {"std": [0.5, 0.5, 0.5]}, {"resize_mode": "squash"}]
        )
    ]
    found = {load_encoder(f"open_clip:local-dir:{folder}").fingerprint for folder in variants}
    assert len(found | {clip.fingerprint}) == 4
    options: list[dict[str, Any]] = [{"image_mean": [0.4] * 3}, {"image_std": [0.4] * 3}, {"resample": 2}]
    variants = [save_transformers(tmp_path / f"t{row}", **option) for row, option in enumerate(options)]
    found = {load_encoder(f"hf:{folder}").fingerprint for folder in variants}
    assert len(found | {get_encoder("hf-clip").fingerprint}) == 4


def test_fingerprint_knows_what_the_tokenizer_does(clip: Encoder, model_spec, get_encoder):
    loud = load_encoder(model_spec("open_clip-clip"), "cpu", "fp32")
    loud.tokenizer.clean_fn = lambda text: text  # no longer lower-cased
    assert loud.fingerprint != clip.fingerprint
    loud = load_encoder(model_spec("hf-clip"), "cpu", "fp32")
    loud.tokenizer.backend_tokenizer.normalizer = None
    assert loud.fingerprint != get_encoder("hf-clip").fingerprint


def test_fingerprints_of_all_kinds_differ(get_encoder):
    assert len({get_encoder(kind).fingerprint for kind in MODELS}) == len(MODELS)


# ---- what cannot be loaded -----------------------------------------------------------------------------


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("came as far as loading weights")

    monkeypatch.setattr(open_clip, "create_model_from_pretrained", refuse)


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("clap:ViT-B-32/openai", r"unknown encoder 'clap:ViT-B-32/openai'.*open_clip:.*hf:.*conse"),
        ("", "unknown encoder ''"),
        ("ViT-B-32", "unknown encoder 'ViT-B-32'"),
        ("open_clip:ViT-Z-99/openai", "no architecture 'ViT-Z-99'"),
        ("open_clip:", "no architecture ''"),
        ("open_clip:ViT-B-32", "names no weights.*openai.*laion2b_s34b_b79k"),
        ("open_clip:ViT-B-32/", "names no weights.*openai.*laion2b_s34b_b79k"),
        ("open_clip:ViT-B-32/openai", "use open_clip:ViT-B-32-quickgelu/openai"),
        ("hf:", "needs a model"),
    ],
)
def test_specs_that_mean_nothing_say_what_to_write(spec: str, message: str):
    with pytest.raises(EncoderError, match=message):
        load_encoder(spec)


def test_every_suggested_architecture_exists_and_is_accepted():
    import open_clip

    refused = 0
    for name, tag in open_clip.list_pretrained():
        try:
            check_activation(name, tag)
        except EncoderError as error:
            other, _, same_tag = str(error).rpartition("open_clip:")[2].partition("/")
            assert other in open_clip.list_models() and same_tag == tag
            check_activation(other, tag)
            refused += 1
    assert refused > 5


def test_models_that_are_not_there(tmp_path: Path):
    for spec in (
        f"open_clip:local-dir:{tmp_path}",
        f"hf:{tmp_path}",
        "hf:nobody/nothing",
        "open_clip:RN50/none",
    ):
        with pytest.raises(EncoderError, match=re.escape(spec)):
            load_encoder(spec)


def test_a_model_of_one_tower_is_refused(tmp_path: Path, model_folder):
    from transformers import AutoImageProcessor, AutoTokenizer, BertConfig, BertModel

    config = BertConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    BertModel(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(model_folder("hf-align")).save_pretrained(tmp_path)
    AutoImageProcessor.from_pretrained(model_folder("hf-clip")).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="BertModel, which has no image and text features"):
        load_encoder(f"hf:{tmp_path}")


@pytest.mark.parametrize(("name", "extra"), [("hf", "transformers"), ("conse", "offline")])
def test_a_missing_extra_is_named(name: str, extra: str, monkeypatch: pytest.MonkeyPatch):
    gone = FAMILIES[name].needs[0]
    monkeypatch.setattr(families, "find_spec", lambda package: None if package == gone else object())
    with pytest.raises(MissingExtraError, match=rf'pip install "vlcls\[{extra}\]"') as caught:
        load_encoder(f"{name}:x")
    assert isinstance(caught.value, ImportError) and caught.value.extra == extra


# ---- device and precision ------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["banana", "cuda:99", ""])
def test_a_device_that_is_not_there_is_named(device: str, model_spec):
    with pytest.raises(EncoderError, match=f"device '{device}'"):
        load_encoder(model_spec("open_clip-clip"), device)


@pytest.mark.parametrize("precision", ["int8", "", "float32"])
def test_an_unknown_precision_lists_the_known(precision: Any, model_spec):
    with pytest.raises(EncoderError, match=f"'{precision}': choose fp32, bf16 or fp16"):
        load_encoder(model_spec("open_clip-clip"), "cpu", precision)


@pytest.mark.parametrize("asked", ["bf16", "fp16"])
def test_precision_is_what_accelerate_was_launched_with(asked: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", asked)
    assert placement.choose_precision(None, torch.device("cpu")) == asked
    assert placement.choose_precision("fp32", torch.device("cpu")) == "fp32"


@pytest.mark.parametrize(
    ("device", "bf16", "expected"),
    [("cpu", True, "fp32"), ("mps", True, "fp32"), ("cuda", True, "bf16"), ("cuda", False, "fp16")],
)
def test_precision_is_what_suits_the_device(
    device: str, bf16: bool, expected: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    assert placement.choose_precision(None, torch.device(device)) == expected


def test_device_is_what_accelerate_says():
    from accelerate import PartialState

    assert placement.choose_device(None) == PartialState().device
    assert placement.choose_device("cpu") == torch.device("cpu")


def test_load_encoder_is_public(clip: Encoder, clip_folder: Path):
    assert vlcls.load_encoder is load_encoder and vlcls.Encoder is Encoder
    assert clip.spec == f"open_clip:local-dir:{clip_folder}"
    assert clip.device == torch.device("cpu") and clip.precision == "fp32"
