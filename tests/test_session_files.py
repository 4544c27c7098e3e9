"""Files of editing sessions that are damaged or hostile: each is refused by file and field, none is taken."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from editor_world import descriptors, make_images, make_material
from typer.testing import CliRunner

from vlcls.app import session as sessions
from vlcls.app.actions import Request, act
from vlcls.app.session import Look, Row
from vlcls.app.session_files import SESSION, START, check_folder, load, locked, save
from vlcls.app.view import View
from vlcls.app.workbench import Workbench
from vlcls.cli import app
from vlcls.errors import OutputError, SessionError
from vlcls.files.json_text import parse_json

AT = "2026-11-25T12:00:00+00:00"


def write(folder: Path, start: Any, content: Any) -> None:
    """Both files; the session names the start by its hash, as one that somebody made on purpose would."""
    text = json.dumps(start).encode()
    if isinstance(content, dict) and content.get("start") == "right":
        content = content | {"start": hashlib.sha256(text).hexdigest()}
    (folder / START).write_bytes(text)
    (folder / SESSION).write_text(json.dumps(content))


def good(folder: Path) -> tuple[Any, Any]:
    """The content of two files that hold something of everything."""
    session = sessions.started(descriptors(), {"images": "x"}, AT)
    changed = sessions.rewritten(session.descriptors, 0, [Row(0, "a red bill", 0.5)])
    session = sessions.edited(session, changed, "changed", AT)
    session = sessions.named(session, "kept")
    session = sessions.looked(session, Look(AT, 1, 9, 5, 2, 1, {"g": (("sea", 9, 5, 6),)}))
    (folder / START).unlink(missing_ok=True)
    save(session, folder)
    start, content = (json.loads((folder / name).read_text()) for name in (START, SESSION))
    return start, content | {"start": "right"}


def fields(content: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every value in a file, by where it is."""
    yield at
    if isinstance(content, dict):
        for key in content:
            yield from fields(content[key], (*at, key))
    elif isinstance(content, list):
        for place in range(len(content)):
            yield from fields(content[place], (*at, place))


