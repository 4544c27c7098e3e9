"""What servers reply besides answers, over real connections: errors in any dress, cut lists, floods."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from fault_server import FaultServer, body_of, chat, failure, user_text
from typer.testing import CliRunner

from vlcls.cli import app
from vlcls.descriptors import read_descriptors
from vlcls.errors import LanguageModelError, OutputError, VlclsWarning
from vlcls.labels import as_labels
from vlcls.llm import describe
from vlcls.llm.log import AnswerLog
from vlcls.llm.server import MAX_REPLY

KEY = "sk-secret/0123456789"
BULLETS = "- orange fur\n- black stripes"
GOOD = chat(BULLETS)
TIGER = as_labels(["tiger"])


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr("vlcls.llm.server.MAX_WAIT", 0.01)


def reply_of(choice: Any) -> Any:
    return body_of({"choices": [choice]})


NO_ANSWERS: dict[str, tuple[Any, str]] = {
    "an error": (body_of({"error": {"message": "upstream overloaded", "code": 429}}), "upstream overloaded"),
    "an error as text": (body_of({"error": "model is loading"}), "model is loading"),
    "an error without a message": (body_of({"error": {"reason": "busy"}}), "busy"),
    "an error beside choices": (body_of({"choices": [], "error": {"message": "no credits"}}), "no credits"),
    "an error in a choice": (
        reply_of({"error": {"message": "provider gone"}, "message": {}}),
        "provider gone",
    ),
    "an error as an object": (
        body_of({"object": "error", "message": "wrong shape", "code": 50001}),
        "wrong shape",
    ),
    "a detail": (body_of({"detail": "not ready"}), "not ready"),
    "a web page": (body_of(b"<!DOCTYPE html><title>502 Bad Gateway</title>", "text/html"), "502 Bad Gateway"),
    "a web page that says it is JSON": (body_of(b"\n<html><body>Log in</body>"), "web page.*Log in"),
    "an event stream": (
        body_of(
            b'data: {"choices": [{"delta": {"content": "- fur"}}]}\n\ndata: [DONE]\n', "text/event-stream"
        ),
        "event stream",
    ),
    "an event stream that says it is JSON": (body_of(b': ping\n\ndata: {"choices": []}\n'), "event stream"),
    "nothing": (body_of(b""), "empty"),
    "words": (body_of(b"Hello", "text/plain"), "not JSON: Hello"),
    "half of it": (body_of(GOOD[2][:-30]), "not JSON"),
    "no text": (body_of(b"\xff\xfe\x00"), "not JSON"),
    "null": (body_of(None), "no object"),
    "a list": (body_of([]), "no object"),
    "too deep": (body_of(b"[" * 100_000), "not JSON"),
    "no choices": (body_of({"id": "x"}), "no answer"),
    "choices of null": (body_of({"choices": [None]}), "no answer"),
    "choices of another type": (body_of({"choices": {"0": {}}}), "no answer"),
    "no message": (reply_of({"index": 0}), "no message"),
    "a message of another type": (reply_of({"message": [1]}), "no message"),
    "content that is a number": (reply_of({"message": {"content": 3.5}}), "content is 3.5"),
    "content that is true": (reply_of({"message": {"content": True}}), "content is true"),
    "parts without text": (reply_of({"message": {"content": [{"type": "image"}, 3]}}), "parts of content"),
    "too much": (body_of(b" " * (MAX_REPLY + 1)), "longer than 8 MiB"),
    "packed in another way": ((200, {"Content-Encoding": "br"}, b"x"), "packed"),
    "packed and damaged": ((200, {"Content-Encoding": "gzip"}, b"x" * 100), "damaged"),
}


@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_what_is_no_answer_is_said_and_asked_again(kind: str, tmp_path: Path):
    reply, words = NO_ANSWERS[kind]
    log = tmp_path / "log.jsonl"
    healthy = False
    with FaultServer(lambda body, number: GOOD if healthy else reply).running() as server:
        options = {"model": "m", "base_url": server.url, "log": log, "retries": 0, "timeout": 20}
        first = describe(TIGER, **options)
        assert len(server.bodies) == 3  # it may pass, whatever `retries` says of the network
        healthy = True
        second = describe(TIGER, **options)
    assert re.search(words, first.failures["tiger"]), first.failures
    assert second.descriptors.texts(0) == ["orange fur", "black stripes"] and not second.failures
    assert len([line for line in log.read_text().splitlines() if "answer" in line]) == 1


def test_a_passing_error_costs_nothing(tmp_path: Path):
    busy = body_of({"error": {"message": "rate limit", "code": 429}})
    with FaultServer(lambda body, number: busy if number < 3 else GOOD).running() as server:
        assert not describe(TIGER, model="m", base_url=server.url, retries=0).failures


@pytest.mark.parametrize("code", [401, "403", 404])
def test_an_error_that_lasts_ends_the_run_though_its_status_is_200(code: Any):
    reply = body_of({"error": {"message": "no such model", "code": code}})
    with FaultServer(lambda body, number: reply).running() as server:
        with pytest.raises(LanguageModelError, match=rf"refuses \({code}\): .*no such model"):
            describe(TIGER, model="m", base_url=server.url)
        assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "reply",
    [
        chat([{"type": "text", "text": "- orange fur\n"}, {"type": "text", "text": "- black stripes"}]),
        chat([{"type": "thinking", "thinking": [{"text": "- no"}]}, {"type": "text", "text": BULLETS}]),
        chat(["- orange fur", "- black stripes"]),
        chat({"class": "tiger", "descriptors": ["orange fur", "black stripes"]}),
        chat([{"type": "output_text", "text": {"value": BULLETS}}]),
        reply_of({"text": BULLETS}),
        body_of({"choices": [None, {"message": {"content": BULLETS}}]}),
        *(
            body_of({"choices": [{"message": {"content": BULLETS}}], "usage": usage})
            for usage in (*({"total_tokens": count} for count in ("many", -1e400, 10**30, True)), [1], None)
        ),
        (200, {"Content-Encoding": "gzip"}, gzip.compress(GOOD[2])),
        (200, {"Content-Encoding": "deflate"}, zlib.compress(GOOD[2])),
        chat("<think>" + "x" * 200_000 + "</think>- orange fur\n- black stripes"),
    ],
)  # fmt: skip
def test_answers_in_other_dress(reply: Any, tmp_path: Path):
    with FaultServer(lambda body, number: reply).running() as server:
        for _ in range(2):
            found = describe(TIGER, model="m", base_url=server.url, log=tmp_path / "log.jsonl", tries=1)
            assert found.descriptors.texts(0) == ["orange fur", "black stripes"], found.failures
        assert len(server.bodies) == 1


def test_one_malformed_answer_stops_no_other():
    labels = as_labels(["tiger", "lion", "bear"])

    def odd(body: dict[str, Any], number: int) -> Any:
        return (
            body_of({"choices": [None], "usage": {"total_tokens": "many"}})
            if '"lion"' in user_text(body)
            else GOOD
        )

    with FaultServer(odd).running() as server:
        found = describe(labels, model="m", base_url=server.url, retries=0)
    assert set(found.failures) == {"lion"} and found.descriptors.texts(2)


def test_a_list_that_the_tokens_cut(tmp_path: Path):
    torn = chat("- orange fur\n- a long tail that is\n- whi", finish="length")
    log = tmp_path / "log.jsonl"
    with FaultServer(lambda body, number: torn if body["max_tokens"] < 4096 else GOOD).running() as server:
        options = {"model": "m", "base_url": server.url, "log": log}
        found = describe(TIGER, **options)
        assert "cut off when its 2048 tokens ran out: --max-tokens" in found.failures["tiger"]
        assert "--max-tokens" not in user_text(server.bodies[-1])  # which is no word for a model
        assert len(server.bodies) == 3
        # Enough whole entries are an answer; the torn one is none of them.
        few = describe(TIGER, per_class=2, **options)
        assert few.descriptors.texts(0) == ["orange fur", "a long tail that is"]
        asked = len(server.bodies)
        # The same limit asks nothing again; a higher one does, and only of what was cut.
        assert describe(TIGER, **options).failures and len(server.bodies) == asked
        assert not describe(TIGER, max_tokens=4096, **options).failures and len(server.bodies) == asked + 1
        assert not describe(TIGER, **options).failures and len(server.bodies) == asked + 1


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (chat(None, finish="length", reasoning_content="hm"), "its 100 tokens ran out while the model was"),
        (chat("", finish="length", reasoning="hm"), "while the model was thinking: --max-tokens"),
        (chat("<think>hm, the fur\n- is it", finish="length"), "while the model was thinking"),
        (chat("", finish="length"), "its 100 tokens ran out before the model said anything: --max-tokens"),
        (chat(None, reasoning_content="hm"), "while the model was thinking"),
        (chat(None, finish="content_filter"), "content filter"),
        (chat("- orange fur", finish="content_filter"), "content filter"),
    ],
)  # fmt: skip
def test_why_an_answer_ends_is_told(reply: Any, words: str):
    with FaultServer(lambda body, number: reply).running() as server:
        found = describe(TIGER, model="m", base_url=server.url, max_tokens=100)
        assert words in found.failures["tiger"]
        assert len(server.bodies) == (3 if "filter" in words else 1)  # more of the same is of no use


CONTEXT = "This model's maximum context length is "
REFUSED_LIMITS = [
    "max_tokens is too large: 5000. This model supports at most 1024 completion tokens.",
    f"'max_tokens' or 'max_completion_tokens' is too large: 5000. {CONTEXT}1024 tokens and you asked",
    f"{CONTEXT}1200 tokens. However, you requested 5100 (100 in the messages, 5000 in the completion).",
    "`max_tokens` must be less than or equal to `1024`",
    "Range of max_tokens should be [1, 1024]",
    "Invalid max_tokens value, the valid range of max_tokens is [1, 1024]",
    "Requested token count exceeds the model's maximum",
]  # fmt: skip


@pytest.mark.parametrize("words", REFUSED_LIMITS)
def test_a_server_that_allows_fewer_tokens_is_asked_for_fewer(words: str, tmp_path: Path):
    def narrow(body: dict[str, Any], number: int) -> Any:
        return failure(400, words) if body["max_tokens"] > 1024 else GOOD

    log = tmp_path / "log.jsonl"
    with FaultServer(narrow).running() as server:
        options = {"model": "m", "base_url": server.url, "log": log, "max_tokens": 5000}
        assert not describe(TIGER, **options).failures
        assert all("response_format" in body for body in server.bodies)
        assert 512 <= server.bodies[-1]["max_tokens"] <= 1024 and len(server.bodies) <= 5
        before = len(server.bodies)
        assert not describe(as_labels(["tiger", "lion"]), **options).failures
        assert len(server.bodies) == before + 1  # the log knows what this server allows


def test_a_limit_that_is_never_low_enough_ends():
    with FaultServer(lambda body, number: failure(400, "max_tokens is too large")).running() as server:
        with pytest.raises(LanguageModelError, match="too large"):
            describe(TIGER, model="m", base_url=server.url)
        assert len(server.bodies) < 12


def test_one_filtered_question_stops_no_other():
    def strict(body: dict[str, Any], number: int) -> Any:
        return failure(400, "content management policy") if '"gun"' in user_text(body) else GOOD

    with FaultServer(strict).running() as server:
        found = describe(as_labels(["gun", "tiger"]), model="m", base_url=server.url, concurrency=1)
    assert set(found.failures) == {"gun"} and found.descriptors.texts(1)


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", b""])


def drip(out: BinaryIO) -> None:
    out.write(head(b"Content-Type: application/json", b"Content-Length: 100000"))
    for _ in range(1000):
        out.write(b" ")
        out.flush()
        time.sleep(0.05)


def drip_of_headers(out: BinaryIO) -> None:
    out.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(1000):
        out.write(b"X-%d: x\r\n" % number)
        out.flush()
        time.sleep(0.05)


def never_begins(out: BinaryIO) -> None:
    for _ in range(1000):
        out.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        out.flush()
        time.sleep(0.05)


@pytest.mark.parametrize("slow", [drip, drip_of_headers, never_begins])
def test_a_request_has_a_deadline_as_a_whole(slow: Any):
    with FaultServer(lambda body, number: slow).running() as server:
        begun = time.perf_counter()
        found = describe(TIGER, model="m", base_url=server.url, timeout=0.5, retries=0)
    assert "did not answer in time" in found.failures["tiger"] and time.perf_counter() - begun < 3


def bomb(out: BinaryIO) -> None:
    packed = zlib.compressobj(9, wbits=31)
    out.write(head(b"Content-Encoding: gzip", b"Connection: close"))
    for _ in range(300):
        out.write(packed.compress(b" " * (1 << 20)))
    out.write(packed.flush())


def gigabyte(out: BinaryIO) -> None:
    out.write(head(b"Content-Length: 1073741824"))
    for _ in range(1024):
        out.write(b" " * (1 << 20))


def flood(out: BinaryIO) -> None:
    out.write(head(b"Transfer-Encoding: chunked"))
    while True:
        out.write(b"100000\r\n" + b"x" * (1 << 20) + b"\r\n")


def flood_of_headers(out: BinaryIO) -> None:
    out.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        out.write(b"X: " + b"x" * 1000 + b"\r\n")


def redirected_flood(out: BinaryIO) -> None:
    out.write(b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:9/\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        out.write(b"100000\r\n" + b"x" * (1 << 20) + b"\r\n")


@pytest.mark.parametrize("much", [bomb, gigabyte, flood, flood_of_headers, redirected_flood])
def test_a_reply_has_a_greatest_size(much: Any):
    with FaultServer(lambda body, number: much).running() as server:
        tracemalloc.start()
        begun = time.perf_counter()
        try:
            found = describe(TIGER, model="m", base_url=server.url, timeout=30, retries=0)
            assert found.failures
        except LanguageModelError as error:
            assert much is redirected_flood and "sends on to" in str(error)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 10 * MAX_REPLY and time.perf_counter() - begun < 20


def test_the_key_goes_to_no_other_server():
    with FaultServer(lambda body, number: GOOD).running() as other:
        away = FaultServer(lambda body, number: (307, {"Location": other.url}, b""))
        with away.running() as server, pytest.raises(LanguageModelError, match="sends on to"):
            describe(TIGER, model="m", base_url=server.url)
        assert not other.headers


ECHOES = [
    chat(f"- orange fur\n- the key {KEY} itself"),
    chat(json.dumps({"class": "tiger", "descriptors": [f"fur {KEY}"]})),
    failure(400, f"bad key {KEY}"),
    failure(401, f"bad key {KEY}"),
    failure(503, f"bad key {KEY}"),
    (500, {}, f"bad key {KEY}".encode()),
    (400, {}, ('{"error": "bad key ' + KEY.replace("/", "\\/").replace("s", "\\u0073") + '"}').encode()),
    (307, {"Location": f"http://127.0.0.1/?key={KEY.replace('/', '%2F')}"}, b""),
    body_of({"error": {"message": f"bad key {KEY}"}}),
    body_of(f"<html>{KEY}</html>".encode(), "text/html"),
    body_of(f"data: {KEY}".encode()),
    reply_of({"message": {"content": [KEY]}, "finish_reason": KEY}),
    reply_of({"message": {"content": "- orange fur"}, "finish_reason": KEY}),
]


@pytest.mark.parametrize("reply", ECHOES)
def test_a_key_that_the_server_repeats_is_masked_everywhere(reply: Any, tmp_path: Path):
    output = tmp_path / "out.json"
    with FaultServer(lambda body, number: reply).running() as server:
        command = [
            sys.executable, "-m", "vlcls", "--debug", "describe", "tiger",
            "-o", str(output),
            "--model", "m", "--base-url", server.url, "--retries", "0", "--timeout", "5",
        ]  # fmt: skip
        ended = subprocess.run(command, capture_output=True, text=True)
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    said = ended.stdout + ended.stderr + written
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    for form in (KEY, KEY.replace("/", "\\/"), KEY.replace("/", "%2F"), KEY[3:]):
        assert form not in said, said


def test_a_key_that_cannot_be_sent_is_not_shown(monkeypatch: pytest.MonkeyPatch):
    for key in ("sk-\u00e9\u00e9\u00e9secret", "sk-secret\nX: y"):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        with pytest.raises(LanguageModelError, match="OPENAI_API_KEY") as caught:
            describe(TIGER, model="m", base_url="http://127.0.0.1:9/v1")
        assert "secret" not in str(caught.value)


def test_a_proxy_that_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "nonsense://h")
    with pytest.raises(LanguageModelError, match="proxy"):
        describe(TIGER, model="m", base_url="http://127.0.0.1:9/v1")


@pytest.mark.parametrize("url", ["localhost:11434", "http://", "ftp://h/v1", "http://h:port/v1", "\x1b[31m"])
def test_what_is_no_address(url: str):
    with pytest.raises(LanguageModelError, match="--base-url") as caught:
        describe(TIGER, model="m", base_url=url)
    assert "\x1b" not in str(caught.value)


def test_an_address_in_full_and_one_without_v1():
    with FaultServer(lambda body, number: GOOD).running() as server:
        assert not describe(TIGER, model="m", base_url=f"{server.url}/chat/completions").failures
    lost = FaultServer(lambda body, number: (404, {}, b"404 page not found"))
    words = r"page not found \(asked: http.*/chat/completions; .*/v1"
    with lost.running() as server, pytest.raises(LanguageModelError, match=words):
        describe(TIGER, model="m", base_url=server.url.removesuffix("/v1"))


def test_a_password_in_the_address_is_not_shown():
    lost = FaultServer(lambda body, number: failure(404))
    with lost.running() as server, pytest.raises(LanguageModelError, match="asked: ") as caught:
        describe(TIGER, model="m", base_url=server.url.replace("//", "//user:hidden@"))
    assert "hidden" not in str(caught.value)


def test_escapes_in_a_server_s_words_are_shown_and_not_obeyed():
    obey = FaultServer(lambda body, number: failure(400, "\x1b]0;pwned\x07 no"))
    with obey.running() as server, pytest.raises(LanguageModelError, match="pwned") as caught:
        describe(TIGER, model="m", base_url=server.url)
    assert str(caught.value).isprintable()


BAD_LINES = {
    "no JSON": b"{no",
    "not UTF-8": b'{"key": "k", "answer": "\xff"}',
    "a number": b"3",
    "a list": b"[]",
    "too deep": b"[" * 5000,
    "a doubled key": b'{"key": "k", "key": "l"}',
    "an answer of another type": b'{"key": "k", "answer": 3}',
    "tokens that are words": b'{"key": "k", "answer": "a", "tokens": "many"}',
    "tokens below nothing": b'{"key": "k", "answer": "a", "tokens": -1}',
    "tokens that are infinite": b'{"key": "k", "answer": "a", "tokens": 1e999}',
    "no key": b'{"answer": "a"}',
    "a field of another program": b'{"key": "k", "answer": "a", "more": 1}',
    "settings of another type": b'{"settings": 3}',
    "unknown settings": b'{"settings": {"temperature": 3}}',
    "a limit of another type": b'{"settings": {"limit": "tokens"}}',
    "half a character": b'{"key": "k", "answer": "\\ud800"}',
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_damaged_line_of_the_log_is_put_aside(kind: str, tmp_path: Path):
    log = tmp_path / "log.jsonl"
    with FaultServer(lambda body, number: GOOD).running() as server:
        options = {"model": "m", "base_url": server.url, "log": log}
        describe(TIGER, **options)
        whole = log.read_bytes()
        log.write_bytes(BAD_LINES[kind] + b"\n" + whole)
        with pytest.warns(VlclsWarning, match=r"log.jsonl: line 1 is no answer"):
            assert not describe(TIGER, **options).failures
        assert len(server.bodies) == 1
        assert log.read_bytes() == whole
        assert log.with_name("log.jsonl.bad").read_bytes() == BAD_LINES[kind] + b"\n"
        describe(TIGER, **options)  # said once


def test_a_file_that_is_no_log_is_left_alone(tmp_path: Path):
    other = tmp_path / "notes.txt"
    other.write_text("my notes\nof years\n")
    with pytest.raises(LanguageModelError, match="no log of answers"):
        AnswerLog(other)
    assert other.read_text() == "my notes\nof years\n" and not other.with_name("notes.txt.bad").exists()
    for wrong in (tmp_path, tmp_path / "notes.txt" / "log"):
        with pytest.raises((LanguageModelError, OutputError)):
            AnswerLog(wrong)


def test_two_runs_into_one_file_do_not_both_ask(tmp_path: Path):
    log = tmp_path / "out.json.answers.jsonl"
    with FaultServer(lambda body, number: GOOD).running() as server:
        options = ["-o", str(tmp_path / "out.json"), "--model", "m", "--base-url", server.url]
        with AnswerLog(log):
            result = CliRunner().invoke(app, ["describe", "tiger", *options])
            assert isinstance(result.exception, OutputError) and not server.bodies
            assert "being written by another `vlcls describe`" in str(result.exception)
        result = CliRunner().invoke(app, ["describe", "tiger", *options])
        assert result.exit_code == 0, result.output
        assert len(server.bodies) == 1


def test_where_nothing_is_described_nothing_is_in_the_way_of_the_same_command(tmp_path: Path):
    output = tmp_path / "out.json"
    healthy = False
    busy = body_of({"error": {"message": "overloaded"}})
    with FaultServer(lambda body, number: GOOD if healthy else busy).running() as server:
        command = ["describe", "tiger", "-o", str(output), "--model", "m", "--base-url", server.url]
        failed = CliRunner().invoke(app, [*command, "--retries", "0"])
        assert (
            failed.exit_code == 3 and "not described: tiger: the server failed: overloaded" in failed.stderr
        )
        assert not output.exists()
        healthy = True
        assert CliRunner().invoke(app, command).exit_code == 0
    assert read_descriptors(output).texts(0) == ["orange fur", "black stripes"]


def test_a_server_that_wants_all_otherwise_is_found_out_once(tmp_path: Path):
    def picky(body: dict[str, Any], number: int) -> Any:
        if "max_tokens" in body:
            return failure(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if body["max_completion_tokens"] > 1000:
            return failure(400, "max_completion_tokens is too large: at most 1000")
        if "response_format" in body:
            return failure(400, "response_format is not supported")
        return GOOD

    log = tmp_path / "log.jsonl"
    with FaultServer(picky).running() as server:
        options = {"model": "m", "base_url": server.url, "log": log}
        assert not describe(TIGER, **options).failures and len(server.bodies) == 4
        assert not describe(as_labels(["lion"]), **options).failures and len(server.bodies) == 5
        assert server.bodies[-1]["max_completion_tokens"] == 1000


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_a_dry_run_on_a_terminal_that_knows_few_characters(encoding: str):
    command = [
        sys.executable,
        "-m",
        "vlcls",
        "describe",
        "\u8001\u864e,caf\u00e9",
        "--model",
        "m",
        "--dry-run",
    ]
    ended = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert ended.returncode == 0, ended.stderr
    assert len([json.loads(line) for line in ended.stdout.splitlines()]) == 2
