"""Descriptors without a language model: the glosses of WordNet's nouns, cut into phrases."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version

from vlcls import wordnet
from vlcls.descriptors.base import Descriptor, DescriptorSet, nearest
from vlcls.descriptors.checks import not_visual
from vlcls.errors import DescriptorError, VlclsWarning
from vlcls.labels import Labels, clean_name

SOURCE = "wordnet"

#: Where a gloss goes over from what a thing is to what it has.
_HAS = re.compile(r",?\s(?:with|having|bearing|characterized by|that has|which has)\s")
#: Whereabouts: a preposition and a name behind it, or a place that is everywhere.
_PLACE = re.compile(
    r",?\s(?:found in|native to|of|in|from|to|throughout|along)\s(?:[^,;]*\b[A-Z]\w+|"
    r"(?:many|most|all|temperate|tropical|warm|cold|northern|southern|eastern|western)\b[^,;]*)[^;]*"
)
#: Uses, habits and naming say nothing about looks.
_UNSEEN = re.compile(
    r"\b(?:used|usually used|occurs?|occurring|native|cultivated|domesticated|formerly|sometimes called|"
    r"any of|often kept|widely|commonly|especially|important|valued|raised|bred|kept|grown|imitated)\b"
)
_BEFORE_KIND = re.compile(r"^(?:(?:any|one) of\s+)?(?:(?:various|numerous|several|an?|the|any)\s+)*")
_EMPTY = re.compile(r"(?:a|an|the|any|type|kind|variety|member|members|genus|one|or|and|\s)*")


def senses_of(name: str) -> dict[str, str]:
    """The synsets that a name may mean, likeliest first, with their glosses.

    Those whose first lemma it is come first, then in the order of WordNet's ids.
    """
    found = _senses().get(clean_name(name).casefold(), [])
    return {synset: wordnet.glosses()[synset] for _, synset in sorted(found)}


def descriptors_from_wordnet(labels: Labels, *, senses: Mapping[str, str] | None = None) -> DescriptorSet:
    """The gloss of each class's synset as descriptors: what kind of thing it is, and what it has.

    Warns of every name that has several senses and was not told apart.

    Args:
        labels: C classes, named as in WordNet (singular). An id that is a synset's is taken as that.
        senses: Synset ids ("n02012849") by class name or id.

    Raises:
        DescriptorError: A name or synset that is not there, or senses of no class; says what is near.
    """
    chosen = dict(senses or {})
    known = wordnet.glosses()
    if unknown := [name for name in chosen if name not in {*labels.names, *labels.ids}]:
        raise DescriptorError(f"a sense is given for {unknown[0]!r}, which is no class")
    classes = []
    for identifier, name in zip(labels.ids, labels.names, strict=True):
        synset = chosen.get(identifier) or chosen.get(name) or (identifier if identifier in known else None)
        if synset is None:
            synset = _likeliest(name)
        if synset not in known:
            raise DescriptorError(f"class {name!r}: no synset {synset!r} among WordNet's nouns")
        classes.append(tuple(Descriptor(text, SOURCE) for text in gloss_phrases(known[synset])))
    about = {"from": "WordNet glosses", "timm": version("timm")}
    return DescriptorSet(labels, tuple(classes), "descriptors", {SOURCE: about})


def gloss_phrases(gloss: str) -> list[str]:
    """The phrases of a gloss that say what one sees; the whole gloss if none does."""
    text = re.sub(r"\s*\([^)]*\)", "", gloss)
    phrases: list[str] = []
    for number, part in enumerate(text.split(";")):
        kind, *has = (_trimmed(each) for each in _HAS.split(f" {part.strip()}", maxsplit=1))
        if number == 0 and not _EMPTY.fullmatch(kind):
            phrases.append(f"a kind of {_BEFORE_KIND.sub('', kind)}")
        phrases += [each for each in ([kind] if number else []) + has if each and _seen(each)]
    return list(dict.fromkeys(phrases)) or [gloss.strip()]


def _trimmed(phrase: str) -> str:
    """Without whereabouts, and without words that lead nowhere."""
    left = _PLACE.sub("", f" {phrase.strip()}").strip(" ,")
    return re.sub(r"^(?:having|with)\s|\s(?:usually|typically|often)$", "", left)


def _seen(phrase: str) -> bool:
    return not (_UNSEEN.search(phrase) or not_visual().search(phrase))


def _likeliest(name: str) -> str:
    found = senses_of(name)
    if not found:
        near = nearest(clean_name(name).casefold(), list(_senses()))
        raise DescriptorError(
            f"class {name!r} is not among WordNet's nouns: use a name that is, or say which synset{near}"
        )
    first, *others = found
    if others:
        listed = "; ".join(f"{synset}: {found[synset]}" for synset in others[:4])
        warnings.warn(
            f"{name!r} has {len(found)} senses in WordNet; taken: {first}, {found[first]}. Others: {listed}",
            VlclsWarning,
            stacklevel=3,
        )
    return first


@lru_cache(maxsize=1)
def _senses() -> dict[str, list[tuple[int, str]]]:
    """Every name in lower case to (place among the synset's lemmas, synset)."""
    result: dict[str, list[tuple[int, str]]] = {}
    for synset, names in wordnet.lemmas().items():
        for place, name in enumerate(names):
            result.setdefault(name.casefold(), []).append((min(place, 1), synset))
    return result
