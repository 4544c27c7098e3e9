"""Which requests the page's server answers: a table of headers, and the same through a real socket."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from vlcls.app.guard import Guard, allowed, is_loopback

HOST = "127.0.0.1:7860"
OWN = ("Origin", f"http://{HOST}")
PREDICT = "/gradio_api/run/predict"

GOOD_HOSTS = (
    HOST, "127.0.0.1", "localhost", "localhost:1", "LOCALHOST:7860", "[::1]", "[::1]:7860", "127.5.6.7:65535"
)  # fmt: skip
BAD_HOSTS = (
    "", " ", "evil.example", "evil.example:7860", "127.0.0.1#.evil.example", "127.0.0.1?.evil.example",
    "127.0.0.1/.evil.example", "127.0.0.1\\.evil.example", "127.0.0.1:x", "127.0.0.1:", "127.0.0.1:0",
    "127.0.0.1:65536", "127.0.0.1:7860:7860", "127.0.0.1:-1", "127.0.0.1:+7860", "127.0.0.1: 7860",
    "127.0.0.1:٣", "127.0.0.1:7860@evil.example", "evil.example@127.0.0.1", "user:pass@127.0.0.1:7860",
    "evil.example#@127.0.0.1", "127.0.0.1.evil.example", "127.0.0.1.", "localhost.", "localhost.evil.example",
    "127.0.0.1,evil.example", "127.0.0.1 evil.example", "127.0.0.1;evil.example", "127.0.0.1\tx",
    "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1%00.evil.example", "%3127.0.0.1",
    "::1", "[::1", "::1]", "[::1]x", "[::1]:x", "[::1%25lo]", "[::1]@evil.example", "[evil.example]", "[]",
    "[127.0.0.1]x:1", "http://127.0.0.1", "//127.0.0.1", "127.0.0.1/", "127.0.0.1\n", "1⒉7.0.0.1", "-", ".",
    "10.0.0.5", "[::2]", "0.0.0.0", "*",
)  # fmt: skip
BAD_ORIGINS = (
    "", "null", "http://evil.example", f"https://{HOST}", f"http://{HOST}/", f"http://{HOST}#", HOST,
    f"//{HOST}", f"http://{HOST}@evil.example", f"http://user@{HOST}", f"http://evil.example#{HOST}", "http://localhost:7860",
    "http://127.0.0.1", "http://127.0.0.1:78600", f"http://{HOST}.evil.example", f"http://{HOST}, http://{HOST}",
    f"http://{HOST} http://evil.example", f" http://{HOST}", f"http://{HOST}\t", f"file://{HOST}",
    f"http:{HOST}", f"http:\\\\{HOST}", f"http:///{HOST}", f"http://{HOST}?", f"ftp://{HOST}", "http://",
)  # fmt: skip


def asked(*headers: tuple[str, str], host: str | None = HOST, method: str = "GET", path: str = "/") -> bool:
    known = [*([("Host", host)] if host is not None else []), *headers]
    raw = [(name.lower().encode(), value.encode("utf-8")) for name, value in known]
    return allowed(method, path, raw, loopback=True)


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_names_of_this_machine_are_answered(host: str):
    assert asked(host=host)
    assert asked(("Origin", f"http://{host}"), host=host, method="POST", path=PREDICT)


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_odd_and_other_hosts_are_refused(host: str):
    for path in ("/", "/config", "/thumbnail/0"):
        assert not asked(host=host, path=path)
    assert not asked(("Origin", f"http://{host}"), host=host, method="POST", path=PREDICT)


@pytest.mark.parametrize("origin", BAD_ORIGINS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_and_odd_origins_are_refused(origin: str, method: str):
    assert not asked(("Origin", origin), method=method, path=PREDICT)


def test_headers_that_are_there_twice_are_refused():
    assert asked(OWN, method="POST", path=PREDICT)
    for first, second in (
        (OWN, OWN), (OWN, ("Origin", "http://evil.example")), (("Origin", "http://evil.example"), OWN),
        (OWN, ("ORIGIN", "null")), (("Host", HOST), OWN), (("host", "evil.example"), OWN),
        (("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")),
        (("Sec-Fetch-Site", "same-origin"), ("sec-fetch-site", "same-origin")),
    ):  # fmt: skip
        assert not asked(first, second, method="POST", path=PREDICT)
        assert not asked(first, second)
    assert not asked(host=None)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "Same-Origin", "same-origin, none", "other"])
def test_requests_that_a_browser_says_come_from_elsewhere_are_refused(site: str):
    sent = ("Sec-Fetch-Site", site)
    assert not asked(sent, method="POST", path=PREDICT)
    assert not asked(sent, OWN, method="POST", path=PREDICT)
    for path in ("/", "/config", "/thumbnail/0", "/picture/1", "/gradio_api/heartbeat/x"):
        assert not asked(sent, path=path)
    for mode, to in (
        ("navigate", "iframe"),
        ("no-cors", "image"),
        ("cors", "empty"),
        ("no-cors", "document"),
    ):
        assert not asked(sent, ("Sec-Fetch-Mode", mode), ("Sec-Fetch-Dest", to))


def test_a_followed_link_opens_the_page_and_no_more():
    link = ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")
    for site in ("cross-site", "same-site"):
        assert asked(("Sec-Fetch-Site", site), *link)
        assert not asked(("Sec-Fetch-Site", site), *link, path="/config")
        assert not asked(("Sec-Fetch-Site", site), *link, method="POST", path=PREDICT)
        assert not asked(("Sec-Fetch-Site", site), *link, OWN, method="POST", path=PREDICT)
    for site in ("same-origin", "none"):
        assert asked(("Sec-Fetch-Site", site), OWN, method="POST", path=PREDICT)
        assert asked(("Sec-Fetch-Site", site), path="/thumbnail/0")


@pytest.mark.parametrize(
    "path",
    (
        "/thumbnail/-1", "/thumbnail/1234567890", "/thumbnail/٣", "/thumbnail/0\n", "/assets/../x",
        "/static/a/..",
        "/static/é", "/gradio_api/file=/etc/passwd", "/gradio_api/upload", "/docs", "//", "", "http://127.0.0.1/",
        "/gradio_api/run/predict//", "/CONFIG",
    ),
)  # fmt: skip
def test_other_paths_are_refused(path: str):
    assert not asked(path=path)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", ""])
def test_other_methods_are_refused(method: str):
    assert asked() and not asked(method=method)


def test_on_another_address_names_are_free_but_well_formed():
    def there(host: str, *headers: tuple[str, str]) -> bool:
        raw = [(name.lower().encode(), value.encode()) for name, value in (("Host", host), *headers)]
        return allowed("POST", PREDICT, raw, loopback=False)

    for name in ("lab.example:7860", "my_host", "10.0.0.5:7860"):
        assert there(name) and there(name, ("Origin", f"http://{name}"))
        assert there(name, ("Origin", f"https://{name}"))
        assert not there(name, ("Origin", "http://evil.example"))
        assert not there(name, ("Sec-Fetch-Site", "cross-site"))
    for name in BAD_HOSTS:
        well_formed = name in (
            "evil.example", "evil.example:7860", "127.0.0.1.evil.example", "localhost.evil.example", "127.1",
            "2130706433", "0x7f000001", "0177.0.0.1", "10.0.0.5", "[::2]", "0.0.0.0",
        )  # fmt: skip
        assert there(name) == well_formed, name


def test_loopback_is_what_the_address_says():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.3.2.1", "::1")))
    assert not any(map(is_loopback, ("", "0.0.0.0", "127.0.0.1.", "localhost.", "::", "example.org")))


# ---- through a socket --------------------------------------------------------------------------------------


async def _hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


@contextmanager
def guarded() -> Iterator[int]:
    """An application behind the guard, as the page is served; gives its port."""
    uvicorn = pytest.importorskip("uvicorn", reason="the editor's page needs the extra `app`")
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(Guard(_hello, loopback=True), log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)


def status(port: int, request: str) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request.encode("latin-1"))
        return int(connection.recv(4096).split()[1])


def test_the_same_through_a_socket():
    with guarded() as port:
        here = f"127.0.0.1:{port}"
        head = f"Host: {here}\r\nContent-Length: 0\r\nConnection: close\r\n"
        assert status(port, f"GET / HTTP/1.1\r\n{head}\r\n") == 200
        assert status(port, f"POST {PREDICT} HTTP/1.1\r\n{head}Origin: http://{here}\r\n\r\n") == 200
        for more in (
            f"Origin: http://{here}\r\nOrigin: http://{here}\r\n",
            f"Origin: http://{here}\r\nOrigin: http://evil.example\r\n",
            "Sec-Fetch-Site: cross-site\r\n",
            f"Host: {here}\r\n",
        ):
            assert status(port, f"POST {PREDICT} HTTP/1.1\r\n{head}{more}\r\n") in (400, 404), more
        for host in ("127.0.0.1#.evil.example", "127.0.0.1:x", "evil.example", f"{here}@evil.example"):
            assert status(port, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n") in (400, 404)
        assert status(port, f"GET http://evil.example/ HTTP/1.1\r\n{head}\r\n") == 404
        assert status(port, "GET / HTTP/1.0\r\n\r\n") == 404


def test_websockets_are_closed():
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(_hello, loopback=True)({"type": "websocket"}, None, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]
