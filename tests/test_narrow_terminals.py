"""Every command on a terminal or pipe that is not UTF-8: it says what it has to, in escapes where it must."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from vlcls import cli

CAT, DOG, LONG = "猫", "собака", "café — ✓ 嘴"
#: For each command, what is typed. They run one after the other in one folder; most work, all print.
COMMANDS: dict[str, list[str]] = {
    "encoders": [],
    "doctor": [f"hf:./{CAT}"],
    "templates": [f"./{CAT}.txt"],
    "cache info": [],
    "cache verify": [],
    "descriptors list": [],
    "descriptors validate": ["d.json"],
    "descriptors show": ["d.json"],
    "descriptors convert": ["d.json", "--to", "plain", "-o", "-"],
    "descriptors diff": ["d.json", "e.json"],
    "descriptors add": ["d.json", CAT, LONG, "-o", f"{CAT}-1.json"],
    "descriptors remove": ["d.json", CAT, LONG, "-o", "-"],
    "descriptors replace": ["d.json", CAT, LONG, "fur", "-o", f"{CAT}-2.json"],
    "descriptors reweight": ["v.json", CAT, LONG, "0.5", "-o", f"{CAT}-3.json"],
    "descriptors rename": ["d.json", CAT, DOG + "2", "-o", f"{CAT}-4.json"],
    "descriptors audit": ["d.json", "--images", CAT, "-e", "conse"],
    "describe": [f"{CAT},{DOG}", "--model", LONG, "--dry-run"],
    "classify": ["images", "-l", f"{CAT},{DOG}", "-e", "conse"],
    "unsort": ["images"],
    "build": ["-l", f"{CAT},{DOG}", "-e", "conse", "-o", f"{CAT}-saved"],
    "demo": [],
    "explain": ["images", "-d", "d.json", "-e", "conse"],
    "edit": [f"./{CAT}.json", "--images", "images", "-e", "conse"],
    "evaluate": ["images", "-m", "name,photo", "-e", "conse", "-o", f"{CAT}-run"],
    "compare": [f"{CAT}-run", f"{CAT}-run"],
    "bias": ["images", "-d", "d.json", "-e", "conse"],
    "captions build": ["captions.txt", "-e", "conse", "-o", f"{CAT}-captions"],
    "captions info": [f"{CAT}-captions"],
    "captions search": [f"{CAT}-captions", LONG],
    "discover": ["images", "--captions", f"{CAT}-captions", "-e", "conse"],
    "learn-names": [f"{CAT}-none", "-o", f"{CAT}-names"],
    "names inspect": [f"{CAT}-names"],
    "names add": [f"{CAT}-names", "-l", DOG, "-o", f"{CAT}-more"],
    "names base-to-novel": [f"{CAT}-none"],
    "cache clear": ["--yes"],
}


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    if not getattr(command, "commands", None):
        yield " ".join(path)
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*path, name))


def test_every_command_is_here():
    assert set(walk(typer.main.get_command(cli.app))) == set(COMMANDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp(CAT)
    for number, name in enumerate((CAT, DOG)):
        (made / "images" / name).mkdir(parents=True)
        for row in range(2):
            Image.new("RGB", (32, 32), (number * 200, row * 90, 40)).save(
                made / "images" / name / f"{LONG}{row}.png"
            )
        (made / "images" / name / f"{LONG}.png").write_text("no image")
    (made / "d.json").write_text(json.dumps({CAT: [LONG, "fur"], DOG: ["a bark"]}), encoding="utf-8")
    (made / "e.json").write_text(json.dumps({CAT: ["fur", DOG], CAT + "2": []}), encoding="utf-8")
    own = {"format": "vlcls-descriptors", "version": 1, "classes": [{"name": CAT, "descriptors": [LONG]}]}
    (made / "v.json").write_text(json.dumps(own), encoding="utf-8")
    (made / f"{CAT}.txt").write_text(f"{LONG} {{}}\n", encoding="utf-8")
    (made / "captions.txt").write_text(f"{LONG} cat\na {DOG} on grass\na red ball\n", encoding="utf-8")
    return made


def run(arguments: list[str], encoding: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2))
    monkeypatch.setattr(sys, "argv", ["vlcls", *arguments])
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with pytest.raises(SystemExit) as done:
        cli.main()
    out.flush(), err.flush()
    said = out.buffer.getvalue() + err.buffer.getvalue()  # type: ignore[attr-defined]
    return int(done.value.code or 0), said.decode("utf-8", "replace")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_what_it_has_to(folder, monkeypatch, command, encoding):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("VLCLS_CACHE", str(folder / "store"))
    code, said = run([*command.split(), *COMMANDS[command]], encoding, monkeypatch)
    assert code in (0, 1, 3) and said, said
    for wrong in ("unexpected", "Traceback", "UnicodeEncodeError", "codec can't"):
        assert wrong not in said, said
    if command in ("descriptors show", "classify", "describe", "explain"):
        assert code in (0, 3) and (CAT in said or "\\u732b" in said)


@pytest.mark.parametrize("command", [*COMMANDS, ""])
def test_its_help_is_shown(monkeypatch, command):
    code, said = run([*command.split(), "--help"], "ascii", monkeypatch)
    assert code == 0 and "Usage" in said
