"""WaffleCLIP and its controls: sizes, an independent reading of the protocol, seeds, shared descriptors."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlcls.classifiers.prompt import usual_aggregate
from vlcls.classifiers.weighting import shared_templates
from vlcls.descriptors import Descriptor, DescriptorSet
from vlcls.errors import TemplateError
from vlcls.labels import Labels, as_labels
from vlcls.prompts import (
    PromptSet,
    join_prompts,
    prompts_from_random,
    prompts_from_templates,
    waffle_and_descriptors,
)
from vlcls.prompts.waffle import (
    WaffleSizes,
    alphabet_of,
    random_descriptions,
    random_descriptors,
    raw_names,
    scrambled,
    swapped,
    waffle_sizes,
)

BIRDS = DescriptorSet(
    as_labels(["gull", "barn owl", "crow"]),
    tuple(
        tuple(Descriptor(text, "gpt") for text in texts)
        for texts in (
            ["white feathers", "a hooked beak", "webbed feet"],
            ["a heart-shaped face"],
            ["black feathers", "a straight, thick beak."],
        )
    ),
)


def test_the_sizes_of_the_example():
    assert waffle_sizes(["golden retriever", "pug"]) == WaffleSizes(2, 5, 1, 7)


#: Places365's names as published have an underscore in nearly every second one; here by hand.
@pytest.mark.parametrize(
    ("names", "sizes"),
    [
        # 2 words and 1, 6.5 and 5 letters; the longest 14 and 5 as they are: 9.5, so 10, and one more.
        (["airplane_cabin", "attic"], (2, 6, 1, 11)),
        (["airplane cabin", "attic"], (2, 6, 1, 8)),  # half a space rounds to none
        (["corn_field", "bus_interior"], (2, 5, 1, 12)),
        (["corn field", "bus interior"], (2, 5, 2, 4)),
    ],
)
def test_names_with_underscores_give_the_published_sizes(names: list[str], sizes: tuple[int, ...]):
    assert waffle_sizes(names) == WaffleSizes(*sizes)
    labels = as_labels(dict(zip(names, names, strict=True)))  # ids as folders have them, names cleaned
    assert raw_names(labels) == names


@given(st.lists(st.text("abcdef _", min_size=1).filter(lambda n: n.replace("_", " ").strip()), min_size=1))
def test_sizes_equal_the_steps_one_by_one(names: list[str]):
    counts, lengths, spaces, longest = [], [], [], []
    for name in names:
        words = name.replace("_", " ").split(" ")
        counts.append(len(words))
        lengths.append(sum(len(word) for word in words) / len(words))
        spaces.append(sum(letter == " " for letter in name))
        longest.append(max(len(word) for word in name.split(" ")))  # as they are: underscores are letters
    groups = int(np.round(sum(spaces) / len(names))) + 1
    characters = math.ceil(sum(longest) / len(names))
    while True:  # at least one more, until the groups are equally long
        characters += 1
        if characters % groups == 0:
            break
    found = waffle_sizes(names)
    assert found.words == max(int(np.round(sum(counts) / len(names))), 1)
    assert abs(found.word_length - sum(lengths) / len(names)) <= 0.5 + 1e-9
    assert (found.groups, found.group_length) == (groups, characters // groups)


def test_random_descriptors_keep_to_their_sizes_and_sources():
    drawn = random_descriptors(WaffleSizes(2, 3, 3, 4), 50, 0, words=["abcdef", "xy"], alphabet="01")
    assert len(drawn) == 100 and drawn == random_descriptors(
        WaffleSizes(2, 3, 3, 4), 50, 0, words=["abcdef", "xy"], alphabet="01"
    )
    for words, characters in zip(drawn[::2], drawn[1::2], strict=True):
        assert set(words.split(" ")) <= {"abc", "xy"} and len(words.split(" ")) == 2
        groups = characters.split(", ")
        assert [len(group) for group in groups] == [4, 4, 4] and set("".join(groups)) <= {"0", "1"}
    assert drawn != random_descriptors(WaffleSizes(2, 3, 3, 4), 50, 1, words=["abcdef", "xy"], alphabet="01")


def test_all_classes_share_them():
    prompts = prompts_from_random(BIRDS.labels, seed=3)
    assert len(prompts) == 3 * 30 and shared_templates(prompts) == list(range(30))
    for place in range(30):
        of_place = [prompt for prompt in prompts if prompt.template == place]
        assert len({prompt.descriptor for prompt in of_place}) == 1
        assert [prompt.text.split(",")[0] for prompt in of_place] == [
            "A photo of a gull",
            "A photo of a barn owl",
            "A photo of a crow",
        ]
    assert all(prompt.text.endswith(".") and prompt.kind == "random" for prompt in prompts)


def test_raw_names_give_the_published_sizes_and_clean_prompts():
    raw = Labels(("corn_field", "bus_interior"), ("corn_field", "bus_interior"))
    text = prompts_from_random(raw, count=1).prompts[1].text
    assert waffle_sizes(raw.names).groups == 1 and waffle_sizes(["corn field", "bus interior"]).groups == 2
    assert text.startswith("A photo of a corn field, which ") and text.count(",") == 1


def test_a_random_string_that_holds_a_name_stays_what_it_is():
    prompts = prompts_from_random(as_labels(["a", "b"]), count=1, words=["a"], alphabet="a")
    assert {prompt.descriptor for prompt in prompts if prompt.class_index == 1} <= {"a", "aa"}
    assert prompts.texts[2].startswith("A photo of a b, which is a")


def test_concepts():
    assert (
        prompts_from_random(BIRDS.labels, concept="bird").texts[0].startswith("A photo of a bird: a gull, ")
    )


def test_the_alphabet_of_a_set():
    assert alphabet_of(BIRDS) == "".join(
        sorted(set("whitefeathersahookedbeakwebbedheart-shapedfaceblackstraightthick"))
    )


def test_random_and_own_descriptors():
    prompts = waffle_and_descriptors(BIRDS, seed=1)
    for index in range(3):
        own = prompts.of_class(index)
        assert len(own) == 30
        assert {prompt.descriptor for prompt in own if prompt.kind == "descriptor"} <= set(BIRDS.texts(index))
        # 30 of 20 random and 20 own: at least 10 of each
        assert min(Counter(prompt.kind for prompt in own).values()) >= 10


@pytest.mark.parametrize(("count", "pairs"), [(15, 10), (3, 2), (1, 1)])
def test_random_and_own_descriptors_one_step_after_the_other(count: int, pairs: int):
    """2/3 of `count` pairs, rounded down but at least one; as many of the class's own; 2 x `count` stay."""
    drawn = list(random_descriptors(waffle_sizes(BIRDS.labels.names), pairs, 4))
    rng = np.random.default_rng([4, 1])
    prompts = waffle_and_descriptors(BIRDS, count=count, seed=4)
    for index in range(3):
        own = BIRDS.texts(index)
        both = [*drawn, *(own[row] for row in rng.integers(len(own), size=2 * pairs))]
        kept = sorted(rng.choice(4 * pairs, size=2 * count, replace=False))
        assert [prompt.descriptor for prompt in prompts.of_class(index)] == [both[row] for row in kept]


