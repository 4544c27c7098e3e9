"""Labels judged out of fold: the deal, the probe against scikit-learn's, planted errors, what is left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlcls.errors import EmbeddingError
from vlcls.explain import doubted_out_of_fold
from vlcls.explain.out_of_fold import _probes, dealt
from vlcls.labelled import LabelledEmbeddings

LABELS = ("cat", "dog", "owl", "bee")


def embedded(rows: np.ndarray, truth: np.ndarray) -> LabelledEmbeddings:
    return LabelledEmbeddings(
        torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True)).float(),
        torch.from_numpy(truth),
        {},
        tuple(f"{row}.png" for row in range(len(rows))),
    )


def clusters(
    seed: int, counts: tuple[int, ...], width: int = 40, noise: float = 0.2
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(counts), width))
    truth = np.repeat(np.arange(len(counts)), counts)
    return centres[truth] / width**0.5 + noise * rng.normal(size=(len(truth), width)), truth


@pytest.mark.parametrize("counts", [(30, 30, 30, 30), (80, 40, 20, 10)])
def test_planted_errors_come_first(counts: tuple[int, ...]):
    rows, truth = clusters(0, counts)
    rng = np.random.default_rng(1)
    flipped = rng.choice(len(truth), 12, replace=False)
    wrong = truth.copy()
    wrong[flipped] = (wrong[flipped] + rng.integers(1, 4, 12)) % 4
    found = doubted_out_of_fold(embedded(rows, wrong), LABELS)
    assert (found.judged, found.left) == (len(truth), 0)
    first = [doubt.row for doubt in found.doubts[:12]]
    assert len(set(first) & set(flipped.tolist())) >= 11
    scores = [doubt.score for doubt in found.doubts]
    assert scores == sorted(scores, reverse=True) and 0 <= scores[-1] <= scores[0] <= 1
    for doubt in found.doubts:
        assert (
            doubt.image == f"{doubt.row}.png" and doubt.label == LABELS[wrong[doubt.row]] != doubt.predicted
        )


def test_right_labels_are_not_doubted():
    rows, truth = clusters(2, (20, 20, 20), noise=0.02)
    assert doubted_out_of_fold(embedded(rows, truth), LABELS).doubts == ()


def test_labels_that_mean_nothing_are_doubted_as_often_as_chance_has_it():
    """A probe that had seen an image, or a copy of it, would agree with its label."""
    rng = np.random.default_rng(3)
    rows, truth = rng.normal(size=(150, 400)), rng.integers(0, 3, 150)
    copied = np.concatenate([rows, rows]), np.concatenate([truth, truth])
    for images, labels in ((rows, truth), copied):
        found = doubted_out_of_fold(embedded(images, labels), LABELS)
        assert 0.5 < len(found.doubts) / len(labels) < 0.83


@pytest.mark.parametrize(("count", "width"), [(60, 12), (30, 80)])
def test_the_probe_against_scikit_learn(count: int, width: int):
    """Both ways to solve it: fewer images than dimensions, and more."""
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(4)
    rows, place = rng.normal(size=(count, width)), np.sort(rng.integers(0, 3, count))
    parts = dealt(rows, place, 5, 0)
    seen = 0
    for own, probe in _probes(rows, place, parts, np.eye(3)):
        others = np.setdiff1d(np.arange(count), own)
        weights = 1 / np.bincount(place[others])[place[others]]
        weights *= len(others) / weights.sum()
        for penalty in (0.01, 3.0):
            ridge = linear.Ridge(alpha=penalty).fit(rows[others], np.eye(3)[place[others]], weights)
            np.testing.assert_allclose(probe(penalty), ridge.predict(rows[own]), atol=1e-8)
        seen += len(own)
    assert seen == count


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=60), st.integers(2, 7))
def test_the_deal_is_even_and_keeps_copies_together(images: list[tuple[int, int]], folds: int):
    truth = np.array([index for index, _ in images])
    rows = np.eye(6)[[copy for _, copy in images]]
    parts = dealt(rows, truth, folds, 0)
    assert parts.min() >= 0 and parts.max() < folds
    for copy in range(6):
        assert len(set(parts[rows[:, copy] == 1].tolist())) <= 1
    distinct = np.arange(len(images))[:, None] * np.ones((1, 2))
    parts = dealt(distinct, truth, folds, 0)
    for index in set(truth.tolist()):
        counts = np.bincount(parts[truth == index], minlength=folds)
        assert counts.max() - counts.min() <= 1
    total = np.bincount(parts, minlength=folds)
    assert total.max() - total.min() <= 1


def test_what_nothing_speaks_for_is_not_judged():
    rows, truth = clusters(5, (12, 12, 1))
    found = doubted_out_of_fold(embedded(rows, truth), LABELS)
    assert (found.judged, found.left) == (24, 1) and all(doubt.label != "owl" for doubt in found.doubts)
    # Two copies are one image.
    rows, truth = np.concatenate([rows, rows[-1:]]), np.append(truth, 2)
    assert doubted_out_of_fold(embedded(rows, truth), LABELS).left == 2
    for counts in ((1,), (1, 1), (9,)):
        rows, truth = clusters(6, counts)
        found = doubted_out_of_fold(embedded(rows, truth), LABELS)
        assert (found.doubts, found.judged, found.left) == ((), 0, len(truth))
    with pytest.raises(EmbeddingError, match="two folds"):
        doubted_out_of_fold(embedded(rows, truth), LABELS, folds=1)
    # Classes without images, between those that have some.
    rows, truth = clusters(7, (10, 10))
    found = doubted_out_of_fold(embedded(rows, 2 * truth + 1), LABELS)
    assert found.judged == 20 and {doubt.label for doubt in found.doubts} <= {"dog", "bee"}
