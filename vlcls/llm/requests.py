"""What a language model is asked: instructions from Jinja2 files, filled in for each class."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlcls.articles import article
from vlcls.data import prompts_folder
from vlcls.descriptors import Style
from vlcls.errors import LanguageModelError, MissingExtraError
from vlcls.files.named import is_built_in
from vlcls.labels import Labels

if TYPE_CHECKING:
    from jinja2 import Template

#: Most tokens of an answer by default. Answers in a log are found again whatever the limit is.
DEFAULT_MAX_TOKENS = 2048
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
        half = self.max_tokens // 2
        named = [
            int(digits) for digits in re.findall(r"(?<![\d.])\d{2,7}(?![\d.]*\d)", words.replace(",", ""))
        ]
        return max([half, *(each for each in named if each < self.max_tokens)])


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
    parts = _instructions(name)
    count = -(-(per_class or DEFAULT_PER_CLASS[style]) // len(parts))
    result = []
    for index in range(len(labels)):
        if siblings is not None and not siblings.get(index):
            continue
        known = {
            "name": labels.names[index],
            "hint": hint,
            "count": count,
            "siblings": list((siblings or {}).get(index, ())),
        }
        result += [Question(index, _filled(part, name, known), count) for part in parts]
    return result


def instructions_name(style: Style, instructions: str | Path | None, contrast: bool) -> str:
    """What provenance calls the instructions: never a path."""
    return Path(str(instructions or ("contrast" if contrast else style))).name


def asked_again(text: str, name: str, reason: str) -> str:
    """The question with what was wrong with an earlier answer."""
    (part,) = _instructions("again")
    return text + "\n\n" + _filled(part, "again", {"name": name, "reason": reason}).strip()


def _schema(style: Style) -> dict[str, Any]:
    properties = {"class": {"type": "string"}, style: {"type": "array", "items": {"type": "string"}}}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": style, "strict": True, "schema": schema}}


@lru_cache(maxsize=8)
def _instructions(name: str) -> tuple[Template, ...]:
    try:
        from jinja2 import StrictUndefined, TemplateError
        from jinja2.sandbox import SandboxedEnvironment
    except ImportError as error:
        raise MissingExtraError("asking a language model", "llm") from error
    built_in = prompts_folder() / "llm" / f"{name}.j2"
    names = [path.stem for path in built_in.parent.glob("*.j2")]
    path = built_in if is_built_in(name, names, "instructions") else Path(name).expanduser()
    environment = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=False)
    environment.filters["a"] = lambda noun: f"{article(str(noun))} {noun}"
    environment.filters["capital"] = lambda words: str(words)[:1].upper() + str(words)[1:]
    try:
        text = path.read_text(encoding="utf-8-sig")
        return tuple(
            environment.from_string(part) for part in re.split(r"^---\s*$", text, flags=re.MULTILINE)
        )
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(sorted(p.stem for p in built_in.parent.glob("*.j2") if p.stem != "again"))
        raise LanguageModelError(f"no readable instructions {name!r}; built in are: {known}") from error
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise LanguageModelError(f"instructions {name}, line {line}: {error}") from error


def _filled(part: Template, name: str, known: Mapping[str, Any]) -> str:
    from jinja2 import TemplateError

    try:
        text = part.render(**known).strip()
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise LanguageModelError(f"instructions {name}: {error}") from error
    if not text:
        raise LanguageModelError(f"instructions {name}: a question is empty")
    return text
