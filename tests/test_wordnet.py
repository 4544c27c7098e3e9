"""Descriptors from WordNet's glosses: senses, phrases, and names that are not there."""

from __future__ import annotations

import warnings

import pytest

from vlcls.descriptors import check_descriptors
from vlcls.descriptors.wordnet import descriptors_from_wordnet, gloss_phrases, senses_of
from vlcls.errors import DescriptorError, VlclsWarning
from vlcls.labels import Labels, as_labels
from vlcls.prompts import prompts_from_descriptors


@pytest.mark.parametrize(
    ("gloss", "phrases"),
    [
        (
            "large feline of forests in most of Asia having a tawny coat with black stripes; endangered",
            ["a kind of large feline", "a tawny coat with black stripes"],
        ),
        ("a hand tool with a heavy rigid head and a handle; used to deliver an impulsive force by striking",
         ["a kind of hand tool", "a heavy rigid head and a handle"]),
        ("tallest living quadruped; having a spotted coat and small horns; of savannahs of tropical Africa",
         ["a kind of tallest living quadruped", "a spotted coat and small horns"]),
        ("any of various tailless amphibians (order Anura) with long hind limbs",
         ["a kind of tailless amphibians", "long hind limbs"]),
        ("equipment used in boxing", ["a kind of equipment used in boxing"]),
        ("the genus", ["the genus"]),
    ],
)  # fmt: skip
def test_phrases_of_a_gloss(gloss: str, phrases: list[str]):
    assert gloss_phrases(gloss) == phrases


def test_a_name_with_several_senses_warns_and_can_be_told_apart():
    assert set(senses_of("Crane")) == {"n02012849", "n03126707"}
    with pytest.warns(VlclsWarning, match="'crane' has 2 senses.*n03126707"):
        bird = descriptors_from_wordnet(as_labels(["crane"]))
    assert "bird" in bird.texts(0)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        machine = descriptors_from_wordnet(as_labels(["crane"]), senses={"crane": "n03126707"})
        by_id = descriptors_from_wordnet(Labels(("crane",), ("n03126707",)))
    assert machine.descriptors == by_id.descriptors != bird.descriptors
    assert machine.sources["wordnet"]["from"] == "WordNet glosses"
    assert {each.source for each in machine.descriptors[0]} == {"wordnet"}


def test_the_phrase_of_the_kind_reads_as_one():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = descriptors_from_wordnet(as_labels(["school bus", "kimono"]))
    assert prompts_from_descriptors(found).texts == [
        "school bus, which is a kind of bus used to transport children to or from school",
        "kimono, which is a kind of loose robe",
    ]
    assert not [p for p in check_descriptors(found) if p.severity == "error"]


@pytest.mark.parametrize(
    ("names", "senses", "message"),
    [
        (["elefant"], {}, r"'elefant' is not among WordNet's nouns: .*; did you mean 'elephant'\?$"),
        (["crane"], {"crane": "n99999999"}, "no synset 'n99999999'"),
        (["crane"], {"heron": "n02012849"}, "'heron', which is no class"),
    ],
)
def test_names_and_senses_that_are_not_there(names: list[str], senses: dict[str, str], message: str):
    with pytest.raises(DescriptorError, match=message):
        descriptors_from_wordnet(as_labels(names), senses=senses)


def test_every_synset_gives_phrases():
    from vlcls.wordnet import glosses

    assert len(glosses()) > 20_000
    assert all(gloss_phrases(gloss) and all(gloss_phrases(gloss)) for gloss in glosses().values())