def changed(content: Any, at: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    result = copy.deepcopy(content)
    parent = result
    for key in at[:-1]:
        parent = parent[key]
    change(parent, at[-1])
    return result


#: Objects whose keys are data: any may be missing.
FREE = {("about", "images"), ("classes", "0"), ("snapshots", "kept"), ("groups", "g")}


def bad_values(value: Any) -> list[Any]:
    """What a field of this type must not hold."""
    nan, infinity = float("nan"), float("inf")
    deep: Any = []
    for _ in range(150):
        deep = [deep]
    if isinstance(value, bool):
        return [1, 0.0, "true", None, [], deep]
    if isinstance(value, int):
        return ["1", -1, 1.5, None, True, [], {}, nan, infinity, 10**30, deep]
    if isinstance(value, float):
        return ["1", -5, None, True, [], {}, nan, infinity, -infinity, 1e39, 1e-60, deep]
    if isinstance(value, str):
        return [5, 1.5, None, True, [], {}, nan, "\ud800", deep]
    return [None, 5, "x", True, [5] if isinstance(value, list) else {"x": 5}, nan, deep] + (
        [{}] if isinstance(value, list) else [[]]
    )


def bad_files(folder: Path) -> Iterator[tuple[str, str, Any, Any]]:
    """What is wrong, the file it is wrong in, and the contents of both files."""
    start, content = good(folder)
    for name, known in ((START, start), (SESSION, content)):
        for at in fields(known):
            if not at or at == ("start",):
                continue
            value: Any = known
            for key in at:
                value = value[key]
            where = ".".join(map(str, at))
            new = [(f"{where} = {str(bad)[:30]}", changed(known, at, lambda p, k, b=bad: p.__setitem__(k, b)))
                   for bad in bad_values(value)]  # fmt: skip
            if (
                isinstance(at[-1], str)
                and at[-2:] not in FREE
                and at[-2:-1] not in (("about",), ("sources",))
            ):
                new.append((f"{where} missing", changed(known, at, lambda p, k: p.pop(k))))
            if isinstance(value, list) and value and isinstance(value[0], str):
                new += [(f"{where} too long", changed(known, at, lambda p, k: p[k].append("more")))]
            for what, broken in new:
                yield what, name, *((broken, content) if name == START else (start, broken))
    for what, key, value in (
        ("a field too many", "more", 1), ("another format", "format", "x"), ("version 0", "version", 0),
        ("no steps", "steps", []), ("place beyond the steps", "place", 2), 
        ("another start", "start", "0" * 64), ("no hash", "start", "x"),
    ):  # fmt: skip
        yield what, SESSION, start, content | {key: value}
    for place in ("-1", "2", "01", "+0", "٠", "x", ""):
        step = content["steps"][1]
        other = step | {"classes": {place: step["classes"]["0"]}}
        yield f"class {place!r}", SESSION, start, content | {"steps": [content["steps"][0], other]}
        yield (
            f"snapshot of class {place!r}",
            SESSION,
            start,
            content | {"snapshots": {"kept": {"classes": other["classes"]}}},
        )
    look = content["looks"][0]
    for part in (
        {"before": 10}, {"gained": 5}, {"lost": 6}, {"images": 0}, {"revision": 99}, {"at": "yesterday"},
        {"groups": {"g": [["sea", 5, 6, 1]]}}, {"groups": {"g": [["sea", 0, 0, 0]]}},
        {"groups": {"g": [["sea", 5]]}},
    ):  # fmt: skip
        yield f"look {part}", SESSION, start, content | {"looks": [look | part]}
    yield (
        "a start that changes",
        SESSION,
        start,
        content | {"steps": [content["steps"][1] | {"said": "start"}]},
    )
    yield "labels twice", START, start | {"ids": ["gull", "gull"]}, content
    yield "no labels", START, start | {"ids": [], "names": [], "descriptors": []}, content
    yield "a name of controls", START, start | {"names": ["a\x1b[31m", "b"]}, content
    yield "a name too long", SESSION, start, content | {"snapshots": {"x" * 201: {"classes": {}}}}


def is_json(text: bytes) -> bool:
    try:
        parse_json(text, "", SessionError)
    except SessionError:
        return False
    return True


def test_every_bad_field_is_refused_by_file_and_field(tmp_path: Path):
    """Made from the good one: a field missing, of another type, out of range, not finite, too deep."""
    count = 0
    for what, name, start, content in bad_files(tmp_path):
        write(tmp_path, start, content)
        with pytest.raises(SessionError) as refused:
            load(tmp_path)
        said = str(refused.value)
        assert said.startswith("damaged session: ") and str(tmp_path / name) in said, (what, said)
        assert "give another --session" in said and len(said) < 1000, (what, said)
        if " = " in what and is_json((tmp_path / name).read_bytes()):
            assert what.split(" = ")[0].split(".")[0] in said, (what, said)
        count += 1
    assert count > 600
    start, content = good(tmp_path)
    write(tmp_path, start, content)
    assert load(tmp_path) is not None


def test_weights_and_places_are_named(tmp_path: Path):
    start, content = good(tmp_path)
    for weight, said in ((-5, "weight -5.0 is not 0 or more"), (1e39, "weight 1e+39"), ("x", "valid number")):
        broken = copy.deepcopy(start)
        broken["descriptors"][1][0][2] = weight
        write(tmp_path, broken, content)
        with pytest.raises(SessionError, match=r"start\.json: descriptors\.1\.0\.2: ") as refused:
            load(tmp_path)
        assert said in str(refused.value)
    write(tmp_path, start, content | {"revision": "three"})
    with pytest.raises(SessionError, match=r"session\.json: revision: input should be a valid integer"):
        load(tmp_path)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff\xfe", b"null", b"5", b'{"a": 1, "a": 2}', b"[" * 100_000, b"9" * 5000, b"\0" * 9],
)
def test_files_that_are_no_json_are_refused(tmp_path: Path, text: bytes):
    for name in (START, SESSION):
        good(tmp_path)
        (tmp_path / name).write_bytes(text)
        with pytest.raises(SessionError, match="damaged session: "):
            load(tmp_path)


def test_what_is_no_file_is_refused(tmp_path: Path):
    for name in (START, SESSION):
        for number, make in enumerate((os.mkfifo, os.mkdir, lambda path: path.symlink_to("nowhere"))):
            folder = tmp_path / f"{name}{number}"
            folder.mkdir()
            good(folder)
            (folder / name).unlink()
            make(folder / name)
            with pytest.raises(SessionError, match=name):
                load(folder)
    folder = tmp_path / "alone"
    folder.mkdir()
    os.mkfifo(folder / START)  # and no session: what a killed process leaves, if it were a file
    with pytest.raises(SessionError, match="in the way"):
        load(folder)


def test_a_folder_is_checked_before_any_work(tmp_path: Path):
    """By the command, before models are loaded and images embedded."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "link" / "below"):
        with pytest.raises(SessionError, match="is no folder; give another --session"):
            check_folder(folder)
    check_folder(tmp_path / "new" / "below")
    assert not (tmp_path / "new").exists() and (tmp_path / "file").read_text() == "mine"
    good(tmp_path)
    check_folder(tmp_path)
    lock = locked(tmp_path)
    with pytest.raises(SessionError, match="in use by another"):
        check_folder(tmp_path)
    lock.release()
    (tmp_path / SESSION).write_text("{")
    with pytest.raises(SessionError, match="damaged session"):
        check_folder(tmp_path)
    pytest.importorskip("gradio")
    found = CliRunner().invoke(
        app, ["edit", "pacs", "--images", str(tmp_path / "none"), "--session", str(tmp_path), "--port", "0"]
    )
    assert found.exit_code != 0 and "damaged session" in str(found.exception)


# ---- outputs that are full, or have something in their way -------------------------------------------------


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    from editor_world import ColourEncoder

    make_images(tmp_path / "images", each=4)
    opened = Workbench(make_material(tmp_path, ColourEncoder()), tmp_path / "session", cache=False)
    yield opened
    opened.close()


def exported(bench: Workbench) -> View:
    data = {"do": "export", "fields": {"name": "birds", "note": "\x1b[31m\ud800"}}
    return act(Request(bench, View(bench.seen.session.revision), data))


def test_an_export_with_something_in_its_way_says_so(bench: Workbench):
    exports = bench.folder / "exports"
    exports.write_text("mine")
    view = exported(bench)
    assert view.failed and "exports is a file" in view.message and exports.read_text() == "mine"
    exports.unlink()
    exports.mkdir()
    (exports / "birds.json").mkdir()  # a folder, and a link that leads to where nothing is yet
    (exports / "birds-2.json").symlink_to(bench.folder.parent / "elsewhere.json")
    view = exported(bench)
    assert not view.failed and view.exported is not None and view.exported[0].endswith("birds-3.json")
    assert not (bench.folder.parent / "elsewhere.json").exists()


def test_a_full_disk_is_said_and_changes_nothing(bench: Workbench, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    revision, before = bench.seen.session.revision, (bench.folder / SESSION).read_bytes()
    monkeypatch.setattr(Path, "write_bytes", full)
    view = exported(bench)
    assert view.failed and "No space left on device" in view.message and "exports" in view.message
    for data in (
        {"do": "delete", "index": "0", "place": "1"}, {"do": "look"},
        {"do": "snapshot", "fields": {"snapshot": "kept"}},
    ):  # fmt: skip
        view = act(Request(bench, View(revision), data))
        assert view.failed and f"{SESSION} cannot be written: No space left on device" in view.message
    with pytest.raises(OutputError, match="No space left"):
        bench.change(revision, lambda session: sessions.named(session, "x"))
    monkeypatch.undo()
    assert bench.seen.session.revision == revision and (bench.folder / SESSION).read_bytes() == before
    assert not [path for path in bench.folder.rglob("*") if ".tmp" in path.name]
    assert not act(Request(bench, View(revision), {"do": "look"})).failed
