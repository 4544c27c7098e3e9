"""Shares add up to the score, margins to the difference of two scores, and the reasons are English."""

import math
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from vlcls import Prompt, PromptClassifier, PromptSet, VlclsError, explain_images
from vlcls.classifiers.scorers import SCORERS
from vlcls.classifiers.weighting import Weighting
from vlcls.errors import ImageError, LabelError, MissingExtraError
from vlcls.explain import Contribution, Evidence, Explanation, lead, save_picture
from vlcls.explain.rationale import rationale_of
from vlcls.labels import as_labels

#: Descriptors a class, and their weights: ragged, weighted, some left out, some in several templates.
WEIGHTS = [[1], [1, 2], [0.5, 0, 3], [0, 1], [2, 2, 1, 0.25, 1]]


def ragged(aggregate, seed=0, templates=1, dim=12, **options):
    prompts = [
        Prompt(f"t{t} c{c} d{d}", c, "descriptor", template=t, weight=w * (1 + t), descriptor=f"c{c} d{d}")
        for c, weights in enumerate(WEIGHTS)
        for t in range(templates)
        for d, w in enumerate(weights)
    ]
    torch.manual_seed(seed)
    texts = normalize(torch.randn(len(prompts), dim) + 0.5, dim=1)
    labels = as_labels([f"class {c}" for c in range(len(WEIGHTS))])
    return PromptClassifier(PromptSet(labels, tuple(prompts)), texts, aggregate=aggregate, **options)


def images(count=20, dim=12, seed=1):
    torch.manual_seed(seed)
    return normalize(torch.randn(count, dim) + 0.5, dim=1)


def slow_shares(classifier, image, place):
    """Share of each descriptor of a class, from the definitions of the aggregates, one number at a time."""
    rows = [row for row, prompt in enumerate(classifier.prompts) if prompt.class_index == place]
    texts = {row: [float(v) for v in classifier.text_embeddings[row]] for row in rows}
    weights = {row: classifier.prompts.prompts[row].weight for row in rows}
    cosines = {row: sum(float(a) * b for a, b in zip(image, texts[row], strict=True)) for row in rows}
    if classifier.aggregate == "max":
        winner = max((row for row in rows if weights[row] > 0), key=lambda row: cosines[row])
        parts = {row: cosines[row] if row == winner else 0.0 for row in rows}
    else:
        length = sum(weights.values())
        if classifier.aggregate == "mean-embedding":
            total = [sum(weights[row] * texts[row][axis] for row in rows) for axis in range(len(image))]
            length = math.sqrt(sum(value * value for value in total))
        parts = {row: weights[row] * cosines[row] / length for row in rows}
    shares = {}
    for row in rows:
        name = classifier.prompts.prompts[row].descriptor
        shares[name] = shares.get(name, 0.0) + parts[row]
    return shares


@pytest.mark.parametrize("templates", [1, 3])
@pytest.mark.parametrize("aggregate", SCORERS)
def test_shares_are_those_of_a_slow_reference_and_add_up_to_the_similarity(aggregate, templates):
    classifier, rows = ragged(aggregate, templates=templates), images()
    expected = classifier.similarities(rows)
    for row, explanation in enumerate(explain_images(classifier, rows, range(len(WEIGHTS)))):
        assert sorted(each.index for each in explanation.classes) == list(range(len(WEIGHTS)))
        for evidence in explanation.classes:
            slow = slow_shares(classifier, rows[row], evidence.index)
            assert {each.text: each.share for each in evidence.contributions} == pytest.approx(slow, abs=2e-7)
            assert evidence.similarity == math.fsum(each.share for each in evidence.contributions)
            assert evidence.similarity == pytest.approx(float(expected[row, evidence.index]), abs=1e-6)


@pytest.mark.parametrize("aggregate", SCORERS)
def test_margins_add_up_to_the_difference_of_any_two_classes(aggregate):
    classifier, rows = ragged(aggregate), images()
    for explanation in explain_images(classifier, rows, range(len(WEIGHTS))):
        for first in explanation.classes:
            for second in explanation.classes:
                found = lead(first, second)
                total = math.fsum(part for _, _, part in found.parts) + found.agreement
                assert total == pytest.approx(first.similarity - second.similarity, abs=1e-12)
                assert found.difference == pytest.approx(first.similarity - second.similarity, abs=1e-12)
                assert aggregate == "mean-embedding" or found.agreement == pytest.approx(0, abs=1e-15)
        parts = [part for _, _, part in lead(*explanation.classes[:2]).parts]
        assert parts == sorted(parts, reverse=True)


