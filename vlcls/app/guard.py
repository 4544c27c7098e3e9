"""What the page's server answers: requests of its own page to this machine, read strictly, and nothing else.

A page of another site can send requests here from the reader's own browser, and with a name that it makes
point here (DNS rebinding) read the answers. Hence the checks of Host, Origin and Sec-Fetch-Site. A header
that is there twice, or is not exactly of the form that a browser sends, is refused: what two parsers may read
differently is nothing to be lenient with.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: All that the page asks for. Gradio can do more: give out and take in files, act for other servers, ...
_SERVED = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/(assets|static)/[\w./-]+|/(thumbnail|picture)/[0-9]{1,9}"
    r"|/gradio_api/(run/predict|heartbeat/\w+|startup-events)/?",
    re.ASCII,
)
_METHODS = ("GET", "HEAD", "POST")
#: A name or an address, and a port perhaps (RFC 3986, without what no browser sends: user, escapes, zone).
_HOST = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z](?:[0-9A-Za-z._-]*[0-9A-Za-z])?)(?::(?P<port>[0-9]{1,5}))?"
)
#: Where a browser says that a request comes from: this page, or the reader, who typed the address.
_OWN_SITES = ("same-origin", "none")
_OTHER_SITES = ("same-site", "cross-site")
#: Nothing from elsewhere, whatever slips into the page. Gradio's own scripts need inline and eval.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; "
    "form-action 'self'; base-uri 'self'"
)


class Guard:
    """ASGI middleware: refuses what the page does not need, other sites, and other names for this machine."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], *, loopback: bool) -> None:
        self._app, self._loopback = app, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            allowed_ = allowed(scope["method"], scope["path"], scope["headers"], loopback=self._loopback)
            if not allowed_:
                await send({"type": "http.response.start", "status": 404, "headers": []})
                await send({"type": "http.response.body", "body": b"not served"})
                return
            await self._app(scope, receive, _with_policy(send))
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})


def allowed(method: str, path: str, headers: Iterable[tuple[bytes, bytes]], *, loopback: bool) -> bool:
    """Whether a request is one of the page's own.

    Args:
        method, path: Of the request; the path as it was decoded.
        headers: All of them, as they came.
        loopback: The server listens on this machine's own address, so no other name may be asked for.
    """
    known: dict[str, list[str]] = {}
    for name, value in headers:
        known.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    if any(len(known.get(name, ())) > 1 for name in ("host", "origin", "sec-fetch-site")):
        return False
    (host,), (origin,), (site,) = (known.get(name, [None]) for name in ("host", "origin", "sec-fetch-site"))
    asked = None if host is None else _name(host)
    if host is None or asked is None or (loopback and not is_loopback(asked)):
        return False
    if origin is not None:
        schemes = ("http",) if loopback else ("http", "https")  # https: of a proxy in front of it
        if origin.lower() not in [f"{scheme}://{host}".lower() for scheme in schemes]:
            return False
    if site is not None and site not in _OWN_SITES and not _followed_link(method, path, site, known):
        return False
    return method in _METHODS and _SERVED.fullmatch(path) is not None and ".." not in path


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str | None:
    """The name or address in a Host header; None if it is not of the form that browsers send."""
    found = _HOST.fullmatch(host)
    if found is None or (found["port"] is not None and not 0 < int(found["port"]) < 65536):
        return None
    return found["name"].strip("[]")


def _followed_link(method: str, path: str, site: str, known: dict[str, list[str]]) -> bool:
    """A link to the page, on another site, that the reader followed: it opens the page and does no more."""
    opens = known.get("sec-fetch-mode") == ["navigate"] and known.get("sec-fetch-dest") == ["document"]
    return site in _OTHER_SITES and method == "GET" and path == "/" and opens


def _with_policy(send: Send) -> Send:
    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            extra = [
                (b"content-security-policy", _POLICY.encode()),
                (b"x-content-type-options", b"nosniff"),
                (b"referrer-policy", b"no-referrer"),
            ]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return sent
