"""JSON as language models write it: among words, with single quotes, trailing commas, comments, bare keys.

What was cut off is never taken for whole: it is told apart from what is only careless.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

#: Levels of lists and objects; and places at which a text may begin to be JSON and turn out not to be.
MAX_DEPTH, MAX_STARTS = 20, 200

_SPACE = re.compile(r"(?:\s+|//[^\n]*|#[^\n]*|/\*.*?\*/)*", re.DOTALL)
_SEPARATORS = re.compile(r"(?:[\s,;\u3001\uff0c]|//[^\n]*|#[^\n]*|/\*.*?\*/|\.\.\.|\u2026)*", re.DOTALL)
_KEY = re.compile(r"[^\W\d][\w -]{0,60}?(?=\s*[:=\uff1a])")
_COLON = re.compile(r"\s*(?::|=>?|\uff1a)\s*")
_WORD = re.compile(r"(?:true|false|null|none|nan|[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)(?![\w.])", re.IGNORECASE)
#: Each opening quote with those that may close it.
_QUOTES = {
    '"': '"\u201d', "'": "'\u2019", "\u201c": '\u201d"\u201c', "\u2018": "\u2019'", "\u201e": "\u201c\u201d",
    "\u00ab": "\u00bb", "\u300c": "\u300d", "`": "`'",
}  # fmt: skip
#: What stands behind a quote that closes: else it belongs to the text, as in 'the tiger's stripes'.
_BEHIND = re.compile(r"\s*(?:[,;:=\]})\uff0c\uff1a\u3001]|$|//|#|/\*)|[ \t]*\n|\s+[\"'\u201c\u2018{\[]")
_BEGINS = re.compile(r"[\[{]\s*(?:[\"'\u201c\u2018\u300c\u00ab\[{]|[^\W\d]\w*\s*[:=])")


@dataclass(frozen=True)
class JsonFound:
    """A value with the place where it begins in the text and the one behind its end."""

    value: Any
    start: int
    end: int


class CutOffError(ValueError):
    """A text that ends inside its JSON."""


class _NoJsonError(ValueError):
    pass


def json_values(text: str) -> list[JsonFound]:
    """The outermost lists and objects of a text, in their order; citations and brackets of prose are none.

    Raises:
        CutOffError: The text ends inside one.
    """
    found: list[JsonFound] = []
    place, failed = 0, 0
    while failed < MAX_STARTS:
        starts = [at for at in (text.find("{", place), text.find("[", place)) if at >= 0]
        if not starts:
            break
        start = min(starts)
        try:
            value, end = _read(text, start)
        except CutOffError:
            if _BEGINS.match(text, start):
                raise
            place, failed = start + 1, failed + 1
        except _NoJsonError:
            place, failed = start + 1, failed + 1
        else:
            found.append(JsonFound(value, start, end))
            place = end
    return found


def _read(text: str, start: int) -> tuple[Any, int]:
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(text[start:])
        return value, start + end
    except RecursionError:
        raise CutOffError("nested too deep") from None
    except ValueError:
        reader = _Reader(text, start)
        return reader.value(0), reader.place


class _Reader:
    """One value, read as generously as its meaning stays clear."""

    def __init__(self, text: str, place: int) -> None:
        self.text, self.place = text, place

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise _NoJsonError
        here = self._here()
        if here in "[(":
            return self._list(depth)
        if here == "{":
            return self._object(depth)
        if here in _QUOTES:
            return self._string()
        word = _WORD.match(self.text, self.place)
        if word is None:
            raise _NoJsonError
        self.place = word.end()
        return None if word[0][:1].isalpha() else float(word[0])

    def _list(self, depth: int) -> list[Any]:
        self.place += 1
        items: list[Any] = []
        while True:
            self._skip(_SEPARATORS)
            if self._here() in "])":
                self.place += 1
                return items
            items.append(self.value(depth + 1))

    def _object(self, depth: int) -> Any:
        self.place += 1
        pairs: dict[str, Any] = {}
        bare: list[str] = []
        whole = False  # the last value has an end of its own: only closing braces can be missing
        while True:
            self._skip(_SEPARATORS)
            if self.place >= len(self.text) and whole:
                return pairs
            if self._here() == "}":
                self.place += 1
                return bare if bare and not pairs else pairs
            key = self._key()
            colon = _COLON.match(self.text, self.place)
            if colon is None:  # a set, as Python writes it
                if pairs:
                    raise _NoJsonError
                bare.append(key)
                continue
            self.place = colon.end()
            self._skip(_SPACE)
            pairs[key] = self.value(depth + 1)
            whole = isinstance(pairs[key], (list, dict))

    def _key(self) -> str:
        if self._here() in _QUOTES:
            return self._string()
        bare = _KEY.match(self.text, self.place)
        if bare is None:
            raise _NoJsonError
        self.place = bare.end()
        return bare[0]

    def _string(self) -> str:
        closing = _QUOTES[self.text[self.place]]
        start = self.place = self.place + 1
        while self.place < len(self.text):
            here = self.text[self.place]
            if here == "\\":
                self.place += 2
                continue
            if here in closing and _BEHIND.match(self.text, self.place + 1):
                found = self.text[start : self.place]
                self.place += 1
                return _unescaped(found)
            self.place += 1
        raise CutOffError("the text ends inside a quotation")

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.place)
        self.place = found.end() if found else self.place

    def _here(self) -> str:
        if self.place >= len(self.text):
            raise CutOffError("the text ends inside its JSON")
        return self.text[self.place]


def _unescaped(text: str) -> str:
    def plain(found: re.Match[str]) -> str:
        letter = found[1]
        if len(letter) == 5:
            return chr(int(letter[1:], 16))
        return {"n": "\n", "t": "\t", "r": "\n", "b": "", "f": ""}.get(letter, letter)

    return re.sub(r"\\(u[0-9a-fA-F]{4}|.)", plain, text, flags=re.DOTALL) if "\\" in text else text