def test_the_worked_example_by_hand():
    # x = (2, 2, 1) / 3: cosines 2/3, 2/3 with class A; 2/3, 11/15 with class B.
    texts = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0.6, 0.8], [0, 0.8, 0.6]])
    prompts = tuple(Prompt(name, row // 2, "descriptor") for row, name in enumerate("pqrs"))
    classifier = PromptClassifier(
        PromptSet(as_labels(["A", "B"]), prompts), texts, aggregate="mean-similarity"
    )
    x = torch.tensor([2.0, 2.0, 1.0]) / 3
    (found,) = explain_images(classifier, x)
    assert (found.predicted.label, found.runner_up.label) == ("B", "A")
    assert found.baseline == pytest.approx((2 / 3 + 0.7) / 2)
    numbers = [
        (c.text, round(c.share, 5), round(c.margin, 5)) for e in found.classes for c in e.contributions
    ]
    assert numbers == [("s", 0.36667, 0.025), ("r", 0.33333, -0.00833)] + [
        (name, 0.33333, -0.00833) for name in "pq"
    ]
    classifier = PromptClassifier(classifier.prompts, texts, aggregate="mean-embedding")
    (found,) = explain_images(classifier, x)
    assert found.predicted.label == "A"
    assert [c.share for c in found.predicted.contributions] == pytest.approx([0.471405] * 2, abs=1e-6)
    assert [c.share for c in found.runner_up.contributions] == pytest.approx([0.370389, 0.336718], abs=1e-6)
    # Those of A are at right angles, those of B nearly agree: 0.68333 (2 / sqrt 2 - 2 / |(0, 1.4, 1.4)|)
    assert lead(found.predicted, found.runner_up).agreement == pytest.approx(0.276108, abs=1e-6)
    classifier = PromptClassifier(classifier.prompts, texts, aggregate="max")
    (found,) = explain_images(classifier, x)
    shares = {c.text: round(c.share, 5) for e in found.classes for c in e.contributions}
    assert shares == {"s": 0.73333, "r": 0, "p": 0.66667, "q": 0}  # of two equal ones the first has it


def test_predictions_are_those_of_predict():
    for aggregate in SCORERS:
        classifier, rows = ragged(aggregate, seed=3), images()
        for explanation, result in zip(
            explain_images(classifier, rows), classifier.predict(rows), strict=True
        ):
            assert [e.label for e in explanation.classes] == [best.label for best in result.top_k[:2]]
            assert explanation.predicted.probability == pytest.approx(result.score)


@pytest.mark.parametrize("name", ["autoclip", "softmax", "autoclip-within-class"])
def test_weights_of_each_image_are_its_own(name):
    weighted = ragged("mean-similarity", templates=3, weighting=Weighting(name, beta=0.6))
    rows = images()
    expected = weighted.similarities(rows)
    for row, explanation in enumerate(explain_images(weighted, rows, range(len(WEIGHTS)))):
        for evidence in explanation.classes:
            assert evidence.similarity == pytest.approx(float(expected[row, evidence.index]), abs=1e-6)
        assert lead(*explanation.classes[:2]).agreement == pytest.approx(0, abs=1e-6)


def test_classes_are_asked_for_by_name_or_index():
    classifier, rows = ragged("max"), images(3)
    asked = explain_images(classifier, rows, ["Class_3", 4])
    assert all({e.index for e in each.classes} >= {3, 4} for each in asked)
    assert all(len(each.classes) == len({e.index for e in each.classes}) for each in asked)
    with pytest.raises(LabelError, match="'lynx'"):
        explain_images(classifier, rows, ["lynx"])
    with pytest.raises(LabelError, match="5 is not an index into 5"):
        explain_images(classifier, rows, [5])


def test_images_that_cannot_be_read_are_told(clip, photos, tmp_path):
    from vlcls.classifiers.prompt import classifier_from_prompts

    prompts = [
        Prompt(f"a {name} with {text}", place, "descriptor", descriptor=text)
        for place, name in enumerate(("cat", "dog"))
        for text in ("ears", "legs")
    ]
    classifier = classifier_from_prompts(PromptSet(as_labels(["cat", "dog"]), tuple(prompts)), clip)
    (tmp_path / "bad.png").write_text("no image")
    found = explain_images(classifier, [photos[0], tmp_path / "bad.png", photos[1]])
    assert [each.image for each in found] == [str(photos[0]), str(tmp_path / "bad.png"), str(photos[1])]
    assert "bad.png" in found[1].error and found[1].classes == () and found[1].runner_up is None
    with pytest.raises(VlclsError, match="no explanation"):
        _ = found[1].predicted
    known = classifier.predict([photos[0], photos[1]])
    assert [found[0].predicted.label, found[2].predicted.label] == [each.label for each in known]


def test_a_single_class_and_other_classifiers():
    one = PromptClassifier(PromptSet(as_labels(["a"]), (Prompt("", 0, "embedding"),)), torch.eye(3)[:1])
    (found,) = explain_images(one, torch.eye(3)[0])
    assert found.runner_up is None and found.predicted.contributions[0].text == "embedding 0"
    with pytest.raises(VlclsError, match="classifier takes a classifier, not an object"):
        explain_images(object(), torch.eye(3))


# ---- rationales ----------------------------------------------------------------------------------------


def evidence(*parts, kind="descriptor", label="tiger"):
    found = tuple(Contribution(text, 0.2 + margin, margin + 0.3, margin, kind) for text, margin in parts)
    return Evidence(label, label, 0, 0.3, 0.9, 0.2, found)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([("black stripes", 0.1)], "tiger, because it has black stripes"),
        (
            [("black stripes", 0.1), ("long whiskers", 0.09)],
            "tiger, because it has black stripes and long whiskers",
        ),
        ([("black stripes", 0.1), ("a ringed tail", 0.01)], "tiger, because it has black stripes"),
        ([("black stripes.", 0.1), ("whiskers", -0.1)], "tiger, because it has black stripes"),
        (
            [("stripes", 0.1), ("whiskers", 0.09), ("paws", 0.08), ("fur", 0.07)],
            "tiger, because it has stripes, whiskers and paws",
        ),
        (
            [("black and white fur", 0.1), ("a long tail", 0.09)],
            "tiger, because it has black and white fur, and a long tail",
        ),
        ([("stripes", 0.1), ("can swim", 0.1)], "tiger, because it has stripes and can swim"),
        (
            [("stripes", 0.1), ("often orange", 0.1), ("whiskers", 0.1)],
            "tiger, because it has stripes and whiskers, and is often orange",
        ),
        ([("stripes", -0.1)], "tiger, although none of its descriptors stands out"),
    ],
)
def test_reasons_are_the_strongest_descriptors_in_english(parts, expected):
    assert rationale_of(evidence(*parts)) == expected


