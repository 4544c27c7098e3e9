"""What a language model is asked: instructions from Jinja2 files, filled in for each class."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vlcls.data import prompts_folder
from vlcls.descriptors import Style
from vlcls.errors import LanguageModelError, library
from vlcls.files.named import is_built_in
from vlcls.files.text import read_text
from vlcls.labels import Labels
from vlcls.sandbox import filled, filled_apart, parts_of

#: Most tokens of an answer by default. Answers in a log are found again whatever the limit is.
DEFAULT_MAX_TOKENS = 2048
#: Bytes of a file of instructions.
MAX_INSTRUCTIONS = 1 << 20
#: Fewer tokens hold no list: a server that allows no more is not asked for less.
_LEAST_TOKENS = 64
#: What servers say of a limit that they do not allow.
_TOO_MANY = re.compile(
    r"too (?:large|high|big|long|many)|at most|less than|no more than|exceed|maximum|range of|valid range|<=|"
    r"context.{0,20}length|must be (?:in|between|smaller|lower)",
    re.IGNORECASE,
)
#: Phrases, or sentences over all questions, that a class gets by default.
DEFAULT_PER_CLASS = {"descriptors": 8, "sentences": 30}


@dataclass(frozen=True)
class Question:
    """One thing to ask about one class.

    Attributes:
        class_index: Which class.
        text: The question.
        count: How many phrases or sentences it asks for.
    """

    class_index: int
    text: str
    count: int


LimitName = Literal["max_tokens", "max_completion_tokens"]


@dataclass(frozen=True)
class Asking:
    """How all questions of a run are put.

    Attributes:
        model: As the server names it.
        style: What the answers hold.
        structured: Ask for JSON of a schema.
        limit: What the server calls the greatest number of tokens: "max_tokens", as most do, or
            "max_completion_tokens", on which OpenAI's reasoning models insist.
        temperature: None for the server's own.
        max_tokens: Most tokens of an answer.
    """

    model: str
    style: Style
    structured: bool = True
    limit: LimitName = "max_tokens"
    temperature: float | None = None
    max_tokens: int = DEFAULT_MAX_TOKENS

    def body(self, text: str) -> dict[str, Any]:
        """The body of a chat completion request."""
        form = (
            "Answer with a JSON object of the class's name and the list."
            if self.structured
            else "Answer with a list, one entry a line, each line beginning with a dash and a space."
        )
        result: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "system", "content": form}, {"role": "user", "content": text}],
            self.limit: self.max_tokens,
        }
        if self.temperature is not None:
            result["temperature"] = self.temperature
        if self.structured:
            result["response_format"] = _schema(self.style)
        return result

    def after_refusal(self, status: int, words: str) -> Asking | None:
        """How to ask a server that refused the form of a request; None if nothing is left to change."""
        about_limit = status in (400, 413, 422) and re.search("max_|token", words)
        if about_limit and _TOO_MANY.search(words) and self.max_tokens >= 2 * _LEAST_TOKENS:
            return replace(self, max_tokens=self._lower(words))
        if "max_completion_tokens" in words and self.limit == "max_tokens":
            return replace(self, limit="max_completion_tokens")
        about_form = status == 500 and re.search("schema|grammar|response_format", words)
        if self.structured and (status in (400, 415, 422, 501) or about_form):
            return replace(self, structured=False)
        return None

    def key(self, text: str) -> str:
        """The hash by which a log knows this request: one answer serves whatever the limit of tokens is."""
        return request_key(replace(self, max_tokens=DEFAULT_MAX_TOKENS).body(text))

    def _lower(self, words: str) -> int:
        """The limit that a server names, or half of what it did not allow."""
        named = [
            int(digits) for digits in re.findall(r"(?<![\d.])\d{2,7}(?![\d.]*\d)", words.replace(",", ""))
        ]
        likely = [each for each in named if self.max_tokens // 4 <= each < self.max_tokens]
        return max(likely, default=self.max_tokens // 2)


def request_key(body: Mapping[str, Any]) -> str:
    """A hash of the exact request, but for the way the same content may be written."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def questions(
    labels: Labels,
    style: Style = "descriptors",
    *,
    per_class: int | None = None,
    hint: str = "",
    instructions: str | Path | None = None,
    siblings: Mapping[int, Sequence[str]] | None = None,
) -> list[Question]:
    """The questions of a run, class by class.

    Args:
        labels: C classes.
        style: Phrases or sentences.
        per_class: How many a class; they are shared out over the questions.
        hint: What all classes are ("breeds of pet").
        instructions: A file, or the name of one in prompts/llm/.
        siblings: Names that a class is taken for, by its index; then only these classes are asked about.

    Raises:
        LanguageModelError: No such instructions, or they cannot be filled in; names the file.
    """
    name = str(instructions or ("contrast" if siblings is not None else style))
    asked = [index for index in range(len(labels)) if siblings is None or siblings.get(index)]
    rows = [
        {"name": labels.names[index], "hint": hint, "siblings": list((siblings or {}).get(index, ()))}
        for index in asked
    ]
    text, own = _instructions(name) if instructions else (_built_in(name), True)
    count = -(-(per_class or DEFAULT_PER_CLASS[style]) // parts_of(text))
    texts = _texts(name, text, own, [{**row, "count": count} for row in rows])
    return [Question(index, text, count) for index, mine in zip(asked, texts, strict=True) for text in mine]


def instructions_name(style: Style, instructions: str | Path | None, contrast: bool) -> str:
    """What provenance calls the instructions: never a path."""
    return Path(str(instructions or ("contrast" if contrast else style))).name


def asked_again(text: str, name: str, reason: str) -> str:
    """The question with what was wrong with an earlier answer."""
    ((more,),) = _texts("again", _built_in("again"), True, [{"name": name, "reason": reason}])
    return f"{text}\n\n{more}"


def _schema(style: Style) -> dict[str, Any]:
    properties = {"class": {"type": "string"}, style: {"type": "array", "items": {"type": "string"}}}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": style, "strict": True, "schema": schema}}


def _built_in(name: str) -> str:
    return (prompts_folder() / "llm" / f"{name}.j2").read_text(encoding="utf-8")


def _instructions(name: str) -> tuple[str, bool]:
    """The text of instructions that a user names, and whether they are our own."""
    built_in = sorted(path.stem for path in (prompts_folder() / "llm").glob("*.j2"))
    if is_built_in(name, built_in, "instructions"):
        return _built_in(name), True
    try:
        return read_text(Path(name).expanduser(), LanguageModelError, MAX_INSTRUCTIONS), False
    except LanguageModelError as error:
        known = ", ".join(each for each in built_in if each != "again")
        raise LanguageModelError(f"instructions {error}; built in are: {known}") from error


def _texts(name: str, text: str, own: bool, rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The questions that instructions ask for each row; those that are not our own are not trusted."""
    library("jinja2", "asking a language model", "llm")
    return filled(text, rows) if own else filled_apart(text, rows, f"instructions {name}", LanguageModelError)
