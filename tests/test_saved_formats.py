"""Files that vlcls writes and reads again, damaged in every way that a generator can think of: an error that
names the file, or a result that is whole. Never another exception, never a number that is not finite."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_inputs import broken_json, broken_safetensors
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save

import vlcls
from vlcls.classifiers.base import EncoderInfo
from vlcls.classifiers.prompt import classifier_from_prompts
from vlcls.classifiers.saved import CONFIG, WEIGHTS
from vlcls.errors import VlclsError
from vlcls.labels import Labels
from vlcls.learning import REPORT, Epoch, read_report
from vlcls.learning.checkpoint import CHECKPOINT, State, check_finite, load_state, save_state
from vlcls.prompts import LearnedName, Prompt, PromptSet, prompts_from_templates, with_learned_names

NAMES = ("cat", "dog")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, clip) -> dict[str, Path]:
    """Classifiers of every kind that is saved."""
    root = tmp_path_factory.mktemp("saved")
    labels = Labels(NAMES, NAMES)
    width = 64
    vectors = torch.randn(2, width, generator=torch.Generator().manual_seed(0))
    learned = {0: LearnedName("cat", vectors, clip.fingerprint)}
    return {
        "templates": vlcls.build_classifier(
            labels, clip, "simple", weighting="autoclip", cache=False
        ).save_pretrained(root / "templates"),
        "embeddings": vlcls.classifier_from_embeddings(NAMES, torch.eye(2, 3)).save_pretrained(
            root / "embeddings"
        ),
        "learned": classifier_from_prompts(
            with_learned_names(prompts_from_templates(labels, "simple"), learned), clip, cache=False
        ).save_pretrained(root / "learned"),
    }


#: Changes that leave a good file: fields that may be null, or left out, or another text or number.
MAY_BE = {
    "encoder null", "encoder.spec text", "encoder.spec blank", "encoder.fingerprint text",
    "encoder.fingerprint blank", "weighting null", "weighting.beta fraction", "weighting.beta 1e-60",
    "weighting.scaled true", "logit_scale fraction", "logit_bias minus", "logit_bias fraction",
    "logit_bias 1e-60", "labels.0.id text", "labels.0.name text", "prompts.0.text text",
    "prompts.0.text blank",
    "prompts.0.source missing", "prompts.0.source text", "prompts.0.source blank",
    "prompts.0.class_index next", "prompts.0.template missing", "prompts.0.template null",
    "prompts.0.template next", "prompts.0.template minus",
    "prompts.0.learned missing", "prompts.0.learned null",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["templates", "embeddings", "learned"])
def test_a_description_that_is_not_the_saved_one_is_refused_or_whole(kind: str, saved, tmp_path: Path):
    folder = saved[kind]
    (tmp_path / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes())
    accepted, tried = set(), 0
    for name, data in broken_json(json.loads((folder / CONFIG).read_text())):
        (tmp_path / CONFIG).write_bytes(data)
        tried += 1
        try:
            classifier = vlcls.load(tmp_path)
        except VlclsError as error:
            assert str(tmp_path) in str(error) and len(str(error)) < 1000, name
            continue
        accepted.add(name)
        rows = torch.ones(1, classifier.text_embeddings.shape[1])
        assert classifier.probabilities(rows).isfinite().all(), name
    assert tried > 200
    assert accepted <= MAY_BE, sorted(accepted - MAY_BE)


@pytest.mark.parametrize("kind", ["templates", "embeddings", "learned"])
def test_weights_that_are_not_the_saved_ones_are_refused(kind: str, saved, tmp_path: Path):
    """Also if somebody has put their hash into the description."""
    config = json.loads((saved[kind] / CONFIG).read_text())
    for name, data in broken_safetensors(load_file(saved[kind] / WEIGHTS)):
        (tmp_path / WEIGHTS).write_bytes(data)
        for digest in (config["weights_sha256"], hashlib.sha256(data).hexdigest()):
            (tmp_path / CONFIG).write_text(json.dumps({**config, "weights_sha256": digest}))
            with pytest.raises(VlclsError, match="no readable classifier"):
                vlcls.load(tmp_path)
                pytest.fail(name)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_pipe_or_folder_in_place_of_a_file_is_refused_at_once(name: str, saved, tmp_path: Path):
    for other in (CONFIG, WEIGHTS):
        (tmp_path / other).write_bytes((saved["templates"] / other).read_bytes())
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(VlclsError, match="this is a pipe"):
        vlcls.load(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(VlclsError, match="this is a folder"):
        vlcls.load(tmp_path)


def test_what_a_file_cannot_hold_is_not_saved(tmp_path: Path):
    made = vlcls.classifier_from_embeddings(NAMES, torch.eye(2, 3))
    made.encoder_info = vlcls.classifiers.base.EncoderInfo("hf:/models/\udcff", "x")
    with pytest.raises(VlclsError, match="surrogates not allowed"):
        made.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- what learning leaves behind ---------------------------------------------------------------------------

RUN = {"settings": {"epochs": 3}, "encoder": ["f", "fp32"]}


def some_state(epochs: int = 2, *, validated: bool = True) -> State:
    vectors = torch.randn(3, 4, generator=torch.Generator().manual_seed(epochs))
    history = tuple(
        Epoch(number, 0.5, *((0.25, 0.75) if validated else (None, None))) for number in range(1, epochs + 1)
    )
    moments = {"step": torch.tensor(2.0), "exp_avg": vectors / 2, "exp_avg_sq": vectors**2}
    return State(vectors, vectors + 1, min(1, epochs), moments if epochs else {}, history)


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("epochs", [0, 1, 2])
def test_a_checkpoint_comes_back(epochs: int, validated: bool, tmp_path: Path):
    state = some_state(epochs, validated=validated)
    save_state(state, tmp_path, RUN)
    again = load_state(tmp_path, RUN)
    assert again is not None and again.history == state.history and again.best_epoch == state.best_epoch
    assert torch.equal(again.vectors, state.vectors) and torch.equal(again.best, state.best)
    assert {name: t.tolist() for name, t in again.optimiser.items()} == {
        name: t.tolist() for name, t in state.optimiser.items()
    }
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_a_damaged_checkpoint_is_refused(tmp_path: Path):
    save_state(some_state(), tmp_path, RUN)
    path = tmp_path / CHECKPOINT
    whole, arrays = path.read_bytes(), load_file(path)
    with safe_open(path, "np") as file:
        about = json.loads(file.metadata()["state"])
    versions = [(name, data) for name, data in broken_safetensors(arrays)]
    for name, text in broken_json(about):
        state = text.decode("utf-8", "replace")
        versions.append((name, save(arrays, {"state": state})))
    for name, array in arrays.items():
        versions.append(
            (f"{name} flat", save({**arrays, name: array.reshape(-1)}, {"state": json.dumps(about)}))
        )
        rest = {other: each for other, each in arrays.items() if other != name}
        versions.append((f"no {name}", save(rest, {"state": json.dumps(about)})))
    versions += [(f"bit {place}", flipped(whole, place)) for place in range(len(whole) - 100, len(whole), 7)]
    for name, data in versions:
        path.write_bytes(data)
        try:
            found = load_state(tmp_path, RUN)
        except VlclsError as error:
            assert str(path) in str(error), name
            continue
        assert found is not None and torch.equal(found.vectors, some_state().vectors), name
        assert name in MAY_BE_IN_CHECKPOINTS, name


#: Other figures of the past, and a file of an earlier release, without the hash.
MAY_BE_IN_CHECKPOINTS = {
    "sha256 missing", "sha256 null", "best_epoch next", "best_epoch true", "history.0.loss minus",
    "history.0.loss 1e39", "history.0.loss 1e-60", "history.0.validation_loss minus",
    "history.0.validation_loss fraction", "history.0.validation_loss 1e39", "history.0.validation_loss null",
    "history.0.validation_loss 1e-60", "history.0.validation_accuracy fraction",
    "history.0.validation_accuracy 1e-60",
}  # fmt: skip


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


def test_a_checkpoint_of_an_earlier_release_goes_on(tmp_path: Path):
    save_state(some_state(), tmp_path, RUN)
    with safe_open(tmp_path / CHECKPOINT, "np") as file:
        about = json.loads(file.metadata()["state"])
    del about["sha256"]
    arrays = load_file(tmp_path / CHECKPOINT)
    (tmp_path / CHECKPOINT).write_bytes(save(arrays, {"state": json.dumps(about)}))
    assert load_state(tmp_path, RUN) is not None


def test_learning_that_runs_away_is_an_error_and_no_checkpoint_of_nan():
    for loss, vector in ((float("nan"), 1.0), (float("inf"), 1.0), (1.0, float("nan"))):
        with pytest.raises(VlclsError, match="learning has run away"):
            check_finite(Epoch(1, loss, None, None), torch.tensor([vector]))
    check_finite(Epoch(1, 1.0, None, None), torch.ones(2))


def test_a_damaged_report_of_learning_is_refused(tmp_path: Path):
    report = {
        "settings": {"epochs": 3}, "best_epoch": 1, "peak_memory_bytes": 5,
        "accuracy": {"train": {"images": 3, "before": 0.5, "learned": 1.0}},
        "history": [{"number": 1, "loss": 0.5, "validation_loss": None, "validation_accuracy": None}],
        "images": [{"image": "a.png", "class": "cat", "part": "train"}],
    }  # fmt: skip
    assert read_report(tmp_path) is None
    path = tmp_path / REPORT
    path.write_text(json.dumps(report))
    found = read_report(tmp_path)
    assert found is not None and found.images[0].class_id == "cat"
    accepted = set()
    for name, data in broken_json(report):
        path.write_bytes(data)
        try:
            read_report(tmp_path)
            accepted.add(name)
        except VlclsError as error:
            assert f"{path} is damaged" in str(error), name
    # Settings and figures are for people; what the program uses are the images.
    assert {name for name in accepted if name.startswith("images")} == {
        "images.0.image text", "images.0.image blank", "images.0.class text", "images.0.class blank",
    }  # fmt: skip


@pytest.mark.parametrize("name", [CHECKPOINT, REPORT])
def test_pipes_in_place_of_what_learning_left(name: str, tmp_path: Path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(VlclsError, match="this is a pipe"):
        load_state(tmp_path, RUN) if name == CHECKPOINT else read_report(tmp_path)


# ---- whatever can be made can be saved, and loaded again ---------------------------------------------------

TEXTS = st.text(st.characters() | st.sampled_from("\0\x1b\u2028\ud800\udcff#<>{}_\n"), max_size=8)
NUMBERS = st.floats() | st.integers() | st.sampled_from([0, 1, True, None, "1", np.float32(2), np.int64(3)])
ROWS = st.sampled_from(
    [torch.eye(3, 4), torch.eye(3, 4) * 2, torch.zeros(3, 4), torch.eye(3, 4, dtype=torch.float16)]
)


@given(data=st.data())
def test_a_classifier_that_can_be_saved_loads_as_it_was(data: st.DataObject, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "any classifier"
    shutil.rmtree(folder, ignore_errors=True)
    draw = data.draw
    try:
        names = draw(st.lists(TEXTS, min_size=1, max_size=2))
        prompts = tuple(
            Prompt(
                draw(TEXTS), draw(st.sampled_from([0, len(names) - 1, np.int64(0)])),
                draw(st.sampled_from(["name", "descriptor", "no kind"])), draw(TEXTS),
                draw(st.sampled_from([None, 0, 7, -1, 2**70])),
                draw(st.sampled_from([0, 1, 2.5]) | NUMBERS), draw(TEXTS),
            )
            for _ in range(3)
        )  # fmt: skip
        made = vlcls.PromptClassifier(
            PromptSet(Labels(tuple(names), tuple(names)), prompts), draw(ROWS),
            aggregate=draw(st.sampled_from(["max", "mean-similarity", "none"])),
            encoder_info=draw(st.none() | st.builds(EncoderInfo, TEXTS, TEXTS)),
            logit_scale=draw(st.just(10.0) | NUMBERS), logit_bias=draw(st.just(0.0) | NUMBERS),
        )  # fmt: skip
        made.save_pretrained(folder)
    except VlclsError:
        assert not folder.exists()
        return
    again = vlcls.load(folder)
    assert again.prompts == made.prompts and again.labels == made.labels
    assert again.encoder_info == made.encoder_info and again.aggregate == made.aggregate
    assert (again.logit_scale, again.logit_bias) == (made.logit_scale, made.logit_bias)
    assert torch.equal(again.text_embeddings, made.text_embeddings.float())


@given(
    names=st.lists(TEXTS.filter(str.strip), min_size=1, max_size=3, unique=True),
    vectors=st.sampled_from(
        [
            torch.ones(2, 3), torch.full((1, 3), torch.nan), torch.ones(0, 3), torch.ones(3),
            torch.ones(2, 3).half(), torch.ones(2, 3).double(), torch.full((2, 3), 3e38),
        ]
    ),
)  # fmt: skip
def test_learned_names_that_can_be_saved_load_as_they_were(names, vectors, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "any names"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        labels = Labels(tuple(names), tuple(names))
        learned = {index: LearnedName(name, vectors + index, "f") for index, name in enumerate(names)}
        prompts = with_learned_names(prompts_from_templates(labels, ["a {}.", "{}"]), learned)
        made = vlcls.PromptClassifier(prompts, torch.eye(len(prompts), 8), encoder_info=EncoderInfo("s", "f"))
        made.save_pretrained(folder)
    except VlclsError:
        assert not folder.exists()
        return
    again = vlcls.load(folder)
    assert again.prompts == made.prompts and set(again.prompts.learned) == set(made.prompts.learned)
    for word, name in made.prompts.learned.items():
        assert torch.equal(again.prompts.learned[word].vectors, name.vectors)
