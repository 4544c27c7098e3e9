"""Editing sessions without a page: states, files, splits, scores, and what the command refuses."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from editor_world import BLAMED, DESCRIPTORS, ColourEncoder, descriptors, draw, make_images, make_material
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import vlcls
from vlcls.app import session as sessions
from vlcls.app.actions import Request, act
from vlcls.app.material import Wording, open_classifier
from vlcls.app.session import Look, Row, Session
from vlcls.app.session_files import export_path, load, locked, save
from vlcls.app.view import View, pairs, with_images
from vlcls.app.workbench import Workbench
from vlcls.cli import app
from vlcls.descriptors import Descriptor, DescriptorSet, diff_descriptors, read_descriptors, write_descriptors
from vlcls.descriptors.edits import add
from vlcls.editing import score
from vlcls.errors import DescriptorError, SessionError, TemplateError, VlclsError
from vlcls.files.writing import _HOST
from vlcls.labelled.splits import held_out_of_copies
from vlcls.labels import Labels, as_labels
from vlcls.limits import LEAST_WEIGHT, MOST_WEIGHT, readable, unreadable

AT = "2026-11-25T00:00:00+00:00"


def start() -> Session:
    return sessions.started(descriptors(), {"images": "x"}, AT)


def step(session: Session, text: str) -> Session:
    known = session.descriptors
    return sessions.edited(session, add(known, known.labels.ids[0], [text]), text, AT)


# ---- states ------------------------------------------------------------------------------------------------


def test_undo_redo_and_a_new_branch():
    session = step(step(start(), "one"), "two")
    assert (session.revision, session.place, session.can_redo) == (2, 2, False)
    back = sessions.undone(sessions.undone(session))
    assert back.descriptors == back.start and back.revision == 4 and not back.can_undo
    assert sessions.redone(back).descriptors.texts(0)[-1] == "one"
    branch = step(sessions.redone(back), "three")
    assert [each.said for each in branch.steps] == ["start", "one", "three"] and not branch.can_redo
    for move, said in ((sessions.undone, "nothing to undo"), (sessions.redone, "nothing to redo")):
        with pytest.raises(SessionError, match=said):
            move(start())
    with pytest.raises(SessionError, match="nothing is different"):
        sessions.edited(session, session.descriptors, "", AT)
    with pytest.raises(SessionError, match="another tab"):
        sessions.check_revision(session, 1)
    with pytest.raises(SessionError, match="keeps the classes"):
        sessions.edited(session, descriptors(as_labels(["gull", "frog"])), "", AT)


def test_snapshots_are_kept_and_gone_back_to():
    session = sessions.named(step(start(), "one"), "  good \n one ")
    assert list(session.snapshots) == ["good one"]
    later = sessions.restored(step(session, "two"), "good one", AT)
    assert later.descriptors == session.descriptors and later.can_undo
    assert [c.text for c in diff_descriptors(later.start, later.descriptors)] == ["one"]
    for name, said in (("", "a name"), ("x" * 201, "a name"), ("good one", "already")):
        with pytest.raises(SessionError, match=said):
            sessions.named(session, name)
    with pytest.raises(SessionError, match="no snapshot"):
        sessions.restored(session, "bad", AT)


def test_changes_of_a_class_go_by_place():
    twice = DescriptorSet(
        as_labels(["a"]), ((Descriptor("x", "llm"), Descriptor("x", "llm"), Descriptor("y")),)
    )
    changed = sessions.rewritten(twice, 0, [Row(1, " z ", 0.5)])
    assert changed.descriptors[0] == (
        Descriptor("x", "llm"), Descriptor("z", "llm", 0.5, True), Descriptor("y"),
    )  # fmt: skip
    assert sessions.rewritten(twice, 0, [Row(1, "x", 2)]).descriptors[0][1] == Descriptor("x", "llm", 2)
    assert sessions.without(twice, 0, 0).texts(0) == ["x", "y"]
    for rows, said in (
        ([Row(0, "", 1)], "blank"), ([Row(0, "y", 1)], "already"), ([Row(0, "x", -1)], "0 or more"),
        ([Row(0, "x", float("nan"))], "0 or more"), ([Row(3, "x", 1)], "no descriptor 4"),
    ):  # fmt: skip
        with pytest.raises(DescriptorError, match=said):
            sessions.rewritten(twice, 0, rows)


def test_more_descriptors_keep_where_they_came_from():
    known = replace(descriptors(), sources={"llm": {"model": "a"}})
    others = (Descriptor("A RED body", "llm"), Descriptor("thin legs", "llm"))
    joined = sessions.joined(known, 0, others, {"llm": {"model": "b"}})
    assert joined.descriptors[0][2:] == (Descriptor("thin legs", "llm-2"),)
    assert joined.sources == {"llm": {"model": "a"}, "llm-2": {"model": "b"}}
    assert sessions.joined(known, 0, others[:1], {"llm": {"model": "b"}}) == known


# ---- files -------------------------------------------------------------------------------------------------

anything = st.text(st.characters(), min_size=1, max_size=12)
words = anything.filter(lambda text: text.strip() and not unreadable(text))
weights = st.one_of(st.just(0.0), st.floats(LEAST_WEIGHT, MOST_WEIGHT), st.integers(0, 9))
own = st.lists(
    st.builds(Descriptor, words, st.sampled_from(["hand", "llm"]), weights, st.booleans()), max_size=3
)


@given(st.lists(own, min_size=1, max_size=5), anything)
def test_a_session_is_read_as_it_was_written(states: list[list[Descriptor]], name: str):
    """Whatever a name or a note holds, controls and halves of characters too."""
    import tempfile

    labels = Labels(("a", "<b>/../🦀"), ("1", "2"))
    base = DescriptorSet(labels, ((), (Descriptor("x"),)), sources={"llm": {"model": "m"}})
    session = sessions.started(base, {"images": name}, AT)
    for place, state in enumerate(states):
        changed = replace(session.descriptors.replaced(0, state), sources={"llm": {"model": f"m{place}"}})
        session = sessions.edited(session, changed, name, AT)
    if readable(name).strip():
        session = sessions.named(session, name)
    session = sessions.looked(session, Look(AT, 1, 9, 5, 2, 1, {name: ((name, 9, 5, 6),)}))
    session = sessions.undone(session)
    with tempfile.TemporaryDirectory() as folder:
        save(session, Path(folder))
        assert load(Path(folder)) == session


def test_damaged_sessions_are_refused(tmp_path: Path):
    save(step(start(), "one"), tmp_path)
    whole = (tmp_path / "session.json").read_text()
    for text, said in (
        (whole[:-20], "damaged"), ("[]", "damaged"), (whole.replace('"version": 1', '"version": 2'), "newer"),
        (whole.replace('"place": 1', '"place": 7'), "damaged"),
    ):  # fmt: skip
        (tmp_path / "session.json").write_text(text)
        with pytest.raises(SessionError, match=said):
            load(tmp_path)
    (tmp_path / "session.json").write_text(whole)
    (tmp_path / "start.json").write_text((tmp_path / "start.json").read_text().replace("red", "big"))
    with pytest.raises(SessionError, match="damaged"):
        load(tmp_path)
    (tmp_path / "session.json").unlink()  # killed between the two files
    assert load(tmp_path) is None and not (tmp_path / "start.json").exists()


def test_one_server_a_folder(tmp_path: Path):
    lock = locked(tmp_path)
    with pytest.raises(SessionError, match="in use by another"):
        locked(tmp_path)
    lock.release()
    locked(tmp_path).release()
    (tmp_path / "file").write_text("")
    with pytest.raises(SessionError, match="cannot be written"):
        locked(tmp_path / "file" / "below")


@given(st.text(max_size=300))
def test_exports_stay_below_their_folder(name: str):
    folder = Path("session")
    path = export_path(folder, name)
    assert path.parent == folder / "exports" and path.suffix == ".json"
    assert len(path.name) <= 85 and not path.name.startswith((".", "-")) and path.name.isascii()


def test_exports_are_named_after_their_names():
    names = {"x" * 100: "x" * 80, "..a b/c.json": "a-b-c", "-é!-": "descriptors", "birds.json": "birds"}
    for name, stem in names.items():
        assert export_path(Path("session"), name).name == f"{stem}.json"


# ---- the split ---------------------------------------------------------------------------------------------


def test_the_split_is_even_seeded_and_keeps_copies_together():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(400, 6)).astype(np.float32)
    rows[300:] = rows[:100]  # copies, said to be of other classes
    strata = [(row % 3, "ab"[row % 2]) for row in range(400)]
    columns = list(zip(*strata, strict=True))
    out = held_out_of_copies(rows, columns, share=0.3, seed=5)
    assert (out[300:] == out[:100]).all()
    assert (out == held_out_of_copies(rows, columns, share=0.3, seed=5)).all()
    assert (out != held_out_of_copies(rows, columns, share=0.3, seed=6)).any()
    assert out[:300].sum() == 90
    for stratum in set(strata):
        own_rows = [row for row in range(300) if strata[row] == stratum]
        assert abs(out[own_rows].sum() - 0.3 * len(own_rows)) <= 1
    assert not held_out_of_copies(rows, columns, share=0, seed=5).any()
    # A session that is opened again must hold the same images out.
    assert np.flatnonzero(out)[:8].tolist() == [1, 4, 6, 8, 9, 11, 12, 15]


# ---- scores ------------------------------------------------------------------------------------------------


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def bench(tmp_path: Path, encoder: ColourEncoder) -> Iterator[Workbench]:
    make_images(tmp_path / "images")
    opened = Workbench(make_material(tmp_path, encoder), tmp_path / "session", cache=False)
    yield opened
    opened.close()


def right(bench: Workbench) -> int:
    total = bench.seen.comparison.total
    assert total is not None and total.count == 16
    return total.after


def test_only_changed_text_is_encoded(bench: Workbench, encoder: ColourEncoder):
    encoder.encoded.clear()
    seen = bench.edit(0, lambda known: sessions.without(known, 0, 1), "delete")
    assert encoder.encoded == [] and seen.encoded == 0 and right(bench) == 16
    seen = bench.edit(1, lambda known: add(known, known.labels.ids[1], ["ten legs"]), "add")
    assert encoder.encoded == ["crab, which has ten legs"] and seen.encoded == 1
    bench.edit(2, lambda known: sessions.rewritten(known, 1, [Row(0, "a green body", 3)]), "weigh")
    for revision, move in ((3, sessions.undone), (4, sessions.undone), (5, sessions.redone)):
        bench.change(revision, move)
    assert len(encoder.encoded) == 1
    # What was scored bit by bit is what is scored from nothing.
    classifier = vlcls.build_classifier(
        encoder=encoder, descriptors=bench.seen.session.descriptors, cache=False
    )
    full = score(classifier, bench.material.shown.embeddings)
    torch.testing.assert_close(full.similarities, bench.seen.now.similarities)


def test_what_is_refused_changes_nothing(bench: Workbench, tmp_path: Path):
    before = (tmp_path / "session" / "session.json").read_bytes()
    with pytest.raises(SessionError, match="another tab"):
        bench.edit(7, lambda known: sessions.without(known, 0, 0), "")
    with pytest.raises(TemplateError, match="no prompt with a weight above 0"):
        zero = [Row(place, text, 0) for place, text in enumerate(DESCRIPTORS[0])]
        bench.edit(0, lambda known: sessions.rewritten(known, 0, zero), "")
    assert bench.seen.session.revision == 0 and right(bench) == 8
    assert (tmp_path / "session" / "session.json").read_bytes() == before


def test_held_out_images_are_scored_only_when_asked(bench: Workbench):
    bench.edit(0, lambda known: sessions.without(known, 0, 1), "delete")
    assert bench.seen.session.looks == ()
    (look,) = bench.look(1).session.looks
    assert (look.images, look.before, look.gained, look.lost, look.after) == (16, 8, 8, 0, 16)
    assert look.groups == {"group": (("sand", 8, 4, 8), ("sea", 8, 4, 8))}
    held = set(bench.material.held.rows.tolist())
    assert not held & set(bench.material.shown.rows.tolist()) and len(held) == 16


def test_a_killed_server_loses_nothing(tmp_path: Path, encoder: ColourEncoder):
    make_images(tmp_path / "images")
    script = Path(__file__).with_name("editor_world.py")
    child = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": str(Path(vlcls.__file__).parent.parent)},
    )  # fmt: skip
    try:
        assert child.stdout is not None and child.stdout.readline() == "edited\n"
        material = make_material(tmp_path, encoder)
        with pytest.raises(SessionError, match="in use by another"):
            Workbench(material, tmp_path / "session", cache=False)
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    left = tmp_path / "session" / f".vlcls-{_HOST}-{child.pid}-0123abcd.tmp.json"  # half written when killed
    left.write_text("{")
    bench = Workbench(material, tmp_path / "session", cache=False)
    assert bench.seen.session.descriptors.texts(0) == ["a red body"] and right(bench) == 16
    bench.change(1, sessions.undone)
    assert right(bench) == 8 and not left.exists()
    bench.close()


def test_a_session_goes_on_only_with_what_it_belongs_to(
    tmp_path: Path, bench: Workbench, encoder: ColourEncoder
):
    bench.close()
    with pytest.raises(SessionError, match="another kind \\(split\\)"):
        Workbench(make_material(tmp_path, encoder, share=0.25), tmp_path / "session", cache=False)
    other = descriptors().replaced(0, (Descriptor("a red body"),))
    with pytest.raises(SessionError, match="another kind \\(descriptors\\)"):
        Workbench(make_material(tmp_path, encoder, other), tmp_path / "session", cache=False)
    for path in (tmp_path / "images").rglob("00.png"):
        path.unlink()
    with pytest.raises(SessionError, match="images content"):
        Workbench(make_material(tmp_path, encoder), tmp_path / "session", cache=False)


@pytest.mark.parametrize("phrasing", ["grammatical", "dclip", "alone"])
@pytest.mark.parametrize("templates", [None, "simple"])
def test_a_saved_classifier_gives_its_descriptors_back(
    tmp_path: Path, clip_folder: Path, phrasing: str, templates: str | None
):
    spec = f"open_clip:local-dir:{clip_folder}"
    known = descriptors().replaced(1, (Descriptor("ten legs", weight=0.5), Descriptor("two claws")))
    built = vlcls.build_classifier(
        encoder=spec, descriptors=known, phrasing=phrasing, templates=templates, cache=False
    )
    built.save_pretrained(tmp_path / "saved")
    classifier, found, wording = open_classifier(str(tmp_path / "saved"), None)
    assert [[(d.text, d.weight) for d in own] for own in found.descriptors] == [
        [(d.text, d.weight) for d in own] for own in known.descriptors
    ]
    assert wording.prompts(found).texts == built.prompts.texts == classifier.prompts.texts
    odd = vlcls.build_classifier(["cat", "dog"], spec, ["a {} of mine"], cache=False)
    odd.save_pretrained(tmp_path / "odd")
    assert open_classifier(str(tmp_path / "odd"), None)[1].texts(0) == []


def test_a_session_knows_whether_its_templates_were_used_letter_for_letter():
    """One of before, with "an" in a published set, goes on under --articles alone: its scores were others."""
    old = "grammatical, templates simple"
    assert Wording(templates="simple", articles=True).told == old
    assert Wording(templates="simple").told == Wording(templates="simple", articles=False).told != old
    for templates in (None, "photo", "a sketch of a {}.", ("a {}", "the {}")):
        assert "letter" not in Wording(templates=templates).told


def test_every_class_and_group_is_in_the_overview(tmp_path: Path, encoder: ColourEncoder):
    """Also beyond those that are shown at once: the others unfold."""
    from vlcls.app.overview import overview

    names = [f"bird {number:03}" for number in range(70)]
    for number, name in enumerate(names):
        for copy in range(2):
            draw(tmp_path / "images" / f"place {number:03}" / name / f"{copy}.png", number % 2, copy,
                 np.random.default_rng(2 * number + copy))  # fmt: skip
    known = DescriptorSet(as_labels(names), tuple((Descriptor("a red body"),) for _ in names))
    material = make_material(tmp_path, encoder, known)
    opened = Workbench(material, tmp_path / "session", cache=False)
    drawn = overview(opened, View(0))
    opened.close()
    first, _, others = drawn.partition("<details>")
    assert "and 10 more classes" in drawn and "and 10 more groups" in drawn
    assert all(f'data-do="class-images" data-index="{index}"' in drawn for index in range(70))
    assert all(f">place {number:03}</button>" in drawn for number in range(70))
    assert others and first.count('data-do="group"') == 60


def test_images_start_with_the_worst_pair(bench: Workbench):
    shown = bench.material.shown
    view = with_images(View(0), bench.seen, shown)
    truth, given, count = pairs(bench.seen, shown)[0]
    assert view.pick is not None and len(view.pick.places) == count and view.image == view.pick.places[0]
    assert all(
        int(shown.truth[p]) == truth and int(bench.seen.now.predicted[p]) == given for p in view.pick.places
    )
    assert with_images(view, bench.seen, shown) is view  # what was picked stays
    bench.edit(0, lambda known: sessions.without(known, 0, 1), "everything is right")
    assert pairs(bench.seen, shown) == []
    view = with_images(View(1), bench.seen, shown)
    assert view.pick is not None and len(view.pick.places) == 8
    chosen = act(Request(bench, view, {"do": "class-chosen", "value": "1"}))
    assert chosen.pick is not None and chosen.pick.title == "crab" and chosen.tab == "images"
    assert act(Request(bench, view, {"do": "class-chosen", "value": "2"})).failed


def test_requests_are_checked(bench: Workbench):
    shown = len(bench.material.shown)
    for data in (
        {}, {"do": "explode"}, {"do": "image", "place": str(shown)}, {"do": "image", "place": "-1"},
        {"do": "image", "place": "٣"}, {"do": "pair", "truth": "0"},
        {"do": "delete", "index": "0", "place": "9"},
        {"do": "apply", "index": "0", "fields": {"weight-0": "much", "text-0": "x"}},
        {"do": "apply", "index": "0", "fields": ["x"]}, {"do": "add", "index": "0", "fields": {"new": " "}},
        {"do": "restore", "number": "0"}, {"do": "more", "index": "0"}, {"do": "undo"},
        {"do": "snapshot", "fields": {"snapshot": "x" * 10_000}},
    ):  # fmt: skip
        view = act(Request(bench, View(0), data))
        assert view.failed and view.message, data
    assert bench.seen.session.revision == 0
    view = act(
        Request(
            bench,
            View(0),
            {"do": "delete", "index": "0", "place": "1", "fields": {"text-0": "a red bill", "weight-0": "1"}},
        )
    )
    assert not view.failed and bench.seen.session.descriptors.texts(0) == ["a red bill"]
    assert bench.seen.session.steps[-1].said == f'gull: "a red body" is now "a red bill"; "{BLAMED}" deleted'


# ---- the command -------------------------------------------------------------------------------------------


def test_the_command_says_what_is_wrong(tmp_path: Path, clip_folder: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("gradio")
    file = write_descriptors(descriptors(), tmp_path / "birds.json")
    spec = [
        "--encoder",
        f"open_clip:local-dir:{clip_folder}",
        "--session",
        str(tmp_path / "session"),
        "--port",
        "0",
    ]
    run = CliRunner().invoke
    monkeypatch.setattr("vlcls.app.serve.serve", lambda *_: pytest.fail("is served"))

    def refused(*arguments: str) -> str:
        found = run(app, ["edit", *arguments])
        assert found.exit_code != 0
        return str(found.exception) if isinstance(found.exception, VlclsError) else found.output

    assert "no such file or folder" in refused(str(file), "--images", str(tmp_path / "none"), *spec)
    (tmp_path / "empty").mkdir()
    assert "no image" in refused(str(file), "--images", str(tmp_path / "empty"), *spec).lower()
    assert "descriptor sets are" in refused(str(tmp_path / "none.json"), "--images", str(tmp_path), *spec)
    assert "--port" in refused(str(file), "--images", str(tmp_path), "--port", "99999")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = refused(str(file), "--images", str(tmp_path), "--port", port)
        assert f"port {port}" in said and "another --port" in said
    make_images(tmp_path / "images")
    said = refused(str(file), "--images", str(tmp_path / "images"), "--groups", "mood", *spec)
    assert "no columns but its groups" in said
    monkeypatch.setattr("vlcls.cli.commands.edit.find_spec", lambda name: None)
    assert 'pip install "vlcls[app]"' in refused(str(file), "--images", str(tmp_path / "images"), *spec)
    assert not (tmp_path / "session").exists()


def test_exports_tell_where_they_came_from(bench: Workbench):
    bench.edit(0, lambda known: sessions.without(known, 0, 1), "gull: sea deleted")
    path = bench.export("a/b", "why\nnot")
    again = bench.export("a/b", "")
    assert (path.name, again.name) == ("a-b.json", "a-b-2.json")
    read = read_descriptors(path)
    about = read.sources["vlcls edit"]
    assert (
        about["note"] == "why not" and about["edits"] == "gull: sea deleted" and about["encoder"] == "colours"
    )
    assert (
        about["accuracy on shown images"].startswith("50.0%")
        and "100.0%" in about["accuracy on shown images"]
    )
    assert read.descriptors == bench.seen.session.descriptors.descriptors
    assert json.loads(path.read_text())["format"] == "vlcls-descriptors"
