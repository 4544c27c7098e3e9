"""Descriptors without a language model: the glosses of WordNet's nouns, cut into phrases."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

from vlcls import wordnet
from vlcls.descriptors.base import Descriptor, DescriptorSet, nearest
from vlcls.descriptors.glosses import gloss_phrases
from vlcls.descriptors.spelling import as_in_wordnet, senses_by_name
from vlcls.errors import DescriptorError, VlclsWarning
from vlcls.labels import Labels, clean_name

SOURCE = "wordnet"
#: Names that one error lists with reasons; the others by name alone.
_LISTED = 20


@dataclass(frozen=True)
class FromWordNet:
    """What WordNet says of some classes.

    Attributes:
        descriptors: Every class; those that failed have no descriptors.
        failures: Why, by the class's reported name.
        taken: Names that are in WordNet only in another way, with the name that was taken.
    """

    descriptors: DescriptorSet
    failures: Mapping[str, str] = field(default_factory=dict)
    taken: Mapping[str, str] = field(default_factory=dict)


def senses_of(name: str) -> dict[str, str]:
    """The synsets that a name may mean, likeliest first, with their glosses.

    Those whose first lemma it is come first, then in the order of WordNet's ids.
    """
    found = senses_by_name().get(clean_name(name).casefold(), [])
    return {synset: wordnet.glosses()[synset] for _, synset in sorted(found)}


def describe_with_wordnet(labels: Labels, *, senses: Mapping[str, str] | None = None) -> FromWordNet:
    """The gloss of each class's synset as descriptors: what kind of thing it is, and what it has.

    Warns of every name that has several senses and was not told apart, and of the names that were found only
    in another number or spelling.

    Args:
        labels: C classes, named as in WordNet or nearly so. An id that is a synset's is taken as that.
        senses: Synset ids ("n02012849") by class name or id.

    Raises:
        DescriptorError: Senses that are not there, or of no class.
    """
    chosen = dict(senses or {})
    known = wordnet.glosses()
    if unknown := [name for name in chosen if name not in {*labels.names, *labels.ids}]:
        raise DescriptorError(f"a sense is given for {unknown[0]!r}, which is no class")
    if wrong := [(name, synset) for name, synset in chosen.items() if synset not in known]:
        raise DescriptorError(f"class {wrong[0][0]!r}: no synset {wrong[0][1]!r} among WordNet's nouns")
    classes: list[tuple[Descriptor, ...]] = []
    failures: dict[str, str] = {}
    taken: dict[str, str] = {}
    for identifier, name, reported in zip(labels.ids, labels.names, labels.reported, strict=True):
        synset = chosen.get(identifier) or chosen.get(name) or (identifier if identifier in known else None)
        classes.append(())
        if synset is None:
            written = as_in_wordnet(name)
            if written is None:
                few = len(failures) < _LISTED  # a search over all of WordNet for each
                near = nearest(clean_name(name).casefold(), list(senses_by_name())) if few else ""
                failures[reported] = f"is not among WordNet's nouns: say what it is with --sense{near}"
                continue
            if written != clean_name(name).casefold():
                taken[name] = written
            synset = _likeliest(name, written)
        classes[-1] = tuple(Descriptor(text, SOURCE) for text in gloss_phrases(known[synset]))
        if not classes[-1]:
            failures[reported] = f"nothing that can be seen is in its gloss: {known[synset]}"
    if taken:
        listed = _lines(", ".join(f"{written!r} for {name!r}" for name, written in taken.items()))
        warnings.warn(f"taken from WordNet:{listed}", VlclsWarning, stacklevel=2)
    about = {"from": "WordNet glosses", "timm": version("timm")}
    made = DescriptorSet(labels, tuple(classes), "descriptors", {SOURCE: about})
    return FromWordNet(made, failures, taken)


def _lines(names: str) -> str:
    """Names behind a colon; many of them in lines, since a message's long lines are cut."""
    return "\n".join(["", *textwrap.wrap(names, 1000)]) if len(names) > 300 else names and f" {names}"


def _likeliest(name: str, written: str) -> str:
    found = senses_of(written)
    first, *others = found
    if others:
        listed = "; ".join(f"{synset}: {found[synset]}" for synset in others[:4])
        warnings.warn(
            f"{name!r} has {len(found)} senses in WordNet; taken: {first}, {found[first]}. Others: {listed}",
            VlclsWarning,
            stacklevel=3,
        )
    return first
