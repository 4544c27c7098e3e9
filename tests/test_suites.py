"""Suites: those that come with vlcls, and what is said of files that are wrong."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from vlcls.data import suites_folder
from vlcls.errors import EvaluationError, LabelError
from vlcls.evaluation.data.corrupted_sets import CORRUPTIONS, corrupted
from vlcls.evaluation.data.parts import joined_parts, restricted
from vlcls.evaluation.data.suites import SuiteShift, open_suite_set, read_suite, suite_names
from vlcls.images import decode, load_source
from vlcls.labels import as_labels

OFFLINE = {"smoke", "pacs"}


def write_set(folder: Path, classes: dict[str, int]) -> Path:
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            file = io.BytesIO()
            Image.new("RGB", (40, 40), (number * 30, len(name) * 9, 50)).save(file, "png")
            (folder / name / f"{number}.png").write_bytes(file.getvalue())
    return folder


def suite_file(folder: Path, text: str, name: str = "x.yaml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


# ---- those that come with vlcls ------------------------------------------------------------------------


def test_all_are_there():
    assert set(suite_names()) == {
        "imagenet-shifts", "fine-grained", "textures-and-scenes", "worst-group",
        "corruptions", "smoke", "pacs",
    }  # fmt: skip


@pytest.mark.parametrize("name", suite_names())
def test_each_can_be_read_and_says_what_was_not_tried(name):
    suite = read_suite(name)
    assert suite.name == name and suite.about.endswith(".") and suite.methods
    assert bool(suite.not_tried) == (name not in OFFLINE)
    assert suite == read_suite(suites_folder() / f"{name}.yaml")
    for each in suite.sets:
        assert ("/" in each.path) == (each.path != "builtin:demo")
    with pytest.raises(ValidationError):
        suite.about = "something else"


def test_imagenet_is_set_against_the_right_classes():
    suite = read_suite("imagenet-shifts")
    targets = {shift.target: shift.classes for shift in suite.shifts}
    assert targets == {
        "imagenet-v2": "shared", "imagenet-sketch": "shared", "objectnet": "shared",
        "imagenet-a": "imagenet-a", "imagenet-r": "imagenet-r",
    }  # fmt: skip
    assert {each.path.split("/")[0] for each in suite.sets} == {"clip-benchmark"}


def test_the_corruptions_are_all():
    (run,) = read_suite("corruptions").corruptions
    assert run.names == CORRUPTIONS and run.severities == (1, 2, 3, 4, 5) and run.seed == 0


def test_smoke_runs_offline():
    found = open_suite_set(read_suite("smoke"), "demo")
    part = joined_parts(found.parts(None))
    assert len(part) == 8 and {found.labels.names[place] for (place,) in part.truth} >= {"cat", "rocket"}
    (first, *_) = joined_parts(corrupted(found, "fog", 3).parts(2)).sources
    assert decode(load_source(first)).size == (224, 224)


def test_pacs_is_where_the_user_says(tmp_path, monkeypatch):
    write_set(tmp_path / "photo", {"dog": 3, "cat": 2, "yak": 1})
    write_set(tmp_path / "sketch", {"dog": 1, "cat": 2, "gnu": 2})
    suite = read_suite("pacs")
    photo, sketch = (open_suite_set(suite, name, data=tmp_path) for name in ("photo", "sketch"))
    assert (photo.name, photo.count, sketch.count) == ("photo", 6, 5)
    shift = suite.shifts[2]
    assert (shift.source, shift.target) == ("photo", "sketch")
    classes = shift.class_subset(photo.labels, sketch.labels)
    assert classes == ("cat", "dog")
    assert [restricted(each, classes).count for each in (photo, sketch)] == [5, 3]
    with pytest.raises(EvaluationError, match=r"set 'photo' is at \{data\}/photo: say with --data"):
        open_suite_set(suite, "photo")
    with pytest.raises(EvaluationError, match=r"no such file or folder"):
        open_suite_set(suite, "cartoon", data=tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    assert open_suite_set(suite, "photo", data=tmp_path.name).count == 6
    with pytest.raises(EvaluationError, match=r"^\./.*/cartoon: no such file or folder"):  # not of the Hub
        open_suite_set(suite, "cartoon", data=tmp_path.name)
    with pytest.raises(EvaluationError, match="suite pacs: no set 'oil'; it has photo, art_painting"):
        open_suite_set(suite, "oil", data=tmp_path)


# ---- one's own -----------------------------------------------------------------------------------------


def test_labels_and_groups(tmp_path):
    write_set(tmp_path / "set" / "zoo", {"a": 1, "b": 2})
    write_set(tmp_path / "set" / "home", {"a": 2})
    (tmp_path / "names.txt").write_text("a\tape\nb\tbear\n")
    path = suite_file(
        tmp_path,
        """
about: Mine.
sets:
  - {name: one, path: "{data}/set", labels: names.txt}
  - {name: two, path: "{data}/set", labels: {b: bear, a: ape}}
  - {name: three, path: "{data}/set", labels: [b, a]}
