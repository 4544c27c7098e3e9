"""Three ways from prompts to a class's similarity, against numbers worked by hand and loops in float64."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import vlcls
from vlcls.classifiers import banks
from vlcls.classifiers.scorers import SCORERS
from vlcls.errors import EncoderError, TemplateError
from vlcls.labels import as_labels
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


def test_an_aggregate_that_does_not_exist():
    with pytest.raises(vlcls.VlclsError, match=r"'median'.*mean-embedding, mean-similarity, max"):
        vlcls.PromptClassifier(prompt_set([1]), unit(1, 0), aggregate="median")


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
