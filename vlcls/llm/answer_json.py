"""The list of phrases in the JSON of an answer, wherever in it the list lies."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from vlcls.descriptors import Style
from vlcls.llm.lists import between_commas, list_entries, names_one_of
from vlcls.llm.near_json import CutOffError, json_values
from vlcls.llm.subjects import is_about, is_same

#: Keys of the class, of the list in it, of the text in an entry, and of what is no part of the answer.
_CLASS_KEYS = (
    "class", "class_name", "classname", "name", "category", "label", "object", "concept", "subject",
)  # fmt: skip
_LIST_KEYS = (
    "descriptors", "sentences", "descriptions", "features", "visual_features", "phrases", "captions", "list",
    "items", "attributes", "characteristics", "answer", "answers", "result", "results", "output", "response",
    "data",
)  # fmt: skip
_TEXT_KEYS = (
    "text", "descriptor", "sentence", "phrase", "feature", "description", "caption", "value", "content",
    "attribute", "item", "name",
)  # fmt: skip
_ASIDE_KEYS = re.compile(
    r"(?:reason|chain_of|scratch|rationale|explan|exclu|avoid|confus|think|thought|note|analys|plan|step|draft|synonym|alias|source|refer|citation|similar|related|"
    r"example|confidence|score|id$|type$|index)",
    re.IGNORECASE,
)
#: Keys of what is around an answer: a call of a tool, a message of a chat.
_WRAPPER_KEYS = ("arguments", "parameters", "action_input", "function", "tool_calls")
#: Levels of lists and objects in which a list of phrases may lie.
_MAX_LEVELS = 6


class OtherShapeError(Exception):
    """A JSON value that holds no list of phrases; says why."""


def entries_of_json(text: str, style: Style, name: str, others: Sequence[str]) -> list[str] | None:
    """The entries of the list in a JSON answer; None if there is no JSON. The last of several drafts counts.

    Raises:
        CutOffError: The JSON is cut off or damaged.
        OtherShapeError: It holds no list, or one about another class.
    """
    text = _decoded_twice(text)
    begins = re.match(r"\s*(?:```\w*\s*)?[\[{](?!\s*[xX\u2713]?\s*\]|\d)", text) is not None
    values = json_values(text)
    if begins and not values and not re.match(r"\s*[\[{][^\n]*[\]}]\s*\n", text):
        if bare := re.fullmatch(r"\s*\[([^\[\]{}:]+)\]\s*", text):
            return [part.strip() for part in bare[1].split(",")]
        raise CutOffError(text[:60])
    found: list[str] = []
    reason, end = None, -1
    for each in values:
        try:
            texts = _texts(each.value, style, name, others)
        except OtherShapeError as error:
            if begins and reason is None:
                reason = str(error)
            continue
        joined = end >= 0 and not text[end : each.start].strip(" \t\r\n,;`")
        found, end = [*found, *texts] if joined else texts, each.end
    if not found and reason:
        raise OtherShapeError(reason)
    numbered = [re.fullmatch(r"(\d{1,2})[.)]\s+(.+)", each.strip(), re.DOTALL) for each in found]
    if all(each and int(each[1]) == place for place, each in enumerate(numbered, start=1)):
        found = [each[2] for each in numbered if each]  # "1. orange fur", "2. black stripes"
    return found or None


def _decoded_twice(text: str) -> str:
    """JSON that was put into a JSON string once more."""
    if text.lstrip().startswith('"') and "\\" in text:
        try:
            inner = json.loads(text)
        except (ValueError, RecursionError):
            return text
        return inner if isinstance(inner, str) else text
    return text


def _texts(value: Any, style: Style, name: str, others: Sequence[str], level: int = 0) -> list[str]:
    if level > _MAX_LEVELS:
        raise OtherShapeError("its JSON was not a list of texts")
    if isinstance(value, dict):
        return _texts_of_object(value, style, name, others, level)
    if not isinstance(value, list):
        raise OtherShapeError("its JSON was not a list of texts")
    if value and all(isinstance(each, dict) and _lists(each, style) for each in value):
        return _of_one_class(value, style, name, others, level)
    found = []
    for each in value:
        if isinstance(each, list) and len(words := [part for part in each if isinstance(part, str)]) == 1:
            found += words  # with a weight or a rank beside it
        elif isinstance(each, list):
            found += _texts(each, style, name, others, level + 1)
        elif isinstance(each, dict):
            found.append(_text_of(each))
        elif isinstance(each, str):
            found.append(each)
        elif each is not None:
            raise OtherShapeError("its JSON was not a list of texts")
    if not found:
        raise OtherShapeError("its list was empty")
    return found


def _of_one_class(
    objects: list[dict[str, Any]], style: Style, name: str, others: Sequence[str], level: int
) -> list[str]:
    found: list[str] = []
    reason = "its list was empty"
    for each in objects:
        try:
            found += _texts(each, style, name, others, level + 1)
        except OtherShapeError as error:
            reason = str(error)
    if not found:
        raise OtherShapeError(reason)
    return found


def _lists(content: dict[str, Any], style: Style) -> list[Any]:
    """What of an object may be the list, the likeliest first."""
    keys = {str(key).casefold(): key for key in content}
    known = [keys[key] for key in (style, *_LIST_KEYS) if key in keys]
    likely = [content[key] for key in known if isinstance(content[key], (list, dict))]
    return likely or [
        each
        for key, each in content.items()
        if isinstance(each, (list, dict)) and not _ASIDE_KEYS.match(str(key))
    ]


def _texts_of_object(
    content: dict[str, Any], style: Style, name: str, others: Sequence[str], level: int
) -> list[str]:
    for key in _WRAPPER_KEYS:
        inside = content.get(key)
        if isinstance(inside, str) and inside.lstrip()[:1] in ("{", "["):
            inside = next((each.value for each in json_values(inside)), None)
        if isinstance(inside, (dict, list)) and inside:
            return _texts(inside, style, name, others, level + 1)
    own = [key for key in content if is_same(str(key), name) and isinstance(content[key], (list, dict))]
    if own:
        return _texts(content[own[0]], style, name, others, level + 1)
    said_of = next((each for key, each in content.items() if is_same(str(key), name)), None)
    if isinstance(said_of, str) and (inner := between_commas(said_of, least=2)):
        return inner
    said = content.get("content")
    if "role" in content and isinstance(said, (str, list)):  # a message of a chat
        if isinstance(said, list):
            return _texts(said, style, name, others, level + 1)
        if (entries := entries_of_json(said, style, name, others)) is not None:
            return entries
        return list_entries(said, names_one_of(others), sentences=style == "sentences")
    of_class = {key: content[key] for key in content if str(key).casefold() in _CLASS_KEYS}
    for said in of_class.values():
        if isinstance(said, str) and said.strip() not in ("", "class") and not is_about(said, name, others):
            raise OtherShapeError(f"it was about {said[:60]!r}")
    is_other = names_one_of(others)
    if other := next((str(key) for key in content if is_other(str(key))), None):
        raise OtherShapeError(f"it was about {other[:60]!r}")
    lists = _lists(content, style)
    if lists:
        likely = isinstance(lists[0], list) and any(
            str(key).casefold() in (style, *_LIST_KEYS) for key in content
        )
        found = []
        for each in lists[:1] if likely else lists:
            found += _texts(each, style, name, others, level + 1)
        return found
    texts = {
        str(key).casefold(): each
        for key, each in content.items()
        if isinstance(each, str) and key not in of_class and not _ASIDE_KEYS.match(str(key))
    }
    for key in (style, *_LIST_KEYS):
        if key in texts and (inner := list_entries(texts[key], is_other, sentences=style == "sentences")):
            return inner
        if key in texts and style == "descriptors" and (inner := between_commas(texts[key], least=2)):
            return inner
    if len(texts) == 1 and next(iter(texts)).rstrip("s0123456789_ ") in _TEXT_KEYS and level == 0:
        (only,) = texts.items()
        if only[0] in _TEXT_KEYS:  # one line of JSON Lines
            return [only[1]]
    if len(texts) > 1 or (texts and level):
        return list(texts.values())
    raise OtherShapeError(f"its JSON had no list {style!r}")


def _text_of(entry: dict[str, Any]) -> str:
    keys = {str(key).casefold(): key for key in entry}
    for key in _TEXT_KEYS:
        if key in keys and isinstance(entry[keys[key]], str):
            return str(entry[keys[key]])
    texts = [each for key, each in entry.items() if isinstance(each, str) and not _ASIDE_KEYS.match(str(key))]
    if len(texts) != 1:
        raise OtherShapeError("its JSON was not a list of texts")
    return str(texts[0])
