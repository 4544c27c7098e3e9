"""Asking a language model about many classes at once, through any server that speaks OpenAI's protocol."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlcls.descriptors import Descriptor, DescriptorSet, Style
from vlcls.descriptors.base import check_names
from vlcls.errors import LanguageModelError, MissingExtraError
from vlcls.labels import Labels
from vlcls.limits import readable
from vlcls.llm.answers import MAX_CHARACTERS, AnswerError, parse_answer
from vlcls.llm.log import AnswerLog
from vlcls.llm.requests import Asking, Question, asked_again, instructions_name, questions, request_key

if TYPE_CHECKING:
    from openai import AsyncOpenAI

#: Source of a model's descriptors in the file.
SOURCE = "llm"
#: The environment variable that holds the key; nowhere else is one read from.
KEY_VARIABLE = "OPENAI_API_KEY"
#: Times that one question is put, with a changed prompt, until an answer can be used.
DEFAULT_TRIES = 3

Progress = Callable[[int, int], None]


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
        timeout: Seconds for one request.
        retries: Times that a request is sent again after errors of the server or the network, with growing
            waits, or as long as the server says (Retry-After).
        tries: Times that a question is put until its answer can be used; the prompt says what was wrong.
        log: File that answers are appended to as they arrive, and taken from before asking.
        retry_failed: Ask again where the log holds only answers that could not be used.
        progress: Called with the classes just finished and the tokens just used.

    Returns:
        `Described`. A class that failed stops nothing.

    Raises:
        LanguageModelError: The server refuses everything (key, model, address), or wrong instructions.
        MissingExtraError: The `llm` extra is not installed.
    """
    check_names(labels)  # what could not be written at the end is not paid for
    asked = questions(
        labels, style, per_class=per_class, hint=hint, instructions=instructions, siblings=siblings
    )
    known = AnswerLog(None if log is None else Path(log).expanduser())
    session = _Session(
        labels,
        Asking(model, style, temperature=temperature, **known.settings),
        known,
        _client(base_url, timeout, retries),
        asyncio.Semaphore(concurrency),
        max(1, tries),
        retry_failed,
        progress or (lambda classes, tokens: None),
    )
    try:
        return await session.run(asked, _about(model, style, instructions, siblings is not None))
    finally:
        known.close()
        await session.client.close()


def _about(model: str, style: Style, instructions: str | Path | None, contrast: bool) -> dict[str, str]:
    name = instructions_name(style, instructions, contrast)
    return {"model": readable(model), "prompt": readable(name), "date": date.today().isoformat()}


def _client(base_url: str | None, timeout: float, retries: int) -> AsyncOpenAI:
    try:
        from openai import AsyncOpenAI
    except ImportError as error:
        raise MissingExtraError("asking a language model", "llm") from error
    key = os.environ.get(KEY_VARIABLE)
    if not key and base_url is None and not os.environ.get("OPENAI_BASE_URL"):
        raise LanguageModelError(
            f"no key: set {KEY_VARIABLE}, or give the address of a server of your own (--base-url)"
        )
    return AsyncOpenAI(api_key=key or "none", base_url=base_url, timeout=timeout, max_retries=retries)


@dataclass
class _Session:
    """One run: what is shared by all questions."""

    labels: Labels
    asking: Asking
    log: AnswerLog
    client: AsyncOpenAI
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
        empty = {self.labels.reported[index] for index, mine in enumerate(own) if not mine}
        failed = {name: reason for name, reason in failures.items() if name in empty}
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
        name, others = self.labels.names[question.class_index], self.labels.names
        text, reason = question.text, "it was never answered"
        for number in range(self.tries):
            if number:
                text = asked_again(text, name, reason)
            answer = await self._request(question, text, ignore_log)
            try:
                if answer.get("refusal"):
                    raise AnswerError("it was a refusal")
                phrases = parse_answer(
                    str(answer.get("answer") or ""), self.asking.style, name, [o for o in others if o != name]
                )
                return phrases[: 2 * question.count]
            except AnswerError as error:
                reason = str(error)
        raise AnswerError(reason)

    async def _request(self, question: Question, text: str, ignore_log: bool) -> dict[str, Any]:
        """The answer to one exact request, from the log or the server."""
        asking = self.asking
        key = request_key(asking.body(text))
        async with self._under_way.setdefault(key, asyncio.Lock()):  # two classes may have one name
            found = None if ignore_log else self.log.get(key)
            if found is not None:
                return found
            record: dict[str, Any] | Asking = self.asking
            async with self.limit:
                if asking is self.asking:  # else another request found out how the server wants to be asked
                    record = await self._send(asking, text)
            if not isinstance(record, Asking):
                record = {"class": self.labels.names[question.class_index], **record}
                self.log.add(key, record)
                self.asked += 1
                self.tokens += record["tokens"]
                self.progress(0, record["tokens"])
                return record
        if asking is self.asking:
            self.asking = record
            self.log.set(structured=record.structured, limit=record.limit)
        return await self._request(question, text, ignore_log)

    async def _send(self, asking: Asking, text: str) -> dict[str, Any] | Asking:
        """One request; or how to ask instead, if the server does not take JSON schemas, say.

        Raises:
            AnswerError: Server or network failed to the last retry.
        """
        import openai

        try:
            reply = await self.client.chat.completions.create(**asking.body(text))
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise LanguageModelError(f"the server refuses ({error.status_code}): {_words(error)}") from error
        except openai.APIStatusError as error:
            if other := asking.after_refusal(error.status_code, _words(error)):
                return other
            if error.status_code in (400, 422):
                raise LanguageModelError(
                    f"the server refuses ({error.status_code}): {_words(error)}"
                ) from error
            raise AnswerError(f"the server failed ({error.status_code}): {_words(error)}") from error
        except openai.APITimeoutError as error:
            raise AnswerError("the server did not answer in time") from error
        except openai.APIConnectionError as error:
            said = f"no connection to the server: {error.__cause__ or error}"
            if not self.asked:  # nor will there be one for the next request
                raise LanguageModelError(f"{said} ({self.client.base_url})") from error
            raise AnswerError(said) from error
        except openai.APIError as error:
            raise AnswerError(f"the server's reply is not of the protocol: {_words(error)}") from error
        except ValueError as error:  # a reply that is not JSON
            raise AnswerError("the server's reply is not JSON") from error
        message = reply.choices[0].message if getattr(reply, "choices", None) else None
        return {
            "answer": ((message and message.content) or "")[:MAX_CHARACTERS],
            "refusal": bool(message and getattr(message, "refusal", None)),
            "tokens": int(getattr(getattr(reply, "usage", None), "total_tokens", 0) or 0),
        }


def _words(error: Exception) -> str:
    """The server's message, short, and without the key if it was so careless as to repeat it."""
    text = " ".join(str(getattr(error, "message", error)).split())[:300]
    key = os.environ.get(KEY_VARIABLE)
    return text.replace(key, "...") if key else text
