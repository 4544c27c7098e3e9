"""From descriptors to prompts: the published phrasing letter for letter, and ours in correct English."""

from __future__ import annotations

import pytest

from vlcls.descriptors import Descriptor, DescriptorSet
from vlcls.errors import LabelError, TemplateError
from vlcls.labels import as_labels
from vlcls.prompts import class_prompts, clause, prompts_from_descriptors


def described(content: dict[str, list[str]], **options) -> DescriptorSet:
    own = tuple(tuple(Descriptor(text, "gpt", 2.0) for text in texts) for texts in content.values())
    return DescriptorSet(as_labels(list(content), clean=False), own, **options)


@pytest.mark.parametrize(
    ("name", "descriptor", "prompt"),
    [
        ("Laysan Albatross", "a seabird", "Laysan Albatross, which is a seabird"),
        ("hen", "two legs", "hen, which has two legs"),
        ("hen", "often brown", "hen, which often brown"),
        ("hen", "has wings", "hen, which has wings"),
        ("hen", "typically red", "hen, which typically red"),
        ("hen", "may fly", "hen, which may fly"),
        ("saw", "used for cutting", "saw, which is used for cutting"),
        ("corn_field", "", "corn field, which has "),
        ("x", "antennae", "x, which is antennae"),
        ("x", "mayonnaise", "x, which mayonnaise"),
        ("x", "candles", "x, which candles"),
        ("x", "Typically red", "x, which has Typically red"),
    ],
)
def test_the_published_phrasing(name: str, descriptor: str, prompt: str):
    content = described({name: [descriptor] if descriptor else []})
    assert prompts_from_descriptors(content, phrasing="dclip").texts == [prompt]


def test_append_and_alone():
    content = described({"hen": ["two legs"]})
    assert prompts_from_descriptors(content, phrasing="append").texts == ["which has two legs, hen"]
    assert prompts_from_descriptors(content, phrasing="alone").texts == ["which has two legs"]
    assert prompts_from_descriptors(content, phrasing="dclip", before="A ", after=".").texts == [
        "A hen, which has two legs."
    ]


@pytest.mark.parametrize(
    ("descriptor", "expected"),
    [
        ("antennae", "which has antennae"),
        ("mayonnaise", "which has mayonnaise"),
        ("aisles", "which has aisles"),
        ("Typically red", "which is typically red"),
        ("often brown", "which is often brown"),
        ("often has wings", "which often has wings"),
        ("usually pork or beef", "which is usually pork or beef"),
        ("a seabird", "which is a seabird"),
        ("a type of pet", "which is a type of pet"),
        ("a small, brown bird", "which is a small, brown bird"),
        ("a bird that has long legs", "which is a bird that has long legs"),
        ("a long, hooked bill", "which has a long, hooked bill"),
        ("a small to medium-sized bird", "which is a small to medium-sized bird"),
        ("a small head high above the ground", "which has a small head high above the ground"),
        ("a white head and neck", "which has a white head and neck"),
        ("black and white", "which is black and white"),
        ("brown in color", "which is brown in color"),
        ("four-legged", "which is four-legged"),
        ("almond-shaped eyes", "which has almond-shaped eyes"),
        ("black, grey, or brown fur", "which has black, grey, or brown fur"),
        ("very large ears", "which has very large ears"),
        ("slightly curved", "which is slightly curved"),
        ("brightly colored plumage", "which has brightly colored plumage"),
        ("brightly colored", "which is brightly colored"),
        ("used for cooking", "which is used for cooking"),
        ("completely covered with fur", "which is completely covered with fur"),
        ("made of wood", "which is made of wood"),
        ("similar to a wolf", "which is similar to a wolf"),
        ("up to 3 feet tall", "which is up to 3 feet tall"),
        ("in a flock", "which is in a flock"),
        ("not shiny", "which is not shiny"),
        ("no tail", "which has no tail"),
        ("8 legs", "which has 8 legs"),
        ("has wings", "which has wings"),
        ("have wings", "which has wings"),
        ("antlered", "which has antlered"),
        ("thinly feathered", "which is thinly feathered"),
        ("do not fly", "which does not fly"),
        ("are yellow", "which is yellow"),
        ("can fly", "which can fly"),
        ("lives in water", "which lives in water"),
        ("living in water", "living in water"),
        ("with a red crest", "with a red crest"),
        ("the bands are wide", "whose bands are wide"),
        ("its tail is bushy", "whose tail is bushy"),
        ("each rib has a bone", "where each rib has a bone"),
        ("LED lights", "which has LED lights"),
        ("Asian ears", "which has Asian ears"),
        ("A long tail", "which has a long tail"),
        ("which swims", "which swims"),
        ("  Two   legs. ", "which has two legs"),
        ("", ""),
    ],
)
def test_the_grammatical_phrasing(descriptor: str, expected: str):
    assert clause(descriptor) == expected


