"""From what a language model answers to a list of phrases: JSON, bullets, or neither."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlcls.descriptors import Style
from vlcls.llm.answer_json import OtherShapeError, entries_of_json
from vlcls.llm.lists import list_entries, names_one_of
from vlcls.llm.near_json import CutOffError
from vlcls.llm.phrases import tidied
from vlcls.llm.subjects import other_subject
from vlcls.llm.thinking import without_thinking

#: Of a longer answer only the beginning is read: no list of phrases needs more.
MAX_CHARACTERS = 50_000

_REFUSAL = re.compile(
    r"\s*(?:I['\u2019]?m sorry|I am sorry|Sorry|I apologi[sz]e|I can(?:no|['\u2019])t|I (?:will|do) not|"
    r"I am (?:unable|not able)|I['\u2019]m (?:unable|not able)|As an AI|I won['\u2019]t|I don['\u2019]t|"
    r"Unfortunately, I)",
    re.IGNORECASE,
)


class AnswerError(Exception):
    """An answer that cannot be used; says why in words that the model is told, too."""


def parse_answer(
    text: str, style: Style, name: str, others: Sequence[str] = (), *, cut: bool = False, least: int = 1
) -> list[str]:
    """The phrases of an answer.

    Args:
        text: The answer: a JSON object or list, alone, in a code fence or among words; or a list with marks
            of any script, or of bare lines. Thinking, headings and citations are no part of it.
        style: Phrases or sentences.
        name: The class that was asked about.
        others: All other classes: an answer about one of them is refused.
        cut: The server says that the answer ends where its tokens did: the last entry is torn.
        least: Of an answer that is cut, as many whole entries are enough.

    Raises:
        AnswerError: Empty, refused, cut off, of another shape, or about another class.
    """
    whole = bool(text.strip())
    text = without_thinking(text)
    if len(text) > MAX_CHARACTERS:
        text = text[:MAX_CHARACTERS].rpartition("\n")[0] or text[:MAX_CHARACTERS]
    if not text.strip():
        raise AnswerError("it held thinking and no answer" if whole else "it was empty")
    try:
        found = entries_of_json(text, style, name, others)
    except CutOffError:
        raise AnswerError("its JSON was cut off or damaged") from None
    except OtherShapeError as error:
        raise AnswerError(str(error)) from None
    if found is None:
        if _REFUSAL.match(text):
            raise AnswerError("it was a refusal")
        found = list_entries(text, names_one_of(others), sentences=style == "sentences")
        if not found:
            raise AnswerError("it held no list")
        if cut:
            found = found[:-1]
            if len(found) < least:
                raise AnswerError("it was cut off")
    phrases = tidied(found, style, name)
    if not phrases:
        raise AnswerError("its list was empty")
    if all(_REFUSAL.match(phrase) for phrase in phrases):
        raise AnswerError("it was a refusal")
    if other := other_subject(phrases, name, others):
        raise AnswerError(f"it was about {other!r}")
    return phrases
