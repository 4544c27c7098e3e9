"""Serving the page, and nothing else: on this machine, no file by its path, no upload, no other site."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vlcls.app.more import Asking
from vlcls.app.pictures import PICTURE, THUMBNAIL, Pictures
from vlcls.app.workbench import Workbench
from vlcls.errors import MissingExtraError, SessionError

if TYPE_CHECKING:
    from fastapi import FastAPI

LOOPBACK = "127.0.0.1"
#: All that the page asks for. Gradio can do more: give out and take in files, act for other servers, ...
_SERVED = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/(assets|static)/[\w./-]+|/(thumbnail|picture)/\d{1,9}"
    r"|/gradio_api/(run/predict|heartbeat/\w+|startup-events)/?"
)
#: Nothing from elsewhere, whatever slips into the page. Gradio's own scripts need inline and eval.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; "
    "form-action 'self'; base-uri 'self'"
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Guard:
    """ASGI middleware: refuses what the page does not need, other sites, and other names for this machine.

    A page of another site can send requests here from the reader's own browser, and with a name that it
    makes point here (DNS rebinding) read the answers. Hence the checks of Origin and, on loopback, of Host.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], *, loopback: bool) -> None:
        self._app, self._loopback = app, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if not self._allowed(scope):
                await send({"type": "http.response.start", "status": 404, "headers": []})
                await send({"type": "http.response.body", "body": b"not served"})
                return
            await self._app(scope, receive, _with_policy(send))
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if self._loopback and not is_loopback(name):
            return False
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return False
        return _SERVED.fullmatch(scope["path"]) is not None and ".." not in scope["path"]


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


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def build_app(bench: Workbench, *, host: str = LOOPBACK, asking: Asking | None = None) -> FastAPI:
    """The web application of a session.

    Raises:
        MissingExtraError: Gradio is not installed.
    """
    # Gradio reads these when it is imported, or a page is built: no analytics, and
    # its own files below the session's folder.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(bench.folder.resolve() / "gradio")
    try:
        import gradio as gr
        from fastapi import FastAPI, Response
    except ImportError as error:
        raise MissingExtraError("the editor", "app") from error
    from vlcls.app.page import build_page

    blocks = build_page(bench, asking)
    pictures = Pictures(bench.material.sources)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def answer(place: int, side: int) -> Response:
        jpeg = pictures.jpeg(place, side)
        if jpeg is None:
            return Response("no such image", status_code=404)
        return Response(jpeg, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    @app.get("/thumbnail/{place}")
    def thumbnail(place: int) -> Response:
        return answer(place, THUMBNAIL)

    @app.get("/picture/{place}")
    def picture(place: int) -> Response:
        return answer(place, PICTURE)

    sans = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"]
    theme = gr.themes.Base(font=sans, font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"])
    css = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    mounted = gr.mount_gradio_app(
        app, blocks, path="/", server_name=host, footer_links=[], run_history=False, ssr_mode=False,
        allowed_paths=[], pwa=False, mcp_server=False, enable_monitoring=False, theme=theme, css=css,
    )  # fmt: skip
    mounted.add_middleware(Guard, loopback=is_loopback(host))
    return mounted


def bound(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        SessionError: The port is taken or not allowed, or there is no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(128)
    except OSError as error:
        found.close()
        raise SessionError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; "
            "give another --port (0: any free one)"
        ) from error
    return found


def address(host: str, listening: socket.socket) -> str:
    """Where to open the page."""
    name = f"[{host}]" if ":" in host else LOOPBACK if host == "0.0.0.0" else host
    return f"http://{name}:{listening.getsockname()[1]}/"


def serve(app: FastAPI, listening: socket.socket) -> None:
    """Serve until interrupted."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[listening])
