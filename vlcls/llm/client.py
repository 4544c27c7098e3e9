"""Asking a language model about many classes at once, through any server that speaks OpenAI's protocol."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from vlcls.descriptors import Descriptor, DescriptorSet, Style
from vlcls.descriptors.base import check_names
from vlcls.errors import LanguageModelError
from vlcls.labels import Labels
from vlcls.limits import readable
from vlcls.llm.answers import MAX_CHARACTERS, AnswerError, parse_answer
from vlcls.llm.log import AnswerLog, LoggedAnswer
from vlcls.llm.replies import CUT, Reply, ServerError
from vlcls.llm.requests import DEFAULT_MAX_TOKENS, Asking, Question, asked_again, instructions_name, questions
from vlcls.llm.server import Server
from vlcls.llm.thinking import without_thinking

#: Source of a model's descriptors in the file.
SOURCE = "llm"
#: Times that one question is put, with a changed prompt, until an answer can be used.
DEFAULT_TRIES = 3
#: Refusals of one question, not of all.
_FILTERED = re.compile(r"content.?(?:filter|policy|management)|safety|moderation|flagged", re.IGNORECASE)

Progress = Callable[[int, int], None]


class _SpentError(AnswerError):
    """An answer for which the tokens did not suffice: asking again in other words gives no more of them."""


@dataclass(frozen=True)
class Described:
    """What came of asking.

    Attributes:
        descriptors: Every class; those that failed have no descriptors.
        failures: Why, by the class's reported name.
        asked: Answers that were asked for now; all others came from the log.
        tokens: Used by these, as the server counts them.
    """

    descriptors: DescriptorSet
    failures: Mapping[str, str] = field(default_factory=dict)
    asked: int = 0
    tokens: int = 0


def describe(labels: Labels, *, model: str, **options: Any) -> Described:
    """Ask a language model what each class looks like. See `describe_async`, which takes the same arguments;
    this one also works where an event loop is running already, as in notebooks."""
    from concurrent.futures import ThreadPoolExecutor

    async def run() -> Described:
        return await describe_async(labels, model=model, **options)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run())
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(run())).result()


async def describe_async(
    labels: Labels,
    *,
    model: str,
    base_url: str | None = None,
    style: Style = "descriptors",
    per_class: int | None = None,
    hint: str = "",
    instructions: str | Path | None = None,
    siblings: Mapping[int, Sequence[str]] | None = None,
    temperature: float | None = None,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    concurrency: int = 8,
    timeout: float = 120.0,
    retries: int = 5,
    tries: int = DEFAULT_TRIES,
    log: str | Path | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> Described:
    """Ask a language model what each class looks like.

    Args:
        labels: C classes.
        model: As the server names it.
        base_url: Of an OpenAI-compatible server (vLLM, Ollama, llama.cpp, `transformers serve`, ...):
            "http://localhost:8000/v1". OpenAI's own by default. The key comes from OPENAI_API_KEY.
        style, per_class, hint, instructions, siblings: What is asked; see `vlcls.llm.requests.questions`.
        temperature: The server's own by default.
        concurrency: Requests under way at once.
        max_tokens: Most tokens of one answer, thinking included; servers that allow less are asked for less.
        timeout: Seconds for one request, from connecting to the last byte.
        retries: Times that a request is sent again after errors of the server or the network, with growing
            waits, or as long as the server says (Retry-After).
        tries: Times that a question is put until its answer can be used; the prompt says what was wrong.
        log: File that answers are appended to as they arrive, and taken from before asking. Locked meanwhile.
        retry_failed: Ask again where the log holds only answers that could not be used.
        progress: Called with the classes just finished and the tokens just used.

    Returns:
        `Described`. A class that failed stops nothing.

    Raises:
        LanguageModelError: The server refuses everything (key, model, address), or wrong instructions; or
            `log` is a file of another kind.
        OutputError: The log is in use by another run, or cannot be written.
        MissingExtraError: The `llm` extra is not installed.
    """
    check_names(labels)  # what could not be written at the end is not paid for
    asked = questions(
        labels, style, per_class=per_class, hint=hint, instructions=instructions, siblings=siblings
    )
    server = Server(base_url, timeout, retries)
    try:
        with AnswerLog(None if log is None else Path(log).expanduser()) as known:
            asking = Asking(model, style, temperature=temperature, max_tokens=max_tokens)
            session = _Session(
                labels, known.settings.applied(asking), known, server, asyncio.Semaphore(concurrency),
                max(1, tries), retry_failed, progress or (lambda classes, tokens: None),
            )  # fmt: skip
            return await session.run(asked, _about(model, style, instructions, siblings is not None))
    finally:
        await server.close()


def _about(model: str, style: Style, instructions: str | Path | None, contrast: bool) -> dict[str, str]:
    name = instructions_name(style, instructions, contrast)
    return {"model": readable(model), "prompt": readable(name), "date": date.today().isoformat()}


@dataclass
class _Session:
    """One run: what is shared by all questions."""

    labels: Labels
    asking: Asking
    log: AnswerLog
    server: Server
    limit: asyncio.Semaphore
    tries: int
    retry_failed: bool
    progress: Progress
    asked: int = 0
    tokens: int = 0
    _under_way: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def run(self, asked: Sequence[Question], about: dict[str, str]) -> Described:
        left = [0] * len(self.labels)
        for question in asked:
            left[question.class_index] += 1
        texts: list[dict[int, list[str]]] = [{} for _ in left]
        failures: dict[str, str] = {}

        async def answer(place: int, question: Question) -> None:
            index = question.class_index
            try:
                texts[index][place] = await self._answer(question)
            except AnswerError as error:
                failures[self.labels.reported[index]] = str(error)
            left[index] -= 1
            self.progress(int(left[index] == 0), 0)

        tasks = [asyncio.ensure_future(answer(place, each)) for place, each in enumerate(asked)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)
        own = tuple(
            tuple(
                Descriptor(readable(text), SOURCE)
                for text in dict.fromkeys(text for place in sorted(found) for text in found[place])
            )
            for found in texts
        )
        # A class is described if any of its questions was answered.
        empty = [self.labels.reported[index] for index, mine in enumerate(own) if not mine]
        failed = {name: failures[name] for name in empty if name in failures}
        made = DescriptorSet(self.labels, own, self.asking.style, {SOURCE: about})
        return Described(made, failed, self.asked, self.tokens)

    async def _answer(self, question: Question) -> list[str]:
        """Put one question until its answer can be used.

        Raises:
            AnswerError: It never could.
        """
        try:
            return await self._put(question, ignore_log=False)
        except AnswerError:
            if not self.retry_failed:
                raise
        return await self._put(question, ignore_log=True)

    async def _put(self, question: Question, *, ignore_log: bool) -> list[str]:
        name = self.labels.names[question.class_index]
        text, reason = question.text, "it was never answered"
        for number in range(self.tries):
            if number:
                text = asked_again(text, name, reason)
            answer = await self._request(question, text, ignore_log)
            try:
                return self._phrases(question, answer)
            except _SpentError:
                raise
            except AnswerError as error:
                reason = str(error)
        more = ": --max-tokens gives it more" if answer.finish in CUT else ""
        raise AnswerError(f"{reason}{more}")

    def _phrases(self, question: Question, answer: LoggedAnswer) -> list[str]:
        """The phrases of one answer.

        Raises:
            AnswerError: It cannot be used.
        """
        name = self.labels.names[question.class_index]
        if answer.refusal:
            raise AnswerError("it was a refusal")
        if answer.finish == "content_filter":
            raise AnswerError("the server's content filter stopped it")
        text = without_thinking(answer.answer)
        cut = answer.finish in CUT
        if not text.strip() and (cut or answer.thinking):
            spent = f"its {answer.max_tokens} tokens ran out" if cut else "it ended"
            thought = answer.thinking or answer.answer.strip()
            before = "while the model was thinking" if thought else "before the model said anything"
            raise _SpentError(f"{spent} {before}: --max-tokens gives it more")
        if question.text.endswith("-") and text[:1].isalpha():  # the answer goes on in the question's list
            text = f"- {text}"
        try:
            phrases = parse_answer(
                text, self.asking.style, name, [other for other in self.labels.names if other != name],
                cut=cut, least=question.count,
            )  # fmt: skip
        except AnswerError as error:
            if cut and "cut off" in str(error):
                raise AnswerError(f"{error} when its {answer.max_tokens} tokens ran out") from error
            raise
        return phrases[: 2 * question.count]

    async def _request(self, question: Question, text: str, ignore_log: bool) -> LoggedAnswer:
        """The answer to one exact request, from the log or the server."""
        asking = self.asking
        key = asking.key(text)
        async with self._under_way.setdefault(key, asyncio.Lock()):  # two classes may have one name
            found = None if ignore_log else self.log.get(key)
            if found is not None and not _wants_more(found, asking.max_tokens):
                return found
            made: Reply | Asking = self.asking
            async with self.limit:
                if asking is self.asking:  # else another request found out how the server wants to be asked
                    made = await self._send(asking, text)
            if isinstance(made, Reply):
                name = self.labels.names[question.class_index]
                answer = _recorded(key, name, made, asking.max_tokens)
                self.log.add(answer)
                self.asked += 1
                self.tokens += answer.tokens
                self.progress(0, answer.tokens)
                return answer
        if asking is self.asking:
            self.asking = made
            self.log.set(made)
        return await self._request(question, text, ignore_log)

    async def _send(self, asking: Asking, text: str) -> Reply | Asking:
        """One request; or how to ask instead, if the server does not take JSON schemas, say.

        Raises:
            AnswerError: Server or network failed to the last retry, or refuse this one question.
            LanguageModelError: They refuse all.
        """
        try:
            return await self.server.ask(asking.body(text))
        except ServerError as error:
            words = str(error)
            if error.status is None:
                if not error.reached and not self.asked:  # nor will there be one for the next request
                    raise LanguageModelError(f"{words} ({self.server.address})") from None
                raise AnswerError(words) from None
            if error.status in (401, 403, 404) or 300 <= error.status < 400:
                raise LanguageModelError(f"the server refuses ({error.status}): {words}") from None
            if other := asking.after_refusal(error.status, words):
                return other
            if error.status in (400, 422) and not self.asked and not _FILTERED.search(words):
                raise LanguageModelError(f"the server refuses ({error.status}): {words}") from None
            raise AnswerError(f"the server failed ({error.status}): {words}") from None


def _wants_more(answer: LoggedAnswer, max_tokens: int) -> bool:
    """Whether an answer of the log was cut where this run would not cut it."""
    return answer.finish in CUT and (answer.max_tokens or max_tokens) < max_tokens


def _recorded(key: str, name: str, reply: Reply, max_tokens: int) -> LoggedAnswer:
    text = reply.text if len(reply.text) <= MAX_CHARACTERS else without_thinking(reply.text)
    return LoggedAnswer(
        key=key, class_name=name, answer=text[:MAX_CHARACTERS], refusal=reply.refusal, tokens=reply.tokens,
        finish=reply.finish[:40], thinking=reply.thinking or len(text) < len(reply.text),
        max_tokens=max_tokens,
    )  # fmt: skip
