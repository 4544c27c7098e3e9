"""WaffleCLIP: random words and characters in place of descriptors, and the controls that go with them.

Roth et al., "Waffling around for Performance: Visual Classification with Random Words and Broad Concepts"
(ICCV 2023). The protocol is that of the published code. Its word list is not: words come from WordNet's
nouns, unless others are given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from vlcls import wordnet
from vlcls.descriptors.base import Descriptor, DescriptorSet
from vlcls.errors import TemplateError
from vlcls.labels import Labels, clean_name
from vlcls.prompts.base import Prompt, PromptSet
from vlcls.prompts.phrasing import clause

#: Pairs of one descriptor of random words and one of random characters.
DEFAULT_COUNT = 15
RANDOM = "random"


@dataclass(frozen=True)
class WaffleSizes:
    """How long random descriptors are, so that they look like the class names.

    Attributes:
        words: Words in a descriptor of words.
        word_length: Characters of a word; longer ones are cut.
        groups: Groups in a descriptor of characters.
        group_length: Characters in a group.
    """

    words: int
    word_length: int
    groups: int
    group_length: int


def waffle_sizes(names: Sequence[str]) -> WaffleSizes:
    """The sizes that follow from class names, rounded half to even as NumPy does."""
    split = [name.replace("_", " ").split() for name in names]
    groups = round(float(np.mean([name.count(" ") for name in names]))) + 1
    characters = math.ceil(np.mean([max(map(len, words)) for words in split]))
    characters += groups - characters % groups  # as published: also when it divides already
    return WaffleSizes(
        max(round(float(np.mean([len(words) for words in split]))), 1),
        round(float(np.mean([np.mean([len(word) for word in words]) for words in split]))),
        groups,
        characters // groups,
    )


def alphabet_of(descriptors: DescriptorSet) -> str:
    """All characters of a descriptor set but space, comma and full stop: what random ones are drawn from."""
    texts = "".join(each.text for own in descriptors.descriptors for each in own)
    return "".join(sorted(set(texts) - set(",. ")))


def random_descriptors(
    sizes: WaffleSizes,
    count: int,
    seed: int,
    *,
    words: Sequence[str] | None = None,
    alphabet: str | None = None,
) -> list[str]:
    """`count` pairs: 2 x count descriptors, of words and of characters in turn."""
    known = [word[: sizes.word_length] for word in (words or _words())]
    letters = alphabet or "abcdefghijklmnopqrstuvwxyz"
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        result.append(" ".join(known[index] for index in rng.integers(len(known), size=sizes.words)))
        drawn = rng.integers(len(letters), size=(sizes.groups, sizes.group_length))
        result.append(", ".join("".join(letters[index] for index in group) for group in drawn))
    return result


def prompts_from_random(
    labels: Labels,
    *,
    count: int = DEFAULT_COUNT,
    seed: int = 0,
    concept: str = "",
    words: Sequence[str] | None = None,
    alphabet: str | None = None,
) -> PromptSet:
    """WaffleCLIP's prompts: "A photo of a tiger, which has jmhjq." All classes share the random descriptors.

    Args:
        labels: C classes. The published sizes count the spaces of raw names: keep underscores (clean=False)
            to repeat them; prompts have spaces all the same.
        count: Pairs of random descriptors (section 4.1 of the paper's code: 15, so 30 prompts a class).
        seed: Another one gives other descriptors; the paper reports the mean over 0 to 6.
        concept: What all classes are ("bird"): "A photo of a bird: a tiger, ...".
        words: Words to draw from.
        alphabet: Characters to draw from; the published code takes `alphabet_of` the data set's descriptors.

    Returns:
        C x 2 x count prompts, class by class, whose `template` tells which random descriptor it is.
    """
    if count < 1:
        raise TemplateError(f"count must be at least 1, not {count}")
    drawn = random_descriptors(waffle_sizes(labels.names), count, seed, words=words, alphabet=alphabet)
    return PromptSet(
        labels,
        tuple(
            Prompt(_text(name, text, concept), index, "random", RANDOM, template=place, descriptor=text)
            for index, name in enumerate(labels.names)
            for place, text in enumerate(drawn)
        ),
    )


def waffle_and_descriptors(
    descriptors: DescriptorSet,
    *,
    count: int = DEFAULT_COUNT,
    seed: int = 0,
    concept: str = "",
    words: Sequence[str] | None = None,
    alphabet: str | None = None,
) -> PromptSet:
    """Random descriptors and the class's own: of 4 x int(2/3 count) candidates, 2 x count are kept a class.

    Half of the candidates are random and shared, half drawn with replacement from the class's own.

    Raises:
        TemplateError: A class without descriptors.
    """
    labels = descriptors.labels
    half = 2 * max(int(2 / 3 * count), 1)
    drawn = random_descriptors(waffle_sizes(labels.names), half // 2, seed, words=words, alphabet=alphabet)
    rng = np.random.default_rng([seed, 1])
    made = []
    for index, (name, own) in enumerate(zip(labels.names, descriptors.descriptors, strict=True)):
        if not own:
            raise TemplateError(f"class {labels.reported[index]!r} has no descriptors to draw from")
        candidates = [*(Descriptor(text, RANDOM) for text in drawn)]
        candidates += [own[row] for row in rng.integers(len(own), size=half)]
        kept = rng.choice(len(candidates), size=min(2 * count, len(candidates)), replace=False)
        for each in (candidates[row] for row in sorted(kept)):
            kind = "random" if each.source == RANDOM else "descriptor"
            made.append(
                Prompt(_text(name, each.text, concept), index, kind, each.source, descriptor=each.text)  # type: ignore[arg-type]
            )
    return PromptSet(labels, tuple(made))


# ---- controls: is it what the descriptors say? ---------------------------------------------------------


def swapped(descriptors: DescriptorSet, seed: int = 0) -> DescriptorSet:
    """Every class with another class's list, by a random permutation that leaves no class its own."""
    count = len(descriptors.labels)
    if count < 2:
        raise TemplateError("a single class has no other to swap descriptors with")
    # Sattolo's shuffle: one cycle through all classes.
    rng, order = np.random.default_rng(seed), list(range(count))
    for place in range(count - 1, 0, -1):
        other = int(rng.integers(place))
        order[place], order[other] = order[other], order[place]
    return replace(descriptors, descriptors=tuple(descriptors.descriptors[index] for index in order))


def scrambled(descriptors: DescriptorSet, seed: int = 0) -> DescriptorSet:
    """Each class's words redrawn with replacement; every descriptor keeps its number of words."""
    rng = np.random.default_rng(seed)
    classes = []
    for own in descriptors.descriptors:
        words = [word for each in own for word in each.text.split()]
        drawn = [
            " ".join(words[row] for row in rng.integers(len(words), size=len(each.text.split())))
            for each in own
        ]
        classes.append(tuple(replace(each, text=text) for each, text in zip(own, drawn, strict=True)))
    return replace(descriptors, descriptors=tuple(classes))


def random_descriptions(
    descriptors: DescriptorSet, seed: int = 0, *, budget: int = 1, shared: bool = False
) -> DescriptorSet:
    """Descriptors of any classes, drawn for each class, or once for all.

    Args:
        descriptors: Where they are drawn from, with replacement.
        seed: Another one draws others.
        budget: Times the mean number of descriptors a class, rounded up.
        shared: All classes get the same ones.
    """
    everything = [each for own in descriptors.descriptors for each in own]
    size = budget * math.ceil(len(everything) / len(descriptors.labels))
    rng = np.random.default_rng(seed)
    draws = 1 if shared else len(descriptors.labels)
    lists = [tuple(everything[row] for row in rng.integers(len(everything), size=size)) for _ in range(draws)]
    return replace(descriptors, descriptors=tuple(lists * len(descriptors.labels) if shared else lists))


def _text(name: str, descriptor: str, concept: str) -> str:
    before = f"A photo of a {concept}: a " if concept else "A photo of a "
    return f"{before}{clean_name(name)}, {clause(descriptor, 'dclip')}."


@lru_cache(maxsize=1)
def _words() -> tuple[str, ...]:
    found = {word for names in wordnet.lemmas().values() for name in names for word in name.split()}
    return tuple(sorted(word for word in found if re.fullmatch("[a-z]{3,}", word)))