def test_texts_that_are_no_reasons_are_not_given_as_such():
    template = evidence(("a photo of a tiger.", -0.1), ("a sketch of a tiger.", -0.2), kind="template")
    assert rationale_of(template) == 'tiger: nearest to "a photo of a tiger."'
    assert rationale_of(evidence(("tiger, which has jumping.", 0.1), kind="random")).startswith("tiger: near")
    assert "embedding" in rationale_of(evidence(("embedding 0", 0.1), kind="embedding"))


# ---- pictures ------------------------------------------------------------------------------------------


@pytest.fixture
def explanation():
    first = evidence(("black stripes", 0.1), ("a $5 tag_{x} & <b>", 0.05), (" ".join(["very"] * 40), -0.01))
    second = evidence(*((f"mane {number}", 0.05 - number / 100) for number in range(12)), label="lion")
    return Explanation("tiger.jpg", (first, replace(second, index=1)), 0.2)


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_pictures(explanation, picture, tmp_path, kind):
    path = save_picture(explanation, picture(1), tmp_path / f"new/e.{kind}")
    again = save_picture(explanation, picture(1), tmp_path / f"again.{kind}")
    assert path == tmp_path / f"new/e.{kind}" and path.read_bytes() == again.read_bytes()
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    if kind == "png":
        with Image.open(path) as drawn:
            assert drawn.width > 1500 and len(np.unique(np.asarray(drawn))) > 50
    if kind == "svg":
        texts = [
            " ".join(node.itertext()) for node in ElementTree.parse(path).iter() if node.tag.endswith("text")
        ]
        assert "tiger, because it has black stripes" in " ".join(texts)
        assert "a $5 tag_{x} & <b>" in texts and "mane 0" in texts and "+0.100" in texts
        assert any("and 4 more" in text for text in texts) and "mane 11" in texts
        assert not any("mane 5" in text for text in texts)  # 8 of 12 fit, those that did most


