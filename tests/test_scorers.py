"""Scorers and weightings: the three there are against numbers worked by hand and loops in float64, every one
that is registered against what all must be, and a toy that no command knows of."""

from __future__ import annotations

import ast
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from toy_scorer import TOP3

import vlcls
from vlcls.classifiers import banks
from vlcls.classifiers.banks import PooledPieceScores, bank_of, piece_bank
from vlcls.classifiers.scorers import SCORERS, Pooled
from vlcls.classifiers.weighting import WEIGHTINGS, Rule, Weighting
from vlcls.cli import main
from vlcls.encoders import Encoder
from vlcls.errors import EncoderError, TemplateError, VlclsError
from vlcls.evaluation.run.methods import parse_method
from vlcls.explain import audit_descriptors, explain_images
from vlcls.explain.pieces import Pieces
from vlcls.labels import as_labels
from vlcls.learning.problem import LearningProblem
from vlcls.prompts import Prompt, PromptSet

WIDTH = 12


def prompt_set(counts: list[int], weights: list[float] | None = None, order: list[int] | None = None):
    classes = [index for index, count in enumerate(counts) for _ in range(count)]
    shares = weights or [1.0] * len(classes)
    prompts = [
        Prompt(f"{index} {place}", index, "descriptor", weight=shares[place])
        for place, index in enumerate(classes)
    ]
    labels = as_labels([f"class {index}" for index in range(len(counts))])
    return PromptSet(labels, tuple(prompts if order is None else [prompts[place] for place in order]))


def unit(rows: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(seed)), dim=1)


def by_hand(prompts: PromptSet, texts: torch.Tensor, images: torch.Tensor, aggregate: str) -> torch.Tensor:
    """Straight from the definitions: one image, one class, one prompt after the other, in float64."""
    result = torch.zeros(len(images), len(prompts.labels), dtype=torch.float64)
    for row, image in enumerate(images.double().tolist()):
        for index in range(len(prompts.labels)):
            places = [p for p, prompt in enumerate(prompts) if prompt.class_index == index and prompt.weight]
            vectors = [texts[place].double().tolist() for place in places]
            shares = [prompts.weights[place] for place in places]
            cosines = [sum(a * b for a, b in zip(image, vector, strict=True)) for vector in vectors]
            mean = sum(w * s for w, s in zip(shares, cosines, strict=True)) / sum(shares)
            if aggregate == "max":
                result[row, index] = max(cosines)
            elif aggregate == "mean-similarity":
                result[row, index] = mean
            else:
                summed = [sum(w * v[d] for w, v in zip(shares, vectors, strict=True)) for d in range(WIDTH)]
                result[row, index] = mean * sum(shares) / math.sqrt(sum(value * value for value in summed))
    return result


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        ("mean-similarity", [0.6667, 0.7000]),
        ("max", [0.6667, 0.7333]),
        ("mean-embedding", [0.9428, 0.7071]),
    ],
)
def test_the_example_where_they_disagree(aggregate: str, expected: list[float]):
    image = torch.tensor([[2.0, 2.0, 1.0]]) / 3
    raw = torch.tensor([[2.0, 0, 0], [0, 1, 0], [0, 0.6, 0.8], [0, 0.8, 0.6]])
    classifier = vlcls.PromptClassifier(
        prompt_set([2, 2]), F.normalize(raw, dim=1), aggregate=aggregate, logit_scale=10
    )
    assert classifier.similarities(image)[0].tolist() == pytest.approx(expected, abs=5e-5)
    if aggregate == "mean-embedding":
        assert classifier.probabilities(image)[0].tolist() == pytest.approx([0.9135, 0.0865], abs=5e-5)


