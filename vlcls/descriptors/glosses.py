"""WordNet's glosses cut into phrases that say what one sees; phrases that say nothing are left out."""

from __future__ import annotations

import re
from functools import lru_cache

from vlcls import wordnet
from vlcls.descriptors.checks import not_visual

#: Where a gloss goes over from what a thing is to what it has. "Filled with sand" is one thing to say.
_HAS = re.compile(
    r",?\s(?:having|bearing|characterized by|that has|which has|(?<![a-z]{3}ed )(?<!made )(?<!sewn )with)\s"
)
#: Whereabouts: a preposition and a name behind it, or a place that is everywhere.
_PLACE = re.compile(
    r",?\s(?:found in|native to|of|in|from|to|throughout|along)\s(?:[^,;]*\b[A-Z]\w+|"
    r"(?:many|most|all|temperate|tropical|warm|cold|northern|southern|eastern|western)\b[^,;]*)[^;]*"
)
#: Uses, habits and naming say nothing about looks.
_UNSEEN = re.compile(
    r"\b(?:used|usually used|occurs?|occurring|native|cultivated|domesticated|formerly|sometimes called|"
    r"any of|often kept|widely|commonly|especially|important|valued|raised|bred|kept|grown|imitated|"
    r"considered|called|known as|named|introduced|naturalized|brewed|invented|noises?|sounds?|braying)\b"
)
#: Sentences about a thing, where a phrase for its looks is wanted.
_TELLS = re.compile(
    r"(?:can|may|must|is|are|was|were|will|would|it|its|they|this|there|some|when|if|in|on|by|to|for|as|"
    r"e\.g|i\.e|originally|probably|equivalent|applied|similar|related|resembl\w+|includes?|consists?|"
    r"contains?|differs?|believed|pulled|produces?|serves?|holds?|yields?|lives?|feeds?|attacks?|causes?|now|"
    r"no longer|not)\b",
    re.IGNORECASE,
)
#: "Nontechnical name for any of numerous fishes": the fishes are meant.
_NAME_FOR = re.compile(
    r"^(?:an?\s|the\s|some\s)?(?:(?!who\b|that\b|which\b|whom\b|to\b)[\w'-]+\s){0,3}?"
    r"(?:name|term|word|title|designation)s?\s(?:(?:used|applied|given)\s(?:\w+ly\s)?)?(?:for|of|to)\s"
    r"(?:(?:address|respect|abuse)\s(?:for|to)\s)?",
    re.IGNORECASE,
)
_BEFORE_KIND = re.compile(
    r"^(?:(?:any|one|some|either|both) of\s+)?(?:(?:various|numerous|several|many|certain|two|an?|the|any)"
    r"\s+)*(?:(?:kind|type|variety|varieties|form)s?\sof\s)?(?:(?:an?|the)\s)?",
    re.IGNORECASE,
)
_EMPTY = re.compile(
    r"(?:a|an|the|any|some|type|types|kind|kinds|variety|varieties|form|forms|member|members|genus|one|someone|"
    r"something|person|thing|or|and|of|\s)*"
)
#: A phrase that ends so was cut in the middle.
_DANGLING = re.compile(
    r"(?:^|[\s,]+)(?:of|in|on|at|by|for|from|to|with|and|or|but|nor|that|which|who|whom|whose|as|than|into|"
    r"onto|upon|over|under|between|among|through|during|without|within|near|like|a|an|the|this|these|its|"
    r"their|his|her|can|may|could|be|is|are|was|were|has|have|made|used|found|placed|grown|cultivated|distilled|native|"
    r"naturalized|introduced|related|similar|resembling|called|known|named|considered|containing|composed|"
    r"consisting|consists|characterized|played|worn|served|situated|located|living|common|especially|usually|"
    r"typically|often|chiefly|mostly|mainly|formerly|originally|sometimes|commonly|widely|very|so|etc\.?)\s*[,:]*$",
    re.IGNORECASE,
)