def test_no_random_descriptors_are_refused():
    with pytest.raises(TemplateError, match="at least 1"):
        prompts_from_random(BIRDS.labels, count=0)


def test_a_class_without_descriptors_has_one_empty_one_as_published():
    own = waffle_and_descriptors(BIRDS.replaced(0, []), seed=1).of_class(0)
    assert len(own) == 30
    empty = [prompt for prompt in own if prompt.kind == "descriptor"]
    assert len(empty) >= 10 and {prompt.text for prompt in empty} == {"A photo of a gull, which has ."}


@given(st.integers(2, 30), st.integers(0, 1000))
def test_swapping_leaves_no_class_its_own(count: int, seed: int):
    labels = as_labels([str(index) for index in range(count)])
    known = DescriptorSet(labels, tuple((Descriptor(f"of {index}"),) for index in range(count)))
    other = swapped(known, seed)
    assert Counter(other.descriptors) == Counter(known.descriptors)
    assert all(other.texts(index) != known.texts(index) for index in range(count))


def test_scrambling_keeps_lengths_and_words():
    other = scrambled(BIRDS, 4)
    for index in range(3):
        words = {word for text in BIRDS.texts(index) for word in text.split()}
        assert [len(t.split()) for t in other.texts(index)] == [len(t.split()) for t in BIRDS.texts(index)]
        assert {word for text in other.texts(index) for word in text.split()} <= words