@pytest.mark.parametrize("aggregate", SCORERS)
@given(data=st.data())
def test_any_classes_and_weights_equal_the_loop(aggregate: str, data: st.DataObject):
    counts = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    total = sum(counts)
    weights = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=total, max_size=total))
    starts = [sum(counts[:index]) for index in range(len(counts))]
    for start in starts:  # every class needs one prompt that counts
        weights[start] = weights[start] or 1.0
    order = data.draw(st.permutations(range(total)))
    prompts = prompt_set(counts, weights, order)
    texts, images = unit(total, 1), unit(4, 2)
    found = vlcls.PromptClassifier(prompts, texts, aggregate=aggregate).similarities(images)
    expected = by_hand(prompts, texts, images, aggregate)
    assert (found.double() - expected).abs().max() < 1e-5


@pytest.mark.parametrize("entries", [1, 7, 64])
def test_chunks_change_nothing(entries: int, monkeypatch: pytest.MonkeyPatch):
    prompts, texts, images = prompt_set([3, 1, 3, 2, 5, 3]), unit(17, 3), unit(9, 4)
    whole = vlcls.PromptClassifier(prompts, texts, aggregate="max").similarities(images)
    monkeypatch.setattr(banks, "_ENTRIES_AT_ONCE", entries)
    parts = vlcls.PromptClassifier(prompts, texts, aggregate="max").similarities(images)
    assert torch.allclose(whole, parts, atol=1e-6)


@pytest.mark.parametrize("aggregate", SCORERS)
def test_repeating_every_prompt_changes_nothing(aggregate: str):
    once, twice = prompt_set([2, 3]), prompt_set([4, 6])
    texts, images = unit(5, 5), unit(6, 6)
    doubled = torch.cat([texts[:2], texts[:2], texts[2:], texts[2:]])
    a = vlcls.PromptClassifier(once, texts, aggregate=aggregate).similarities(images)
    b = vlcls.PromptClassifier(twice, doubled, aggregate=aggregate).similarities(images)
    assert torch.allclose(a, b, atol=1e-6)


def test_with_one_prompt_a_class_all_are_one():
    prompts, texts, images = prompt_set([1, 1, 1]), unit(3, 7), unit(5, 8)
    found = [vlcls.PromptClassifier(prompts, texts, aggregate=a).similarities(images) for a in SCORERS]
    assert torch.allclose(found[0], found[1], atol=1e-6)
    assert torch.allclose(found[0], found[2], atol=1e-6)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_cannot_be(weight: float):
    with pytest.raises(TemplateError, match="weight"):
        prompt_set([1], [weight])


def test_a_class_whose_prompts_all_weigh_nothing():
    with pytest.raises(TemplateError, match=r"'class 1'.*weight above 0"):
        prompt_set([1, 2], [1.0, 0.0, 0.0])


def test_an_aggregate_or_a_weighting_that_does_not_exist(clip: Encoder, monkeypatch: pytest.MonkeyPatch):
    known = r"'median'.*mean-embedding, mean-similarity, max"
    monkeypatch.setattr(type(clip), "encode_texts", None)  # refused before anything is embedded
    for refused in (
        lambda: vlcls.PromptClassifier(prompt_set([1]), unit(1, 0), aggregate="median"),
        lambda: vlcls.build_classifier(["cat"], clip, aggregate="median", cache=False),
        lambda: parse_method("ensemble:aggregate=median"),
        lambda: LearningProblem(clip, described("max").prompts, [1, 1, 1], "median"),
    ):
        with pytest.raises(VlclsError, match=known):
            refused()
    for refused in (
        lambda: vlcls.build_classifier(["cat"], clip, weighting="median", cache=False),
        lambda: parse_method("ensemble:weighting=median"),
    ):
        with pytest.raises(VlclsError, match=r"'median'.*autoclip, softmax, autoclip-within-class, zpe"):
            refused()


@pytest.mark.parametrize("aggregate", SCORERS)
def test_the_aggregate_is_saved(aggregate: str, tmp_path: Path):
    texts, images = unit(5, 9), unit(3, 10)
    classifier = vlcls.PromptClassifier(prompt_set([2, 3]), texts, aggregate=aggregate)
    again = vlcls.load(classifier.save_pretrained(tmp_path))
    assert again.aggregate == aggregate
    assert torch.equal(again.similarities(images), classifier.similarities(images))


