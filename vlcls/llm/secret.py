"""The key of the server: read from one place, and never repeated."""

from __future__ import annotations

import os
import re
from functools import lru_cache

from vlcls.errors import LanguageModelError

#: The environment variable that holds the key; nowhere else is one read from.
KEY_VARIABLE = "OPENAI_API_KEY"
#: What local servers are given as a key is no secret: "none", "ollama", "x".
_SHORTEST = 8


def server_key() -> str | None:
    """The key, or None.

    Raises:
        LanguageModelError: It cannot be sent: not of printable ASCII characters.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        return None
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise LanguageModelError(f"{KEY_VARIABLE} holds characters that no key has: set it anew")
    return key


def masked(text: str) -> str:
    """Text of the server without the key, if it was so careless as to repeat it."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    return _pattern(key).sub("...", text) if len(key) >= _SHORTEST else text


@lru_cache(maxsize=4)
def _pattern(key: str) -> re.Pattern[str]:
    """The key, with each character as it is or as JSON and addresses write it."""
    return re.compile(
        "".join(
            rf"(?:\\?{re.escape(each)}|(?i:\\u{ord(each):04x}|%{ord(each):02x}|&#x?0*(?:{ord(each)}|{ord(each):x});))"
            for each in key
        )
    )
