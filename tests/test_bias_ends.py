"""Bias: the numbers of its formulas by hand, and what happens at their ends."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from planted import planted_set
from scipy.stats import ttest_ind

from vlcls import PromptClassifier
from vlcls.bias.effects import effect_of
from vlcls.bias.failures import _counts, _needed, failure_modes, one_sided
from vlcls.bias.folding import _there
from vlcls.bias.reliance import _mean_apart, _surprise, _Test
from vlcls.bias.suggestions import _statistics, suggest_removals
from vlcls.bias.summary import conclusion
from vlcls.bias.tags import Tagger, Tags, _space, fit_tagger
from vlcls.editing import score
from vlcls.labels import as_labels
from vlcls.prompts import Prompt, PromptSet

# ---- reliance -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (2, 12), (7, 7)])
def test_the_surprise_is_welchs_p_value(shape: tuple[int, int]):
    rng = np.random.default_rng(sum(shape))
    codes = np.repeat([0, 1], shape)
    own = rng.normal(size=(len(codes), 4)) * np.where(codes, 3, 1)[:, None] + 7
    own[:, 3] = 2.0  # the same on all images: no surprise
    test = _Test(0, np.arange(len(codes)), "g", ("a", "b"), codes, 0)
    found = _surprise(test, {0: own}, codes[None])[0]
    told = ttest_ind(own[codes == 0, :3], own[codes == 1, :3], equal_var=False).pvalue
    assert found[:3] == pytest.approx(-np.log(told)) and found[3] == 0


def test_a_side_without_spread_adds_none():
    codes = np.repeat([0, 1], [3, 4])
    own = np.array([1.0, 1, 1, 2, 3, 5, 6])[:, None]
    for group in (0, 1):
        test = _Test(0, np.arange(7), "g", ("a", "b"), codes, group)
        told = ttest_ind(own[:3, 0], own[3:, 0], equal_var=False).pvalue
        assert _surprise(test, {0: own}, codes[None])[0, 0] == pytest.approx(-np.log(told))


def test_one_column_less_the_others_by_hand():
    counts = np.array([[2, 1, 3], [4, 0, 0], [0, 5, 5]])  # the first row alone has both sides
    means = np.array([[0.9, 0.5, 0.1], [7.0, 0, 0], [0, 3, 3]])
    assert _mean_apart(counts, means, 0) == pytest.approx(0.9 - (0.5 + 3 * 0.1) / 4)
    assert _mean_apart(np.array([[3, 0], [0, 2]]), np.ones((2, 2)), 0) == 0
    assert _mean_apart(np.array([[3, 1]]), np.array([[0.4, 0.1]]), 0) == pytest.approx(0.3)
    with np.errstate(divide="raise", invalid="raise"):
        _mean_apart(counts, means, 0)


# ---- failures -------------------------------------------------------------------------------------------


def test_fishers_exact_test_at_its_ends():
    # 3 of 3 wrong against 1 of 4: 4 wrong ones of 7, (4 choose 3) / (7 choose 3); no images at all: 1.
    assert one_sided([(3, 0, 4, 3), (0, 0, 0, 0), (3, 3, 4, 3), (5, 2, 5, 0)]) == pytest.approx(
        [4 / 35, 1, 1, 1]
    )
    assert max(one_sided([(a, b, 9, 9 - b) for a in range(1, 9) for b in range(a + 1)])) <= 1


def test_a_word_is_needed_from_the_very_step_on():
    # Accuracy 1 / 4 with the word, (1 + 3) / 8 without asking for it.
    assert _needed([(4, 1, 4, 3)], 0.25) and not _needed([(4, 1, 4, 3)], 0.26)
    assert not _needed([(4, 1, 4, 3), (4, 1, 4, 2)], 0.25)


def test_combinations_have_no_more_words_than_asked_for():
    present, hits = np.ones((4, 3), dtype=bool), np.ones(4, dtype=bool)
    for largest, expected in ((1, 4), (2, 7), (3, 8)):
        counts, complete = _counts(present, hits, 1, largest)
        assert len(counts) == expected and complete == largest
        assert max(map(len, counts)) == largest


def test_wrong_classes_of_equal_counts_come_in_their_order():
    right = np.array([False] * 12 + [True] * 12)
    tags = Tags(("w",), np.arange(24)[:, None] < 12)
    predicted = np.array([3, 1, 2, 3, 1, 2, 3, 1, 2, 4, 4, 1] + [0] * 12)
    (mode,) = failure_modes(right, np.zeros(24), tags, predicted=predicted).modes
    assert mode.taken_for == ((1, 4), (2, 3), (3, 3), (4, 2))


def test_a_mode_stands_alone_with_just_enough_images():
    hits = np.array([False] * 10 + [True] * 10)
    rows, rest = ~hits, np.ones(20, dtype=bool)
    assert _there(rows, rest, hits, 10) and not _there(rows, rest, hits, 11)
    assert not _there(rows, rest & ~rows, hits, 0)  # no images of its own


# ---- tags -----------------------------------------------------------------------------------------------


def test_a_word_is_there_at_the_very_threshold():
    tagger = Tagger(("w", "v"), np.eye(2), np.array([1.0, 0.5]))
    assert tagger(np.array([[1.0, 0.0], [0.0, 1.0]])).present.tolist() == [[True, False], [False, True]]


def classifier_of(rows: Any) -> PromptClassifier:
    table = torch.as_tensor(rows, dtype=torch.float32)
    names = [f"c{place}" for place in range(len(table))]
    prompts = tuple(Prompt(name, place, "template") for place, name in enumerate(names))
    return PromptClassifier(PromptSet(as_labels(names), prompts), table)


def test_what_a_classifier_looks_at_has_as_many_directions_as_differ():
    rows = torch.zeros(3, 16)
    rows[0, 0] = rows[1, 1] = rows[2, 1] = 1  # two of the three classes are alike: one direction
    space = _space(classifier_of(rows))
    assert space.shape == (1, 16)
    assert abs(space[0, :2]) == pytest.approx([0.5**0.5] * 2)
    same = torch.zeros(2, 16)
    same[:, 3] = 1
    assert _space(classifier_of(same)).shape == (0, 16)


def test_the_mean_is_taken_out_of_two_words_and_not_of_one():
    rows = torch.zeros(2, 16)
    rows[0, 0] = rows[1, 1] = 1
    images = np.eye(16)
    one, two = np.eye(16)[[4]], np.eye(16)[[4, 5]]
    assert fit_tagger(["w"], one, images, classifier_of(rows)).directions == pytest.approx(one)
    found = fit_tagger(["w", "v"], two, images, classifier_of(rows)).directions
    assert found == pytest.approx((two - two.mean(0)), abs=1e-12)


# ---- suggestions ----------------------------------------------------------------------------------------


def test_the_statistic_by_hand():
    # Group 0 has 1 of 4 right and is the worst in the first deal, group 1 has 1 of 2.
    right = np.array([True, False, False, False, True, False])
    change = np.array([[1.0], [1.0], [-1.0]], dtype=np.float32)
    touched = np.array([False, True, True, False, True, False])
    codes = np.array([[0, 0, 0, 0, 1, 1], [0, 1, 0, 1, 0, 0]])
    found = _statistics(right, change, touched, codes)
    # Second deal: group 0 has 2 of 4 right, group 1 none of 2, of whose images one turns right.
    assert found[:, 0] == pytest.approx([2 / 4 - -1 / 2, 1 / 2 - (1 - 1) / 4])


def removals(made: Any, **options: Any) -> Any:
    images = made.images
    return suggest_removals(
        made.classifier,
        images.embeddings,
        images.class_indices,
        images.groups,
        deals=60,
        alpha=1.0,
        **options,
    )


def test_the_greatest_gain_is_suggested_first_and_no_more_than_asked_for():
    made = planted_set(4, per_cell=30)
    every = removals(made, most=99)
    gains = [each.predicted.change.value for each in every]
    assert len(every) > 2 and gains == sorted(gains, reverse=True) and min(gains) > 0
    pieces = [[each.piece for each in removals(made, most=most)] for most in (1, 2)]
    assert pieces == [[each.piece for each in every[:most]] for most in (1, 2)]


def test_a_column_of_one_group_is_no_column():
    made = planted_set(4, per_cell=30)
    alone = {"all": ["one"] * len(made.images)}
    images = replace(made.images, groups={**made.images.groups, **alone})
    assert removals(replace(made, images=replace(images, groups=alone))) == ()
    both, one = removals(replace(made, images=images)), removals(made)
    assert [each.adjusted for each in both] == [each.adjusted for each in one]


# ---- effects and sentences ------------------------------------------------------------------------------


def test_an_effect_as_json_by_hand():
    truth, groups = [0, 0, 0, 1, 1], ["a", "a", "a", "b", "b"]
    classifier = classifier_of(np.eye(2, 16))
    before = score(classifier, np.eye(2, 16)[[0, 1, 1, 1, 0]])
    after = replace(before, similarities=score(classifier, np.eye(2, 16)[[0, 0, 1, 1, 1]]).similarities)
    effect = effect_of(before, after, truth, {"g": groups}, "g")
    data = effect.to_json()
    assert (data["accuracy_before"], data["accuracy_after"], data["flips"]) == (2 / 5, 4 / 5, 2)
    assert data["worst_before"] == {"group": "a", "accuracy": 1 / 3, "images": 3}
    assert data["worst_after"] == {"group": "a", "accuracy": 2 / 3, "images": 3}
    assert data["change"]["value"] == pytest.approx(1 / 3) and data["p_value"] == 0.5


def report(**parts: Any) -> Any:
    """What `conclusion` reads of a report."""
    empty = {"suggestions": (), "removals": 1, "folds": (), "mistakes": (), "left_out": {}}
    reliance = SimpleNamespace(found=parts.pop("found", ()))
    return SimpleNamespace(**{**empty, **parts, "reliance": reliance})


def test_a_word_that_helps_by_being_left_out_is_said_and_no_other():
    found = [SimpleNamespace(index=0, text=text, label="cow", context=True) for text in ("grass", "sky")]
    for gained, said in (((5, 9), "“sky” of cow follows"), ((2, 3), "no single word helps")):
        left = {
            (0, each.text): SimpleNamespace(gained=more, lost=3, net=more - 3)
            for each, more in zip(found, gained, strict=True)
        }
        assert said in conclusion(report(found=found, left_out=left), ["cow"])


def test_the_first_mode_is_said_and_what_it_is_taken_for_most():
    modes = [
        SimpleNamespace(index=0, shown=word, count=10, right=right, taken_for=taken)
        for word, right, taken in (("“sand”", 2, ((1, 5), (2, 3))), ("“sea”", 2, ((2, 4), (1, 4))))
    ]
    failures = SimpleNamespace(modes=modes)
    said = conclusion(report(failures=failures, folds=((0,), (1,))), ["cow", "horse", "sheep"])
    assert said.endswith("cow with “sand” is taken for horse (5 of 10 images).")
    said = conclusion(report(failures=failures, folds=((1, 0),)), ["cow", "horse", "sheep"])
    assert said.endswith("cow with “sea” is most often taken for sheep (4 of 10 images).")
