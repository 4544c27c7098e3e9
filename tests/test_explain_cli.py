"""`vlcls explain` and `vlcls descriptors audit` as a user meets them, on real photographs."""

import csv
import functools
import io
import json
import shutil
import sys
from pathlib import Path

import pytest

from vlcls.cli import main
from vlcls.demo import demo_photos
from vlcls.encoders import load_encoder

DESCRIPTORS = {
    "cat": ["pointed ears", "long whiskers", "striped fur"],
    "cup of coffee": ["a saucer", "brown liquid in a cup", "a spoon"],
    "motorcycle": ["two wheels", "a handlebar", "an engine"],
}
PHOTOS = {"chelsea.png": "cat", "coffee.png": "cup of coffee", "motorcycle_left.png": "motorcycle"}


@pytest.fixture(scope="module")
def load_once():
    return functools.cache(load_encoder)


@pytest.fixture
def run(capsys, monkeypatch, load_once):
    """Run `vlcls ARGS` in this process: exit code, standard output, standard error."""
    monkeypatch.setattr("vlcls.encoders.load_encoder", load_once)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["vlcls", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        return stop.value.code or 0, output.out, output.err

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """FOLDER/CLASS/photo, and the descriptors beside it."""
    root = tmp_path_factory.mktemp("explain")
    (root / "descriptors.json").write_text(json.dumps(DESCRIPTORS))
    for photo in demo_photos():
        if photo.name in PHOTOS:
            target = root / "photos" / PHOTOS[photo.name].replace(" ", "_")
            target.mkdir(parents=True)
            shutil.copy(photo.data, target)
    return root


@pytest.fixture
def cat(folder):
    return folder / "photos/cat/chelsea.png"


def test_an_explanation_to_read(run, folder, cat):
    code, out, err = run(
        "explain", cat, "-d", folder / "descriptors.json", "-e", "conse", "--class", "motorcycle"
    )
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == str(cat)
    assert lines[1].startswith("cat, because it has ")
    assert all(text in out for texts in DESCRIPTORS.values() for text in texts)
    assert "cat leads cup of coffee by 0." in out and "motorcycle  " in out
    shown = [line for line in lines if "█" in line]
    assert {line.split("  ")[1] for line in shown} >= set(DESCRIPTORS["cat"])
    parts = [float(line.split()[-1]) for line in shown[:3]]
    assert parts == sorted(parts, reverse=True) and parts[-1] > 0


def test_fewer_descriptors_are_said_to_be_fewer(run, folder, cat):
    _, out, _ = run("explain", cat, "-d", folder / "descriptors.json", "-e", "conse", "--top", "1")
    assert out.count("and 2 more (--top 3 shows all)") == 2


def test_jsonl_holds_everything_and_adds_up(run, folder):
    (folder / "bad.png").write_text("no image")
    arguments = ("-d", folder / "descriptors.json", "-e", "conse", "-f", "jsonl")
    code, out, err = run("explain", folder / "photos", folder / "bad.png", *arguments)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 3 and "not read:" in err and "bad.png" in err
    assert [row["label"] for row in rows] == ["cat", "cup of coffee", "motorcycle", None]
    assert "bad.png" in rows[3]["error"] and rows[3]["classes"] == [] and rows[3]["rationale"] is None
    for row in rows[:3]:
        assert row["error"] is None and row["rationale"].startswith(f"{row['label']}, because it ")
        assert len(row["classes"]) == 2
        for each in row["classes"]:
            assert sum(c["share"] for c in each["contributions"]) == pytest.approx(each["similarity"])
            margins = sum(c["margin"] for c in each["contributions"])
            assert margins + each["base"] == pytest.approx(each["similarity"])


def test_names_and_templates_are_explained_by_the_nearest(run, cat):
    code, out, _ = run("explain", cat, "-l", "cat,dog", "-t", "simple", "-e", "conse")
    assert code == 0 and out.splitlines()[1].startswith('cat: nearest to "')
    assert "each other" in out  # mean-embedding: the two classes' prompts do not agree alike


def test_pictures_one_or_a_folder_of_them(run, folder, cat, tmp_path):
    arguments = ("-d", folder / "descriptors.json", "-e", "conse")
    code, _, err = run("explain", cat, *arguments, "--save", tmp_path / "e.svg")
    assert code == 0 and err.strip() == str(tmp_path / "e.svg")
    assert "long whiskers" in (tmp_path / "e.svg").read_text()
    code, _, _ = run("explain", folder / "photos", *arguments, "--save", tmp_path / "all")
    names = sorted(path.name for path in (tmp_path / "all").iterdir())
    assert names == ["001-chelsea.png", "002-coffee.png", "003-motorcycle_left.png"]
    code, _, err = run("explain", folder / "photos", *arguments, "--save", tmp_path / "one.png")
    assert code == 2 and "give a folder" in err


def test_heat_maps_in_the_picture(run, folder, cat, tmp_path):
    arguments = ("-d", folder / "descriptors.json", "-e", "conse", "--save")
    assert run("explain", cat, *arguments, tmp_path / "plain.svg")[0] == 0
    assert run("explain", cat, *arguments, tmp_path / "best.svg", "--heatmap")[0] == 0
    assert run("explain", cat, *arguments, tmp_path / "named.svg", "--heatmap-of", "pointed ears")[0] == 0
    # A descriptor of another class: where the image would have had it.
    assert run("explain", cat, *arguments, tmp_path / "other.svg", "--heatmap-of", "two wheels")[0] == 0
    plain, best, named, other = (
        (tmp_path / f"{name}.svg").read_text() for name in ("plain", "best", "named", "other")
    )
    assert [text.count("<image") for text in (plain, best, named, other)] == [1, 2, 2, 2]
    assert "where it matched" not in plain and "“pointed ears”" in named and "“two wheels”" in other
    best_descriptor = explanations_of(run, cat, arguments[:-1])[0]["classes"][0]["contributions"][0]["text"]
    assert f"“{best_descriptor}”" in best
    several = (folder / "photos", *arguments, tmp_path / "all", "--heatmap")
    assert run("explain", *several)[0] == 0 and len(list((tmp_path / "all").iterdir())) == 3


def explanations_of(run, image, arguments):
    code, out, _ = run("explain", image, *arguments, "--format", "jsonl")
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


def test_a_heat_map_of_any_text(run, folder, cat, tmp_path):
    arguments = ("-d", folder / "descriptors.json", "-e", "conse", "--save")
    code, _, err = run("explain", cat, *arguments, tmp_path / "e.png", "--heatmap-of", "pointy ears")
    assert code == 0 and "did you mean 'pointed ears'?" in err and "this text alone" in err
    run("explain", cat, *arguments, tmp_path / "other.png", "--heatmap-of", "two wheels")
    assert (tmp_path / "e.png").read_bytes() != (tmp_path / "other.png").read_bytes()


def test_heat_maps_that_cannot_be(run, folder, cat, model_spec, tmp_path):
    arguments = ("-d", folder / "descriptors.json")
    code, out, err = run("explain", cat, *arguments, "-e", "conse", "--heatmap")
    assert (code, out) == (2, "") and "--save PATH" in err
    picture = ("--save", tmp_path / "e.png")
    code, out, err = run("explain", cat, *arguments, "-e", model_spec("hf-align"), *picture, "--heatmap")
    assert (code, out) == (1, "") and "no heat map of a Align" in err and "Traceback" not in err
    assert not (tmp_path / "e.png").exists()


def test_a_saved_classifier_is_explained_alike(run, folder, cat, tmp_path):
    arguments = ("-d", folder / "descriptors.json", "-e", "conse")
    assert run("build", *arguments, "-o", tmp_path / "saved")[0] == 0
    direct = run("explain", cat, *arguments)
    assert run("explain", cat, "--classifier", tmp_path / "saved") == direct
    code, _, err = run("explain", cat, "--classifier", tmp_path / "saved", "-l", "a,b")
    assert code == 2 and "its own labels" in err


def test_mistakes_get_one_clear_line(run, folder, cat):
    code, out, err = run("explain", cat, "-d", folder / "descriptors.json", "-e", "conse", "--class", "lynx")
    assert (code, out) == (1, "") and "'lynx'" in err and "Traceback" not in err
    code, _, err = run("explain", cat, "-d", folder / "descriptors.json", "-e", "conse", "--save", "x.gif")
    assert code == 1 and ".png, .svg, .pdf" in err


def audit(run, folder, *arguments):
    common = ("--images", folder / "photos", "-e", "conse")
    return run("descriptors", "audit", folder / "descriptors.json", *common, *arguments)


def test_an_audit_to_read(run, folder):
    code, out, err = audit(run, folder)
    assert (code, err) == (0, "")
    assert out.startswith("3 images, accuracy 100.0%; 9 descriptors: 9 never matters\n")
    rows = [line for line in out.splitlines() if "never matters " in line]
    assert {row.split("  ")[0] for row in rows} == set(DESCRIPTORS)
    _, out, _ = audit(run, folder, "--top", "2")
    assert "5 between" in out and len([line for line in out.splitlines() if "never matters " in line]) == 4


def test_an_audit_to_pipe(run, folder, tmp_path):
    (folder / "photos/cat/bad.png").write_text("no image")
    code, out, err = audit(run, folder, "-f", "csv")
    (folder / "photos/cat/bad.png").unlink()
    assert code == 3 and "bad.png" in err
    table = list(csv.DictReader(io.StringIO(out)))
    assert audit(run, folder, "-f", "jsonl", "-o", tmp_path / "a.jsonl")[:2] == (0, "")
    rows = [json.loads(line) for line in Path(tmp_path / "a.jsonl").read_text().splitlines()]
    assert len(rows) == len(table) == 9
    for row, cells in zip(rows, table, strict=True):
        assert list(row) == list(cells)
        assert (row["text"], row["verdict"]) == (cells["text"], cells["verdict"])
        assert row["inside"] > row["outside"] or row["right"] is not None
        assert row["accuracy_without"] == 1 and row["wrong"] is None and cells["wrong"] == ""


def test_folders_that_are_no_class_stop_an_audit(run, folder, tmp_path):
    shutil.copytree(folder / "photos", tmp_path / "photos")
    (tmp_path / "photos/cat").rename(tmp_path / "photos/lynx")
    shutil.copy(folder / "descriptors.json", tmp_path)
    code, out, err = audit(run, tmp_path)
    assert (code, out) == (1, "") and "'lynx'" in err


def test_an_unknown_kind_of_picture_is_refused_before_a_model_is_loaded(tmp_path: Path):
    from typer.testing import CliRunner

    from vlcls.cli import app
    from vlcls.errors import VlclsError

    arguments = ["explain", str(demo_photos()[0].data), "-d", "pacs", "-e", "no such encoder"]
    with pytest.raises(VlclsError, match=r"pictures are written as \.png"):
        CliRunner().invoke(app, [*arguments, "--save", str(tmp_path / "a.gif")], catch_exceptions=False)
