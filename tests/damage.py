"""What can be wrong with a file, one fault at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np


def damage_json(content: Any) -> Iterator[tuple[str, str]]:
    """What can be wrong with JSON content, one fault at a time: what it is, and the text."""
    for path, value in _entries(content):
        at = "/".join(map(str, path)) or "all"
        if path:
            yield f"{at} missing", _text(content, path, None)
        others: list[Any] = [None, "x", 5, -1, 10**30, 1.5, [], {}, [[]], {"a": {}}, True]
        for other in others:
            if type(other) is not type(value):
                yield f"{at} = {other!r}", _text(content, path, json.dumps(other))
        for literal in (
            "NaN",
            "-Infinity",
            "1e999",
            "9" * 5000,
            "[" * 500 + "]" * 500,
            json.dumps("x" * 300_000),
        ):
            yield f"{at} = {literal[:12]}", _text(content, path, literal)
        if isinstance(value, dict):
            yield f"{at} with an unknown field", _text(content, path, json.dumps({**value, "unknown": 1}))
            yield f"{at} with a field twice", _text(content, path, _twice(value))


def _twice(value: dict[str, Any]) -> str:
    inside = json.dumps(value)[1:-1]
    return "{" + inside + ", " + inside + "}" if value else '{"a": 1, "a": 2}'


def _entries(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    yield path, content
    # The first two of a list stand for all.
    inside = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content[:2])
        if isinstance(content, list)
        else ()
    )
    for key, value in inside:
        yield from _entries(value, (*path, key))


_HOLE = "\uf8ff hole"


def _text(content: Any, path: tuple[Any, ...], literal: str | None) -> str:
    """The content as JSON with one entry replaced by a literal, or left out."""
    if not path:
        return str(literal)
    copy = json.loads(json.dumps(content))
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    if literal is None:
        del parent[path[-1]]
        return json.dumps(copy)
    parent[path[-1]] = _HOLE
    return json.dumps(copy).replace(json.dumps(_HOLE), literal)


def damage_bytes(content: bytes) -> Iterator[tuple[str, bytes]]:
    """What can be wrong with any file: cut, flipped, swapped for something else."""
    yield "nothing", b""
    yield "rubbish", bytes(range(256)) * 4
    yield "zeros", bytes(len(content))
    yield "a pickle", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93."
    yield "a web page", b"<!DOCTYPE html><html><body>404</body></html>"
    yield "deep lists", b"[" * 100_000
    yield "one long line", b"x" * 3_000_000
    for part in (0.1, 0.5, 0.9):
        yield f"cut at {part}", content[: int(part * len(content))]
    yield "without its last byte", content[:-1]
    yield "twice", content * 2
    random = np.random.default_rng(0)
    for number in range(6):
        flipped = bytearray(content)
        for place in random.integers(0, max(len(content), 1), 1 + number):
            if flipped:
                flipped[place] ^= 1 << int(random.integers(8))
        yield f"bits flipped, {number}", bytes(flipped)