def test_other_prompts_need_no_encoder_unless_their_texts_are_new():
    prompts, texts = prompt_set([2, 3]), unit(5, 11)
    classifier = vlcls.PromptClassifier(prompts, texts, aggregate="max")
    fewer = PromptSet(prompts.labels, (prompts.prompts[1], prompts.prompts[4]))
    other = classifier.with_prompts(fewer)
    assert other.aggregate == "max"
    assert torch.equal(other.text_embeddings, texts[[1, 4]])
    more = PromptSet(prompts.labels, (*prompts.prompts, Prompt("new", 0, "descriptor")))
    with pytest.raises(EncoderError, match="no encoder"):
        classifier.with_prompts(more)


# ---- what every scorer and every weighting is ------------------------------------------------------------

#: Every scorer, with every weighting of each image that it takes.
PAIRS = [(name, None) for name in SCORERS] + [
    (name, rule.name)
    for name, scorer in SCORERS.items()
    for rule in WEIGHTINGS.values()
    if scorer.per_image and rule.learn is None
]


@pytest.fixture
def top3() -> Iterator[str]:
    """A scorer that another package brings, gone again after the test."""
    SCORERS.register(TOP3)
    yield TOP3.name
    del SCORERS._parts[TOP3.name]


def described(aggregate: str, weighting: str | None = None, classes: int = 3) -> vlcls.PromptClassifier:
    """Classes of four descriptors in three templates, some of weight 0: d3 is no part of any score."""
    generator = torch.Generator().manual_seed(20)
    weights = [(1.0, 0.0, 1.0), (2.0, 1.0, 0.0), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0)]
    prompts = tuple(
        Prompt(f"{c} {d} {t}", c, "descriptor", template=t, descriptor=f"d{d}", weight=weights[d][t])
        for c in range(classes)
        for t in range(3)
        for d in range(4)
    )
    middles = torch.randn(classes, WIDTH, generator=generator)
    spread = torch.randn(len(prompts), WIDTH, generator=generator)
    texts = F.normalize(middles[[prompt.class_index for prompt in prompts]] + 0.8 * spread, dim=1)
    names = as_labels([f"class {index}" for index in range(classes)])
    given = None if weighting is None else Weighting(weighting)
    return vlcls.PromptClassifier(PromptSet(names, prompts), texts, aggregate=aggregate, weighting=given)


def cut(classifier: vlcls.PromptClassifier, index: int, *left: str) -> vlcls.PromptClassifier:
    """A class's similarity with only these of its descriptors."""
    rows = [
        row
        for row, prompt in enumerate(classifier.prompts)
        if prompt.class_index != index or prompt.descriptor in left
    ]
    prompts = PromptSet(classifier.labels, tuple(classifier.prompts.prompts[row] for row in rows))
    return vlcls.PromptClassifier(prompts, classifier.text_embeddings[rows], **classifier.settings)


