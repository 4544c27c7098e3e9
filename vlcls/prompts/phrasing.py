"""From a descriptor to a clause behind a class name: "black stripes" to "which has black stripes".

- "dclip": the rules of Menon & Vondrick, "Visual Classification via Description from Large Language Models"
  (ICLR 2023), as in their published code: the first letters of the descriptor decide, so that "antennae"
  becomes "which is antennae" and "Typically red" "which has Typically red". For repeating published numbers.
- "grammatical" (default): whole words decide. A noun phrase is a kind of thing ("a seabird": "which is a
  seabird") if its head noun is in prompts/words/kinds.txt, else a part ("a long bill": "which has a long
  bill"); a phrase whose head is in prompts/words/adjectives.txt is a property ("black and white").
- "append": the descriptor in front, as in "black stripes, tiger", with the clause of "dclip".
- "alone": the grammatical clause without the name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, get_args

from vlcls.data import word_list
from vlcls.errors import TemplateError

Phrasing = Literal["grammatical", "dclip", "append", "alone"]
PHRASINGS: tuple[Phrasing, ...] = get_args(Phrasing)
DEFAULT_PHRASING: Phrasing = "grammatical"

_ARTICLES = frozenset(("a", "an", "the", "one"))
_PLURAL_VERBS = {"are": "is", "have": "has", "do": "does"}
_FINITE = re.compile(r"\b(is|are|has|have|may|can|was|were)\b")
_RELATIVE = re.compile(r"\b(that|which|who|whose|where|when)\b")
_PREPOSITION = (
    r"(?:of|in|on|with|without|for|from|at|to|by|near|under|over|above|below|between|along|around|across|"
    r"through|into|inside|against|behind|like|as|than|down|up|about)"
)
#: What ends the first noun phrase: a preposition, a relative word, or a participle before a preposition.
_END = re.compile(
    rf"\s(?:{_PREPOSITION}|that|which|who|where|when|(?:\w+(?:ed|ing)|made|found|known|worn|built|seen|cut)\s+{_PREPOSITION})\b"
)
#: The lower end of a range: "a small to medium-sized bird".
_RANGE = re.compile(r"\b(?:small|medium|large|short|thin|light|dark|pale)-?(?:\s?sized)? to ")


def check_phrasing(phrasing: str) -> Phrasing:
    for known in PHRASINGS:
        if phrasing == known:
            return known
    raise TemplateError(f"no phrasing {phrasing!r}: choose one of {', '.join(PHRASINGS)}")


def clause(descriptor: str, phrasing: Phrasing = DEFAULT_PHRASING) -> str:
    """The clause that a descriptor becomes: "which has black stripes"."""
    if phrasing in ("dclip", "append"):
        return _published_clause(descriptor)
    text = " ".join(descriptor.split()).rstrip(".;, ")
    return _grammatical_clause(_lowered(text)) if text else ""


def _published_clause(descriptor: str) -> str:
    """The first rule that fits; tests of letters, not of words, and of lower case only."""
    if descriptor.startswith(("a", "used")):
        return f"which is {descriptor}"
    if descriptor.startswith(("has", "often", "typically", "may", "can")):
        return f"which {descriptor}"
    return f"which has {descriptor}"


def _grammatical_clause(text: str) -> str:
    first, _, rest = text.partition(" ")
    first = first.strip(",")
    if first in ("which", "that", "whose", "with", "without", "where"):
        return text
    if first in _PLURAL_VERBS:
        return f"which {_PLURAL_VERBS[first]} {rest}"
    if first in _listed("verbs"):
        return f"which {text}"
    if first in _listed("adverbs"):
        second = rest.partition(" ")[0]
        return f"which {text}" if second in _listed("verbs") else f"which is {text}"
    if statement := _statement(text):
        return statement
    if re.match(rf"\w+ing\s+(?:{_PREPOSITION}|an?|the)\b", text):
        return text
    if re.match(
        rf"(?:not|(?:\w+ly\s+)?[\w-]+(?:ed|en|de|wn|lt|ld|ung)\s+{_PREPOSITION}|{_PREPOSITION})\b", text
    ):
        return f"which is {text}"
    return f"which {'is' if _names_a_kind(text) else 'has'} {text}"


def _statement(text: str) -> str:
    """A sentence of its own as a clause: "the bands are wide" to "whose bands are wide"."""
    verb = _FINITE.search(text)
    if verb is None or not verb.start() or _RELATIVE.search(text[: verb.start()]):
        return ""
    owner = re.match(r"(?:the|its|their|his|her)\s+", text)
    if owner:
        return f"whose {text[owner.end() :]}"
    first = text.split()[0]
    return (
        f"where {text}"
        if first in ("each", "every", "some", "most", "all", "both", "it", "there")
        else f"whose {text}"
    )


def _names_a_kind(text: str) -> bool:
    """Whether a phrase without a verb says what something is, not what it has."""
    text = _RANGE.sub("", text)
    cut = _END.search(text)
    words = re.findall(r"[\w'-]+", text[: cut.start()] if cut else text)
    if not words:
        return False
    if words[0] in _ARTICLES:
        # "a small head high above the ground": the adjective belongs to the noun in front of it.
        while len(words) > 1 and words[-1] in _listed("adjectives"):
            words.pop()
        return words[-1] in _listed("kinds")
    head = words[-1]
    if head in _listed("adjectives") or re.search(r"-(?:\w+ed|like|free|proof)$|(?:ous|less)$", head):
        return True
    return len(words) > 1 and head.endswith("ed") and words[-2].endswith("ly")


def _lowered(text: str) -> str:
    """The first word in lower case, unless capitals belong to it ("LED lights", "T-shirt", "Asian")."""
    first = text.split(" ")[0].strip(",")
    common = first.lower()
    known = (
        common in _ARTICLES
        or common in _PLURAL_VERBS
        or any(common in _listed(kind) for kind in ("adverbs", "verbs", "adjectives", "kinds"))
        or re.fullmatch(
            r"[A-Z][a-z]+(?:ed|ing|ly|s)|Two|Three|Four|Five|Six|Eight|With|In|On|No|Not|It", first
        )
    )
    return common + text[len(common) :] if known and first[1:] == common[1:] else text


@lru_cache(maxsize=4)
def _listed(name: str) -> frozenset[str]:
    return frozenset(word_list(name))
