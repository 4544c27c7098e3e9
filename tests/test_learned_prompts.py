"""Prompts whose class name is spelt in vectors: made, taken back, saved, and joined with all other kinds."""

from __future__ import annotations

import json

import pytest
import torch

import vlcls
from vlcls.classifiers.prompt import classifier_from_prompts
from vlcls.classifiers.saved import CONFIG
from vlcls.classifiers.weighting import Weighting
from vlcls.descriptors import Descriptor, DescriptorSet
from vlcls.errors import EncoderMismatchError, LabelError, TemplateError, VlclsError
from vlcls.labels import as_labels
from vlcls.prompts import (
    LearnedName,
    Prompt,
    PromptSet,
    join_prompts,
    prompts_from_descriptors,
    prompts_from_templates,
    renamed_texts,
    with_learned_names,
    with_new_classes,
    with_plain_names,
    with_slots,
)
from vlcls.prompts.learned import around_name
from vlcls.slots import Slot, slot_ids

LABELS = as_labels(["cat", "elephant", "small red apple"])


def learned_name(encoder, name: str, shift: float = 0.0) -> LearnedName:
    ids = slot_ids(encoder, [Slot("a ", "", name)])[0]
    return LearnedName(name, encoder.embed_tokens(ids[None])[0] + shift, encoder.fingerprint)


@pytest.fixture
def names(clip):
    """Learned names of classes 0 and 2."""
    return {0: learned_name(clip, "cat", 0.02), 2: learned_name(clip, "small red apple", -0.02)}


def test_where_the_name_stands():
    (prompt,) = prompts_from_templates(as_labels(["elephant"]), "a photo of a {}.")
    assert around_name(prompt, "elephant") == ("a photo of an ", ".")
    (prompt,) = prompts_from_templates(as_labels(["elephant"]), "a photo of a {}.", articles=False)
    assert around_name(prompt, "elephant") == ("a photo of a ", ".")
    assert around_name(Prompt("a photo of a photo", 0, "template", "a photo of a {}"), "photo") == (
        "a photo of a ",
        "",
    )
    assert around_name(Prompt("gray skin", 0, "descriptor"), "elephant") is None
    with pytest.raises(TemplateError, match="single"):
        around_name(prompts_from_templates(as_labels(["cat"]), "{} or {}").prompts[0], "cat")


def test_words_stand_for_vectors_and_go_back(names):
    plain = prompts_from_templates(LABELS, ["a photo of a {}.", "{} in a game"])
    spelt = with_learned_names(plain, names)
    assert [p.learned is not None for p in spelt] == [True, True, False, False, True, True]
    assert spelt.texts[0] == f"a photo of a {names[0].word}." and names[0].word.startswith("<cat#")
    assert spelt.texts[2:4] == plain.texts[2:4]
    assert around_name(spelt.prompts[0], "cat") == ("a photo of a ", ".")
    assert with_plain_names(spelt) == plain
    assert spelt.learned == {name.word: name for name in names.values()}
    # Other vectors are another word, so that nothing made from one is taken for the other.
    other = LearnedName("cat", names[0].vectors + 1, names[0].fingerprint)
    assert other.word != names[0].word and other != names[0]


def test_a_class_without_templates_gets_the_default_one():
    described = DescriptorSet(LABELS, ((Descriptor("fur"),), (Descriptor("gray skin"),), ()))
    prompts = prompts_from_descriptors(described)
    slotted = with_slots(prompts, [0])
    assert [p.text for p in slotted.of_class(0)] == ["a photo of a cat."]
    assert slotted.of_class(1) == prompts.of_class(1)


def test_learned_names_beside_descriptors_and_under_autoclip(clip, names, photos):
    """Templates x vectors for some classes, descriptors in templates for the others, weights by image."""
    templates = ["a photo of a {}.", "a sketch of a {}."]
    described = DescriptorSet(LABELS, ((), (Descriptor("gray skin"),), ()))
    spelt = with_learned_names(
        with_slots(prompts_from_descriptors(described, templates=templates), [0, 2]), names
    )
    made = classifier_from_prompts(spelt, clip, weighting=Weighting("autoclip"), cache=False)
    weights = made.prompt_weights(torch.eye(48)[:3])
    assert weights.shape == (3, 2) and weights.sum(1).allclose(torch.ones(3, dtype=weights.dtype))
    assert len(made.predict(photos[:2], cache=False)) == 2
    both = join_prompts(spelt, prompts_from_templates(LABELS, "name"))
    assert both.learned.keys() == spelt.learned.keys()
    assert len(classifier_from_prompts(both, clip, cache=False).text_embeddings) == len(both)