def holds_together(aggregate: str, weighting: str | None) -> None:
    """Explanations add up to scores, and so do audits to classifiers that are built again."""
    classifier, images = described(aggregate, weighting), unit(8, 21)
    wanted = classifier.similarities(images).double()
    for row, found in enumerate(explain_images(classifier, images, classes=[0, 1, 2])):
        for evidence in found.classes:
            assert evidence.similarity == pytest.approx(float(wanted[row, evidence.index]), abs=1e-6)
            shares = sum(each.share for each in evidence.contributions)
            assert shares == pytest.approx(evidence.similarity, abs=1e-12)
            unused = next(each for each in evidence.contributions if each.text == "d3")
            assert unused.share == 0 and -1 <= unused.similarity <= 1
    if weighting is not None:
        return
    truth = [0, 1, 2, 0, 1, 2, 0, 1]
    look = Pieces(classifier).look(images.double())
    left, factors = look.without(), look.factors.expand_as(look.similarities)
    for place, piece in enumerate(audit_descriptors(classifier, images, truth).pieces):
        if piece.text != "d3":  # what has no share is shown as if it were all that the class has
            alone = cut(classifier, piece.index, piece.text).similarities(images)[:, piece.index]
            unused = factors[:, place] == 0
            assert torch.allclose(look.similarities[unused, place].float(), alone[unused], atol=1e-6)
        others = {prompt.descriptor for prompt in classifier.prompts} - {piece.text}
        again = cut(classifier, piece.index, *others).similarities(images)
        assert torch.allclose(left[:, place].float(), again[:, piece.index], atol=1e-6)
        right = (again.argmax(1) == torch.tensor(truth)).float().mean()
        assert piece.without and piece.without.accuracy == pytest.approx(float(right))


def has_a_gradient(aggregate: str, encoder: Encoder) -> None:
    """Towards texts, equal to finite differences in float64; or a refusal that says why."""
    scorer, classifier = SCORERS.find(aggregate), described(aggregate)
    if scorer.no_gradient:
        with pytest.raises(VlclsError, match=scorer.no_gradient):
            LearningProblem(encoder, classifier.prompts, [1, 1, 1], aggregate)
        return
    texts, images = classifier.text_embeddings.double().requires_grad_(), unit(4, 22).double()
    wanted = torch.randn(4, 3, generator=torch.Generator().manual_seed(23), dtype=torch.float64)

    def total(rows: torch.Tensor) -> torch.Tensor:
        return (scorer.scoring(bank_of(classifier.prompts, rows))(images) * wanted).sum()

    (found,) = torch.autograd.grad(total(texts), texts)
    assert found.abs().max() > 0.01
    for row, column in ((0, 0), (4, 3), (13, 7), (35, 11)):
        step = torch.zeros_like(texts)
        step[row, column] = 1e-6
        slope = float((total(texts + step) - total(texts - step)).detach()) / 2e-6
        assert float(found[row, column]) == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize(("aggregate", "weighting"), PAIRS)
def test_pieces_add_up_to_the_score(aggregate: str, weighting: str | None):
    holds_together(aggregate, weighting)


@pytest.mark.parametrize("aggregate", SCORERS)
def test_a_gradient_is_right_or_refused(aggregate: str, clip: Encoder):
    has_a_gradient(aggregate, clip)


@pytest.mark.parametrize("aggregate", SCORERS)
def test_images_are_compared_with_its_directions_and_nothing_else(aggregate: str):
    classifier, images = described(aggregate, classes=2), unit(5, 24)
    space = torch.linalg.qr(SCORERS.find(aggregate).directions(classifier.bank).T).Q
    seen = images @ space @ space.T
    assert torch.allclose(classifier.similarities(seen), classifier.similarities(images), atol=1e-5)


def test_the_quick_way_to_leave_out_a_piece_is_the_slow_one():
    classifier, scorer = described("max"), SCORERS.find("max")
    assert isinstance(scorer, Pooled)
    pieces = Pieces(classifier)
    bank = piece_bank(bank_of(classifier.prompts, classifier.text_embeddings.double()), pieces.owners)
    images = unit(50, 25).double()
    slow = PooledPieceScores(bank, scorer.pool, scorer.shares)(images).without()
    assert torch.equal(pieces.look(images).without(), slow)