@pytest.mark.parametrize("heat", [None, "stripes " * 12])
def test_no_text_of_a_picture_overlaps_another(explanation, picture, heat):
    from vlcls.explain import Overlay
    from vlcls.explain.picture import _figure

    seen = np.asarray(picture(1, 64, 64))
    overlay = None if heat is None else Overlay(heat, seen, torch.rand(64, 64))
    figure = _figure(explanation, explanation.classes, picture(1, 300, 500), 8, overlay)
    figure.draw_without_rendering()
    texts = [
        label
        for axes in figure.axes[1:]
        for label in (*(axes.get_yticklabels() if axes.axison else ()), *axes.texts, axes.title)
    ]
    texts += [*figure.texts, *(axes._left_title for axes in figure.axes[1:]), figure.axes[-1].xaxis.label]
    texts += figure.axes[-1].get_xticklabels()[1:-1]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert len(boxes) > 20
    for place, box in enumerate(boxes):
        assert figure.bbox.fully_containsx(box.x0 + 1) and figure.bbox.fully_containsx(box.x1 - 1)
        assert figure.bbox.fully_containsy(box.y0 + 1) and figure.bbox.fully_containsy(box.y1 - 1)
        assert not any(box.padded(-1).overlaps(other.padded(-1)) for other in boxes[:place])


def test_pictures_that_cannot_be_drawn(explanation, picture, tmp_path, monkeypatch):
    with pytest.raises(VlclsError, match=r"x\.gif.*\.png, \.svg, \.pdf"):
        save_picture(explanation, picture(1), tmp_path / "x.gif")
    with pytest.raises(ImageError, match="gone"):
        save_picture(explanation, "gone.jpg", tmp_path / "x.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(VlclsError, match="cannot be written"):
        save_picture(explanation, picture(1), tmp_path / "file" / "x.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"vlcls\[plots\]"):
        save_picture(explanation, picture(1), tmp_path / "x.png")


def test_prompts_of_weight_0_neither_win_nor_hide():
    """p is in two templates, of which one is left out; q is left out altogether; s is the best there is."""
    cosines, x = [0.9, 0.6, 0.8, 0.7, 0.28], torch.tensor([1.0, 0])
    texts = torch.tensor([[cosine, (1 - cosine**2) ** 0.5] for cosine in cosines])
    rows = (("p", 0, 0.0), ("p", 0, 2.0), ("q", 0, 0.0), ("s", 0, 2.0), ("r", 1, 1.0))
    prompts = tuple(
        Prompt(f"{row}", c, "descriptor", weight=w, descriptor=text) for row, (text, c, w) in enumerate(rows)
    )
    expected = {"max": (0.0, 0.7), "mean-similarity": (0.3, 0.35)}
    for aggregate in SCORERS:
        classifier = PromptClassifier(PromptSet(as_labels(["A", "B"]), prompts), texts, aggregate=aggregate)
        (found,) = explain_images(classifier, x)
        parts = {each.text: (each.similarity, each.share) for each in found.classes[0].contributions}
        assert [parts[name][0] for name in "pqs"] == pytest.approx([0.6, 0.8, 0.7])
        assert parts["q"][1] == 0
        if aggregate in expected:
            assert (parts["p"][1], parts["s"][1]) == pytest.approx(expected[aggregate])
