"""`vlcls doctor`: sound models pass every check, broken ones fail the check that names what is broken.

Every test of a broken model runs the same check on its sound twin, which must pass.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MODELS
from models import save_open_clip, save_transformers

from vlcls import load_encoder
from vlcls.doctor import PROBES, Check, examine, examine_encoder
from vlcls.encoders import Encoder, Tokens
from vlcls.encoders import open_clip as open_clip_encoders
from vlcls.encoders.open_clip import check_activation
from vlcls.encoders.transformers import TransformersEncoder
from vlcls.errors import EncoderError

HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}
UNIT = {"mean": [0.0] * 3, "std": [1.0] * 3}


def checks_of(kind: str, folder: Path) -> dict[str, Check]:
    return {check.name: check for check in examine(spec_of(kind, folder), "cpu", "fp32")}


def check_of(kind: str, folder: Path, name: str) -> Check:
    """One check; what comes after it is not run."""
    return next(check for check in examine(spec_of(kind, folder), "cpu", "fp32") if check.name == name)


def spec_of(kind: str, folder: Path) -> str:
    return f"{'open_clip:local-dir' if kind.startswith('open_clip') else 'hf'}:{folder}"


def save_align(folder: Path) -> Path:
    """With kakaobrain's preprocessing: pixels from -1 to 1, bilinear, squashed and then cropped."""
    processor = {"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False, "resample": 2}
    return save_transformers(folder, "align", include_top=False, do_center_crop=True, **processor)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than such small models take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def sound(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Callable[[str], Path]
) -> Callable[[str], Path]:
    """`sound("hf-clip")`: the folder of a model that is saved as its family is trained."""
    root = tmp_path_factory.mktemp("sound")

    @cache
    def folder(kind: str) -> Path:
        if kind == "open_clip-siglip":
            return save_open_clip(root / kind, siglip=True, resize_mode="squash", **HALF)
        if kind == "hf-align":
            return save_align(root / kind)
        return model_folder(kind)

    return folder


@pytest.fixture(scope="module")
def sound_checks(sound: Callable[[str], Path]) -> Callable[[str], dict[str, Check]]:
    return lru_cache(maxsize=None)(lambda kind: checks_of(kind, sound(kind)))


@pytest.fixture
def broken(sound: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """`broken("hf-clip", "config.json", change)`: a copy in which `change` has edited a JSON file."""

    def copy(kind: str, file: str, change: Callable[[dict[str, Any]], Any]) -> Path:
        folder = tmp_path / "broken"
        shutil.copytree(sound(kind), folder)
        content = json.loads((folder / file).read_text())
        change(content)
        (folder / file).write_text(json.dumps(content))
        return folder

    return copy


def replace(**entries: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.update(entries)


def replace_in(part: str, **entries: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content[part].update(entries)


# ---- sound models -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_sound_models_pass(sound_checks: Callable[[str], dict[str, Check]], kind: str):
    checks = sound_checks(kind)
    assert [check for check in checks.values() if check.verdict == "fail"] == []
    assert list(checks) == ["loading", *PROBES]
    passed = {name for name, check in checks.items() if check.verdict == "pass"}
    must_pass = {"loading", "preprocessing", "mean and std", "resize mode", "embeddings", "activation"}
    must_pass |= {"tokenizer vocabulary", "text padding", "token embeddings", "probabilities", "logits"}
    assert must_pass <= passed
    assert all(check.detail.endswith(".") for check in checks.values())


def test_what_cannot_be_proved_is_said(sound_checks: Callable[[str], dict[str, Check]]):
    for kind in ("open_clip-clip", "hf-clip"):
        assert "nothing" in sound_checks(kind)["activation"].detail
    assert "as SigLIP was trained" in sound_checks("hf-siglip")["activation"].detail


def test_random_weights_look_untrained(sound_checks: Callable[[str], dict[str, Check]]):
    for kind in MODELS:
        check = sound_checks(kind)["logit scale and bias"]
        assert check.verdict == "warn" and "untrained" in check.detail


def test_conse_passes():
    pytest.importorskip("efficientnet_lite_pytorch")
    checks = {check.name: check for check in examine("conse", "cpu", "fp32")}
    assert not {check for check in checks.values() if check.verdict in ("fail", "warn")}
    assert {name for name, check in checks.items() if check.verdict == "skip"} == {
        "activation",
        "fast and slow image processor",
        "image size",
        "logits",
        "precision",
    }


# ---- broken image side ------------------------------------------------------------------------------------

OPEN_CLIP_CONFIG = "open_clip_config.json"
HF_PROCESSOR = "preprocessor_config.json"


@pytest.mark.parametrize(
    ("kind", "file", "change", "word"),
    [
        ("open_clip-clip", OPEN_CLIP_CONFIG, replace_in("preprocess_cfg", **UNIT), "(0, 0, 0)/(1, 1, 1)"),
        ("hf-clip", HF_PROCESSOR, replace(do_normalize=False), "(0, 0, 0)/(1, 1, 1)"),
        ("hf-clip", HF_PROCESSOR, replace(image_mean=[0.4] * 3), "(0.4, 0.4, 0.4)"),
        (
            "hf-siglip",
            HF_PROCESSOR,
            replace(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]),
            "ImageNet",
        ),
        ("open_clip-siglip", OPEN_CLIP_CONFIG, replace_in("preprocess_cfg", **UNIT), "no normalisation"),
        ("hf-align", HF_PROCESSOR, replace(rescale_offset=False), "ALIGN"),
    ],
)
def test_wrong_mean_and_std(sound_checks, broken, kind, file, change, word):
    check = check_of(kind, broken(kind, file, change), "mean and std")
    assert check.verdict == "fail"
    assert "mean/std" in check.detail and word in check.detail
    assert sound_checks(kind)["mean and std"].verdict == "pass"


def test_statistics_of_some_checkpoints_are_a_warning(broken):
    folder = broken("hf-clip", HF_PROCESSOR, replace(image_mean=[0.5] * 3, image_std=[0.5] * 3))
    assert check_of("hf-clip", folder, "mean and std").verdict == "warn"


SQUARE = {"height": 32, "width": 32}


@pytest.mark.parametrize(
    ("kind", "file", "change", "found"),
    [
        ("open_clip-clip", OPEN_CLIP_CONFIG, replace_in("preprocess_cfg", resize_mode="squash"), "squash"),
        ("open_clip-clip", OPEN_CLIP_CONFIG, replace_in("preprocess_cfg", resize_mode="longest"), "pad"),
        ("open_clip-siglip", OPEN_CLIP_CONFIG, replace_in("preprocess_cfg", resize_mode="shortest"), "crop"),
        ("hf-clip", HF_PROCESSOR, replace(size=SQUARE, do_center_crop=False), "squash"),
        (
            "hf-siglip",
            HF_PROCESSOR,
            replace(size={"shortest_edge": 32}, do_center_crop=True, crop_size=SQUARE),
            "crop",
        ),
    ],
)
def test_wrong_resize_mode(sound_checks, broken, kind, file, change, found):
    check = check_of(kind, broken(kind, file, change), "resize mode")
    assert check.verdict == "fail" and f"brought to shape by {found}" in check.detail
    assert sound_checks(kind)["resize mode"].verdict == "pass"


def test_wrong_interpolation(sound_checks, broken):
    folder = broken("hf-clip", HF_PROCESSOR, replace(resample=2))
    check = check_of("hf-clip", folder, "preprocessing")
    assert check.verdict == "warn" and "bilinear" in check.detail
    assert sound_checks("hf-clip")["preprocessing"].verdict == "pass"


def test_wrong_image_size(sound_checks, broken):
    change = replace(size={"shortest_edge": 40}, crop_size={"height": 40, "width": 40})
    checks = checks_of("hf-clip", broken("hf-clip", HF_PROCESSOR, change))
    assert checks["image size"].verdict == "fail" and "40 x 40" in checks["image size"].detail
    assert list(checks) == ["loading", *PROBES]  # probes that cannot run do not stop the others
    assert checks["text padding"].verdict == "pass"
    assert sound_checks("hf-clip")["image size"].verdict == "pass"


def test_preprocessing_that_is_not_the_models_own(sound, monkeypatch):
    encoder = load(sound, "hf-clip")
    assert probe(encoder, "preprocessing").verdict == "pass"
    mean = (0.5, 0.5, 0.5)
    monkeypatch.setattr(encoder, "mean", mean)
    encoder.__dict__.pop("_channel_stats")
    check = probe(encoder, "preprocessing")
    assert check.verdict == "fail" and "model's own transform" in check.detail


# ---- broken activation ------------------------------------------------------------------------------------


def test_towers_with_different_activations(sound_checks, broken):
    folder = broken("hf-clip", "config.json", replace_in("text_config", hidden_act="gelu"))
    check = check_of("hf-clip", folder, "activation")
    assert check.verdict == "fail" and "disagree" in check.detail and "quick_gelu" in check.detail
    assert sound_checks("hf-clip")["activation"].verdict == "pass"


@pytest.mark.parametrize(("activation", "verdict"), [("quick_gelu", "pass"), ("gelu", "fail")])
def test_openai_weights(broken, activation, verdict):
    def change(config: dict[str, Any]) -> None:
        config["_name_or_path"] = "openai/clip-vit-base-patch32"
        for tower in ("text_config", "vision_config"):
            config[tower]["hidden_act"] = activation

    check = check_of("hf-clip", broken("hf-clip", "config.json", change), "activation")
    assert check.verdict == verdict and "openai/clip-vit-base-patch32" in check.detail


def test_siglip_with_another_activation(sound_checks, broken):
    def change(config: dict[str, Any]) -> None:
        for tower in ("text_config", "vision_config"):
            config[tower]["hidden_act"] = "quick_gelu"

    check = check_of("hf-siglip", broken("hf-siglip", "config.json", change), "activation")
    assert check.verdict == "fail" and "gelu_pytorch_tanh" in check.detail
    assert sound_checks("hf-siglip")["activation"].verdict == "pass"


def test_openai_name_over_gelu_in_open_clip(sound, tmp_path):
    for name, verdict in (("vit.openai", "fail"), ("vit.laion", "pass")):
        shutil.copytree(sound("open_clip-clip"), tmp_path / name)
        assert check_of("open_clip", tmp_path / name, "activation").verdict == verdict


def test_quickgelu_mismatch_of_a_registered_checkpoint():
    check_activation("ViT-B-32-quickgelu", "openai")
    with pytest.raises(EncoderError, match="QuickGELU"):
        check_activation("ViT-B-32", "openai")
    (check,) = examine("open_clip:ViT-B-32/openai", "cpu", "fp32")  # refused before any download
    assert check.name == "activation" and check.verdict == "fail"
    assert "ViT-B-32-quickgelu/openai" in check.detail


@pytest.mark.parametrize(
    ("checkpoint", "activation", "resize"),
    [
        ("ViT-B-32/laion2b_s34b_b79k", "pass", "pass"),
        ("ViT-B-32/openai", "fail", "pass"),
        ("ViT-H-14-378/dfn5b", "fail", "fail"),  # squashed in training
    ],
)
def test_the_registry_knows_its_checkpoints(sound, monkeypatch, checkpoint, activation, resize):
    """The small model (GELU, cropped pixels) under the name of registered ones."""
    encoder = load(sound, "open_clip-clip")
    monkeypatch.setattr(encoder, "spec", f"open_clip:{checkpoint}")
    assert probe(encoder, "activation").verdict == activation
    assert probe(encoder, "resize mode").verdict == resize


# ---- broken text side -------------------------------------------------------------------------------------


def load(sound: Callable[[str], Path], kind: str) -> Encoder:
    """A copy of its own, to be broken in memory."""
    return load_encoder(spec_of(kind, sound(kind)), device="cpu", precision="fp32")


def probe(encoder: Encoder, name: str) -> Check:
    return next(check for check in examine_encoder(encoder) if check.name == name)


@pytest.mark.parametrize("kind", ["hf-siglip", "hf-siglip2"])
def test_siglip_padded_to_the_longest_text(sound, sound_checks, kind):
    encoder = load(sound, kind)
    assert isinstance(encoder, TransformersEncoder)
    encoder.reads_padding = False
    check = probe(encoder, "text padding")
    assert check.verdict == "fail"
    assert "max_length=64" in check.detail and "SigLIP" in check.detail
    assert sound_checks(kind)["text padding"].verdict == "pass"


def test_siglip_with_masked_padding(sound, monkeypatch):
    encoder = load(sound, "hf-siglip")
    right = encoder.tokenize

    def masked(texts: list[str]) -> Tokens:
        tokens = right(texts)
        return Tokens(tokens.ids, tokens.lengths, tokens.cut, (tokens.ids != 0).long())

    monkeypatch.setattr(encoder, "tokenize", masked)
    check = probe(encoder, "text padding")
    assert check.verdict == "fail" and "masks the padding" in check.detail


def test_padding_dropped_where_it_is_read(sound, sound_checks, monkeypatch):
    """Too short a `lengths` cuts real tokens: another embedding."""
    encoder = load(sound, "open_clip-clip")
    right = encoder.tokenize

    def short(texts: list[str]) -> Tokens:
        tokens = right(texts)
        return Tokens(tokens.ids, (tokens.lengths - 2).clamp(min=1), tokens.cut)

    monkeypatch.setattr(encoder, "tokenize", short)
    check = probe(encoder, "text padding")
    assert check.verdict == "fail" and "padding changes the scores" in check.detail
    assert sound_checks("open_clip-clip")["text padding"].verdict == "pass"


def test_siglip_with_another_context(sound_checks, broken):
    folder = broken("hf-siglip", "tokenizer_config.json", replace(model_max_length=32))
    checks = checks_of("hf-siglip", folder)
    assert checks["context and end token"].verdict == "fail"
    assert "32 tokens" in checks["context and end token"].detail
    assert checks["text padding"].verdict == "fail" and "64 tokens" in checks["text padding"].detail
    assert sound_checks("hf-siglip")["context and end token"].verdict == "pass"


def test_clip_with_a_shorter_context_is_a_warning(sound_checks, broken):
    folder = broken("hf-clip", "tokenizer_config.json", replace(model_max_length=40))
    assert check_of("hf-clip", folder, "context and end token").verdict == "warn"
    assert sound_checks("hf-clip")["context and end token"].verdict == "pass"


def test_wrong_end_token(sound_checks, broken):
    folder = broken("hf-clip", "config.json", replace_in("text_config", eos_token_id=320))
    check = check_of("hf-clip", folder, "context and end token")
    assert check.verdict == "fail" and "end token (320)" in check.detail
    assert sound_checks("hf-clip")["context and end token"].verdict == "pass"


def test_end_token_lost_in_the_cut(sound, sound_checks, monkeypatch):
    for kind in ("hf-clip", "hf-siglip", "open_clip-siglip"):
        encoder: Any = load(sound, kind)
        right = encoder.tokenize

        def cut_off(texts: list[str], right: Callable[[list[str]], Tokens] = right) -> Tokens:
            tokens = right(texts)
            tokens.ids[tokens.cut, -1] = tokens.ids[tokens.cut, 1]
            return tokens

        monkeypatch.setattr(encoder, "tokenize", cut_off)
        check = probe(encoder, "context and end token")
        assert check.verdict == "fail" and "over the context" in check.detail
        assert sound_checks(kind)["context and end token"].verdict == "pass"


def test_tokenizer_too_large_for_the_table(sound, sound_checks, tmp_path):
    from transformers import AutoTokenizer

    folder = shutil.copytree(sound("hf-siglip"), tmp_path / "broken")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["zebra", "okapi"])
    tokenizer.save_pretrained(folder)
    check = check_of("hf-siglip", folder, "tokenizer vocabulary")
    assert check.verdict == "fail" and "another model's" in check.detail
    assert sound_checks("hf-siglip")["tokenizer vocabulary"].verdict == "pass"


def test_tokenizer_that_keeps_capitals(sound, sound_checks, monkeypatch):
    for kind in ("hf-clip", "hf-siglip", "hf-siglip2", "open_clip-clip"):
        encoder: Any = load(sound, kind)
        right = encoder.tokenize

        # Every capital starts a token of its own, as in a vocabulary that has it.
        def cased(texts: list[str], right: Callable[[list[str]], Tokens] = right) -> Tokens:
            return right(["".join(f" a {c}" if c.isupper() else c for c in text) for text in texts])

        monkeypatch.setattr(encoder, "tokenize", cased)
        check = probe(encoder, "lower-casing")
        assert check.verdict == "fail" and "lower-case" in check.detail
        assert sound_checks(kind)["lower-casing"].verdict in ("pass", "warn")


def test_token_embeddings_that_are_ignored(sound, sound_checks, monkeypatch):
    encoder = load(sound, "hf-clip")
    monkeypatch.setattr(type(encoder), "token_table", property(lambda self: torch.nn.Embedding(49408, 32)))
    check = probe(encoder, "token embeddings")
    assert check.verdict == "fail" and "ignored" in check.detail
    assert sound_checks("hf-clip")["token embeddings"].verdict == "pass"


# ---- broken scores ----------------------------------------------------------------------------------------


def edit_weights(source: Path, folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    (file,) = folder.glob("*.safetensors")
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("how", ["zero", "absent"])
def test_missing_bias(sound, sound_checks, tmp_path, how):
    def change(weights: dict[str, torch.Tensor]) -> None:
        if how == "zero":
            weights["logit_bias"].zero_()
        else:
            del weights["logit_bias"]

    folder = edit_weights(sound("hf-siglip"), tmp_path / "broken", change)
    check = check_of("hf-siglip", folder, "logit scale and bias")
    assert check.verdict == "fail" and "missing bias" in check.detail
    assert sound_checks("hf-siglip")["logit scale and bias"].verdict == "warn"


def test_missing_bias_in_open_clip(sound, sound_checks, tmp_path):
    folder = edit_weights(sound("open_clip-siglip"), tmp_path / "broken", lambda w: w.pop("logit_bias"))
    check = check_of("open_clip", folder, "logit scale and bias")  # open_clip fills in a silent zero
    assert check.verdict == "fail" and "missing bias" in check.detail

    config = json.loads((folder / OPEN_CLIP_CONFIG).read_text())
    del config["model_cfg"]["init_logit_bias"]
    (folder / OPEN_CLIP_CONFIG).write_text(json.dumps(config))
    checks = checks_of("open_clip", folder)
    assert checks["logit scale and bias"].verdict == "fail"
    assert "missing bias" in checks["logit scale and bias"].detail
    assert checks["probabilities"].verdict == "fail" and "softmax" in checks["probabilities"].detail
    assert sound_checks("open_clip-siglip")["probabilities"].verdict == "pass"


@pytest.mark.parametrize(("log_scale", "verdict"), [(4.6052, "pass"), (1.0, "warn"), (100.0, "fail")])
def test_logit_scale(sound, tmp_path, log_scale, verdict):
    folder = edit_weights(sound("hf-clip"), tmp_path / "model", lambda w: w["logit_scale"].fill_(log_scale))
    assert check_of("hf-clip", folder, "logit scale and bias").verdict == verdict


def test_logits_that_are_not_the_models_own(sound, sound_checks):
    encoder = load(sound, "hf-siglip")
    encoder.logit_bias = -9.0
    assert probe(encoder, "logits").verdict == "fail"
    assert sound_checks("hf-siglip")["logits"].verdict == "pass"


def test_dead_tower(sound, sound_checks, tmp_path):
    folder = edit_weights(
        sound("hf-clip"), tmp_path / "broken", lambda w: w["visual_projection.weight"].zero_()
    )
    check = check_of("hf-clip", folder, "embeddings")
    assert check.verdict == "fail" and "image tower gives zeros" in check.detail
    assert sound_checks("hf-clip")["embeddings"].verdict == "pass"


# ---- precision and loading --------------------------------------------------------------------------------


def test_precision(sound, monkeypatch):
    spec = spec_of("hf", sound("hf-clip"))
    check = {check.name: check for check in examine(spec, "cpu", "bf16")}["precision"]
    assert check.verdict == "pass" and "bf16" in check.detail

    encoder = load_encoder(spec, device="cpu", precision="bf16")
    right = encoder.image_features

    def damaged(pixels: torch.Tensor) -> torch.Tensor:
        features = right(pixels)
        return features if encoder.precision == "fp32" else features.flip(-1)

    monkeypatch.setattr(encoder, "image_features", damaged)
    check = probe(encoder, "precision")
    assert check.verdict == "fail" and "--precision fp32" in check.detail
    assert encoder.precision == "bf16"  # as it was


@pytest.mark.parametrize(
    "spec", ["hf:/no/such/folder", "open_clip:local-dir:/no/such/folder", "nonsense:x", "open_clip:ViT-B-32"]
)
def test_a_model_that_cannot_be_loaded_is_one_failed_check(spec):
    (check,) = examine(spec, "cpu", "fp32")
    assert check.name == "loading" and check.verdict == "fail"


def test_errors_of_the_libraries_are_findings(sound, monkeypatch):
    def explode(*_: Any) -> None:
        raise IndexError("index out of range in self")

    monkeypatch.setattr(open_clip_encoders, "OpenClipEncoder", explode)
    (check,) = examine(spec_of("open_clip", sound("open_clip-clip")), "cpu", "fp32")
    assert check.name == "loading" and "index out of range" in check.detail


def test_checks_come_one_by_one(sound):
    running = examine(spec_of("hf", sound("hf-clip")), "cpu", "fp32")
    assert next(running).name == "loading"
    assert next(running).name == "preprocessing"