@pytest.mark.parametrize("registry", [SCORERS, WEIGHTINGS], ids=["scorers", "weightings"])
def test_each_says_what_it_does(registry: Any):
    assert all(len(part.about) > 20 and part.about[0].islower() for part in registry.values())
    with pytest.raises(VlclsError, match="already"):
        registry.register(next(iter(registry.values())))


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=list(SCORERS))
@pytest.mark.parametrize("rule", WEIGHTINGS.values(), ids=list(WEIGHTINGS))
def test_a_weighting_of_each_image_takes_a_mean_of_similarities(scorer: Any, rule: Rule):
    spec = f"ensemble:aggregate={scorer.name},weighting={rule.name}"
    if rule.learn is not None or scorer.per_image:
        assert parse_method(spec).options["weighting"] == rule.name
        return
    with pytest.raises(VlclsError, match=f"not a {scorer.name}"):
        parse_method(spec)
    with pytest.raises(VlclsError, match=f"not a {scorer.name}"):
        described(scorer.name, rule.name)


def test_no_name_of_one_is_compared_anywhere():
    """What a scorer or a weighting does differently, it says itself."""
    names = {*SCORERS, *WEIGHTINGS}
    for path in Path(vlcls.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                parts = [each for part in (node.left, *node.comparators) for each in ast.walk(part)]
                constants = {each.value for each in parts if isinstance(each, ast.Constant)}
                about = ast.unparse(node)
                named = [word for word in ("aggregate", "weighting", "scorer", "rule") if word in about]
                assert not (named and constants & names), f"{path}: {about}"


# ---- one that no command knows of --------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["classify", "explain", "build", "descriptors audit", "learn-names"])
def test_help_lists_every_scorer_and_every_weighting(command: str):
    toy = Path(__file__).with_name("toy_scorer.py")
    assert len(toy.read_text().splitlines()) < 60
    run = subprocess.run(
        [sys.executable, toy, *command.split(), "--help"],
        capture_output=True, text=True, check=True, env={"COLUMNS": "100", "PATH": "", "HOME": "/"},
    )  # fmt: skip
    said = " ".join(run.stdout.replace("│", " ").split())
    for part in (*SCORERS.values(), TOP3):
        assert part.name in said and part.about.split()[-1] in said
    assert "--weighting" not in said or all(rule.name in said for rule in WEIGHTINGS.values())


def test_a_scorer_of_another_package_is_everywhere(
    top3: str, clip: Encoder, clip_folder: Path, photos: list[Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["vlcls", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        assert not stop.value.code, output.err
        return output.out

    encoder = f"open_clip:local-dir:{clip_folder}"
    classes = {name: [f"{name} part {place}" for place in range(5)] for name in ("cat", "dog", "fox")}
    (tmp_path / "d.json").write_text(json.dumps(classes))
    given = ("-d", tmp_path / "d.json", "-e", encoder, "--aggregate", top3)
    holds_together(top3, None)
    has_a_gradient(top3, clip)

    run("build", *given, "-o", tmp_path / "saved")
    saved = vlcls.load(tmp_path / "saved", clip)
    assert saved.aggregate == top3
    rows = next(rows for _, rows, _ in saved.embedded(photos[:1]))
    wanted = (rows @ saved.text_embeddings.T).view(3, 5).topk(3).values.mean(-1)
    explained = json.loads(run("explain", photos[0], *given, "-f", "jsonl"))
    assert explained["classes"][0]["similarity"] == pytest.approx(float(wanted.max()), abs=1e-5)
    assert "cat" in run("classify", photos[0], *given)

    for place, name in enumerate(classes):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for photo in photos[4 * place : 4 * place + 4]:
            (folder / photo.name).write_bytes(photo.read_bytes())
    audited = run("descriptors", "audit", tmp_path / "d.json", "--images", tmp_path / "photos",
                  "-e", encoder, "--aggregate", top3, "-f", "csv")  # fmt: skip
    assert audited.count(" part ") == 15
    method = f"ensemble:templates=simple,aggregate={top3}"
    run("evaluate", tmp_path / "photos", "-m", f"photo,{method}", "-e", encoder, "-o", tmp_path / "run")
    assert method in (tmp_path / "run" / "report.md").read_text()
    assert "top3: " in " ".join(run("evaluate", "--list").replace("top3", "top3:").split())
