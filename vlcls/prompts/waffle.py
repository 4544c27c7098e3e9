"""WaffleCLIP: random words and characters in place of descriptors, and the controls that go with them.

Roth et al., "Waffling around for Performance: Visual Classification with Random Words and Broad Concepts"
(ICCV 2023). The protocol is that of the published code, control by control. What is not, and why:

- Words come from WordNet's nouns unless others are given: the published list has no licence.
- Random texts are put into each class's prompt. The code draws for one class and replaces its name in the
  texts of the others, also where a random string happens to hold it.
- `swapped` leaves no class its own descriptors; the code's shuffle leaves one on average.
- `random_descriptions` draws from the descriptors there are; in the code a class without any
  adds an empty one.
- Characters are a to z unless others are given; the code takes them from the data set's descriptors, and so
  lets a control without meaning depend on a language model (`alphabet_of` gives these).

`vlcls evaluate -m waffle:published` takes sizes of raw names and that alphabet.
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
RANDOM, EMPTY = "random", "empty"


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
    """The sizes that follow from class names, as in the published code (`waffle_tools.py`, mode "waffle").

    Words and their mean length are counted with a space for each underscore. The number of groups and the
    longest word are those of the names as they are: "corn_field" is one word of ten letters. So raw names
    give the published sizes (Places365: one group of 13), and clean ones those of words as people read them.
    Means are rounded half to even, as NumPy does.
    """
    words = [name.replace("_", " ").split(" ") for name in names]
    groups = round(float(np.mean([name.count(" ") for name in names]))) + 1
    characters = math.ceil(np.mean([max(map(len, name.split(" "))) for name in names]))
    characters += groups - characters % groups  # as published: also when it divides already
    return WaffleSizes(
        max(round(float(np.mean([len(own) for own in words]))), 1),
        round(float(np.mean([np.mean([len(word) for word in own]) for own in words]))),
        groups,
        characters // groups,
    )


def raw_names(labels: Labels) -> list[str]:
    """The names before they were cleaned up, as far as the ids tell: "corn_field" for "corn field"."""
    pairs = zip(labels.ids, labels.names, strict=True)
    return [identifier if clean_name(identifier) == name else name for identifier, name in pairs]


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
    sizes: WaffleSizes | None = None,
) -> PromptSet:
    """WaffleCLIP's prompts: "A photo of a tiger, which has jmhjq." All classes share the random descriptors.

    Args:
        labels: C classes. Sizes are those of their names, or `sizes`; prompts have spaces all the same.
        count: Pairs of random descriptors (section 4.1 of the paper's code: 15, so 30 prompts a class).
        seed: Another one gives other descriptors; the paper reports the mean over 0 to 6.
        concept: What all classes are ("bird"): "A photo of a bird: a tiger, ...".
        words: Words to draw from.
        alphabet: Characters to draw from; the published code takes `alphabet_of` the data set's descriptors.
        sizes: Of the random descriptors; the published ones are `waffle_sizes(raw_names(labels))`.

    Returns:
        C x 2 x count prompts, class by class, whose `template` tells which random descriptor it is.
    """
    if count < 1:
        raise TemplateError(f"count must be at least 1, not {count}")
    sizes = sizes or waffle_sizes(labels.names)
    drawn = random_descriptors(sizes, count, seed, words=words, alphabet=alphabet)
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
    sizes: WaffleSizes | None = None,
) -> PromptSet:
    """Random descriptors and the class's own: of 4 x int(2/3 count) candidates, 2 x count are kept a class.

    Half of the candidates are random and shared, half drawn with replacement from the class's own. A class
    without any has one empty descriptor, as in the published code: "A photo of a gull, which has .".
    """
    labels = descriptors.labels
    half = 2 * max(int(2 / 3 * count), 1)
    sizes = sizes or waffle_sizes(labels.names)
    drawn = random_descriptors(sizes, half // 2, seed, words=words, alphabet=alphabet)
    rng = np.random.default_rng([seed, 1])
    made = []
    for index, (name, given) in enumerate(zip(labels.names, descriptors.descriptors, strict=True)):
        own = given or (Descriptor("", EMPTY),)
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
    """Descriptors of any classes, drawn without replacement, for each class or once for all.

    Args:
        descriptors: Where they are drawn from; one that several classes have is there as often.
        seed: Another one draws others.
        budget: Times the mean number of descriptors a class, rounded up. If there are not that many, each
            class gets all of them; shared ones are then drawn with replacement, as in the published code.
        shared: All classes get the same ones.

    Raises:
        TemplateError: There are no descriptors.
    """
    everything = [each for own in descriptors.descriptors for each in own]
    if not everything:
        raise TemplateError("there are no descriptors to draw from")
    size = budget * math.ceil(len(everything) / len(descriptors.labels))
    rng = np.random.default_rng(seed)
    again = shared and size > len(everything)
    size = size if again else min(size, len(everything))
    lists = [
        tuple(everything[row] for row in rng.choice(len(everything), size=size, replace=again))
        for _ in range(1 if shared else len(descriptors.labels))
    ]
    return replace(descriptors, descriptors=tuple(lists * len(descriptors.labels) if shared else lists))


def _text(name: str, descriptor: str, concept: str) -> str:
    before = f"A photo of a {concept}: a " if concept else "A photo of a "
    return f"{before}{clean_name(name)}, {clause(descriptor, 'dclip')}."


@lru_cache(maxsize=1)
def _words() -> tuple[str, ...]:
    found = {word for names in wordnet.lemmas().values() for name in names for word in name.split()}
    return tuple(sorted(word for word in found if re.fullmatch("[a-z]{3,}", word)))
