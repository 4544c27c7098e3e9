"""Are the descriptors that decided predictions true of the images? Against explanations, one by one."""

import json
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from vlcls import Prompt, PromptClassifier, PromptSet, explain_images
from vlcls.classifiers.scorers import SCORERS
from vlcls.classifiers.weighting import Weighting
from vlcls.errors import EvaluationError
from vlcls.evaluation import reasons_that_are_true
from vlcls.labels import as_labels

COUNTS = [3, 1, 4, 2]
NAMES = [f"c{c} d{d}" for c, count in enumerate(COUNTS) for d in range(count)]
ATTRIBUTES = {name: place for place, name in enumerate(NAMES) if name != "c2 d1"}  # one is not annotated
COUNT, DIM = 50, 8


def made(aggregate="mean-similarity", **options):
    prompts = tuple(
        Prompt(f"{t} {name}", int(name[1]), "descriptor", template=t, descriptor=name)
        for name in NAMES
        for t in range(2)
    )
    torch.manual_seed(0)
    texts = normalize(torch.randn(len(prompts), DIM), dim=1)
    labels = as_labels([f"class {c}" for c in range(len(COUNTS))])
    return PromptClassifier(PromptSet(labels, prompts), texts, aggregate=aggregate, **options)


def data(classifier):
    torch.manual_seed(1)
    truth = torch.randint(0, len(COUNTS), (COUNT,))
    rows = normalize(classifier.zero_shot_weights[truth] + 0.5 * torch.randn(COUNT, DIM), dim=1)
    annotations = (torch.rand(COUNT, len(NAMES)) < 0.6).double().numpy()
    annotations[torch.rand(COUNT, len(NAMES)).numpy() < 0.1] = np.nan  # where nobody knows
    return rows, truth, annotations


def one_by_one(classifier, rows, truth, annotations, k):
    """For each image: right, the first reason, the first k, all; True, False or None."""
    for row, explained in enumerate(explain_images(classifier, rows)):
        found = explained.predicted
        reasons = list(found.contributions)
        if classifier.aggregate == "max":  # what decided is the nearest, then the others by similarity
            reasons.sort(key=lambda each: -each.similarity)
        said = [
            annotations[row, ATTRIBUTES[each.text]] if each.text in ATTRIBUTES else math.nan
            for each in reasons
        ]
        yield found.index == truth[row], said[:1], said[:k], said


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("options", [
    *({"aggregate": name} for name in SCORERS), {"weighting": Weighting("autoclip-within-class")},
], ids=str)  # fmt: skip
def test_reasons_are_those_of_explanations(options, k, monkeypatch):
    monkeypatch.setattr("vlcls.evaluation.metrics.reasons._ENTRIES_AT_ONCE", 7 * len(NAMES))
    classifier = made(**options)
    rows, truth, annotations = data(classifier)
    found = reasons_that_are_true(classifier, rows, truth, annotations, ATTRIBUTES, k=k)
    slow = list(one_by_one(classifier, rows, truth, annotations, k))
    parts = {"all": slow, "right": [s for s in slow if s[0]], "wrong": [s for s in slow if not s[0]]}
    assert 10 < len(parts["right"]) < COUNT - 3
    for name, own in parts.items():
        part = getattr(found, name)
        assert part.images == len(own)
        for estimate, column in ((part.at_1, 1), (part.at_k, 2), (part.chance, 3)):
            known = [[v for v in each[column] if not math.isnan(v)] for each in own]
            means = [np.mean(values) for values in known if values]
            assert estimate.value == pytest.approx(np.mean(means)), (name, column)
            assert estimate.low <= estimate.value <= estimate.high
        assert part.known_at_1 == sum(not math.isnan(each[1][0]) for each in own)
    assert (found.k, found.descriptors, found.annotated) == (k, len(NAMES), len(NAMES) - 1)
    json.dumps(found.to_json(), allow_nan=False)


def test_reasons_by_hand():
    """Axes as descriptors: the first image is of class 0 for its horns, which it has; the second of class 1
    for its stripes, which it has not."""
    names = [(0, "horns"), (0, "hooves"), (1, "stripes"), (1, "a tail")]
    prompts = tuple(Prompt(text, place, "descriptor", descriptor=text) for place, text in names)
    classifier = PromptClassifier(PromptSet(as_labels(["goat", "tiger"]), prompts), torch.eye(4))
    images = torch.tensor([[3.0, 1, 0, 0], [0, 0, 3, 1]])
    annotations = [[1, 0], [1, 0]]
    attributes = {"horns": 0, "stripes": 1, "a tail": 0}
    found = reasons_that_are_true(classifier, images, [0, 0], annotations, attributes, k=2)
    assert found.right.at_1.value == 1 and found.wrong.at_1.value == 0 and found.all.at_1.value == 0.5
    assert found.right.at_k.value == 1  # hooves: nobody knows
    assert found.wrong.at_k.value == 0.5 and found.annotated == 3
    # No wrong prediction: nothing to say of them.
    right = reasons_that_are_true(classifier, images, [0, 1], annotations, attributes)
    assert right.wrong.images == 0 and right.wrong.at_1 is right.wrong.chance is None
    json.dumps(right.to_json(), allow_nan=False)


def test_a_descriptor_without_weight_is_no_reason():
    prompts = (
        Prompt("horns", 0, "descriptor", descriptor="horns", weight=0.0),
        Prompt("hooves", 0, "descriptor", descriptor="hooves"),
        Prompt("stripes", 1, "descriptor", descriptor="stripes"),
    )
    for aggregate in SCORERS:
        prompt_set = PromptSet(as_labels(["goat", "tiger"]), prompts)
        classifier = PromptClassifier(prompt_set, torch.eye(3), aggregate=aggregate)
        image, attributes = torch.tensor([[3.0, 0.2, 0.1]]), {"horns": 0, "hooves": 1}
        found = reasons_that_are_true(classifier, image, [0], [[0, 1]], attributes, k=1)
        assert found.all.at_1.value == 1, aggregate


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": np.zeros((COUNT - 1, len(NAMES)))}, "not of the same images"),
        ({"annotations": np.full((COUNT, len(NAMES)), 2)}, "0, 1, or NaN"),
        ({"attributes": {"c0 d0": 99}}, "'c0 d0' has attribute 99, but there are 10"),
        ({"attributes": {"horns": 0}}, "none of the 10 descriptors has an attribute"),
        ({"k": 0}, "k must be at least 1"),
    ],
)
def test_bad_annotations(change, message):
    classifier = made()
    rows, truth, annotations = data(classifier)
    options = {"annotations": annotations, "attributes": ATTRIBUTES} | change
    with pytest.raises(EvaluationError, match=message):
        reasons_that_are_true(classifier, rows, truth, **options)
