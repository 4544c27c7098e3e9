"""What a server of OpenAI's chat protocol replies: an answer, or an error in one of many forms."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from vlcls.files.terminal import printable
from vlcls.llm.secret import masked

#: Characters of a server's words that a message repeats.
MAX_WORDS = 300
#: More tokens than any answer has: a count above is a server's mistake.
_MOST_TOKENS = 1_000_000_000
#: How servers say that the answer ends because its tokens ran out.
CUT = ("length", "max_tokens", "model_length", "max_output_tokens")
_NO_JSON = object()
_UNKNOWN_KEY = re.compile(r"invalid_api_key|authentication|permission", re.IGNORECASE)


class ServerError(Exception):
    """A request that brought no answer.

    Attributes:
        status: Of HTTP, or what the error in a reply says instead; None if the network failed.
        lasting: Asking again is of no use.
        reached: The server was there.
        wait: Seconds that it asks to be left alone.
    """

    def __init__(
        self, words: str, status: int | None = None, *, reached: bool = True, wait: float | None = None
    ) -> None:
        super().__init__(words)
        self.status, self.reached, self.wait = status, reached, wait

    @property
    def lasting(self) -> bool:
        return self.status is not None and (
            (300 <= self.status < 500 and self.status not in (408, 409, 425, 429)) or self.status == 501
        )


class ReplyError(ServerError):
    """A reply with status 200 that is none: an error inside, a web page, an event stream, another shape."""


@dataclass(frozen=True)
class Reply:
    """A model's answer.

    Attributes:
        text: Its words.
        finish: Why they end, as the server says ("stop", "length", "content_filter"); may be empty.
        refusal: The model refused.
        thinking: It thought beforehand, in words that are not in `text`.
        tokens: Spent on question and answer, as the server counts them; 0 if it does not.
    """

    text: str
    finish: str = ""
    refusal: bool = False
    thinking: bool = False
    tokens: int = 0


def read_reply(content: bytes, kind: str = "") -> Reply:
    """The answer in the body of a reply with status 200.

    Args:
        content: The body.
        kind: Its Content-Type.

    Raises:
        ReplyError: It is no answer; repeats what the server said.
    """
    body = _json(content)
    if body is _NO_JSON:
        raise ReplyError(_no_json(content, kind))
    if not isinstance(body, dict):
        raise ReplyError("the server's reply is not of the protocol: no object")
    choices = body.get("choices")
    choice = (
        next((each for each in choices if isinstance(each, dict)), None)
        if isinstance(choices, list)
        else None
    )
    if error := (body.get("error") or (choice or {}).get("error")):
        status = _status(error)
        raise ReplyError(_said(error) if status else f"the server failed: {_said(error)}", status)
    if choice is None:
        said = _words_of(body)
        status = _status(body)
        raise ReplyError(f"the server's reply holds no answer{f': {said}' if said else ''}", status)
    message = choice.get("message")
    if not isinstance(message, dict):  # as of completions that are no chat
        message = {"content": choice.get("text")}
        if not isinstance(message["content"], str):
            raise ReplyError("the server's reply holds no message")
    text, thought = _text(message.get("content"))
    finish = choice.get("finish_reason")
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    thoughts = [
        message.get(name) for name in ("reasoning_content", "reasoning", "thinking", "reasoning_details")
    ]
    details = usage.get("completion_tokens_details")
    counted = _count(details.get("reasoning_tokens")) if isinstance(details, dict) else 0
    return Reply(
        masked(text),
        masked(finish) if isinstance(finish, str) else "",
        bool(message.get("refusal")),
        thought or any(map(bool, thoughts)) or counted > 0,
        _count(usage.get("total_tokens")),
    )


def error_words(content: bytes) -> str:
    """What a server says in the body of an error, short, without the key, and harmless to a terminal."""
    body = _json(content)
    if body is _NO_JSON:
        return _short(_without_tags(content[:20_000].decode("utf-8", "replace")))
    return _words_of(body)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return _NO_JSON


def _no_json(content: bytes, kind: str) -> str:
    text = content[:20_000].decode("utf-8", "replace").lstrip("\ufeff \r\n\t")
    if not text:
        return "the server's reply is empty"
    if "event-stream" in kind or (re.match(r"(?:data|event|id|:)\s?:?", text) and "data:" in text[:500]):
        return f"the server's reply is an event stream, which was not asked for: {_short(text)}"
    if text.startswith("<"):
        title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
        words = _short(title[1] if title else _without_tags(text))
        return f"the server's reply is a web page, not JSON: {words}"
    return f"the server's reply is not JSON: {_short(text)}"


def _text(content: Any) -> tuple[str, bool]:
    """The words of a message's content, and whether there is thinking among its parts."""
    if content is None:
        return "", False
    if isinstance(content, str):
        return content, False
    if isinstance(content, dict):
        return (
            (content["text"], False) if isinstance(content.get("text"), str) else (json.dumps(content), False)
        )
    if not isinstance(content, list):
        raise ReplyError(
            f"the server's reply is not of the protocol: its content is {_short(json.dumps(content))}"
        )
    words, thought = [], False
    for part in content:
        if isinstance(part, str):
            words.append(part)
        elif isinstance(part, dict):
            if "think" in str(part.get("type")) or "reason" in str(part.get("type")):
                thought = True
                continue
            text = part.get("text", part.get("content"))
            text = text.get("value") if isinstance(text, dict) else text
            words += [text] if isinstance(text, str) else []
    if not words and not thought and content:
        raise ReplyError("the server's reply is not of the protocol: parts of content without text")
    return ("\n" if all(isinstance(part, str) for part in content) else "").join(words), thought


def _words_of(body: Any) -> str:
    if isinstance(body, dict):
        found = next(
            (body[key] for key in ("error", "message", "detail", "msg", "errors") if body.get(key)), ""
        )
        return _said(found)
    return _said(body)


def _said(error: Any) -> str:
    if isinstance(error, dict):
        found = error.get("message") or error.get("msg") or error.get("detail") or error.get("error")
        more = [
            str(error[key]) for key in ("code", "type") if isinstance(error.get(key), (str, int)) and found
        ]
        words = str(found or json.dumps(error))
        return _short(words + "".join(f" ({each})" for each in more if each not in words and len(each) < 60))
    return _short(error if isinstance(error, str) else json.dumps(error))


def _status(error: Any) -> int | None:
    """The status that an error in a reply should have had."""
    if not isinstance(error, dict):
        return None
    for key in ("status", "code", "status_code", "http_status"):
        if re.fullmatch(r"[3-5]\d\d", str(error.get(key))):
            return int(str(error[key]))
    return 401 if _UNKNOWN_KEY.search(f"{error.get('code')} {error.get('type')}") else None


def _count(number: Any) -> int:
    usable = isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _MOST_TOKENS
    return number if usable else 0


def _without_tags(text: str) -> str:
    return re.sub(
        r"<(?:script|style)\b.*?</(?:script|style)>|<[^<>]*>", " ", text[:20_000], flags=re.DOTALL | re.I
    )


def _short(text: str) -> str:
    words = " ".join(masked(text[:20_000]).split())
    return printable(words if len(words) <= MAX_WORDS else f"{words[: MAX_WORDS - 3]}...")
