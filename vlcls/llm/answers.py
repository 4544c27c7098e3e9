"""From what a language model answers to a list of phrases: JSON, bullets, or neither."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from vlcls.descriptors import Style
from vlcls.labels import clean_name

#: Of a longer answer only the beginning is read: no list of phrases needs more.
MAX_CHARACTERS = 50_000
#: A longer phrase is none.
MAX_PHRASE = 200
MAX_SENTENCE = 500

_BULLET = re.compile(
    r"^\s*(?:[-*\u2022\u2013\u2014\u00b7\u25cf]|\(?\d{1,3}[.):])\s*(?P<text>\S.*?)\s*$", re.MULTILINE
)
_REFUSAL = re.compile(
    r"\s*(?:I'?m sorry|I am sorry|Sorry|I can(?:no|')t|I am (?:unable|not able)|I'm (?:unable|not able)|"
    r"As an AI|I won't|Unfortunately, I)",
    re.IGNORECASE,
)


class AnswerError(Exception):
    """An answer that cannot be used; says why in words that the model is told, too."""


def parse_answer(text: str, style: Style, name: str, others: Sequence[str] = ()) -> list[str]:
    """The phrases of an answer.

    Args:
        text: The answer: a JSON object or list, alone, in a code fence or among words; or lines that begin
            with a dash, star, bullet or number.
        style: Phrases or sentences.
        name: The class that was asked about.
        others: All other classes: an answer about one of them is refused.

    Raises:
        AnswerError: Empty, refused, cut off, of another shape, or about another class.
    """
    if len(text) > MAX_CHARACTERS:
        text = text[:MAX_CHARACTERS].rpartition("\n")[0] or text[:MAX_CHARACTERS]
    if not text.strip():
        raise AnswerError("it was empty")
    found = _from_json(text, style, name)
    if found is None:
        if _REFUSAL.match(text):
            raise AnswerError("it was a refusal")
        found = [match["text"] for match in _BULLET.finditer(text)]
        if not found and style == "sentences":
            found = [line for line in text.splitlines() if line.strip().endswith((".", "!"))]
        if not found:
            raise AnswerError("it held no list")
    phrases = _tidied(found, style)
    if not phrases:
        raise AnswerError("its list was empty")
    _check_subject(phrases, name, others)
    return phrases


def published_bullets(text: str) -> list[str]:
    """The parser of Menon & Vondrick's code: what is behind dash and space, on lines that begin so."""
    return [line[2:] for line in text.split("\n") if line.startswith("- ")]


def _from_json(text: str, style: Style, name: str) -> list[str] | None:
    """The list in a JSON answer; None if there is no JSON."""
    start = min((place for place in (text.find("{"), text.find("[")) if place >= 0), default=-1)
    if start < 0:
        return None
    try:
        content, _ = json.JSONDecoder().raw_decode(text[start:])
    except (ValueError, RecursionError):
        if text.strip().startswith(("{", "[", "```")):
            raise AnswerError("its JSON was cut off or damaged") from None
        return None
    if isinstance(content, dict):
        said = content.get("class")
        if isinstance(said, str) and not _same(said, name):
            raise AnswerError(f"it was about {said[:60]!r}")
        lists = [value for value in (content.get(style), *content.values()) if isinstance(value, list)]
        if not lists:
            raise AnswerError(f"its JSON had no list {style!r}")
        content = lists[0]
    if not isinstance(content, list) or not all(isinstance(each, str) for each in content):
        raise AnswerError("its JSON was not a list of texts")
    return list(content)


def _tidied(found: Sequence[Any], style: Style) -> list[str]:
    limit = MAX_SENTENCE if style == "sentences" else MAX_PHRASE
    phrases = []
    for each in found:
        text = " ".join(str(each).replace("**", "").split()).strip("\"'`\u201c\u201d ")
        if style == "descriptors":
            text = re.sub(r"^[-*\u2022]\s*", "", text).rstrip(".;,: ")
        elif text and text[-1] not in ".!?":
            text += "."
        if text and len(text) <= limit and any(letter.isalpha() for letter in text):
            phrases.append(text)
    return list(dict.fromkeys(phrases))


def _check_subject(phrases: Sequence[str], name: str, others: Sequence[str]) -> None:
    """Refuse an answer most of whose phrases name one other class, and none this one."""
    whole = "\n".join(phrases).casefold()
    if re.search(rf"\b{re.escape(clean_name(name).casefold())}", whole):
        return
    for other in others:
        plain = clean_name(other).casefold()
        if plain not in whole or plain in clean_name(name).casefold():
            continue
        word = re.compile(rf"\b{re.escape(plain)}(?:s|es)?\b")
        if 2 * sum(bool(word.search(phrase.casefold())) for phrase in phrases) > len(phrases):
            raise AnswerError(f"it was about {other!r}")


def _same(a: str, b: str) -> bool:
    plain = [re.sub(r"^(?:an?|the)\s+", "", clean_name(each).casefold()) for each in (a, b)]
    return plain[0] == plain[1] or plain[0].rstrip("s") == plain[1].rstrip("s")
