"""What a report of bias says in sentences: what images are taken for, one failure once, what it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import DESCRIPTOR, planted_set

from vlcls.bias import (
    BiasReport,
    Tags,
    check_failure_modes,
    check_held_out,
    failure_modes,
    find_bias,
    group_tags,
    joined_tags,
)
from vlcls.bias.folding import folded
from vlcls.bias.summary import conclusion, empty_searches, report_to_json
from vlcls.labelled import LabelledEmbeddings

LABELS = ("diving", "pole vaulting", "racing")


@pytest.fixture(scope="module")
def made() -> Any:
    return planted_set(0, per_cell=150)


@pytest.fixture(scope="module")
def report(made: Any) -> BiasReport:
    return find_bias(made.classifier, made.images, vocabulary=(made.words, made.word_embeddings))


def tagged(**columns: Sequence[bool]) -> Tags:
    return Tags(tuple(columns), np.array(list(columns.values()), dtype=bool).T)


# ---- what they are taken for -------------------------------------------------------------------------------


def test_a_failure_mode_says_what_its_images_are_taken_for():
    board = np.arange(100) < 30
    predicted = np.where(board, 1, 0)
    predicted[:4], predicted[4:10] = 0, 2
    found = failure_modes(predicted == 0, np.zeros(100, int), tagged(board=board), predicted=predicted)
    (mode,) = found.modes
    assert mode.taken_for == ((1, 20), (2, 6)) and mode.count - mode.right == 26
    assert mode.mistaken(LABELS) == "taken for pole vaulting (20), racing (6)"
    many = replace(mode, taken_for=((2, 5), (1, 4), (0, 3), (3, 2), (4, 1)))
    assert (
        many.mistaken((*LABELS, "x", "y"))
        == "taken for racing (5), pole vaulting (4), diving (3), 3 for others"
    )
    # On other images, too; and nothing is said where only right and wrong is known.
    (other,) = check_failure_modes(
        [mode], predicted[::2] == 0, np.zeros(50, int), tagged(board=board[::2]), predicted=predicted[::2]
    )
    assert other.taken_for == ((1, 10), (2, 3))
    (silent,) = failure_modes(predicted == 0, np.zeros(100, int), tagged(board=board)).modes
    assert silent.taken_for == () and silent.mistaken(LABELS) == ""


def test_every_mode_of_a_report_counts_all_of_its_mistakes(made: Any, report: BiasReport):
    held = check_held_out(report, made.classifier, made.images)
    assert report.failures.modes
    for mode in (*report.failures.modes, *held.failures):
        assert sum(count for _, count in mode.taken_for) == mode.count - mode.right
        assert mode.index not in dict(mode.taken_for)
        assert [count for _, count in mode.taken_for] == sorted((c for _, c in mode.taken_for), reverse=True)


# ---- one failure once --------------------------------------------------------------------------------------


def search(right: np.ndarray, classes: np.ndarray, tags: Tags) -> list[list[tuple[str, ...]]]:
    """The words of all modes, those that were folded together in one list."""
    found = failure_modes(right, classes, tags)
    folds = folded(found.modes, right, classes, tags)
    assert sorted(place for fold in folds for place in fold) == list(range(len(found.modes)))
    return [[found.modes[place].words for place in fold] for fold in folds]


def test_words_for_the_same_images_are_one_failure():
    rng = np.random.default_rng(0)
    sand = rng.random(600) < 0.4
    beach, sea = sand ^ (rng.random(600) < 0.04), sand & (rng.random(600) < 0.8)
    right = rng.random(600) < np.where(sand, 0.15, 0.95)
    classes = np.zeros(600, int)
    (fold,) = search(right, classes, tagged(sand=sand, beach=beach, sea=sea))
    assert fold[0] == ("sand",) and {("beach",), ("sea",)} <= set(fold[1:])


def test_failures_of_other_images_stay_apart():
    rng = np.random.default_rng(1)
    sand, night = rng.random(1200) < 0.3, rng.random(1200) < 0.3
    right = rng.random(1200) < np.where(sand, 0.2, np.where(night, 0.4, 0.95))
    folds = search(right, np.zeros(1200, int), tagged(sand=sand, night=night))
    assert [fold[0] for fold in folds] == [("sand",), ("night",)]
    # Two words that never meet are two failures, however few images are left to compare with.
    left = np.arange(40) < 15
    folds = search(
        ~(left | (np.arange(40) >= 25)), np.zeros(40, int), tagged(left=left, right=np.arange(40) >= 25)
    )
    assert all(len(fold) == 1 for fold in folds)


def test_nested_words_are_one_failure():
    rng = np.random.default_rng(2)
    sand, night = rng.random(2000) < 0.5, rng.random(2000) < 0.5
    right = rng.random(2000) < np.where(sand & night, 0.05, np.where(sand, 0.5, 0.95))
    folds = search(right, np.zeros(2000, int), tagged(sand=sand, night=night))
    (own,) = [fold for fold in folds if ("sand",) in fold]
    assert ("sand", "night") in own


def test_a_known_group_stands_for_words_of_the_same_images():
    sand = np.arange(100) < 40
    tags = joined_tags(tagged(red=sand, wide=sand), group_tags({"place": ["sand"] * 40 + ["sea"] * 60}, 100))
    ((head, *others),) = search(~sand, np.zeros(100, int), tags)
    assert head == ("place: sand",) and {("red",), ("wide",)} <= set(others)


def test_other_classes_are_never_folded_together():
    sand = np.tile(np.arange(100) < 40, 2)
    classes = np.repeat([0, 1], 100)
    folds = search(~sand, classes, tagged(sand=sand))
    assert folds == [[("sand",)], [("sand",)]]


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_folds_hold_every_mode_once_and_nested_ones_together(seed: int, words: int):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 2, 200)
    present = rng.random((200, words)) < rng.uniform(0.2, 0.8, words)
    right = rng.random(200) < np.where(present[:, 0], 0.2, 0.9)
    tags = Tags(tuple(f"w{place}" for place in range(words)), present)
    found = failure_modes(right, classes, tags, alpha=0.3)
    folds = folded(found.modes, right, classes, tags)
    assert sorted(place for fold in folds for place in fold) == list(range(len(found.modes)))
    heads = [found.modes[fold[0]] for fold in folds]
    for fold in folds:
        assert {found.modes[place].index for place in fold} == {found.modes[fold[0]].index}
    for one in heads:
        for other in heads:
            assert one is other or one.index != other.index or not set(one.places) <= set(other.places)


def test_a_planted_failure_is_told_once(report: BiasReport):
    """Sand is behind the cows of two groups: three words for one failure."""
    heads = [report.failures.modes[fold[0]] for fold in report.folds]
    cows = [mode for mode in heads if mode.index == 0]
    assert [mode.words for mode in cows] == [("yellow sand",)]
    others = {report.failures.modes[place].words for place in report.folds[0][1:]}
    assert {("place: beach",), ("place: desert",)} <= others
    data = report_to_json(report, ("cow", "horse", "sheep"))["failure_modes"]["found"]
    assert data[0]["words"] == ["yellow sand"] and len(data[0]["folded"]) == len(others)
    assert data[0]["taken_for"][0]["images"] > 0 and data[0]["taken_for"][0]["label"] in ("horse", "sheep")


# ---- what it comes to --------------------------------------------------------------------------------------


def test_what_is_found_is_said_last(report: BiasReport):
    said = conclusion(report, ("cow", "horse", "sheep"))
    assert said.startswith(f"In short: without “{DESCRIPTOR}” of cow the worst group (place: ")
    assert (
        " points; cow with “yellow sand” is " in said and " taken for " in said and said.endswith(" images).")
    )
    assert empty_searches(report) == []


def without_groups(images: LabelledEmbeddings) -> LabelledEmbeddings:
    return replace(images, groups={})


def test_without_groups_the_mistakes_are_said(made: Any):
    images = without_groups(made.images)
    found = find_bias(made.classifier, images, vocabulary=(["a beach"], made.word_embeddings[:1]), least=2)
    said = conclusion(found, ("cow", "horse", "sheep"))
    assert "no groups to tell whether a word does harm" in said
    own, given, count, of = found.mistakes[0]
    truth = images.class_indices.numpy()[found.split.shown]
    predicted = made.classifier.similarities(images.embeddings[found.split.shown]).argmax(1).numpy()
    assert count == ((truth == own) & (predicted == given)).sum() > 0 and of == (truth == own).sum()
    if not found.folds:
        assert f"the most frequent mistake is cow taken for {('cow', 'horse', 'sheep')[given]}" in said
    left, depends, *_ = empty_searches(found)
    assert "was not looked for" in left and "was not looked for" in depends


def test_an_empty_search_says_what_was_tried():
    made = planted_set(1003, planted=False, per_cell=20)
    found = find_bias(made.classifier, made.images, vocabulary=(made.words, made.word_embeddings), least=5)
    assert found.empty
    left, depends, modes = empty_searches(found)
    assert "each of 12 descriptors was left out in turn" in left
    assert f"{found.reliance.tested} pairs of a descriptor and a group" in depends
    assert f"{found.failures.tested} combinations of {len(found.failures.tried)} words were tried" in modes
    assert (
        all(f"“{word}”" in modes for word in found.failures.tried[:5])
        and "place: beach" in found.failures.tried
    )
    said = conclusion(found, ("cow", "horse", "sheep"))
    assert said.startswith("In short: no single word helps by being left out; the most frequent mistake is ")
    data = report_to_json(found, ("cow", "horse", "sheep"))
    assert data["conclusion"] == said and data["empty_searches"] == [left, depends, modes]
    # Nothing to describe failures with, and too few images to compare.
    none = find_bias(made.classifier, without_groups(made.images))
    assert "there are no words to describe them with" in empty_searches(none)[-1]
    few = find_bias(made.classifier, made.images, vocabulary=(made.words, made.word_embeddings), least=1000)
    assert "has 1000 images of a class with it and 1000 without" in empty_searches(few)[-1]


def test_what_leaving_out_does_is_counted(made: Any, report: BiasReport):
    """From scratch: every descriptor that was found, left out of a classifier of its own."""
    from vlcls.bias import without_piece
    from vlcls.explain.pieces import Pieces

    rows = report.split.shown
    truth = made.images.class_indices.numpy()[rows]
    images = made.images.embeddings[rows]
    right = made.classifier.similarities(images).argmax(1).numpy() == truth
    pieces = Pieces(made.classifier)
    assert {(each.index, each.text) for each in report.reliance.found} == set(report.left_out)
    for (index, text), found in report.left_out.items():
        piece = next(p for p, n in enumerate(pieces.names) if n == text and int(pieces.places[p]) == index)
        now = without_piece(made.classifier, piece).similarities(images).argmax(1).numpy() == truth
        assert (found.gained, found.lost) == (int((now & ~right).sum()), int((right & ~now).sum()))
    assert report.left_out[0, DESCRIPTOR].net > 0
