"""Every format that is read back, damaged in every way: a clear error of ours that names the file, or what is
right. Never an error of Python's own, never a number that is not finite."""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from damage import damage_bytes, damage_json
from formats import FORMATS, Format, make_samples

from vlcls.errors import EncoderMismatchError, VlclsError

#: These name what was given beside the file: the encoder.
ELSEWHERE = EncoderMismatchError


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory, model_spec: Callable[[str], str]) -> Iterator[Path]:
    patch = pytest.MonkeyPatch()
    patch.setenv("VLCLS_ENCODER", model_spec("open_clip-clip"))
    folder = tmp_path_factory.mktemp("samples")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make_samples(folder)
    yield folder
    patch.undo()


@pytest.fixture
def place(samples: Path, tmp_path: Path) -> Path:
    """A copy of all samples: hard links, but for what is damaged."""
    shutil.copytree(samples, tmp_path / "it", symlinks=True, copy_function=os.link)
    return tmp_path / "it"


def outcome(format: Format, folder: Path) -> Any:
    """What the reader gives, or the VlclsError that it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return format.read(folder)
        except VlclsError as error:
            return error


def finite(value: Any) -> bool:
    """Whether all numbers in what a reader gave are finite."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def put(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)  # a hard link: the sample itself stays
    path.write_bytes(content)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_refused_or_right(name: str, place: Path):
    format = FORMATS[name]
    path = next(place.glob(format.file))
    whole = path.read_bytes()
    assert not isinstance(before := outcome(format, place), VlclsError), before
    faults: list[tuple[str, bytes]] = list(damage_bytes(whole))
    if path.suffix == ".json":
        inside = [(said, text.encode()) for said, text in damage_json(json.loads(whole))]
        faults += inside[:: format.every]
    elif path.suffix == ".jsonl":
        first, *rest = whole.decode().splitlines(keepends=True)
        faults += [
            (said, (text + "\n" + "".join(rest)).encode()) for said, text in damage_json(json.loads(first))
        ]
    refused, wrong = 0, []
    for said, content in faults:
        path = _restored(place, format, path)
        put(path, content)
        try:
            found = outcome(format, place)
        except Exception as error:
            wrong.append(f"{said}: {type(error).__name__}: {str(error)[:120]}")
            continue
        if isinstance(found, VlclsError):
            refused += 1
            text = str(found)
            if len(text) > 2000:
                wrong.append(f"{said}: an error of {len(text)} characters")
            elif path.name not in text and path.parent.name not in text and not isinstance(found, ELSEWHERE):
                wrong.append(f"{said}: names no file: {text[:160]}")
        elif not finite(found):
            wrong.append(f"{said}: numbers that are not finite")
    assert not wrong, f"{len(wrong)} of {len(faults)}:\n" + "\n".join(wrong[:40])
    assert not format.refuses or refused >= 5


def _restored(place: Path, format: Format, path: Path) -> Path:
    """The file to damage; a run that computed it anew may have written it elsewhere."""
    return path if path.exists() else next(place.glob(format.file), path)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("instead", ["pipe", "folder", "nothing"])
def test_something_else_in_a_files_place(name: str, instead: str, place: Path):
    format = FORMATS[name]
    path = next(place.glob(format.file))
    path.unlink()
    if instead == "pipe":
        os.mkfifo(path)
    elif instead == "folder":
        path.mkdir()
    found = outcome(format, place)
    assert isinstance(found, VlclsError) or not format.refuses or instead == "nothing"


def test_the_table_is_long(samples: Path):
    rows = 0
    for format in FORMATS.values():
        path = next(samples.glob(format.file))
        rows += sum(1 for _ in damage_bytes(path.read_bytes())) + 3
        if path.suffix == ".json":
            rows += sum(1 for _ in damage_json(json.loads(path.read_bytes())))
    assert rows > 1500 and len(FORMATS) > 40
