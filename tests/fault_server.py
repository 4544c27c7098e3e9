"""A local server of OpenAI's chat protocol that answers as it is told, and counts what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO

#: What one request gets: status, headers, body.
Reply = tuple[int, dict[str, str], bytes]
#: Writes a reply by itself, piece by piece, to the open connection.
Writer = Callable[[BinaryIO], None]


def chat(content: Any, refusal: str | None = None, finish: str = "stop", **more: Any) -> Reply:
    """A reply as servers send it."""
    message = {"role": "assistant", "content": content, "refusal": refusal, **more}
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10},
    }
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


def body_of(content: Any, kind: str = "application/json") -> Reply:
    """Any body with status 200."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return 200, {"Content-Type": kind}, data


def failure(status: int, message: str = "no", **headers: str) -> Reply:
    body = json.dumps({"error": {"message": message, "type": "x"}}).encode()
    return status, {"Content-Type": "application/json", **headers}, body


def user_text(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


class FaultServer:
    """Runs `answer(body, how often this body came)` for each request."""

    def __init__(self, answer: Callable[[dict[str, Any], int], Reply | float | Writer]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.counts: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                body = json.loads(raw)
                key = json.dumps(body, sort_keys=True)
                with outer._lock:
                    outer.bodies.append(body)
                    outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                    outer.counts[key] += 1
                    number = outer.counts[key]
                reply = answer(body, number)
                if isinstance(reply, float):  # a connection that stalls
                    time.sleep(reply)
                    self.close_connection = True
                    return
                if not isinstance(reply, tuple):
                    self.close_connection = True
                    with suppress(OSError):
                        reply(self.wfile)
                    return
                status, headers, content = reply
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with suppress(OSError):  # whoever asked may have heard enough
                    self.wfile.write(content)
                with outer._lock:
                    outer.answered[key] += status == 200

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @contextmanager
    def running(self):
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
