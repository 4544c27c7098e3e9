"""A name as WordNet writes it: in the singular, with other hyphens, in the spelling of the other shore."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from vlcls import wordnet
from vlcls.articles import inflect_engine
from vlcls.labels import clean_name

#: British and American ends and middles of words, then whole words; each pair is tried both ways.
_PARTS = (
    ("our", "or"), ("re", "er"), ("ise", "ize"), ("isation", "ization"), ("yse", "yze"), ("ogue", "og"),
    ("ae", "e"), ("oe", "e"), ("lled", "led"), ("lling", "ling"), ("ller", "ler"), ("ence", "ense"),
)  # fmt: skip
_WORDS = (
    ("grey", "gray"), ("aeroplane", "airplane"), ("tyre", "tire"), ("plough", "plow"), ("kerb", "curb"),
    ("pyjamas", "pajama"), ("pyjama", "pajama"), ("pyjamas", "pajamas"), ("moustache", "mustache"),
    ("doughnut", "donut"), ("jewellery", "jewelry"), ("yoghurt", "yogurt"), ("omelette", "omelet"),
    ("axe", "ax"), ("storey", "story"), ("sceptre", "scepter"), ("cheque", "check"), ("whisky", "whiskey"),
    ("draught", "draft"), ("gaol", "jail"), ("mould", "mold"), ("aluminium", "aluminum"), ("cosy", "cozy"),
    ("sulphur", "sulfur"), ("tsar", "czar"), ("racquet", "racket"), ("disc", "disk"), ("waggon", "wagon"),
    ("chilli", "chili"), ("caviare", "caviar"), ("catsup", "ketchup"), ("hotdog", "hot dog"),
)  # fmt: skip


def as_in_wordnet(name: str) -> str | None:
    """The name in lower case as WordNet has it, or None if no way to write it is there.

    Tried in this order: as it is; other hyphens, blanks, accents and apostrophes; without an article and what
    stands in brackets; in the singular or plural; in British and American spelling; these together.
    """
    plain = " ".join(clean_name(name).casefold().split())
    if plain in senses_by_name():
        return plain
    for way in _ways(plain):
        if found := _by_letters().get(_letters(way)):
            return found
    return None


def _ways(plain: str) -> Iterator[str]:
    bare = re.sub(r"^(?:an?|the)\s+", "", re.sub(r"\s*[(\[].*?[)\]]", "", plain)).strip()
    near = list(dict.fromkeys((plain, bare, *_in_other_number(bare))))
    yield from near
    for each in near:
        yield from _in_other_spelling(each)


def _in_other_number(name: str) -> Iterator[str]:
    """The singular of its last word, and the plural: "a trouser" is "trousers" there."""
    if not name:
        return
    rest, _, last = name.rpartition(" ")
    for other in _numbers(last):
        yield f"{rest} {other}".strip()
    if found := re.fullmatch(r"(\S+)(\s(?:of|on|in|de|with)\s.*)", name):  # "balls of wool"
        yield from (f"{other}{found[2]}" for other in _numbers(found[1]))


@lru_cache(maxsize=4096)
def _numbers(word: str) -> tuple[str, ...]:
    engine = inflect_engine()
    try:
        found = [engine.singular_noun(word), word.removesuffix("s"), engine.plural_noun(word)]
    except Exception:  # what is no word of English
        found = [word.removesuffix("s")]
    return tuple(dict.fromkeys(str(each) for each in found if each and each != word))


def _in_other_spelling(name: str) -> Iterator[str]:
    for pair in _WORDS:
        for old, new in (pair, pair[::-1]):
            if re.search(rf"\b{old}\b", name):
                yield re.sub(rf"\b{old}\b", new, name)
    for pair in _PARTS:
        for old, new in (pair, pair[::-1]):
            start = name.find(old)
            while start >= 0:
                yield name[:start] + new + name[start + len(old) :]
                start = name.find(old, start + 1)


def _letters(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.casefold())
    return "".join(each for each in plain if each.isalnum())


@lru_cache(maxsize=1)
def _by_letters() -> dict[str, str]:
    return {_letters(name): name for name in reversed(senses_by_name())}


@lru_cache(maxsize=1)
def senses_by_name() -> dict[str, list[tuple[int, str]]]:
    """Every name of WordNet in lower case to (place among the synset's lemmas, synset)."""
    result: dict[str, list[tuple[int, str]]] = {}
    for synset, names in wordnet.lemmas().items():
        for place, name in enumerate(names):
            result.setdefault(name.casefold(), []).append((min(place, 1), synset))
    return result
