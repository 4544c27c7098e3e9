"""Failure modes: every combination against slow loops, minimality, and tags apart from the classifier."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from planted import planted_set
from scipy.stats import fisher_exact

from vlcls import PromptClassifier
from vlcls.bias import (
    Tags,
    check_failure_modes,
    failure_modes,
    fit_tagger,
    group_tags,
    joined_tags,
)
from vlcls.bias import failures as module
from vlcls.errors import EmbeddingError, EvaluationError
from vlcls.evaluation import holm
from vlcls.evaluation.metrics.intervals import apart, proportion
from vlcls.labels import as_labels
from vlcls.prompts import Prompt, PromptSet

LEAST, DROP, STEP, LARGEST = 4, 0.1, 0.05, 3


def slow(right, classes, present, alpha):
    """All combinations one by one: the p value of each that is tested, and which are reported."""
    tested = {}
    for index in sorted(set(classes)):
        own = classes == index
        for size in range(1, LARGEST + 1):
            for places in combinations(range(present.shape[1]), size):
                p_values, enough = [], True
                for left in places:
                    wider = own.copy()
                    for place in places:
                        if place != left:
                            wider &= present[:, place]
                    here, without = wider & present[:, left], wider & ~present[:, left]
                    enough &= here.sum() >= LEAST and without.sum() >= LEAST
                    table = [[(~right[side]).sum(), right[side].sum()] for side in (here, without)]
                    p_values.append(fisher_exact(table, "greater").pvalue)
                if enough:
                    tested[index, places] = max(p_values)
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    reported = set()
    for (index, places), p_value in adjusted.items():
        own = classes == index
        here = own & present[:, list(places)].all(1)
        falls = right[own & ~here].mean() - right[here].mean() >= DROP
        minimal = all(
            right[own & present[:, [p for p in places if p != left]].all(1)].mean() - right[here].mean()
            >= STEP
            for left in places
        )
        if p_value <= alpha and falls and minimal:
            reported.add((index, places))
    return tested, adjusted, reported


@given(
    st.integers(0, 10_000),
    st.integers(20, 70),
    st.integers(1, 5),
    st.sampled_from([0.05, 0.3, 1.0]),
)
def test_the_search_against_slow_loops(seed, count, words, alpha):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 2, count)
    present = rng.random((count, words)) < rng.uniform(0.2, 0.8, words)
    chance = np.where(present[:, 0] & present[:, -1], 0.1, 0.8)
    right = rng.random(count) < chance
    tags = Tags(tuple(f"w{place}" for place in range(words)), present)
    found = failure_modes(
        right, classes, tags, alpha=alpha, least=LEAST, drop=DROP, step=STEP, largest=LARGEST
    )
    tested, adjusted, reported = slow(right, classes, present, alpha)
    assert found.tested == len(tested) and found.complete_to == LARGEST
    assert {(mode.index, mode.places) for mode in found.modes} == reported
    for mode in found.modes:
        key = mode.index, mode.places
        assert mode.p_value == pytest.approx(tested[key]) and mode.adjusted == pytest.approx(adjusted[key])
        here = (classes == mode.index) & present[:, list(mode.places)].all(1)
        assert (mode.count, mode.right) == (here.sum(), right[here].sum())
        assert mode.count + mode.others == (classes == mode.index).sum()
        assert here[list(mode.examples)].all() and len(mode.examples) == min(6, mode.count)
        wrong = [not right[row] for row in mode.examples]
        assert wrong == sorted(wrong, reverse=True)


def cows(count=60):
    """Images fail with snow and night together, and hardly with either; "cloud" comes along with anything."""
    rng = np.random.default_rng(5)
    present = np.array([[snow, night] for snow in (0, 1) for night in (0, 1)] * count, dtype=bool)
    both = present.all(1)
    right = rng.random(len(present)) < np.where(both, 0.1, 0.95)
    present = np.concatenate([present, rng.random((len(present), 1)) < 0.5], axis=1)
    return right, np.zeros(len(present), dtype=int), Tags(("snow", "night", "cloud"), present)


def test_a_combination_is_reported_with_the_words_that_it_needs():
    right, classes, tags = cows()
    found = failure_modes(right, classes, tags, step=0.2)
    # Either word alone has half of its images failing, so each is true and minimal, too, if less certain.
    words = {mode.words for mode in found.modes}
    assert ("snow", "night") in words and words <= {("snow",), ("night",), ("snow", "night")}
    mode = next(each for each in found.modes if len(each.words) == 2)
    assert mode.count == 60 and mode.drop.low > 0.6
    assert mode.sentence("cow") == (
        f"cow with “snow” and “night”: {mode.right} of 60 right ({mode.right / 60:.0%}), "
        f"otherwise {mode.others_right} of 180 ({mode.others_right / 180:.0%})"
    )
    checked = check_failure_modes(found.modes, right, classes, tags)
    assert [each.p_value for each in checked] == [each.p_value for each in found.modes]
    # Where nothing is wrong with them, or where there are none, nothing is confirmed.
    fine = check_failure_modes([mode], np.ones(240, bool), classes, tags)[0]
    assert fine.adjusted == 1 and fine.drop.value == 0
    nowhere = Tags(tags.words, np.zeros_like(tags.present))
    none = check_failure_modes([mode], right, classes, nowhere)[0]
    assert (none.count, none.drop, none.adjusted) == (0, None, 1) and "nothing to compare" in none.sentence(
        "cow"
    )


def test_a_search_too_large_says_how_far_it_went(monkeypatch):
    right, classes, tags = cows()
    monkeypatch.setattr(module, "MOST", 2)
    found = failure_modes(right, classes, tags)
    assert (found.complete_to, found.tested, found.modes) == (0, 0, ())
    monkeypatch.setattr(module, "MOST", 3)
    assert failure_modes(right, classes, tags, largest=2).complete_to == 2


def test_an_interval_by_hand():
    # Newcombe (1998), table II, case (a): 56/70 - 48/80 is 0.2 with 0.0524 to 0.3339 by method 10.
    found = apart(proportion(56, 70), proportion(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_results_and_tags_of_other_images_are_refused():
    with pytest.raises(EvaluationError, match="2 results, 3 classes"):
        failure_modes([True, False], [0, 0, 1], Tags(("a",), np.zeros((2, 1), bool)))
    empty = failure_modes([True], [0], Tags((), np.zeros((1, 0), bool)))
    assert (empty.modes, empty.tested) == ((), 0)


# ---- tags -----------------------------------------------------------------------------------------------


def unit(*shape, seed=0):
    return torch.nn.functional.normalize(
        torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1
    )


def some_classifier(aggregate="mean-similarity", width=24):
    prompts = tuple(Prompt(f"p{row}", row // 2, "descriptor", descriptor=f"d{row}") for row in range(6))
    labels = as_labels(["a", "b", "c"])
    return PromptClassifier(PromptSet(labels, prompts), unit(6, width, seed=3), aggregate=aggregate)


@pytest.mark.parametrize("aggregate", ["mean-similarity", "mean-embedding", "max"])
def test_what_is_left_of_a_word_cannot_tell_classes_apart(aggregate):
    classifier = some_classifier(aggregate)
    words = [f"w{row}" for row in range(8)]
    images = unit(50, 24, seed=1)
    tagger = fit_tagger(words, unit(8, 24, seed=2), images, classifier, above=1.0)
    if aggregate == "max":
        vectors = classifier.text_embeddings.double().numpy()
    elif aggregate == "mean-embedding":
        vectors = classifier.zero_shot_weights.double().numpy()
    else:
        vectors = classifier.class_means.double().numpy()
    for first, second in combinations(range(len(vectors)), 2):
        assert np.abs(tagger.directions @ (vectors[first] - vectors[second])).max() < 1e-6
    # By loops: mean and standard deviation over the images.
    found = tagger(images)
    for column in range(8):
        values = [float(tagger.directions[column] @ image.double().numpy()) for image in images]
        threshold = np.mean(values) + np.std(values)
        assert tagger.thresholds[column] == pytest.approx(threshold, abs=1e-6)
        assert found.present[:, column].tolist() == [value >= threshold - 1e-9 for value in values]
    # Thresholds stay as they are on other images, and one image alone is tagged as among many.
    assert (tagger(images[7:8]).present == found.present[7:8]).all()


def test_words_that_are_the_classifier_say_nothing():
    classifier = some_classifier()
    differences = torch.stack([
        classifier.class_means[0] - classifier.class_means[1],
        classifier.class_means[1] - classifier.class_means[0],
    ])  # fmt: skip
    tagger = fit_tagger(["b to a", "a to b"], differences, unit(9, 24), classifier)
    assert tagger.words == () and tagger(unit(9, 24)).present.shape == (9, 0)


def test_words_of_the_classifier_do_not_explain_its_errors_in_circles():
    """Images with more of a rival's descriptors are wrong more often, which says nothing."""
    alarms, plain = 0, 0
    for seed in range(30):
        made = planted_set(seed, planted=False, per_cell=30)
        texts, images = made.classifier.text_embeddings, made.images.embeddings
        words = [prompt.descriptor for prompt in made.classifier.prompts]
        truth = made.images.class_indices
        right = (made.classifier.similarities(images).argmax(1) == truth).numpy()
        tags = fit_tagger(words, texts, images, made.classifier)(images)
        alarms += bool(failure_modes(right, truth, tags, least=5).modes)
        centred = texts - texts.mean(0)
        similarities = (images @ centred.T).numpy()
        present = similarities >= similarities.mean(0) + similarities.std(0)
        plain += bool(failure_modes(right, truth, Tags(tuple(words), present), least=5).modes)
    assert alarms <= 2 and plain >= 3


