"""Whatever is given in place of an encoder: an error that says what is taken."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import vlcls
from vlcls.encoders import Encoder
from vlcls.errors import ArgumentError, EncoderError
from vlcls.explain.heatmaps import heat_map

WRONG: dict[str, Any] = {
    "a number": 3,
    "a folder": Path("models/clip"),
    "a module": torch.nn.Linear(2, 2),
    "a class": Encoder,
    "bytes": b"conse",
    "a mapping": {"spec": "conse"},
    "a tensor": torch.zeros(2, 2),
}


def _images(folder: Path, picture: Any) -> Path:
    for name in ("cat", "dog"):
        (folder / "images" / name).mkdir(parents=True)
        picture(len(name)).save(folder / "images" / name / "1.png")
    return folder / "images"


def _classifier(clip: Encoder) -> vlcls.PromptClassifier:
    return vlcls.build_classifier(["cat", "dog"], clip, cache=False)


#: Every public function with an `encoder`, called with the given one.
CALLS: dict[str, Callable[[Any, Path, Encoder, Any], Any]] = {
    "Cased": lambda given, *_: vlcls.Cased("wordnet", given),
    "build_captions": lambda given, folder, *_: vlcls.build_captions(["a cat"], folder / "c", given),
    "build_classifier": lambda given, *_: vlcls.build_classifier(["cat", "dog"], given),
    "evaluate": lambda given, folder, _, picture: vlcls.evaluate(_images(folder, picture), encoder=given),
    "learn_names": lambda given, folder, _, picture: vlcls.learn_names(
        ["cat", "dog"], _images(folder, picture), encoder=given
    ),
    "load": lambda given, folder, clip, _: vlcls.load(_classifier(clip).save_pretrained(folder / "s"), given),
    "open_captions": lambda given, *_: vlcls.open_captions("wordnet", given),
    "load_encoder": lambda given, *_: vlcls.load_encoder(given),
    "heat_map": lambda given, _, __, picture: heat_map(given, picture(0), "a cat"),
    "Classifier.encoder": lambda given, _, clip, __: setattr(_classifier(clip), "encoder", given),
}


def test_every_public_function_with_an_encoder_is_tried() -> None:
    public = [name for name in vlcls.__all__ if callable(getattr(vlcls, name))]
    taking = {name for name in public if "encoder" in _parameters(getattr(vlcls, name))}
    assert taking <= set(CALLS)


def _parameters(value: Any) -> set[str]:
    try:
        return set(inspect.signature(value).parameters)
    except ValueError:
        return set()


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_encoder_is_named(
    name: str, what: str, tmp_path: Path, clip: Encoder, picture: Any
) -> None:
    with pytest.raises((EncoderError, ArgumentError)) as caught:
        CALLS[name](WRONG[what], tmp_path, clip, picture)
    message = str(caught.value)
    if isinstance(caught.value, ArgumentError):  # of functions that check all they are given at once
        assert message.startswith("encoder takes a spec")
        return
    assert "is no encoder" in message and type(WRONG[what]).__name__ in message
    assert ("hf:models/clip" in message) if what == "a folder" else "such as 'conse'" in message


def test_a_spec_will_do_wherever_an_encoder_does(model_spec: Any, clip: Encoder, picture: Any) -> None:
    spec = model_spec("open_clip-clip")
    assert torch.equal(heat_map(spec, picture(0), "a cat"), heat_map(clip, picture(0), "a cat"))


@pytest.mark.parametrize("device", [3.5, ["cpu"], {"device": "cpu"}])
def test_a_device_that_is_none(device: Any, model_spec: Any) -> None:
    with pytest.raises(ArgumentError, match="device takes text such as cpu"):
        vlcls.load_encoder(model_spec("open_clip-clip"), device)


def test_a_device_of_torch_will_do(model_spec: Any) -> None:
    assert vlcls.load_encoder(model_spec("hf-siglip"), torch.device("cpu")).device.type == "cpu"