def test_saved_and_loaded_with_the_same_encoder_only(tmp_path, clip, siglip, names):
    spelt = with_learned_names(prompts_from_templates(LABELS, "simple"), names)
    made = classifier_from_prompts(spelt, clip, cache=False)
    again = vlcls.load(made.save_pretrained(tmp_path))
    assert again.prompts == made.prompts and torch.equal(again.text_embeddings, made.text_embeddings)
    for word, name in again.prompts.learned.items():
        assert (
            torch.equal(name.vectors, spelt.learned[word].vectors) and name.name == spelt.learned[word].name
        )
    with pytest.raises(EncoderMismatchError):
        vlcls.load(tmp_path, siglip)
    with pytest.raises(EncoderMismatchError, match="vectors of one text tower mean nothing to another"):
        classifier_from_prompts(again.prompts, siglip, cache=False)
    assert not any(b"pickle" in path.read_bytes() for path in tmp_path.iterdir())


def test_a_classifier_without_learned_names_is_saved_as_before(tmp_path, clip):
    made = vlcls.build_classifier(["cat", "dog"], clip, cache=False)
    config = json.loads((made.save_pretrained(tmp_path) / CONFIG).read_text())
    assert "learned_names" not in config and all("learned" not in row for row in config["prompts"])
    assert config["format"] == 1


def test_a_saved_name_that_is_missing_is_an_error(tmp_path, clip, names):
    spelt = with_learned_names(prompts_from_templates(LABELS, "name"), names)
    classifier_from_prompts(spelt, clip, cache=False).save_pretrained(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    del config["learned_names"][names[0].word]
    (tmp_path / CONFIG).write_text(json.dumps(config))
    with pytest.raises(VlclsError, match="no readable classifier"):
        vlcls.load(tmp_path)


def test_a_saved_name_with_another_word_is_an_error(tmp_path, clip, names):
    spelt = with_learned_names(prompts_from_templates(LABELS, "name"), names)
    classifier_from_prompts(spelt, clip, cache=False).save_pretrained(tmp_path)
    text = (tmp_path / CONFIG).read_text().replace('"name": "cat",\n   "fing', '"name": "dog",\n   "fing')
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(VlclsError, match="not what its vectors spell"):
        vlcls.load(tmp_path)


@pytest.mark.parametrize("articles", [None, True, False])
@pytest.mark.parametrize("templates", ["simple", "pets", "photo", ["a photo of a {}.", "{}"]])
def test_a_new_name_is_written_as_the_saved_texts_are(tmp_path, clip, templates, articles):
    """One saved by an earlier version has "an" in published templates; its new classes get it, too."""
    learned = {0: learned_name(clip, "elephant", 0.02)}
    for labels in (["elephant", "cat"], ["cat", "dog"]):
        prompts = prompts_from_templates(as_labels(labels), templates, articles=articles)
        if "elephant" in labels:
            prompts = with_learned_names(prompts, learned)
        elif articles is not None:
            continue  # nothing in the texts tells how "a" would be written
        made = classifier_from_prompts(prompts, clip, cache=False)
        again = vlcls.load(made.save_pretrained(tmp_path / labels[0]), clip)
        assert again.prompts == prompts and torch.equal(again.text_embeddings, made.text_embeddings)
        wanted = prompts_from_templates(as_labels(["owl"]), templates, articles=articles).texts
        assert [p.text for p in with_new_classes(again.prompts, ["owl"]).of_class(2)] == wanted
        assert renamed_texts(again.prompts, 0, ["owl"]) == [wanted]


def test_new_classes_leave_the_learned_ones_alone(clip, names):
    spelt = with_learned_names(prompts_from_templates(LABELS, ["a photo of a {}.", "{}"]), names)
    made = classifier_from_prompts(spelt, clip, cache=False)
    more = made.with_prompts(with_new_classes(made.prompts, ["owl", "zebra"]), cache=False)
    assert more.labels.names == (*LABELS.names, "owl", "zebra")
    assert more.prompts.texts[-4:] == ["a photo of an owl.", "owl", "a photo of a zebra.", "zebra"]
    assert torch.equal(more.text_embeddings[: len(spelt)], made.text_embeddings)
    assert more.prompts.prompts[: len(spelt)] == made.prompts.prompts
    with pytest.raises(LabelError, match="there already"):
        with_new_classes(made.prompts, ["cat"])
    with pytest.raises(TemplateError, match="no class has templates"):
        with_new_classes(PromptSet(as_labels(["a"]), (Prompt("x", 0, "sentence"),)), ["b"])
    with pytest.raises(TemplateError, match="no slot"):
        with_learned_names(PromptSet(as_labels(["cat"]), (Prompt("x", 0, "sentence"),)), {0: names[0]})
