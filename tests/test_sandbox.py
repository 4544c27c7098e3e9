"""Templates of strangers: what they may do, and that whatever else they try ends soon, by name and line."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vlcls import sandbox
from vlcls.errors import LanguageModelError
from vlcls.labels import as_labels
from vlcls.llm.requests import questions
from vlcls.sandbox import filled, filled_apart

ROWS = [{"name": "elk", "hint": "", "count": 8, "siblings": ["a", "b"]}]
LOOP = "{% for _ in range(90000) %}"


def made(text: str) -> list[list[str]]:
    return filled_apart(text, ROWS, "mine.j2", LanguageModelError)


def test_both_ways_make_the_same():
    text = "{{ name|a }} {{ count }}\n---\n{{ name|capital }}{% for s in siblings %} {{ s }}{% endfor %}"
    assert made(text) == filled(text, ROWS) == [["an elk 8", "Elk a b"]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Say\n{{ colour }}", "line 2: 'colour' is undefined"),
        ("{{ name.colour }}", "line 1: .*no attribute 'colour'"),
        ("{{ siblings[7] }}", "line 1: "),
        ("{{ name", "line 1: "),
        ("a\n---\nb\n{{ }}", "line 4: "),
        ("a\n---\nb\n{{ colour }}", "line 4: 'colour'"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{% import 'os' as os %}x", "no loader"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ siblings.append(name) }}", "unsafe"),
        ("{{ self.__init__.__globals__ }}", "unsafe"),
        ("{{ name|format_disk }}", "line 1: No filter"),
        ("{{ count / 0 }}", "division"),
        ("{{ count + name }}", "line 1: "),
        ("", "empty"),
        ("a\n---\n", "line 2: a question is empty"),
        ("{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}", "recursion"),
        ("{% for a in range(10 ** 9) %}x{% endfor %}", "[Rr]ange too big"),
        ("{% for a in siblings %}" * 30 + "x" + "{% endfor %}" * 30, "nested|blocks"),
        ("{{ " + "(" * 5000 + ")" * 5000 + " }}", "Recursion|recursion"),
        ("{{ 'x' * 200000 }}", "200,000 characters"),
        (LOOP + "xx{% endfor %}", "180,000 characters"),
        ("{{ 'x' * (10 ** 11) }}", "Memory|memory|more than 1024 MiB"),
        ("{{ '%2000000000d' % 1 }}", "Memory|memory|more than 1024 MiB|characters"),
        ("{{ name|center(3000000000) }}", "Memory|memory|more than 1024 MiB"),
        ("{% set x=namespace(v=name) %}" + LOOP + "{% set x.v = x.v + x.v %}{% endfor %}", "[Mm]emory|MiB"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_by_file_and_line(text: str, words: str):
    with pytest.raises(LanguageModelError, match=f"mine.j2.*(?:{words})"):
        made(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ 9 ** (9 ** 9) }}",
        "{{ 7 ** (7 ** 9) % 2 }}",
        LOOP * 3 + "{% endfor %}" * 3 + "x",
        LOOP + "{{ 3 ** 200000 }}{% endfor %}",
    ],
)
def test_what_never_ends_is_stopped(text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sandbox, "SECONDS", 2.0)
    begun = time.perf_counter()
    with pytest.raises(LanguageModelError, match=r"mine.j2.*(?:never end|MiB|[Mm]emory|digits|characters)"):
        made(text)
    assert time.perf_counter() - begun < 10


def test_modules_of_the_folder_that_one_is_in_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("jinja2", "json", "vlcls"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert made("{{ name }}") == [["elk"]] and not (tmp_path / "ran").exists()


def test_instructions_that_are_no_file(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.j2")
    (tmp_path / "large.j2").write_bytes(b"x" * (1 << 21))
    (tmp_path / "bytes.j2").write_bytes(b"\xff\xfe\xfd")
    for path in (
        tmp_path,
        tmp_path / "pipe.j2",
        tmp_path / "large.j2",
        tmp_path / "bytes.j2",
        "x" * 5000,
        "a\0b",
    ):
        with pytest.raises(LanguageModelError, match="built in are"):
            questions(as_labels(["cat"]), instructions=path)
    (tmp_path / "wide.j2").write_bytes("Parts of {{ name }}".encode("utf-16"))
    assert questions(as_labels(["cat"]), instructions=tmp_path / "wide.j2")[0].text == "Parts of cat"
