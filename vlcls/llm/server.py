"""Requests to a server of OpenAI's chat protocol: bounded in time and bytes, sent again where that helps."""

from __future__ import annotations

import asyncio
import os
import random
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from vlcls.errors import LanguageModelError, library
from vlcls.files.json_text import to_json
from vlcls.files.terminal import printable
from vlcls.llm.replies import Reply, ReplyError, ServerError, error_words, read_reply
from vlcls.llm.secret import KEY_VARIABLE, masked, server_key

if TYPE_CHECKING:
    from httpx import AsyncClient, Request

OPENAI = "https://api.openai.com/v1"
#: Bytes of one reply, unpacked: a thousand times what a list of phrases takes, thinking included.
MAX_REPLY = 8 << 20
#: Times that a request is sent at least, if what comes with status 200 is no answer.
BAD_REPLIES = 3
#: Longest wait before a request is sent again, and longest that a server may ask for, in seconds.
MAX_WAIT, MAX_ASKED_WAIT = 8.0, 60.0


class Server:
    """A server and how it is asked.

    Args:
        base_url: Its address ("http://localhost:8000/v1"); by default OPENAI_BASE_URL, or OpenAI's own.
        timeout: Seconds for one whole request, from connecting to the last byte.
        retries: Times that a request is sent again after errors of the server or the network.

    Raises:
        LanguageModelError: No key for OpenAI's own server, or an address that is none.
        MissingExtraError: The `llm` extra is not installed.
    """

    def __init__(self, base_url: str | None, timeout: float, retries: int) -> None:
        httpx = library("httpx", "asking a language model", "llm")
        given = base_url or os.environ.get("OPENAI_BASE_URL")
        key = server_key()
        if not key and not given:
            raise LanguageModelError(
                f"no key: set {KEY_VARIABLE}, or give the address of a server of your own (--base-url)"
            )
        self.timeout, self.retries = timeout, retries
        try:
            self._url = httpx.URL(given or OPENAI)
        except (httpx.InvalidURL, ValueError, TypeError):
            raise LanguageModelError(
                f"--base-url {printable(masked(str(given)))[:200]}: not an address"
            ) from None
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise LanguageModelError(f"--base-url {self.address}: an address begins with http:// or https://")
        path = self._url.path.rstrip("/")
        if not path.endswith("/chat/completions"):
            self._url = self._url.copy_with(path=f"{path}/chat/completions")
        headers = {
            "Authorization": f"Bearer {key or 'none'}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        try:
            self._client: AsyncClient = httpx.AsyncClient(
                timeout=timeout,
                follow_redirects=False,  # the key goes to the address that was given, and to no other
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
                headers=headers,
            )
        except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
            raise LanguageModelError(
                f"proxy or certificates that the environment names cannot be used: {masked(str(error))}"
            ) from None

    @property
    def address(self) -> str:
        """What is asked, without names and passwords that may be in it."""
        url = self._url
        return printable(masked(f"{url.scheme}://{url.host}{f':{url.port}' if url.port else ''}{url.path}"))

    async def ask(self, body: Mapping[str, Any]) -> Reply:
        """The answer to one request.

        Raises:
            ServerError: None came, to the last retry; or none ever will.
        """
        sent = 0
        while True:
            try:
                return await self._once(to_json(body, ensure_ascii=True).encode())
            except ServerError as error:
                most = max(self.retries, BAD_REPLIES - 1) if isinstance(error, ReplyError) else self.retries
                if error.lasting or sent >= most:
                    raise
                wait = min(MAX_WAIT, 0.5 * 2**sent) * (0.75 + 0.25 * random.random())
                if error.wait is not None:
                    wait = min(error.wait, MAX_ASKED_WAIT)
            sent += 1
            await asyncio.sleep(wait)

    async def close(self) -> None:
        await self._client.aclose()

    async def _once(self, content: bytes) -> Reply:
        import httpx

        request = self._client.build_request("POST", self._url, content=content)
        try:
            status, headers, said = await asyncio.wait_for(self._exchange(request), self.timeout)
        except (asyncio.TimeoutError, httpx.TimeoutException):
            raise ServerError(f"the server did not answer in time ({self.timeout:g} s)") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            reason = printable(masked(str(error)))[:200] or type(error).__name__
            never = isinstance(error, (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.ProxyError))
            raise ServerError(f"no connection to the server: {reason}", reached=not never) from None
        if status != 200:
            raise self._refusal(status, headers, said)
        if len(said) > MAX_REPLY:
            raise ReplyError(f"the server's reply is longer than {MAX_REPLY >> 20} MiB")
        return read_reply(said, headers.get("content-type", ""))

    async def _exchange(self, request: Request) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers, and at most one byte more of the body than is allowed."""
        response = await self._client.send(request, stream=True)
        try:
            unpacked = _unpacker(response.headers.get("content-encoding", ""))
            said = bytearray()
            async for piece in response.aiter_raw():
                said += unpacked(piece, MAX_REPLY + 1 - len(said))
                if len(said) > MAX_REPLY:
                    break
            return response.status_code, response.headers, bytes(said)
        finally:
            await response.aclose()

    def _refusal(self, status: int, headers: Mapping[str, str], said: bytes) -> ServerError:
        if 300 <= status < 400:
            where = printable(masked(headers.get("location", "elsewhere")))[:200]
            words = f"{self.address} sends on to {where}: give that address as --base-url, if you trust it"
            return ServerError(words, status)
        words = error_words(said) or "no reason given"
        if status == 404:
            words += f" (asked: {self.address}"
            path = self._url.path.removesuffix("/chat/completions")
            words += ")" if path.endswith("/v1") else "; most addresses end in /v1)"
        return ServerError(words, status, wait=_asked_wait(headers))


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    """Unpacks the next bytes, never to more than is wanted: what is packed may be a bomb."""
    if encoding.strip().casefold() in ("", "identity"):
        return lambda piece, most: piece[:most]
    if encoding.strip().casefold() not in ("gzip", "x-gzip", "deflate"):
        raise ReplyError(
            f"the server's reply is packed ({printable(encoding)[:40]}), which was not asked for"
        )
    unpacking = zlib.decompressobj(47)

    def unpacked(piece: bytes, most: int) -> bytes:
        try:
            return unpacking.decompress(piece, max(1, most))
        except zlib.error:
            raise ReplyError("the server's reply is packed, and damaged") from None

    return unpacked


def _asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds of Retry-After: a number, or a date."""
    given = headers.get("retry-after", "")
    try:
        seconds = float(given)
    except ValueError:
        try:
            until = parsedate_to_datetime(given)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        until = until if until.tzinfo else until.replace(tzinfo=timezone.utc)
        seconds = (until - datetime.now(timezone.utc)).total_seconds()
    return max(0.0, seconds) if seconds == seconds else None
