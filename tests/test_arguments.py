"""Every public function says what is wrong with an argument: an error of this package that names it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vlcls
from vlcls.arguments import KINDS, takes
from vlcls.encoders import Encoder
from vlcls.errors import ArgumentError, OutputError, VlclsError

#: Arguments with many forms, read by functions of their own; they are tried below.
OF_MANY_FORMS = {
    "labels", "classes", "images", "text_embeddings", "embeddings", "image_embeddings", "class_indices",
    "reference", "captions", "settings", "encoder", "spec", "encoder_info",
}  # fmt: skip
#: Passed on, or used by this package alone.
NOT_CHECKED = {"self", "options", "bar", "names", "ids", "tagger"}


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in vlcls.__all__:
        thing = getattr(vlcls, name)
        if inspect.isfunction(thing):
            yield name, thing
    for owner in (vlcls.PromptClassifier, vlcls.Cased, vlcls.EmbeddingStore):
        for name in ("__init__", "iter_predict", "save_pretrained", "with_prompts", "similarities"):
            method = getattr(owner, name, None)
            if inspect.isfunction(method):
                yield f"{owner.__name__}.{name}", method


PUBLIC = dict(public())
CHECKED = [
    (name, argument) for name, function in PUBLIC.items() for argument in getattr(function, "takes", {})
]

WRONG: dict[str, Any] = {
    "None": None, "a number": 3, "a fraction": 2.5, "nan": float("nan"), "bytes": b"x",
    "text": "no such thing \x1b",
    "a list": [1], "a dict": {"cat": ["long tail"]}, "a set": {"cat"}, "an object": object(), "a class": int,
    "a function": len, "True": True, "a meta tensor": torch.zeros(2, 2, device="meta"),
    "a sparse tensor": torch.eye(2).to_sparse(), "complex": np.eye(2) * 1j, "huge text": "z" * 200_000,
}  # fmt: skip


def test_all_public_functions_are_here() -> None:
    assert {"build_classifier", "load", "discover", "evaluate", "learn_names", "Cased.__init__"} <= set(
        PUBLIC
    )
    assert len(CHECKED) > 70


@pytest.mark.parametrize("name", PUBLIC)
def test_each_argument_is_checked_or_has_its_own_reader(name: str) -> None:
    function = PUBLIC[name]
    checked = set(getattr(function, "takes", {}))
    assert set(inspect.signature(function).parameters) - checked <= OF_MANY_FORMS | NOT_CHECKED


@pytest.mark.parametrize(("name", "argument"), CHECKED)
def test_a_wrong_kind_is_named(name: str, argument: str) -> None:
    """Before anything else is done: all other arguments are ones that nothing could be done with."""
    function = PUBLIC[name]
    kind = function.takes[argument]  # type: ignore[attr-defined]
    is_so, words = KINDS[kind.removesuffix("?")]
    required = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    tried = 0
    for what, value in WRONG.items():
        if is_so(value) or (value is None and kind.endswith("?")):
            continue
        given = {other: _ANY for other in required if other != argument}
        with pytest.raises(ArgumentError) as caught:
            takes(**{argument: kind})(inspect.unwrap(function))(**given, **{argument: value})
        said = str(caught.value)
        assert said.startswith(f"{argument} takes {words}") and len(said) < 1000, what
        assert isinstance(caught.value, (VlclsError, TypeError, ValueError))
        tried += 1
    assert tried >= 5


_ANY = object()


# ---- arguments of many forms ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(clip: Encoder) -> vlcls.PromptClassifier:
    return vlcls.build_classifier(["cat", "dog"], clip, cache=False)


def calls(made: vlcls.PromptClassifier, clip: Encoder, folder: Path) -> dict[str, Callable[[Any], Any]]:
    width = clip.embedding_dim
    rows = torch.ones(4, width)
    return {
        "labels of build": lambda value: vlcls.build_classifier(value, clip, cache=False),
        "labels of embeddings": lambda value: vlcls.classifier_from_embeddings(value, np.eye(2)),
        "text_embeddings": lambda value: vlcls.classifier_from_embeddings(["a", "b"], value),
        "class_indices": lambda value: vlcls.classifier_from_embeddings(
            ["a", "b"], np.eye(2), class_indices=value
        ),
        "labels of a folder": lambda value: vlcls.labelled_folder(folder, value),
        "images of predict": lambda value: made.predict(value, cache=False),
        "images of explain": lambda value: vlcls.explain_images(made, value, cache=False),
        "classes of explain": lambda value: vlcls.explain_images(made, rows, value, cache=False),
        "images of weigh": lambda value: vlcls.weigh_templates(made, value, cache=False),
        "images of learn": lambda value: vlcls.learn_names(["cat", "dog"], value, clip, cache=False),
        "classes of learn": lambda value: vlcls.learn_names(value, folder, clip, cache=False),
        "encoder of build": lambda value: vlcls.build_classifier(["cat"], value, cache=False),
        "encoder of learn": lambda value: vlcls.learn_names(["cat"], folder, value, cache=False),
        "spec": vlcls.load_encoder,
        "scores": made.scores,
        "probabilities": made.probabilities,
        "embeddings of audit": lambda value: vlcls.audit_descriptors(made, value, [0, 1, 0, 1]),
        "class_indices of audit": lambda value: vlcls.audit_descriptors(made, rows, value),
        "captions": lambda value: vlcls.build_captions(value, folder / "db", clip),
        "Labels": lambda value: vlcls.Labels(value, value),
        "data": lambda value: vlcls.evaluate(value, "photo", clip, folder / "run", cache=False),
        "folder of load": vlcls.load,
        "source of captions": lambda value: list(vlcls.read_captions(value)),
        "settings": lambda value: vlcls.learn_names(["a"], folder, clip, settings=value, cache=False),
    }  # fmt: skip


NAMES = [
    "labels of build", "labels of embeddings", "text_embeddings", "class_indices", "labels of a folder",
    "images of predict", "images of explain", "classes of explain", "images of weigh", "images of learn",
    "classes of learn", "scores", "probabilities", "embeddings of audit", "class_indices of audit",
    "encoder of build", "encoder of learn", "spec", "captions", "Labels", "data",
    "folder of load", "source of captions", "settings",
]  # fmt: skip


@pytest.mark.parametrize("what", NAMES)
def test_no_error_is_another_packages(
    what: str, made: vlcls.PromptClassifier, clip: Encoder, tmp_path: Path, picture: Any
) -> None:
    for place in ("cat", "dog"):
        (tmp_path / place).mkdir()
        for number in range(3):
            picture(number, 30, 20).save(tmp_path / place / f"{number}.png")
    call = calls(made, clip, tmp_path)[what]
    wrong, failed = {}, 0
    for name, value in WRONG.items():
        try:
            call(value)
        except VlclsError as error:
            failed += 1
            if not str(error) or len(str(error)) > 6000:
                wrong[name] = repr(error)[:200]
        except Exception as error:
            wrong[name] = f"{type(error).__name__}: {str(error)[:200]}"
    assert not wrong, json.dumps(wrong, indent=1)
    assert failed >= 6


def test_saving_onto_a_file_is_said(made: vlcls.PromptClassifier, tmp_path: Path, clip: Encoder) -> None:
    (tmp_path / "file").write_text("mine")
    for use in (
        lambda: made.save_pretrained(tmp_path / "file"),
        lambda: made.save_pretrained(tmp_path / "file" / "below"),
        lambda: vlcls.build_captions(["a cat"], tmp_path / "file", clip),
    ):
        with pytest.raises((OutputError, VlclsError), match="file"):
            use()
    assert (tmp_path / "file").read_text() == "mine"


def test_none_is_let_through_where_it_says_so_and_values_reach_the_function() -> None:
    @takes(a="whole", b="text?")
    def both(a: int, b: str | None = None) -> tuple[int, str | None]:
        return a, b

    assert both(np.int64(3)) == (3, None) and both(a=1, b="x") == (1, "x") and both.__name__ == "both"
    with pytest.raises(ArgumentError, match="a takes a whole number, not True"):
        both(True)
    with pytest.raises(ArgumentError, match="b takes text, or None, not 3"):
        both(1, 3)  # type: ignore[arg-type]


FIELDS = [
    *((vlcls.Training, name) for name in inspect.signature(vlcls.Training).parameters if name[0] != "g"),
    *((vlcls.PromptSet, "labels"), (vlcls.PromptSet, "prompts"), (vlcls.Labels, "names")),
]


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_dataclasses_say_it_too(kind: Any, field: str) -> None:
    prompts = (vlcls.Prompt("x", 0, "embedding"),)
    given = {
        vlcls.PromptSet: {"labels": vlcls.Labels(("a",), ("a",)), "prompts": prompts},
        vlcls.Labels: {"names": ("a",), "ids": ("a",)},
    }.get(kind, {})
    kind(**given)
    with pytest.raises(ArgumentError, match="prompts takes"):
        vlcls.PromptSet(vlcls.Labels(("a",), ("a",)), (vlcls.Prompt(None, 0, "embedding"),))  # type: ignore[arg-type]
    failed = 0
    for value in WRONG.values():
        try:
            kind(**{**given, field: value})
        except VlclsError:
            failed += 1
    assert failed >= 8
