"""Texts and numbers at the edges of what the package takes: refused where they come in, never NaN where they
go out; and whatever can be made can be written, and read again."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import numpy as np
import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st

import vlcls
from vlcls.classifiers import weigh_templates
from vlcls.classifiers.base import unit_rows
from vlcls.classifiers.cased import Cased
from vlcls.classifiers.prompt import PromptClassifier
from vlcls.classifiers.scorers import SCORERS
from vlcls.classifiers.vocabulary_free import ClosestCaption, FixedVocabulary
from vlcls.classifiers.weighting import WEIGHTINGS, Weighting
from vlcls.cli import app, main
from vlcls.descriptors import Descriptor, DescriptorSet, edits, read_descriptors, write_descriptors
from vlcls.errors import DescriptorError, VlclsError
from vlcls.labels import Labels, clean_name
from vlcls.limits import LEAST_WEIGHT, MOST_SCALE, MOST_WEIGHT, unreadable
from vlcls.prompts import Prompt, PromptSet
from vlcls.retrieval import build_captions, open_captions
from vlcls.specs import as_number

LABELS = Labels(("cat", "dog"), ("cat", "dog"))
NO_WEIGHTS = [1e39, 1e300, 1e-60, 5e-324, -1.0, -0.5, math.nan, math.inf, -math.inf, 10**400, True, "2", None]
NO_SCALES = [1e39, 1e300, 1e-60, 0.0, -5.0, math.nan, math.inf, -math.inf, 10**400, "100", None]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["vlcls", *map(str, arguments)])
    try:
        main()
    except SystemExit as error:
        return int(error.code or 0)
    return 0


# ---- numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", NO_WEIGHTS, ids=str)
def test_a_weight_that_float32_cannot_count_with_is_refused_wherever_it_comes_in(weight: Any, tmp_path: Path):
    places = {
        "descriptor": lambda: Descriptor("fur", weight=weight),
        "edit": lambda: edits.reweight(
            DescriptorSet(LABELS, ((Descriptor("fur"),), ())), "cat", "fur", weight
        ),
        "prompts": lambda: PromptSet(
            LABELS, (Prompt("cat", 0, "name", weight=weight), Prompt("dog", 1, "name"))
        ),
    }
    for name, make in places.items():
        with pytest.raises(VlclsError, match="weight"):
            make()
            pytest.fail(name)


@pytest.mark.parametrize(
    "weight", ["1e39", "1e300", "1e-60", "-1", "NaN", "Infinity", "1e999", "9" * 400, "true"]
)
def test_a_file_with_such_a_weight_is_refused_by_every_command(
    weight: str, tmp_path: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch, capsys
):
    path = tmp_path / "set.json"
    write_descriptors(DescriptorSet(LABELS, ((Descriptor("fur", weight=2.0),), (Descriptor("tail"),))), path)
    path.write_text(path.read_text().replace("2.0", weight))
    for command in (
        ["descriptors", "validate", path],
        ["descriptors", "show", path],
        ["classify", photos[0], "-d", path, "-e", "conse"],
        ["build", "-d", path, "-o", tmp_path / "out", "-e", "conse"],
    ):
        assert run(monkeypatch, *command) == 1, command
        said = capsys.readouterr()
        assert str(path) in said.err and "unexpected" not in said.err and "NaN" not in said.out
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("scale", NO_SCALES, ids=str)
def test_a_logit_scale_or_bias_that_is_no_number_is_refused(scale: Any):
    rows = torch.eye(2, 3)
    with pytest.raises(VlclsError, match=r"logit.scale"):
        vlcls.classifier_from_embeddings(LABELS, rows, scale)
    if scale not in (0, -5, 1e-60):
        with pytest.raises(VlclsError, match=r"logit.bias"):
            vlcls.classifier_from_embeddings(LABELS, rows, logit_bias=scale)


def test_an_unknown_activation_and_embeddings_with_nan_are_refused():
    prompts = PromptSet(LABELS, (Prompt("", 0, "embedding"), Prompt("", 1, "embedding")))
    with pytest.raises(VlclsError, match=r"activation.*'relu'"):
        vlcls.classifier_from_embeddings(LABELS, torch.eye(2, 3), activation="relu")  # type: ignore[arg-type]
    for bad in (math.nan, math.inf):
        with pytest.raises(VlclsError, match="NaN or infinity"):
            PromptClassifier(prompts, torch.tensor([[1.0, 0.0], [bad, 1.0]]))


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "x", ""])
def test_options_in_specs_are_finite_numbers(text: str):
    with pytest.raises(VlclsError, match="must be a number"):
        as_number(text, "beta")


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
    for name, each in (below or {}).items():
        yield from commands(each, (*path, name))


def test_every_number_of_every_command_is_finite(monkeypatch: pytest.MonkeyPatch, capsys):
    tried = 0
    for path, command in commands(typer.main.get_command(app)):
        for name, hint in inspect.get_annotations(inspect.unwrap(command.callback), eval_str=True).items():
            kinds = [get_args(hint)[0] if get_origin(hint) is Annotated else hint]
            kinds += [each for kind in kinds for each in get_args(kind)]
            if float not in kinds:
                continue
            for value in (math.nan, math.inf, -math.inf):
                tried += 1
                raised = pytest.raises(typer.BadParameter, match="no finite number")
                with raised, typer.Context(command):
                    command.callback(**{name: value})
                    pytest.fail(f"{path} {name} takes {value}")
    assert tried >= 3 * 15
    for text in ("nan", "inf", "1e999"):
        assert run(monkeypatch, "learn-names", ".", "-o", "/dev/null/x", "--penalty", text) != 0
        assert run(monkeypatch, "discover", ".", "--alpha", text) == 2
        assert "Traceback" not in capsys.readouterr().err


WEIGHTS = st.just(0.0) | st.floats(LEAST_WEIGHT, MOST_WEIGHT)
UNITS = torch.nn.functional.normalize(torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), dim=1)


@given(
    weights=st.lists(st.tuples(WEIGHTS, WEIGHTS, WEIGHTS), min_size=2, max_size=5).filter(
        lambda rows: all(any(row) for row in rows)
    ),
    aggregate=st.sampled_from(list(SCORERS)),
    weighting=st.none() | st.sampled_from([name for name, rule in WEIGHTINGS.items() if not rule.learn]),
    scale=st.floats(1e-6, MOST_SCALE),
    bias=st.floats(-MOST_SCALE, MOST_SCALE),
    activation=st.sampled_from(["softmax", "sigmoid"]),
)
def test_any_numbers_that_are_taken_give_finite_scores(
    weights, aggregate, weighting, scale, bias, activation
):
    names = tuple(f"c{index}" for index in range(len(weights)))
    labels = Labels(names, names)
    # All templates have a weight in all classes where a weighting needs them shared.
    rows = [tuple(weight or 1.0 for weight in row) if weighting else row for row in weights]
    prompts = PromptSet(
        labels,
        tuple(
            Prompt(f"{index} {number}", index, "template", "{}", number, weight)
            for index, row in enumerate(rows)
            for number, weight in enumerate(row)
        ),
    )
    classifier = PromptClassifier(
        prompts, UNITS[: len(prompts)], aggregate="mean-similarity" if weighting else aggregate,
        weighting=weighting and Weighting(weighting), logit_scale=scale, logit_bias=bias,
        activation=activation,
    )  # fmt: skip
    assert classifier.probabilities(UNITS[-9:]).isfinite().all()
    best = classifier.similarities(UNITS[-9:]).argmax(1).tolist()
    assert [result.top_k[0].index for result in classifier.predict(UNITS[-9:])] == best


def test_template_weights_that_vanish_are_nothing(clip):
    classifier = vlcls.build_classifier(["cat", "dog"], clip, ["{}", "a {}", "the {}"], cache=False)
    for temperature in (1e-6, 1e6):
        sharp = weigh_templates(classifier, UNITS_OF_CLIP(clip), temperature=temperature)
        assert {p.weight for p in sharp.prompts if not p.weight} <= {0.0}
        assert sharp.probabilities(UNITS_OF_CLIP(clip)).isfinite().all()
    for temperature in (math.nan, math.inf, 0, 1e-300):
        with pytest.raises(VlclsError, match="temperature"):
            weigh_templates(classifier, UNITS_OF_CLIP(clip), temperature=temperature)


def UNITS_OF_CLIP(clip) -> torch.Tensor:  # noqa: N802
    rows = torch.randn(5, clip.embedding_dim, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.normalize(rows, dim=1)


# ---- texts -------------------------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters() | st.sampled_from("\0\x1b\x85\u2028\ud800\udcff\t\n_# "), max_size=12)
ANY_NUMBER = st.floats() | st.integers() | st.sampled_from([True, None, "1", np.float32(2), 10**400])


@given(data=st.data(), format=st.sampled_from(["vlcls", "plain"]))
def test_what_can_be_made_can_be_written_and_read_again(data: st.DataObject, format: str, tmp_path_factory):
    """Anything a program may hand over: refused when it is made or when it is written, or read back equal."""
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text("before")
    names = data.draw(st.lists(ANY_TEXT, min_size=1, max_size=4))
    ids = data.draw(st.just(names) | st.lists(ANY_TEXT, min_size=len(names), max_size=len(names)))
    try:
        own = tuple(
            tuple(
                Descriptor(
                    data.draw(ANY_TEXT), data.draw(st.sampled_from(["hand", "gpt", "x"])), weight=weight
                )
                for weight in data.draw(st.lists(WEIGHTS | ANY_NUMBER, max_size=3))
            )
            for _ in names
        )
        sources = {"gpt": data.draw(st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=2))}
        made = DescriptorSet(Labels(tuple(names), tuple(ids)), own, "descriptors", sources)
        write_descriptors(made, path, format=format)
    except VlclsError:
        assert path.read_text() == "before"
        return
    found = read_descriptors(path, style="descriptors")
    assert [found.texts(index) for index in range(len(names))] == [made.texts(i) for i in range(len(names))]
    assert found.labels.names == tuple(map(clean_name, found.labels.names))
    if format == "vlcls":
        assert found.labels.names == tuple(map(clean_name, names))
        assert [[each.weight for each in mine] for mine in found.descriptors] == [
            [each.weight for each in mine] for mine in own
        ]
        assert {**sources, **found.sources} == found.sources


CONTROLS = ["a\x1b[31mb", "a\x00b", "a\x07", "\x9b1m", "half \ud800"]


@pytest.mark.parametrize("format", ["vlcls", "plain"])
@pytest.mark.parametrize("text", CONTROLS, ids=ascii)
def test_an_edit_with_a_character_that_cannot_be_read_again_leaves_the_file_alone(
    text: str, format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    path = tmp_path / "set.json"
    write_descriptors(
        DescriptorSet(LABELS, ((Descriptor("fur"),), (Descriptor("a tail"),))), path, format=format
    )
    before = path.read_bytes()
    for command in (
        ["add", path, "cat", text],
        ["add", path, f"new {text}", "fur", "--new-class"],
        ["replace", path, "cat", "fur", text],
        ["rename", path, "cat", text],
    ):
        assert run(monkeypatch, "descriptors", *command) == 1, command
        assert "unexpected" not in capsys.readouterr().err
        assert path.read_bytes() == before
    assert run(monkeypatch, "descriptors", "validate", path) == 0


def test_names_that_only_cleaning_makes_alike_stay_two_classes(tmp_path: Path):
    raw = Labels(("a_b", "a b"), ("a_b", "a b"))
    made = DescriptorSet(raw, ((Descriptor("x"),), (Descriptor("y"),)))
    write_descriptors(made, tmp_path / "own.json")
    found = read_descriptors(tmp_path / "own.json")
    assert found.labels.ids == ("a_b", "a b") and found.texts(0) == ["x"] and found.texts(1) == ["y"]
    with pytest.raises(DescriptorError, match="cannot be kept in a file"):
        write_descriptors(made, tmp_path / "plain.json", format="plain")
    assert not (tmp_path / "plain.json").exists()


def test_a_set_beyond_any_file_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vlcls.descriptors.files.MAX_BYTES", 1000)
    made = DescriptorSet(LABELS, ((Descriptor("x" * 2000),), ()))
    with pytest.raises(DescriptorError, match="more than 1,000 bytes"):
        write_descriptors(made, tmp_path / "own.json")


def test_the_name_of_a_file_that_is_not_unicode_is_no_obstacle(tmp_path: Path):
    path = tmp_path / "set\udcff.json"
    path.write_text('{"cat": ["fur"]}')
    found = read_descriptors(path)
    assert not unreadable(found.sources["file"]["file"])
    assert (
        write_descriptors(found, tmp_path / "own.json") and read_descriptors(tmp_path / "own.json") == found
    )


def test_json_lines_of_a_prediction_are_json(
    tmp_path: Path, clip, photos, monkeypatch: pytest.MonkeyPatch, capsys
):
    """The greatest and the smallest weights that are taken, through the command line."""
    path = tmp_path / "set.json"
    own = (Descriptor("fur", weight=MOST_WEIGHT), Descriptor("ears", weight=LEAST_WEIGHT))
    made = DescriptorSet(LABELS, (own, (replace(own[1]),)))
    write_descriptors(made, path)
    assert run(monkeypatch, "classify", photos[0], "-d", path, "-e", clip.spec, "-f", "jsonl") == 0
    lines = capsys.readouterr().out.splitlines()

    def refuse(name: str) -> None:
        raise AssertionError(name)

    assert [0 <= json.loads(line, parse_constant=refuse)["score"] <= 1 for line in lines] == [True]


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(rows=st.lists(st.tuples(FLOATS, FLOATS, FLOATS), min_size=1, max_size=4))
def test_rows_of_any_size_have_a_direction(rows: list[tuple[float, float, float]]):
    """1e300 squared is infinite and 1e-200 squared is nothing: neither is the length of a row."""
    given_ = np.array(rows)
    if not given_.any(axis=1).all():
        with pytest.raises(VlclsError, match="all zeros"):
            unit_rows(given_, "embeddings")
        return
    found = unit_rows(given_, "embeddings").double().numpy()
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)
    scaled = given_ / np.abs(given_).max(1, keepdims=True)
    assert np.allclose(found, scaled / np.linalg.norm(scaled, axis=1, keepdims=True), atol=1e-6)


def test_an_encoder_whose_logits_are_nan_names_nothing(clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A checkpoint that stored exp(scale) where its logarithm is expected has a scale of 10^43."""
    build_captions(["a cat", "a dog"], tmp_path / "db", clip)
    captions = open_captions(tmp_path / "db", clip)
    for scale in (2.7e43, math.inf, math.nan):
        monkeypatch.setattr(clip, "logit_scale", scale)
        for make in (
            lambda: Cased(captions, clip, cache=False),
            lambda: ClosestCaption(captions, clip),
            lambda: FixedVocabulary(["cat", "dog"], clip),
            lambda: vlcls.build_classifier(["cat", "dog"], clip, cache=False),
        ):
            with pytest.raises(VlclsError, match=r"logit.scale"):
                make()


@pytest.mark.parametrize("value", [10**400, 10**5000, "\ud800", "\0", "a" * 300], ids=range(5))
def test_arguments_that_nothing_can_be_made_of_are_named(value: Any):
    for call in (
        lambda: vlcls.classifier_from_embeddings(LABELS, torch.eye(2), value),
        lambda: vlcls.load(value),
    ):
        with pytest.raises(VlclsError, match="takes a"):
            call()