@pytest.mark.parametrize(
    ("budget", "shared", "size"),
    [(1, False, 2), (2, False, 4), (5, False, 6), (2, True, 4), (3, True, 6), (5, True, 10)],
)
def test_random_descriptions(budget: int, shared: bool, size: int):
    other = random_descriptions(BIRDS, 0, budget=budget, shared=shared)
    everything = {text for index in range(3) for text in BIRDS.texts(index)}
    assert [len(own) for own in other.descriptors] == [size] * 3
    assert all(set(other.texts(index)) <= everything for index in range(3))
    if size <= 6:  # without replacement, unless shared ones are more than there are
        assert all(len(set(other.texts(index))) == size for index in range(3))
    if size < 6:
        assert (len(set(other.descriptors)) == 1) == shared


def test_the_mean_number_is_rounded_up_before_the_budget():
    fewer = BIRDS.replaced(0, BIRDS.descriptors[0][:1])  # 4 descriptors of 3 classes: 1.33 is 2
    total = sum(map(len, fewer.descriptors))
    assert total == 4
    for budget, size in ((1, 2), (2, 4)):
        assert [len(own) for own in random_descriptions(fewer, budget=budget).descriptors] == [size] * 3


def test_each_descriptor_is_drawn_equally_often():
    drawn = Counter(
        text for seed in range(600) for text in random_descriptions(BIRDS, seed, shared=True).texts(0)
    )
    assert len(drawn) == 6 and all(150 < count < 250 for count in drawn.values())
    with pytest.raises(TemplateError, match="no descriptors to draw from"):
        random_descriptions(BIRDS.replaced(0, []).replaced(1, []).replaced(2, []))


def test_the_published_way_by_name():
    from vlcls.evaluation.run.methods import parse_method
    from vlcls.prompts.sources import Context

    raw = ["corn_field", "bus_interior", "attic"]
    labels = as_labels(dict(zip(raw, raw, strict=True)))
    known = DescriptorSet(labels, ((Descriptor("zz"),), (Descriptor("zzz."),), (Descriptor("z z"),)))
    texts = [
        parse_method(spec).prompts(Context(labels, descriptors=known), 0).prompts[1].descriptor
        for spec in ("waffle", "waffle:published")
    ]
    ours, published = waffle_sizes(labels.names), waffle_sizes(raw)
    assert [len(group) for group in texts[0].split(", ")] == [ours.group_length] * ours.groups
    assert texts[1] == "z" * published.group_length and published.groups == 1


def test_random_descriptors_are_scored_by_their_mean_similarity():
    assert usual_aggregate(prompts_from_random(BIRDS.labels, count=2)) == "mean-similarity"
    assert usual_aggregate(waffle_and_descriptors(BIRDS)) == "mean-similarity"
    assert usual_aggregate(prompts_from_templates(BIRDS.labels, "photo")) == "mean-embedding"


def test_joining_numbers_templates_on():
    joined = join_prompts(
        prompts_from_templates(BIRDS.labels, ["a {}", "the {}"]), prompts_from_random(BIRDS.labels, count=1)
    )
    assert [prompt.template for prompt in joined.of_class(1)] == [0, 1, 2, 3]
    assert joined.class_indices == sorted(joined.class_indices)
    alone = prompts_from_templates(BIRDS.labels, "name")
    none = PromptSet(alone.labels, tuple(replace(prompt, template=None) for prompt in alone))
    assert [prompt.template for prompt in join_prompts(none, joined).of_class(1)] == [None, 0, 1, 2, 3]
    with pytest.raises(TemplateError, match="same classes"):
        join_prompts(joined, prompts_from_templates(as_labels(["cat"]), "photo"))