groups:
  one: [group]
""",
    )
    suite = read_suite(path)
    one, two, three = (open_suite_set(suite, each.name, data=tmp_path) for each in suite.sets)
    assert one.labels.names == ("ape", "bear") and two.labels.names == ("bear", "ape")
    assert three.labels.names == ("b", "a")
    assert sorted(joined_parts(one.parts(None)).groups["group"]) == ["home", "home", "zoo", "zoo", "zoo"]


SETS = "sets:\n  - {name: a, path: p}\n  - {name: b, path: q}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sets: [{name: a, path: p}]", "suite x.yaml: about: field required"),
        ("about: x", "suite x.yaml: sets: field required"),
        ("about: x\nsets: []", "suite x.yaml: sets: tuple should have at least 1 item"),
        (f"about: x\n{SETS}  - {{name: c}}", r"suite x.yaml: sets\[2\].path: field required"),
        (f"about: x\n{SETS}  - {{name: c, path: p, spilt: t}}", r"sets\[2\].spilt: there is no such field"),
        (f"about: x\n{SETS}  - {{name: a, path: r}}", "suite x.yaml: sets: two are called 'a'"),
        (f"about: x\n{SETS}  - {{name: a/b, path: r}}", r"sets\[2\].name: string should match pattern"),
        (f"about: x\n{SETS}shifts: [{{from: a, to: c}}]", r"shifts\[0\].to: no set is called 'c'; there"),
        (f"about: x\n{SETS}shifts: [{{from: c, to: a}}]", r"shifts\[0\].from: no set is called 'c'"),
        (f"about: x\n{SETS}shifts: [{{from: a}}]", r"shifts\[0\].to: field required"),
        (
            f"about: x\n{SETS}shifts: [{{from: a, to: b, classes: imagenet-z}}]",
            "'imagenet-z' is none of shared, imagenet, imagenet-a, imagenet-r; or give a list",
        ),
        (f"about: x\n{SETS}corruptions: [{{set: a, names: [rain]}}]", r"s\[0\].names: no corruption 'rain'"),
        (f"about: x\n{SETS}corruptions: [{{set: a, severities: [6]}}]", "severities: severity 6: 1 to 5"),
        (f"about: x\n{SETS}corruptions: [{{set: a, severities: []}}]", "severities: at least one is needed"),
        (f"about: x\n{SETS}corruptions: [{{set: c}}]", r"corruptions\[0\].set: no set is called 'c'"),
        (f"about: x\n{SETS}groups: {{c: [place]}}", "groups: no set is called 'c'"),
        (f"about: x\nname: y\n{SETS}", "name: extra field; a suite is called after its file"),
        (f"about: [x]\nmethods: 3\n{SETS}", r"about: input should be a valid string \(and 1 more\)"),
        ("- a\n- b", "suite x.yaml: fields are expected"),
        ("a: [b", "suite x.yaml: not YAML: .*line 1"),
        ("!!python/object/apply:os.getcwd []", "suite x.yaml: not YAML: could not determine a constructor"),
        ("", "suite x.yaml: fields are expected"),
    ],
)  # fmt: skip
def test_files_that_are_wrong(tmp_path, text, message):
    with pytest.raises(EvaluationError, match=message):
        read_suite(suite_file(tmp_path, text))


def test_suites_that_are_not_there(tmp_path):
    with pytest.raises(EvaluationError, match=r"no suite 'smoak'; there are corruptions, .*smoke"):
        read_suite("smoak")
    with pytest.raises(EvaluationError, match=r"suite y.yaml: cannot be read \(No such file"):
        read_suite(tmp_path / "y.yaml")
    with pytest.raises(EvaluationError, match=r"no suite '\.\./suites/smoke'"):
        read_suite("../suites/smoke")


def test_classes_of_a_shift():
    full = as_labels({"n02129604": "tiger", "n01440764": "tench", "n01443537": "goldfish", "x": "sofa"})
    plain = as_labels(["goldfish", "sofa", "hen"])
    assert SuiteShift(source="a", target="b").class_subset(full, plain) == ("goldfish", "sofa")
    curated = SuiteShift(source="a", target="b", classes="imagenet-r")
    assert curated.class_subset(full, plain) == ("goldfish",)
    assert curated.class_subset(full, full) == ("n02129604", "n01443537")
    named = SuiteShift(source="a", target="b", classes=("sofa",))
    assert named.class_subset(full, plain) == ("sofa",)
    with pytest.raises(EvaluationError, match="a and b have no class of 'shared' in common"):
        SuiteShift(source="a", target="b").class_subset(full, as_labels(["hen"]))


def test_classes_that_a_set_does_not_have(tmp_path):
    write_set(tmp_path / "set", {"a": 1, "b": 2})
    found = open_suite_set(
        read_suite(suite_file(tmp_path, 'about: x\nsets: [{name: s, path: "{data}/set"}]')),
        "s",
        data=tmp_path,
    )
    with pytest.raises(LabelError, match="s: no classes of it: 'c'"):
        restricted(found, ("a", "c"))