def test_prompts_remember_where_they_come_from():
    prompts = prompts_from_descriptors(described({"elephant": ["a trunk"], "void": []}))
    first, second = prompts
    assert (first.text, first.kind, first.source, first.weight, first.descriptor, first.template) == (
        "elephant, which has a trunk", "descriptor", "gpt", 2.0, "a trunk", None,
    )  # fmt: skip
    assert (second.text, second.kind, second.descriptor, second.class_index) == ("void", "name", "", 1)


def test_templates_times_descriptors():
    content = described({"elephant": ["a trunk", "tusks"], "void": []})
    prompts = prompts_from_descriptors(content, templates=["a photo of a {}.", "a {} in a video game"])
    assert prompts.texts == [
        "a photo of an elephant, which has a trunk.",
        "an elephant in a video game, which has a trunk",
        "a photo of an elephant, which has tusks.",
        "an elephant in a video game, which has tusks",
        "a photo of a void.",
        "a void in a video game",
    ]
    assert [prompt.template for prompt in prompts] == [0, 1, 0, 1, 0, 1]
    # The template, not who wrote the descriptor: explanations name templates by it.
    assert [prompt.source for prompt in prompts] == ["a photo of a {}.", "a {} in a video game"] * 3
    assert [prompt.descriptor for prompt in prompts] == ["a trunk", "a trunk", "tusks", "tusks", "", ""]


def test_sentences_are_used_as_they_are():
    content = described({"hen": ["A hen has a comb.\n", "Hens are birds."]}, style="sentences")
    prompts = prompts_from_descriptors(content)
    assert prompts.texts == ["A hen has a comb.\n", "Hens are birds."]
    assert {prompt.kind for prompt in prompts} == {"sentence"}
    both = prompts_from_descriptors(content, templates="photo")
    assert both.texts == ["a photo of a hen.", "A hen has a comb.\n", "Hens are birds."]


def test_the_arguments_of_a_classifier():
    content = described({"hen": ["a comb"], "cat": ["whiskers"]})
    assert class_prompts(["cat"], descriptors=content).texts == ["cat, which has whiskers"]
    assert class_prompts(descriptors=content).labels.names == ("hen", "cat")
    assert class_prompts(["cat"]).texts == ["a photo of a cat."]
    with pytest.raises(LabelError, match="class names, or descriptors"):
        class_prompts()
    with pytest.raises(TemplateError, match="there are none"):
        class_prompts(["cat"], phrasing="dclip")
    with pytest.raises(TemplateError, match=r"'poetic'.*grammatical, dclip"):
        class_prompts(descriptors=content, phrasing="poetic")


@pytest.mark.parametrize("aggregate", ["mean-similarity", "mean-embedding", "max"])
def test_scores_equal_the_paper_s_steps_in_float64(clip, aggregate: str):
    """Section 2.2 of methods.md one step after the other, for classes of 1 to 4 descriptors."""
    import math

    import torch

    import vlcls

    content = described(
        {
            "hen": ["two legs", "often brown", "a bird", "feathers"],
            "corn_field": [],
            "owl": ["a seabird", "eyes"],
        }
    )
    content = DescriptorSet(
        content.labels, tuple(tuple(Descriptor(each.text) for each in own) for own in content.descriptors)
    )
    classifier = vlcls.build_classifier(
        encoder=clip, descriptors=content, phrasing="dclip", aggregate=aggregate, cache=False
    )
    images = torch.randn(5, clip.embedding_dim, generator=torch.Generator().manual_seed(0))
    found = (
        classifier.scores(images) / classifier.logit_scale - classifier.logit_bias / classifier.logit_scale
    )
    texts = {
        "hen": ["which has two legs", "which often brown", "which is a bird", "which has feathers"],
        "corn field": ["which has "],
        "owl": ["which is a seabird", "which has eyes"],
    }
    for row, image in enumerate(images.double().tolist()):
        length = math.sqrt(sum(value * value for value in image))
        for column, (name, clauses) in enumerate(texts.items()):
            vectors = [clip.encode_texts([f"{name}, {said}"])[0].double().tolist() for said in clauses]
            cosines = [
                sum(a * b for a, b in zip(image, vector, strict=True))
                / length
                / math.sqrt(sum(value * value for value in vector))
                for vector in vectors
            ]
            mean = [sum(values) / len(values) for values in zip(*vectors, strict=True)]
            expected = {
                "mean-similarity": sum(cosines) / len(cosines),
                "max": max(cosines),
                "mean-embedding": sum(a * b for a, b in zip(image, mean, strict=True))
                / length
                / math.sqrt(sum(value * value for value in mean)),
            }[aggregate]
            assert float(found[row, column]) == pytest.approx(expected, abs=1e-5)
