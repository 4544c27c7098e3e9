"""Serving the page, and nothing else: on this machine, no file by its path, no upload, no other site."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from vlcls.app.guard import Guard, is_loopback
from vlcls.app.more import AskedModel
from vlcls.app.pictures import PICTURE, THUMBNAIL, Pictures
from vlcls.app.workbench import Workbench
from vlcls.errors import MissingExtraError, SessionError

if TYPE_CHECKING:
    from fastapi import FastAPI

LOOPBACK = "127.0.0.1"


def build_app(bench: Workbench, *, host: str = LOOPBACK, asking: AskedModel | None = None) -> FastAPI:
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