_USED = re.compile(
    r",?\s(?:used|raised|bred|kept|found|cultivated|grown|native|valued|noted|prized|esteemed)\s"
    r"(?:for|as|to|in|by|from|throughout|especially|on)\b"
)
_ADJECTIVE = re.compile(r"(?:ed|ly|al|ous|ive|able|ible|ic|ful|less|ish|ar)$")
#: Words that WordNet has as nouns and glosses hardly ever mean as such.
_NO_NOUNS = {
    *("similar", "smaller", "larger", "native", "common", "small", "large", "red", "edible"),
    *("wild", "woody", "of"),
}


def gloss_phrases(gloss: str) -> list[str]:
    """The phrases of a gloss that say what one sees: none if it says nothing of the sort.

    Phrases that were cut in the middle lose what leads nowhere, and are left out if they then name no thing.
    """
    text = re.sub(r"\s*\([^)]*\)", "", gloss).replace("`", "'")
    text = re.sub(r"(?<=\w )any of (?:various|numerous|several|many) ", "", text)
    phrases: list[str] = []
    for number, part in enumerate(text.split(";")):
        part = part.strip()
        if number == 0:
            part = _BEFORE_KIND.sub("", _NAME_FOR.sub("", part))
        kind, *has = _HAS.split(f" {part}", maxsplit=1)
        kind, has = _trimmed(kind, cut=bool(has)), [_trimmed(_USED.split(each)[0], cut=True) for each in has]
        is_kind = not _EMPTY.fullmatch(kind) and _names_a_thing(kind) and not _TELLS.match(kind)
        if number == 0 and is_kind:
            phrases.append(f"a kind of {kind}")
        phrases += [each for each in ([kind] if number else []) + has if _seen(each)]
    return list(dict.fromkeys(phrases))


def _trimmed(phrase: str, *, cut: bool = False) -> str:
    """Without whereabouts; and, of what is cut, without words that then lead nowhere."""
    left = _PLACE.sub("", f" {phrase.strip()}").strip(" ,")
    left = re.split(r"[,:]?\s(?:e\.g\.|i\.e\.|such as|etc\b)", left)[0]
    cut = cut or left != phrase.strip(" ,")
    left = re.sub(r"^(?:(?:having|with|has|have|usually|typically|often|mostly|and|but)\s)+", "", left)
    while cut and (shorter := _DANGLING.sub("", left).strip(" ,:")) != left:
        left = shorter
    return left


def _seen(phrase: str) -> bool:
    if not phrase or _UNSEEN.search(phrase) or _TELLS.match(phrase) or not_visual().search(phrase):
        return False
    words = re.findall(r"[\w'-]+", phrase)
    names = sum(word[:1].isupper() for word in words)
    whereabouts = names and names + sum(word in ("and", "to", "or", "the", "of") for word in words) == len(
        words
    )
    return not whereabouts and _names_a_thing(phrase)


def _names_a_thing(phrase: str) -> bool:
    """Whether a word of a phrase is a noun, or may be the plural of one."""
    nouns = _nouns()
    for word in re.findall(r"[a-z]+", phrase.casefold()):
        for ending, singular in (("", ""), ("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("men", "man")):
            if word.endswith(ending) and word[: len(word) - len(ending)] + singular in nouns:
                return True
    return False


@lru_cache(maxsize=1)
def _nouns() -> frozenset[str]:
    """The last word of every name ("bus" of "school bus"), and what the glosses use as a noun."""
    glosses = "\n".join(wordnet.glosses().values()).casefold()
    used = re.findall(r"\b(?:an?|the) ([a-z]+) (?:of|that|which|with|for|having)\b", glosses)
    last = re.findall(r"^(?:an?|the) (?:[a-z-]+ ){0,3}?([a-z]+)(?=;|$)", glosses, re.MULTILINE)
    names = (name.casefold().split()[-1] for names in wordnet.lemmas().values() for name in names)
    nouns = {*names, *used, *(word for word in last if not _ADJECTIVE.search(word))}
    return frozenset(nouns) - _NO_NOUNS
