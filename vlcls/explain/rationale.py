"""A reason in English, from the descriptors that did most for the predicted class."""

from __future__ import annotations

from collections.abc import Sequence

from vlcls.explain.evidence import Contribution, Evidence
from vlcls.prompts import clause

#: More reasons than this nobody reads.
_AT_MOST = 3
#: A reason counts beside the strongest if it did at least this part of what that one did.
_WORTH_NAMING = 0.25


def rationale_of(evidence: Evidence) -> str:
    """Why a class: "tiger, because it has black stripes and long whiskers".

    Only descriptors that the image is more similar to than to the average text are named. Names, templates,
    sentences and random words are no reasons: then it says which of them is nearest.
    """
    described = [each for each in evidence.contributions if each.kind == "descriptor"]
    reasons = [each for each in described if each.margin > 0]
    if reasons:
        strong = [each for each in reasons if each.margin >= _WORTH_NAMING * reasons[0].margin]
        return f"{evidence.label}, because it {_predicate([each.text for each in strong[:_AT_MOST]])}"
    if described:
        return f"{evidence.label}, although none of its descriptors stands out"
    return _nearest(evidence.label, evidence.contributions)


def _nearest(label: str, contributions: Sequence[Contribution]) -> str:
    nearest = max(contributions, key=lambda each: (each.share != 0, each.similarity))
    if nearest.kind == "embedding":
        return f"{label}, its embedding being the nearest"
    return f'{label}: nearest to "{nearest.text.strip()}"'


def _predicate(descriptors: Sequence[str]) -> str:
    """["black stripes", "a big cat", "long whiskers"] to "has black stripes and long whiskers and is a big
    cat": clauses with the same verb share it."""
    verbs: dict[str, list[str]] = {}
    for text in descriptors:
        words = clause(text.strip().rstrip(".;,")).removeprefix("which ")
        verb, _, rest = words.partition(" ")
        if verb in ("has", "is") and rest:
            verbs.setdefault(verb, []).append(rest)
        else:
            verbs.setdefault(words, [])
    return _listed([f"{verb} {_listed(rest)}" if rest else verb for verb, rest in verbs.items()])


def _listed(items: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"; with a comma more where an item has an "and" or a comma of its own."""
    *others, last = items
    if not others:
        return last
    inner = any(" and " in item or "," in item for item in items)
    return f"{', '.join(others)}{', and' if inner else ' and'} {last}"