def test_backgrounds_are_tagged():
    made = planted_set(0, planted=False)
    tagger = fit_tagger(made.words, made.word_embeddings, made.images.embeddings, made.classifier)
    found = tagger(made.images.embeddings)
    sand = found.present[:, tagger.words.index("yellow sand")]
    places = np.array(made.images.groups["place"])
    cow = made.images.class_indices.numpy() == 0
    dry = np.isin(places, ["beach", "desert"])
    assert sand[cow & dry].mean() > 0.9 and sand[cow & ~dry].mean() < 0.01


def test_groups_are_words_too():
    groups = {"place": ["sea", "land", "sea"], "time": ["day", "day", "night"]}
    tags = group_tags(groups, 3)
    assert tags.words == ("place: land", "place: sea", "time: day", "time: night")
    assert tags.present.tolist() == [[0, 1, 1, 0], [1, 0, 1, 0], [0, 1, 0, 1]]
    both = joined_tags(Tags(("x",), np.ones((3, 1), bool)), tags)
    assert both.words[0] == "x" and both.present.shape == (3, 5)
    assert group_tags({}, 3).present.shape == (3, 0)


def test_words_that_do_not_fit():
    with pytest.raises(EmbeddingError, match="2 embeddings for 1 words"):
        fit_tagger(["a"], unit(2, 24), unit(3, 24), some_classifier())
    with pytest.raises(EmbeddingError, match="different encoders"):
        fit_tagger(["a", "b"], unit(2, 8), unit(3, 24), some_classifier())
