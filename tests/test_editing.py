"""What an edit changed: flips, classes, groups; scores computed again only where they must be."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import vlcls
from vlcls import editing
from vlcls.binomial import interval
from vlcls.classifiers.scorers import SCORERS
from vlcls.classifiers.weighting import Weighting
from vlcls.editing import compare, rescore, score
from vlcls.encoders import Encoder
from vlcls.errors import EmbeddingError, VlclsError
from vlcls.labels import as_labels
from vlcls.prompts import Prompt, PromptSet

LABELS = as_labels(["cat", "dog", "fox"])


def unit(rows: int, seed: int, width: int = 8) -> torch.Tensor:
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def named(
    classes: list[int], texts: list[str] | None = None, weights: list[float] | None = None
) -> PromptSet:
    return PromptSet(
        LABELS,
        tuple(
            Prompt(
                texts[row] if texts else str(row), index, "descriptor", weight=weights[row] if weights else 1
            )
            for row, index in enumerate(classes)
        ),
    )


def test_a_comparison_by_hand():
    # Three axes; moving the fox's vector onto the dog's axis turns images of dogs into foxes.
    images = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0.9], [0, 0.9, 1], [0, 0.2, 1], [0.1, 0, 1]])
    before = vlcls.PromptClassifier(named([0, 1, 2]), torch.eye(3))
    moved = F.normalize(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 1]]), dim=1)
    after = vlcls.PromptClassifier(named([0, 1, 2], ["0", "1", "new"]), moved)
    truth, group = [0, 1, 1, 1, 2, 0], ["a", "a", "a", "b", "b", "b"]
    first = score(before, images)
    assert first.predicted.tolist() == [0, 1, 1, 2, 2, 2]
    second = rescore(first, after)
    assert second.predicted.tolist() == [0, 1, 2, 2, 2, 2]
    found = compare(first, second, truth, {"domain": group}, list("uvwxyz"))
    assert found.total is not None and (found.total.count, found.total.before, found.total.after) == (6, 4, 3)
    assert [(f.name, f.before, f.after, f.truth, f.direction) for f in found.flips] == [
        ("w", "dog", "fox", "dog", "right to wrong")
    ]
    assert [(p.name, p.count, p.before, p.after) for p in found.classes] == [
        ("cat", 2, 1, 1),
        ("dog", 3, 2, 1),
        ("fox", 1, 1, 1),
    ]
    assert [(p.name, p.count, p.before, p.after) for p in found.groups["domain"]] == [
        ("a", 3, 3, 2),
        ("b", 3, 1, 1),
    ]
    assert found.classes[1].change == pytest.approx(-1 / 3)
    assert [part.name for part in found.worst("domain")] == ["b", "b"]
    assert found.p_value == 1.0  # one flip says nothing


def test_directions_and_the_exact_test():
    images = torch.eye(3).repeat(4, 1)
    before = vlcls.PromptClassifier(named([0, 1, 2]), torch.eye(3))
    swapped = vlcls.PromptClassifier(named([0, 1, 2], ["a", "b", "c"]), torch.eye(3)[[1, 2, 0]])
    first = score(before, images)
    found = compare(first, rescore(first, swapped), [0, 0, 1] * 4)
    directions = [flip.direction for flip in found.flips]
    assert directions[:3] == ["right to wrong", "wrong to right", "wrong to right"]
    assert len(directions) == 12
    # 4 lost and 8 gained: 2 * P(X <= 4) for 12 fair coins.
    assert found.p_value == pytest.approx(2 * (1 + 12 + 66 + 220 + 495) / 4096)
    unlabelled = compare(first, rescore(first, swapped))
    assert unlabelled.total is None and unlabelled.p_value is None
    assert {flip.direction for flip in unlabelled.flips} == {"changed"}
    third = compare(first, rescore(first, swapped), [1, 1, 1] * 4)
    assert third.flips[0].direction == "wrong to wrong"


@pytest.mark.parametrize("aggregate", SCORERS)
@given(data=st.data())
def test_rescoring_equals_scoring_from_nothing(aggregate: str, data: st.DataObject):
    counts = data.draw(st.lists(st.integers(1, 4), min_size=3, max_size=3))
    classes = [index for index, count in enumerate(counts) for _ in range(count)]
    total = len(classes)
    edited = data.draw(st.sets(st.integers(0, total - 1)))
    weights = [1.0] * total
    for row in data.draw(st.sets(st.integers(0, total - 1))):
        weights[row] = 2.5
    texts, images = unit(total, 0), unit(7, 1)
    after_texts = texts.clone()
    after_texts[list(edited)] = unit(total, 2)[list(edited)]
    words = [f"new {row}" if row in edited else str(row) for row in range(total)]
    before = vlcls.PromptClassifier(named(classes), texts, aggregate=aggregate)
    after = vlcls.PromptClassifier(named(classes, words, weights), after_texts, aggregate=aggregate)
    again = rescore(score(before, images), after)
    assert torch.allclose(again.similarities, after.similarities(images), atol=1e-6)


def test_only_changed_classes_are_computed(monkeypatch: pytest.MonkeyPatch):
    seen = []
    real = editing._of_classes
    monkeypatch.setattr(editing, "_of_classes", lambda c, indices: seen.append(indices) or real(c, indices))
    texts = unit(4, 0)
    before = vlcls.PromptClassifier(named([0, 1, 1, 2]), texts)
    first = score(before, unit(5, 1))
    rescore(first, vlcls.PromptClassifier(named([0, 1, 1, 2], list("0x23")), texts))
    rescore(first, before)
    assert seen == [[1]]


def test_weights_for_each_image_come_from_all_classes():
    prompts = PromptSet(
        LABELS, tuple(Prompt(f"{c}{k}", c, "template", template=k) for c in range(3) for k in range(4))
    )
    texts, images = unit(12, 0), unit(5, 1)
    made = {"aggregate": "mean-similarity", "weighting": Weighting()}
    before = vlcls.PromptClassifier(prompts, texts, **made)
    after = vlcls.PromptClassifier(prompts, unit(12, 2), **made)
    again = rescore(score(before, images), after)
    assert torch.allclose(again.similarities, after.similarities(images), atol=1e-6)


def test_after_one_edit_only_the_new_text_is_encoded(clip: Encoder, monkeypatch: pytest.MonkeyPatch):
    from vlcls.prompts import prompts_from_templates

    classifier = vlcls.build_classifier(["cat", "dog", "fox"], clip, "simple", cache=False)
    seen: list[str] = []
    real = clip.encode_texts
    monkeypatch.setattr(clip, "encode_texts", lambda texts, **o: seen.extend(texts) or real(texts, **o))
    prompts = prompts_from_templates(classifier.labels, "simple")
    changed = list(prompts.prompts)
    changed[3] = Prompt("a fox in the snow", changed[3].class_index, "descriptor")
    edited = classifier.with_prompts(PromptSet(prompts.labels, tuple(changed)), cache=False)
    assert seen == ["a fox in the snow"]
    fresh = vlcls.classifiers.prompt.classifier_from_prompts(
        edited.prompts, clip, aggregate="mean-embedding", cache=False
    )
    assert torch.allclose(edited.text_embeddings, fresh.text_embeddings, atol=1e-5)


def test_an_interval_by_hand():
    # Wilson, n = 10, k = 8: (0.8 + z2/20 -+ z sqrt(0.16/10 + z2/400)) / (1 + z2/10), z = 1.959964
    assert interval(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_other_classes_and_columns_of_other_lengths_are_refused():
    before = score(vlcls.PromptClassifier(named([0, 1, 2]), unit(3, 0)), unit(4, 1))
    two = PromptSet(as_labels(["cat", "dog"]), (Prompt("", 0, "name"), Prompt("", 1, "name")))
    with pytest.raises(VlclsError, match="3 classes before and 2 after"):
        rescore(before, vlcls.PromptClassifier(two, unit(2, 0)))
    with pytest.raises(EmbeddingError, match="3 class indices for 4 images"):
        compare(before, before, [0, 1, 2])
    with pytest.raises(EmbeddingError, match="1 domain for 4 images"):
        compare(before, before, [0, 1, 2, 0], {"domain": ["a"]})
