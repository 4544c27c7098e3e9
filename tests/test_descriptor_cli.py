"""`vlcls descriptors`: what a person types and reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vlcls.cli import app
from vlcls.descriptors import read_descriptors
from vlcls.errors import DescriptorError

PLAIN = {"cat": ["whiskers", "pointed ears"], "rocket": ["a pointed nose", "fins"]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "set.json"
    path.write_text(json.dumps(PLAIN, indent=2))
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from vlcls.demo import demo_photos

    folder = tmp_path_factory.mktemp("photos")
    for source in demo_photos():
        for kind in ("cat", "rocket"):
            if Path(source.data).stem in {"cat": "chelsea", "rocket": "rocket"}[kind]:
                (folder / kind).mkdir(exist_ok=True)
                (folder / kind / Path(source.data).name).write_bytes(Path(source.data).read_bytes())
    return folder


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["descriptors", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_validate_names_file_line_class_and_words(file: Path):
    file.write_text('{\n"cat": ["whiskers",\n"a cat face"],\n"dog": []\n}')
    found = run("validate", file, code=1)
    assert f"{file}:3: warning: cat: 'a cat face' repeats the class's name" in found
    assert f"{file}:4: error: dog: has no descriptors" in found
    assert "1 errors, 1 warnings" in found
    rows = [json.loads(line) for line in run("validate", file, "-f", "jsonl", code=1).splitlines()]
    assert [(row["kind"], row["line"]) for row in rows] == [("own name", 3), ("no descriptors", 4)]
    assert "missing" not in run("validate", file, "--labels", "cat,dog", code=1)


def test_a_sound_file_is_silent_on_standard_output(file: Path):
    assert run("validate", file) == "0 errors, 0 warnings\n"


def test_show(file: Path):
    assert run("show", file, "CAT") == "cat\n  whiskers  (file)\n  pointed ears  (file)\n"
    assert "rocket" in run("show", file) and "file: file set.json" in run("show", file)


def test_convert_there_and_back(file: Path, tmp_path: Path):
    own, plain = tmp_path / "own.json", tmp_path / "plain.json"
    run("convert", file, "-o", own)
    run("convert", own, "-o", plain, "--to", "plain")
    assert json.loads(plain.read_text()) == PLAIN
    assert json.loads(run("convert", own, "-o", "-", "--to", "plain")) == PLAIN


def test_edits_keep_the_format_of_the_file(file: Path, tmp_path: Path):
    run("add", file, "cat", "a long tail")
    run("replace", file, "cat", "whiskers", "long whiskers")
    run("remove", file, "rocket", "fins")
    run("rename", file, "rocket", "space rocket")
    run("add", file, "dog", "a wet nose", "--new-class")
    assert json.loads(file.read_text()) == {
        "cat": ["long whiskers", "pointed ears", "a long tail"],
        "space rocket": ["a pointed nose"],
        "dog": ["a wet nose"],
    }
    own = tmp_path / "own.json"
    run("convert", file, "-o", own)
    run("reweight", own, "cat", "pointed ears", "0.5")
    run("remove", own, "dog")
    found = read_descriptors(own)
    assert found.labels.names == ("cat", "space rocket") and found.descriptors[0][1].weight == 0.5
    assert found.descriptors[0][1].source == "file"


def test_an_edit_elsewhere_leaves_the_file(file: Path, tmp_path: Path):
    before = file.read_text()
    run("add", file, "cat", "a tail", "-o", tmp_path / "other.json")
    assert file.read_text() == before
    assert read_descriptors(tmp_path / "other.json").texts(0)[-1] == "a tail"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "FILE", "cta", "x"), "did you mean 'cat'"),
        (("remove", "FILE", "cat", "whisker"), "did you mean 'whiskers'"),
        (("reweight", "FILE", "cat", "whiskers", "2"), "convert"),
        (("show", "no-such-set"), "built-in descriptor sets are"),
    ],
)
def test_errors_teach_and_leave_the_file(file: Path, arguments: tuple[str, ...], message: str):

    before = file.read_text()
    with pytest.raises(DescriptorError, match=message):
        run(*(file if each == "FILE" else each for each in arguments))
    assert file.read_text() == before


def test_diff(file: Path, tmp_path: Path):
    other = tmp_path / "other.json"
    run("replace", file, "cat", "whiskers", "fur", "-o", other)
    assert run("diff", file, other) == "- cat: whiskers\n+ cat: fur\n"
    assert run("diff", file, file) == ""


def test_an_edit_shows_its_effect(file: Path, photos: Path, tmp_path: Path):
    flips = tmp_path / "flips.jsonl"
    found = run(
        "diff", file, file, "--images", photos, "--encoder", "conse", "--flips", flips
    )  # the same set: nothing may change
    assert "accuracy over 2 images: 100.0%" in found and "flipped: 0 of 2 images (none)" in found
    assert flips.read_text() == ""
    right, wrong = tmp_path / "right.json", tmp_path / "wrong.json"
    right.write_text(json.dumps({"cat": ["a cat"], "rocket": ["a rocket"]}))
    wrong.write_text(json.dumps({"cat": ["a rocket"], "rocket": ["a cat"]}))
    options = ("--images", photos, "-e", "conse", "--phrasing", "alone", "--flips", flips)
    found = run("diff", right, wrong, *options)
    assert "-100.0 points" in found and "flipped: 2 of 2 images (2 right to wrong)" in found
    rows = [json.loads(line) for line in flips.read_text().splitlines()]
    assert [(row["before"], row["after"], row["direction"]) for row in rows] == [
        ("cat", "rocket", "right to wrong"),
        ("rocket", "cat", "right to wrong"),
    ]
    unsorted = run("add", file, "cat", "fur", "--images", photos / "cat", "-e", "conse")
    assert "accuracy" not in unsorted and "flipped: 0 of 1 images" in unsorted


def test_an_edit_that_cannot_be_measured_writes_nothing(file: Path, tmp_path: Path):
    before = file.read_text()
    with pytest.raises(DescriptorError, match="same classes"):
        run("remove", file, "cat", "--images", tmp_path)
    assert file.read_text() == before
