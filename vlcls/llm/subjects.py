"""Whether an answer is about the class that was asked about."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlcls.descriptors.spelling import senses_by_name
from vlcls.labels import clean_name


def other_subject(phrases: Sequence[str], name: str, others: Sequence[str]) -> str | None:
    """The other class that most phrases of an answer name, if none names this one."""
    whole = "\n".join(phrases).casefold()
    if re.search(rf"\b{re.escape(clean_name(name).casefold())}", whole):
        return None
    for other in others:
        plain = clean_name(other).casefold()
        if plain not in whole or plain in clean_name(name).casefold():
            continue
        word = re.compile(rf"\b{re.escape(plain)}(?:s|es)?\b")
        if 2 * sum(bool(word.search(phrase.casefold())) for phrase in phrases) > len(phrases):
            return other
    return None


def is_about(said: str, name: str, others: Sequence[str]) -> bool:
    """Whether the class that an answer says it is about is this one, in whatever way it is written."""
    plain, wanted = _folded(said), _folded(name)
    if plain == wanted:
        return True
    if any(_folded(each) == plain for each in others):
        return False
    if is_same(said, name) or is_synonym(plain, wanted):
        return True
    other = any(is_same(said, each) for each in others)
    if not other and re.search(rf"\b{re.escape(wanted)}(?:s|es)?\b", plain):
        longer = [_folded(each) for each in others if wanted in _folded(each)]
        # "Bengal tiger" for "tiger", not "polar bear" for "bear".
        if not any(each in plain for each in longer):
            return True
    return not other and said.isascii() != name.isascii()  # the name in another script


def is_synonym(a: str, b: str) -> bool:
    """Whether WordNet has two names of one thing: "panthera tigris" is the tiger."""
    senses = senses_by_name()
    return bool({synset for _, synset in senses.get(a, ())} & {synset for _, synset in senses.get(b, ())})


def is_same(a: str, b: str) -> bool:
    """Whether two texts are one name: in another case or number, or with another name in brackets behind."""
    (one, *parts), (other, *others) = _ways(a), _ways(b)
    return one in (other, *others) or other in parts or bool(parts and others and parts[0] == others[0])


def _ways(name: str) -> list[str]:
    """A name; and, of one with brackets, what is before them and in them."""
    folded = _folded(name)
    inside = re.fullmatch(r"(.+?)\s*[(\uff08\[]\s*(.+?)\s*[)\uff09\]]", folded)
    return [way.rstrip("s") for way in (folded, *(inside.groups() if inside else ()))]


def _folded(name: str) -> str:
    plain = clean_name(name.strip(" *_`\"'.:")).casefold().replace("-", " ")
    return " ".join(re.sub(r"^(?:class:?|an?|the)\s+", "", plain).split())
