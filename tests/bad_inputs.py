"""Damaged and hostile versions of a good file: each field missing, of another type, out of range, not finite,
too deep, too long; and the whole as no JSON, no text, no file."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

#: Marks a value that is written as it is: numbers that Python's json would not write.
_RAW = "@@raw:"
_OTHERS: tuple[tuple[str, Any], ...] = (
    ("null", None),
    ("true", True),
    ("minus", -1),
    ("fraction", 0.5),
    ("text", "x"),
    ("blank", ""),
    ("list", [3]),
    ("object", {"x": 3}),
    ("nan", f"{_RAW}NaN"),
    ("inf", f"{_RAW}-Infinity"),
    ("1e999", f"{_RAW}1e999"),
    ("1e39", f"{_RAW}1e39"),
    ("1e-60", f"{_RAW}1e-60"),
    ("digits", f"{_RAW}{'9' * 5000}"),
    ("deep", f"{_RAW}{'[' * 5000}{']' * 5000}"),
)


def broken_json(content: Any) -> Iterator[tuple[str, bytes]]:
    """Versions of a JSON document, each with a name that says what was done to it."""
    whole = json.dumps(content).encode()
    yield from (
        ("no file", b"\0"),
        ("empty", b""),
        ("cut", whole[:-2]),
        ("more", whole + b" x"),
        ("null", b"null"),
        ("a list", b"[]"),
        ("a text", b'"text"'),
        ("a number", b"3"),
        ("nested", b"[" * 100_000),
        ("nested objects", b'{"a":' * 100_000),
        ("latin", whole[:1] + b'"\xe9": 1,' + whole[1:]),
        ("nul", whole[:1] + b"\0" + whole[1:]),
        ("a pickle", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os"),
        ("twice", whole[:1] + whole[1:-1] + b"," + whole[1:]),
        ("unknown field", whole[:-1] + b', "no such field": 1}'),
        ("surrogate", whole[:-1] + b', "no such field": "\\ud800"}'),
    )
    for path in _paths(content):
        place = ".".join(map(str, path))
        value = _at(content, path)
        if isinstance(path[-1], str):
            yield f"{place} missing", _dumped(_changed(content, path, None, delete=True))
        for name, other in _OTHERS:
            if type(other) is not type(value) or other != value:
                yield f"{place} {name}", _dumped(_changed(content, path, other))
        if isinstance(value, int) and not isinstance(value, bool):
            yield f"{place} next", _dumped(_changed(content, path, value + 1))


def broken_safetensors(arrays: dict[str, np.ndarray]) -> Iterator[tuple[str, bytes]]:
    """Versions of a safetensors file."""
    from safetensors.numpy import save

    whole = save(arrays)
    size = struct.unpack("<Q", whole[:8])[0]
    header, data = json.loads(whole[8 : 8 + size]), whole[8 + size :]

    def file(changed: Any, raw: bytes | None = None) -> bytes:
        text = json.dumps(changed).encode() if raw is None else raw
        return struct.pack("<Q", len(text)) + text + data

    first = next(name for name in header if name != "__metadata__")
    yield from (
        ("empty", b""),
        ("cut header", whole[:20]),
        ("cut data", whole[:-4]),
        ("more data", whole + b"\0" * 4),
        ("endless header", struct.pack("<Q", 2**63) + whole[8:]),
        ("a pickle", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94."),
        ("a zip", b"PK\x03\x04" + b"\0" * 60),
        ("no JSON", file(None, b"x" * 40)),
        ("deep header", file(None, b'{"a":' * 20_000)),
        ("deep list", file(None, b"[" * 100_000)),
        ("a list", file([])),
        ("nothing in it", file({})),
    )
    about = header[first]
    for name, changes in {
        "giant shape": {"shape": [2**40, 2**20]},
        "overflowing shape": {"shape": [2**63, 2**63]},
        "negative shape": {"shape": [-1, 4]},
        "text as shape": {"shape": "x"},
        "another shape": {"shape": [1]},
        "beyond the end": {"data_offsets": [0, 2**40]},
        "backwards": {"data_offsets": [8, 0]},
        "overlapping": {"data_offsets": [4, about["data_offsets"][1]]},
        "unknown type": {"dtype": "Q7"},
        "another type": {"dtype": "I32"},
        "half numbers": {"dtype": "BF16"},
    }.items():
        yield name, file({**header, first: {**about, **changes}})
    yield "renamed", save({f"other {name}": array for name, array in arrays.items()})
    yield "one too many", save({**arrays, "one too many": np.zeros(3, np.float32)})
    for name, value in {"nan": np.nan, "inf": np.inf, "huge": 1e30, "zero": 0.0}.items():
        yield name, save({key: np.full_like(array, value) for key, array in arrays.items()})
    yield "integers", save({key: np.ones_like(array, dtype=np.int64) for key, array in arrays.items()})
    less = {key: np.ascontiguousarray(array.reshape(-1)[:-1]) for key, array in arrays.items()}
    yield "a number less", save(less)
    yield "flat", save({key: array.reshape(-1) for key, array in arrays.items()})


def _paths(content: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values are: all fields of objects, and the first entry of each list."""
    if isinstance(content, dict):
        entries: Any = content.items()
    else:
        entries = enumerate(content[:1]) if isinstance(content, list) else ()
    for key, value in entries:
        yield (*above, key)
        yield from _paths(value, (*above, key))


def _at(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        content = content[key]
    return content


def _changed(content: Any, path: tuple[Any, ...], value: Any, *, delete: bool = False) -> Any:
    result = copy.deepcopy(content)
    parent = _at(result, path[:-1])
    if delete:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return result


def _dumped(content: Any) -> bytes:
    text = json.dumps(content)
    while f'"{_RAW}' in text:
        before, _, after = text.partition(f'"{_RAW}')
        raw, _, rest = after.partition('"')
        text = before + raw + rest
    return text.encode()
