"""Real requests to local servers: one that answers wrongly in every way, and `transformers serve`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, chat, failure, user_text
from typer.testing import CliRunner

from vlcls.cli import app
from vlcls.descriptors import read_descriptors
from vlcls.errors import LanguageModelError
from vlcls.labels import as_labels
from vlcls.llm import describe

KEY = "sk-secret-0123456789"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def good(name: str) -> Any:
    return chat(json.dumps({"class": name, "descriptors": [f"first part of {name[0]}", "second part"]}))


FAULTS: dict[str, Any] = {
    "json": lambda number: good("json"),
    "bullets": lambda number: chat("- some fur\n- a tail"),
    "busy": lambda number: failure(429, **{"Retry-After": "0.01"}) if number == 1 else good("busy"),
    "broken": lambda number: failure(500) if number == 1 else good("broken"),
    "stalled": lambda number: 1.5 if number == 1 else good("stalled"),
    "truncated": lambda number: chat('{"class": "truncated", "descriptors": ["some fu'),
    "schema": lambda number: chat('{"class": "schema", "descriptors": "fur"}'),
    "refused": lambda number: chat("", refusal="no"),
    "empty": lambda number: chat('{"class": "empty", "descriptors": []}'),
    "other": lambda number: good("bullets"),
    "huge": lambda number: chat("- big ears\n" * 180_000),
    "garbage": lambda number: (200, {"Content-Type": "application/json"}, b"<html>"),
    "down": lambda number: failure(503),
}


def asked_about(body: dict[str, Any]) -> str:
    text = user_text(body)
    return next(name for name in FAULTS if f'"{name}"' in text)


def faulty(body: dict[str, Any], number: int) -> Any:
    return FAULTS[asked_about(body)](number)


def test_every_class_ends_described_or_named(tmp_path: Path):
    labels = as_labels(list(FAULTS))
    log = tmp_path / "log.jsonl"
    options = {"model": "m", "timeout": 0.5, "retries": 1, "log": log, "concurrency": 4}
    with FaultServer(faulty).running() as server:
        found = describe(labels, base_url=server.url, **options)
        described = {
            name for name, own in zip(labels.names, found.descriptors.descriptors, strict=True) if own
        }
        assert described == {"json", "bullets", "busy", "broken", "stalled", "huge"}
        assert set(found.failures) == set(FAULTS) - described
        assert "cut off" in found.failures["truncated"] and "refusal" in found.failures["refused"]
        assert "about 'bullets'" in found.failures["other"] and "503" in found.failures["down"]
        assert found.descriptors.texts(1) == ["some fur", "a tail"]
        assert found.descriptors.sources["llm"]["model"] == "m"
        # Three tries, each with another prompt; the second says what was wrong.
        retried = [body for body in server.bodies if asked_about(body) == "refused"]
        assert len(retried) == 3 and "it was a refusal" in user_text(retried[1])
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
        before = sum(server.counts.values())
        again = describe(labels, base_url=server.url, **options)
        assert again.descriptors == found.descriptors
        # Only what never got an answer is asked again.
        new = server.bodies[before:]
        assert {asked_about(body) for body in new} == {"down", "garbage"}
        describe(labels, base_url=server.url, retry_failed=True, **options)
        assert "refused" in {asked_about(body) for body in server.bodies[before + len(new) :]}
    assert KEY not in log.read_text()


def test_a_server_without_schemas_is_asked_for_lists(tmp_path: Path):
    def plain_only(body: dict[str, Any], number: int) -> Any:
        return (
            failure(400, "response_format is not supported")
            if "response_format" in body
            else chat("- fur\n- a tail")
        )

    log = tmp_path / "log.jsonl"
    with FaultServer(plain_only).running() as server:
        found = describe(
            as_labels(["cat", "dog", "fox"]), model="m", base_url=server.url, log=log, concurrency=1
        )
        assert not found.failures and found.descriptors.texts(2) == ["fur", "a tail"]
        assert sum("response_format" in body for body in server.bodies) == 1
        describe(as_labels(["cat", "owl"]), model="m", base_url=server.url, log=log)
        assert sum("response_format" in body for body in server.bodies) == 1
        assert max(server.answered.values()) == 1


def test_a_reasoning_model_names_its_limit_otherwise(tmp_path: Path):
    def picky(body: dict[str, Any], number: int) -> Any:
        if "max_tokens" in body:
            return failure(400, "'max_tokens' is not supported here. Use 'max_completion_tokens' instead.")
        return good("cat" if '"cat"' in user_text(body) else "dog")

    log = tmp_path / "log.jsonl"
    with FaultServer(picky).running() as server:
        found = describe(as_labels(["cat", "dog"]), model="m", base_url=server.url, log=log, concurrency=1)
        assert not found.failures and len(server.bodies) == 3
        assert all("response_format" in body for body in server.bodies)
        describe(as_labels(["cat", "dog"]), model="m", base_url=server.url, log=log)
        assert len(server.bodies) == 3


@pytest.mark.parametrize(("status", "word"), [(401, "401"), (403, "403"), (404, "404")])
def test_what_fails_for_all_stops_at_once(status: int, word: str):
    with FaultServer(lambda body, number: failure(status, f"bad key {KEY}")).running() as server:
        with pytest.raises(LanguageModelError, match=word) as caught:
            describe(as_labels([str(n) for n in range(100)]), model="m", base_url=server.url, concurrency=2)
        assert KEY not in str(caught.value)
        assert len(server.bodies) < 20


def test_no_server_and_no_key(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(LanguageModelError, match="no connection"):
        describe(as_labels(["cat"]), model="m", base_url=url, retries=0)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(LanguageModelError, match="OPENAI_API_KEY"):
        describe(as_labels(["cat"]), model="m")


def test_classes_of_one_name_are_asked_about_once():
    with FaultServer(lambda body, number: good("sunglasses")).running() as server:
        labels = as_labels({"n1": "sunglasses", "n2": "sunglasses"})
        found = describe(labels, model="m", base_url=server.url)
    assert len(server.bodies) == 1 and found.descriptors.texts(0) == found.descriptors.texts(1) != []


def test_inside_a_running_event_loop():
    import asyncio

    async def notebook(url: str):
        return describe(as_labels(["cat"]), model="m", base_url=url)

    with FaultServer(lambda body, number: good("cat")).running() as server:
        assert not asyncio.run(notebook(server.url)).failures


def test_killed_half_way_and_run_again(tmp_path: Path):
    names = [f"thing{number}" for number in range(30)]
    output = tmp_path / "out.json"

    def slowly(body: dict[str, Any], number: int) -> Any:
        time.sleep(0.05)
        name = next(n for n in names if f'"{n}"' in user_text(body))
        return good(name)

    command = [
        sys.executable, "-m", "vlcls", "describe", ",".join(names), "-o", str(output), "--model", "m",
        "--concurrency", "1",
    ]  # fmt: skip
    with FaultServer(slowly).running() as server:
        command += ["--base-url", server.url]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        log = tmp_path / "out.json.answers.jsonl"
        while not log.exists() or log.read_bytes().count(b"\n") < 10:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not output.exists()
        kept = [json.loads(line)["key"] for line in log.read_text().splitlines()]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        assert f"{30 - len(kept)} answers asked for" in ended.stderr
        # One request was under way when the process was killed: no answer of it was kept.
        assert sum(server.counts.values()) <= 31
        repeated = [key for key, count in server.counts.items() if count > 1]
        assert len(repeated) <= 1
    found = read_descriptors(output)
    assert all(found.descriptors) and found.labels.names == tuple(names)
    assert KEY not in ended.stdout + ended.stderr + log.read_text() + output.read_text()


def test_two_processes_into_one_file_ask_once(tmp_path: Path):
    names = [f"thing{number}" for number in range(6)]
    output = tmp_path / "out.json"

    def slowly(body: dict[str, Any], number: int) -> Any:
        time.sleep(0.3)
        return good(next(n for n in names if f'"{n}"' in user_text(body)))

    with FaultServer(slowly).running() as server:
        command = [
            sys.executable, "-m", "vlcls", "describe", ",".join(names), "-o", str(output), "--model", "m",
            "--base-url", server.url, "--concurrency", "1",
        ]  # fmt: skip
        both = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"
        ]
        said = [process.communicate()[1] for process in both]
        assert sorted(process.returncode for process in both) == [0, 1], said
        assert max(server.counts.values()) == 1
    refused = next(text for process, text in zip(both, said, strict=True) if process.returncode)
    assert "being written by another `vlcls describe`" in refused or "exists: --overwrite" in refused
    assert all(read_descriptors(output).descriptors)


def run(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["describe", *arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_the_command_names_what_failed_and_keeps_the_rest(tmp_path: Path):
    output = tmp_path / "out.json"
    with FaultServer(faulty).running() as server:
        options = ("-o", str(output), "--model", "m", "--base-url", server.url)
        result = run("json,refused", *options, code=3)
        assert "not described: refused: it was a refusal" in result.stderr and KEY not in result.output
        found = read_descriptors(output)
        assert found.texts(0) and not found.texts(1)
        run("json,refused", *options, code=1)  # the file is there
        run("json,refused", *options, "--overwrite", code=3)
        assert max(server.counts.values()) == 1


def test_a_dry_run_prints_the_requests_and_sends_none(tmp_path: Path):
    with FaultServer(faulty).running() as server:
        result = run("cat,dog", "--model", "m", "--base-url", server.url, "--dry-run", "--hint", "pets")
        assert not server.bodies
    bodies = [json.loads(line) for line in result.stdout.splitlines()]
    assert [body["model"] for body in bodies] == ["m", "m"] and "a dog (pets)" in user_text(bodies[1])
    assert KEY not in result.output


def test_without_a_model(tmp_path: Path):
    output = tmp_path / "out.json"
    run("crane,tiger", "-o", str(output), "--source", "wordnet", "--sense", "crane=n02012849")
    assert "bird" in read_descriptors(output).texts(0)[0]
    assert "give a model" in run("cat", "-o", str(output), "--overwrite", code=2).stderr


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small Llama with random weights, a byte tokenizer and a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("chat")
    vocabulary = {
        token: place
        for place, token in enumerate(["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])
    }
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=8192, bos_token_id=0,
        eos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_real_transformers_server(chat_model: Path, tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [
        str(Path(sys.executable).with_name("transformers")),
        "serve",
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
    ]
    said = (tmp_path / "server.txt").open("w")
    server = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
    try:
        for _ in range(600):
            assert server.poll() is None, (tmp_path / "server.txt").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                time.sleep(0.2)
        found = describe(
            as_labels(["cat", "dog"]), model=str(chat_model), base_url=f"http://127.0.0.1:{port}/v1",
            log=tmp_path / "log.jsonl", tries=1, timeout=100, retries=0,
        )  # fmt: skip
    finally:
        server.terminate()
        server.wait()
    # Its words are noise; that they came over the protocol, with their tokens counted, is what is tested.
    assert found.asked == 2 and found.tokens > 0
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert sum("answer" in line for line in lines) == 2
