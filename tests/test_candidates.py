"""The caption filter: each of its steps, the notes of its description, and whatever captions may hold."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlcls.classifiers.candidates import (
    KEPT_TAGS,
    PENN,
    PICTURE_WORDS,
    candidate_names,
    caption_words,
    hanta_tags,
    load_tagger,
    normal_words,
    singular,
)
from vlcls.errors import CaptionError


def all_nouns(words):
    return ["NN"] * len(words)


def names(*captions, **options):
    return candidate_names(captions, all_nouns, **options)


@pytest.mark.parametrize(
    ("caption", "left"),
    [
        ("a <person> rides <br/> horses", ["ride", "horse"]),  # 1. tokens
        ("see https://example.org/cat.jpg?x=1 tiger", ["see", "tiger"]),  # 2. addresses
        ("red, green; (blue)! 50% café", ["red", "green", "blue", "caf"]),  # 3. and 7.
        ("cat.jpg dog.tar.gz owl. Then", ["cat", "dog", "owl", "then"]),  # 4. extensions
        ("polar_bear ice-cream", ["polar", "bear", "ice", "cream"]),  # 5. separators
        ("an ox is at it zoos", ["zoo"]),  # 6. short words
        ("a1b x2 R2D2 i'm it's rock'n'roll", ["ab", "rd", "im", "it", "rocknroll"]),  # 6. is before 7.
        ("DOGS Tigers", ["dog", "tiger"]),  # 8. and 9.
        ("grass cactus iris berries wolves mice", ["grass", "cactus", "iris", "berries", "wolf", "mice"]),
        ("dog<cat", ["dogcat"]),  # no token without its end
        ("dogs_and_cats.png", ["dog", "and", "cat"]),
        ("写真 🐱 кошка 123 ...", []),
        (f"{'a' * 45} {'b' * 46}", ["a" * 45]),  # no word of English is longer
        ("dog " * 500 + "cat", ["dog"] * 500),  # no caption is longer than 2000 characters
    ],
)  # fmt: skip
def test_cleaning(caption: str, left: list[str]):
    assert caption_words([caption]) == left


def test_singular_follows_the_rule_and_nothing_else():
    assert [singular(word) for word in ("dogs", "buses", "glasses", "knives", "women", "children")] == [
        "dog",
        "bus",
        "glass",
        "knife",
        "women",  # does not end in s
        "children",
    ]
    assert [singular(word) for word in ("glass", "bus", "tennis", "ponies", "tomatoes")] == [
        "glass",
        "bus",
        "tennis",
        "ponies",
        "tomatoes",
    ]


def test_picture_words_go_whole_and_in_the_plural():
    text = "photos of dogs photography dogs iconic iconic profile portraits"
    assert names(text) == ["dog", "iconic"]
    for word in PICTURE_WORDS:
        assert names(f"{word} {word} {word}s tiger tiger") == ["tiger"]


def test_counting_is_over_all_captions():
    assert names("a dog barks", "the dog sleeps") == ["dog"]
    # No word twice: the threshold becomes the greatest count, so that all words stay.
    assert names("brown dog barks", "white cat") == ["bark", "brown", "cat", "dog", "white"]
    # A word is counted after it has become singular.
    assert names("dogs run", "one dog ran") == ["dog"]
    # Dropped words do not count for the threshold.
    assert names("photo photo dog") == ["dog"]


def test_only_nouns_adjectives_and_participles_are_left():
    found = candidate_names(["the big dog quickly runs with the running dogs into them", "big broken toy"])
    assert found == ["big", "dog"]
    text = "his dog quickly found the broken toys under that wooden table"
    assert candidate_names([text]) == ["broken", "dog", "table", "toy", "wooden"]
    assert candidate_names(["with from into the and them", "the with"]) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("boat sailing on the sea", ["boat", "sea"]), ("man hanging a picture on the wall", ["man", "wall"]),
        ("broken wooden toy on a table", ["table", "toy"]), ("dog running in the park", ["dog", "park"]),
        ("ring and string beside a building", ["building", "ring", "string"]),
        ("sailing hanging running", []),
        ("king at a wedding under the ceiling", ["ceiling", "king", "wedding"]),
        ("skiing swimming dental", []),
    ],
)  # fmt: skip
def test_nouns_alone(text: str, names: list[str]):
    """A tagger takes "sailing" for a noun and "hanging", by its place, for one or the other."""
    assert candidate_names([text, text], nouns=True) == names
    found = candidate_names([text, text])
    assert set(names) <= set(found)
    # Whoever says what alone may be found means it.
    words = frozenset(found)
    assert candidate_names([text, text], nouns=True, only=words) == found


def test_every_tag_of_the_tagger_is_accounted_for():
    from vlcls.classifiers.candidates import _hanta

    known = {tag for number, tag in _hanta().int2tag.items() if number > 0 and -number in _hanta().int2tag}
    assert set(PENN) <= known
    assert set(PENN.values()) <= KEPT_TAGS
    nouns_and_such = {
        tag for tag in known if tag[:2] in ("NN", "NP", "AJ") or (tag[0] == "V" and tag[-1] in "GN")
    }
    assert nouns_and_such == set(PENN)


def test_tagging_is_of_the_word_string_in_its_order():
    seen = []

    def tagger(words):
        seen.append(list(words))
        return ["NN" if word != "ran" else "VBD" for word in words]

    assert candidate_names(["dog ran", "dog ran to a cat"], tagger) == ["dog"]
    assert seen == [["dog", "ran", "dog", "ran"]]
    assert candidate_names(["", "写真"], tagger) == [] and len(seen) == 1


def test_allowed_and_blocked_words():
    captions = ["a brown dog and a brown cat", "brown dogs, Brown Cats"]
    assert names(*captions) == ["and", "brown", "cat", "dog"][1:]
    assert names(*captions, blocked=normal_words(["Browns"])) == ["cat", "dog"]
    assert names(*captions, only=normal_words(["red pandas", "DOG"])) == ["dog"]
    # A threshold of two is one of the words that may remain.
    assert names("tiger dog dog", only=normal_words(["tiger"])) == ["tiger"]
    assert names(*captions, only=normal_words(["tiger"])) == []


@given(st.lists(st.text(max_size=200), max_size=12))
def test_any_text_gives_sorted_distinct_lower_case_words(captions):
    found = candidate_names(captions)
    assert found == sorted(set(found))
    assert all(word.isascii() and word.isalpha() and word.islower() for word in found)


@pytest.mark.parametrize(
    "captions",
    [
        [""],
        [],
        ["\0\0 dog\0 dog"],
        ["<html><body onload='x()'>dog dog</body></html>"],
        ["🐱🐶" * 100],
        ["写真 собака कुत्ता"],
        ["the of and a with"],
        ["x" * 1_000_000],
        ["dog " * 250_000],
        ["<" * 1_000_000],
        ["s" * 60 + " dogs dogs"],
        ["\ud800 dog dog"],
    ],
    ids=lambda captions: repr(captions)[:20],
)
def test_hostile_captions(captions):
    start = time.monotonic()
    found = candidate_names(captions)
    assert time.monotonic() - start < 10  # not the square of a megabyte
    assert found == (["dog"] if "dog" in "".join(captions) else [])


def test_taggers_by_name(tmp_path: Path):
    assert load_tagger()(["dog", "the"]) == ["NN", ""] == hanta_tags(["dog", "the"])
    with pytest.raises(CaptionError, match="no tagger 'nltk'"):
        load_tagger("nltk")


def test_a_spacy_model_of_the_user(tmp_path: Path):
    spacy = pytest.importorskip("spacy")
    pipeline = spacy.blank("en")
    ruler = pipeline.add_pipe("attribute_ruler")
    ruler.add(patterns=[[{"ORTH": "dog"}]], attrs={"TAG": "NN"})
    ruler.add(patterns=[[{"ORTH": "barked"}]], attrs={"TAG": "VBD"})
    pipeline.to_disk(tmp_path / "model")
    tagger = load_tagger(f"spacy:{tmp_path / 'model'}")
    assert list(tagger(["dog", "barked"])) == ["NN", "VBD"]
    assert candidate_names(["dog barked", "dog barked"], tagger) == ["dog"]
    with pytest.raises(CaptionError, match="no-such-model"):
        load_tagger("spacy:no-such-model")
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(CaptionError, match="no part-of-speech tags"):
        load_tagger(f"spacy:{tmp_path / 'blank'}")(["dog"])
