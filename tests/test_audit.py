"""The audit of descriptors, against classifiers that are built again without them."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch.nn.functional import normalize

from vlcls import Prompt, PromptClassifier, PromptSet, VlclsError, explain_images
from vlcls.binomial import mcnemar
from vlcls.classifiers.scorers import SCORERS
from vlcls.classifiers.weighting import Weighting
from vlcls.errors import EmbeddingError
from vlcls.explain import audit_descriptors
from vlcls.explain.audit import _adjusted
from vlcls.labels import as_labels

WEIGHTS = [[1], [1, 2], [0.5, 0, 3], [0, 1], [2, 2, 1, 0.25, 1]]
COUNT, DIM = 150, 10


def ragged(aggregate, templates=1, **options):
    prompts = [
        Prompt(f"t{t} c{c} d{d}", c, "descriptor", template=t, weight=w * (1 + t), descriptor=f"c{c} d{d}")
        for c, weights in enumerate(WEIGHTS)
        for t in range(templates)
        for d, w in enumerate(weights)
    ]
    torch.manual_seed(0)
    texts = normalize(torch.randn(len(prompts), DIM), dim=1)
    labels = as_labels([f"class {c}" for c in range(len(WEIGHTS))])
    return PromptClassifier(PromptSet(labels, tuple(prompts)), texts, aggregate=aggregate, **options)


def data(classifier):
    """Images scattered about the means of their classes; half of class 3's are something else."""
    torch.manual_seed(1)
    truth = torch.randint(0, len(WEIGHTS), (COUNT,))
    rows = normalize(classifier.zero_shot_weights[truth] + 0.7 * torch.randn(COUNT, DIM), dim=1)
    return rows, truth


def without(classifier, text):
    """The classifier built again without one descriptor; None if its class would be empty."""
    kept = [row for row, prompt in enumerate(classifier.prompts) if prompt.descriptor != text]
    prompts = tuple(classifier.prompts.prompts[row] for row in kept)
    try:
        prompt_set = PromptSet(classifier.labels, prompts)
    except VlclsError:
        return None
    return PromptClassifier(prompt_set, classifier.text_embeddings[kept], aggregate=classifier.aggregate)


@pytest.mark.parametrize("templates", [1, 2])
@pytest.mark.parametrize("aggregate", SCORERS)
def test_leaving_out_is_the_classifier_without_it(aggregate, templates, monkeypatch):
    classifier = ragged(aggregate, templates)
    rows, truth = data(classifier)
    # Seven images at a time: nothing may depend on where a chunk ends.
    monkeypatch.setattr("vlcls.explain.audit._ENTRIES_AT_ONCE", 7 * sum(map(len, WEIGHTS)))
    steps = []
    found = audit_descriptors(classifier, rows, truth, progress=steps.append)
    assert sum(steps) == found.images == COUNT and len(steps) > 20
    before = classifier.similarities(rows).argmax(1)
    assert 0.2 < found.accuracy < 1 and found.accuracy == float((before == truth).double().mean())
    assert [piece.text for piece in found.pieces] == [
        f"c{c} d{d}" for c, weights in enumerate(WEIGHTS) for d in range(len(weights))
    ]
    changes = 0
    for piece in found.pieces:
        fewer = without(classifier, piece.text)
        if fewer is None:
            assert piece.without is None and piece.verdict == "cannot be left out"
            continue
        after = fewer.similarities(rows).argmax(1)
        assert piece.without.accuracy == pytest.approx(float((after == truth).double().mean()), abs=1e-12)
        assert piece.without.changed == int((after != before).sum())
        assert piece.without.lost == int(((before == truth) & (after != truth)).sum())
        assert piece.without.gained == int(((before != truth) & (after == truth)).sum())
        changes += piece.without.changed
    assert changes > 20
    assert [p.text for p in found.pieces if p.without is None] == ["c0 d0", "c3 d1"]
    unused = [piece for piece in found.pieces if piece.text in ("c2 d1", "c3 d0")]
    assert [piece.verdict for piece in unused] == ["never matters"] * 2


@pytest.mark.parametrize("aggregate", SCORERS)
def test_means_are_those_of_the_explanations(aggregate):
    classifier = ragged(aggregate)
    rows, truth = data(classifier)
    similarities = classifier.similarities(rows)
    sums = {}
    for row, explanation in enumerate(explain_images(classifier, rows, range(len(WEIGHTS)))):
        true = int(truth[row])
        scores = similarities[row].clone()
        scores[true] = -math.inf
        rival = int(scores.argmax())
        verdict = "right" if explanation.predicted.index == true else "wrong"
        for evidence in explanation.classes:
            for each in evidence.contributions:
                where = "inside" if evidence.index == true else "outside"
                sums.setdefault((each.text, where), []).append(each.similarity)
                if evidence.index in (true, rival):
                    sign = 1 if evidence.index == true else -1
                    sums.setdefault((each.text, verdict), []).append(sign * each.margin)
    for piece in audit_descriptors(classifier, rows, truth).pieces:
        for part in ("inside", "outside", "right", "wrong"):
            expected = sums.get((piece.text, part))
            expected = None if expected is None else np.mean(expected)
            assert getattr(piece, part) == pytest.approx(expected, abs=1e-9)


def axes(*texts, aggregate="mean-similarity"):
    """A classifier over the axes of space: (class, axis, weight) each."""
    prompts = tuple(Prompt(f"{c}{a}", c, "descriptor", weight=w) for c, a, w in texts)
    labels = as_labels([f"class {c}" for c in range(1 + max(c for c, _, _ in texts))])
    rows = torch.eye(4)[[a for _, a, _ in texts]]
    return PromptClassifier(PromptSet(labels, prompts), rows, aggregate=aggregate)


def test_verdicts_by_hand():
    # Class 0 looks along axes 0 and 1, class 1 along 2 and 3; axis 1 is in truth a sign of class 1.
    classifier = axes((0, 0, 1), (0, 1, 1), (1, 2, 1), (1, 3, 1))
    images = torch.tensor([[3.0, 0, 1, 0]] * 10 + [[0, 3, 2, 0]] * 10 + [[0, 0.1, 2, 0]] * 4)
    truth = [0] * 10 + [1] * 14
    found = audit_descriptors(classifier, images, truth)
    zero, one, two, three = found.pieces
    assert found.accuracy == 14 / 24
    # Without axis 0, class 0 scores 0 on the first ten, and class 1 half of 1: all ten are lost.
    assert (zero.without.lost, zero.without.gained, zero.verdict) == (10, 0, "helps")
    assert zero.without.p_value == 2 / 2**10
    # Without axis 1 the ten images of class 1 are won: 0 against half of 2.
    assert (one.without.lost, one.without.gained, one.verdict) == (0, 10, "hurts")
    # Without axis 2, four images have nothing left to be class 1: too few to tell from chance.
    assert (two.without.lost, two.without.gained, two.verdict) == (4, 0, "unclear")
    # Axis 3 is empty, and class 1 is better without it: 3/2 against 1 stays, 3/2 against 2 is won.
    assert (three.without.lost, three.without.gained, three.verdict) == (0, 10, "hurts")
    # Of 4 p-values (0.00195 three times, 0.125) the corrected are 4/3 and 4/4 of them.
    assert zero.without.adjusted == pytest.approx(4 / 3 * 2 / 2**10)
    assert two.without.adjusted == pytest.approx(0.125)
    assert audit_descriptors(classifier, images, truth, alpha=0.002).pieces[0].verdict == "unclear"


def test_ties_go_to_the_first_class_and_the_first_piece():
    images, truth = torch.eye(4)[:2], [1, 1]
    twins = axes((0, 0, 1), (0, 0, 1), (1, 0, 1), (1, 1, 1), aggregate="max")
    found = audit_descriptors(twins, images, truth)
    assert found.accuracy == 0.5  # both classes reach 1 on the first image, and the first has it
    first, second, shared, _ = found.pieces
    assert first.without.changed == second.without.changed == 0  # each twin stands in for the other
    assert shared.without.changed == 0
    single = audit_descriptors(axes((0, 0, 1), (0, 1, 1)), images, [0, 0])
    assert single.accuracy == 1 and {piece.verdict for piece in single.pieces} == {"never matters"}
    assert single.pieces[0].outside is None and single.pieces[0].wrong is None


def test_p_values_are_those_of_scipy():
    lost, gained = [0, 1, 5, 10, 3, 700], [0, 0, 5, 1, 12, 650]
    expected = [1.0] + [binomtest(a, a + b).pvalue for a, b in list(zip(lost, gained, strict=True))[1:]]
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9)
    # By hand: 3 tests; 0.01 * 3 / 1, 0.02 * 3 / 2, 0.5.
    assert _adjusted([0.01, 0.9, 0.5, 0.02], [True, False, True, True]) == pytest.approx([0.03, 1, 0.5, 0.03])
    assert _adjusted([0.01], [False]) == [1.0]


def test_data_that_does_not_fit():
    classifier = axes((0, 0, 1), (1, 1, 1))
    for rows, truth, message in (
        (torch.eye(4), [0], "4 image embeddings for 1 class"),
        (torch.zeros(0, 4), [], "0 image embeddings"),
        (torch.eye(4), [0, 1, 2, 0], r"0\.\.1"),
        (torch.eye(4), [0, 1, -1, 0], r"0\.\.1"),
        (torch.eye(3), [0, 1, 1], "3 wide"),
    ):
        with pytest.raises(EmbeddingError, match=message):
            audit_descriptors(classifier, rows, truth)
    weighted = ragged("mean-similarity", templates=2, weighting=Weighting())
    with pytest.raises(VlclsError, match="autoclip"):
        audit_descriptors(weighted, *data(weighted))
