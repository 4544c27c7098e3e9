"""`vlcls learn-names` and `vlcls names` as a user meets them, with a small model and made-up images."""

from __future__ import annotations

import functools
import json
import sys

import pytest
from PIL import Image

import vlcls
from vlcls.cli import main
from vlcls.encoders import load_encoder
from vlcls.learning.checkpoint import CHECKPOINT

CLASSES = ("cat", "dog", "small red apple")
PER_CLASS = 8


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
def photos(tmp_path_factory, picture):
    """FOLDER/CLASS/ with eight versions of one picture a class."""
    root = tmp_path_factory.mktemp("names") / "photos"
    for place, name in enumerate(CLASSES):
        folder = root / name.replace(" ", "_")
        folder.mkdir(parents=True)
        for number in range(PER_CLASS):
            picture(place, 40 + number, 34).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def learned(tmp_path_factory, load_once, clip, photos):
    """A folder of learned names, of all images."""
    folder = tmp_path_factory.mktemp("learned")
    encoder = load_once(clip.spec, None, "fp32")
    result = vlcls.learn_names(None, photos, encoder, settings=vlcls.Training(epochs=4), validation=0)
    return result.save(folder)


def test_learning_says_what_came_of_it(run, photos, clip, tmp_path):
    arguments = (
        "learn-names",
        photos,
        "-e",
        clip.spec,
        "--precision",
        "fp32",
        "--epochs",
        "4",
        "-o",
        tmp_path / "out",
    )
    code, out, err = run(*arguments, "--shots", "2")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("2 shots: 3 of 3 names learned, epoch 4 of 4 taken, peak memory ")
    assert lines[1].split() == ["accuracy", "images", "plain", "names", "learned", "names"]
    assert [line.split()[-3] for line in lines[2:4]] == ["6", "18"]
    assert lines[-1].endswith(f"next: vlcls names inspect {tmp_path / 'out'}")
    made = vlcls.load(tmp_path / "out")
    assert len(made.prompts.learned) == 3 and made.labels.names == CLASSES
    report = json.loads((tmp_path / "out/training.json").read_text())
    assert report["accuracy"]["held_out"]["images"] == 18
    assert not (tmp_path / "out" / CHECKPOINT).exists()
    code, out, _ = run("classify", photos / "cat", "--classifier", tmp_path / "out", "-f", "csv")
    assert code == 0 and len(out.splitlines()) == 1 + PER_CLASS


def test_several_shots_are_learned_one_after_the_other(run, photos, clip, tmp_path):
    arguments = (
        "learn-names",
        photos,
        "-e",
        clip.spec,
        "--epochs",
        "1",
        "-o",
        tmp_path,
        "--labels",
        "cat,dog,small red apple,owl",
    )
    code, out, _ = run(*arguments, "--shots", "1,2", "-t", "photo", "--vectors", "one")
    assert code == 0 and "1 shot: 3 of 4 names learned" in out and "2 shots: 3 of 4" in out
    for name in ("1-shot", "2-shot"):
        made = vlcls.load(tmp_path / name)
        assert [len(each.vectors) for each in made.prompts.learned.values()] == [1, 1, 1]
        assert made.prompts.texts[3] == "a photo of an owl."
    # A second round goes on from a saved classifier.
    more = (
        "learn-names",
        photos,
        "--classifier",
        tmp_path / "1-shot",
        "--epochs",
        "1",
        "-o",
        tmp_path / "on",
    )
    assert run(*more)[0] == 0
    assert len(vlcls.load(tmp_path / "on").labels) == 4


def test_names_to_read(run, learned):
    code, out, err = run("names", "inspect", learned, "--top", "3")
    assert (code, err) == (0, "")
    rows = out.splitlines()
    assert rows[0].split() == ["class", "token", "nearest", "words", "now", "moved", "rank", "own", "name"]
    assert [row.split()[0] for row in rows[1:6]] == ["cat", "dog", "small", "red", "apple"]
    assert "\nlabels: " in out and "nearer to " in out
    assert "judged: 24 images, each by a probe that did not learn from it (five folds)" in out
    assert all(row.count(", ") == 2 for row in rows[1:6])


def test_names_to_pipe_with_suggestions_and_a_sheet(run, learned, photos, tmp_path):
    (tmp_path / "candidates.txt").write_text("cat\nhorse\nred apple\n")
    wrong = tmp_path / "wrong"
    for path in photos.rglob("*.png"):  # dogs among the cats
        target = wrong / ("cat" if path.parent.name == "dog" else path.parent.name)
        target.mkdir(parents=True, exist_ok=True)
        image = Image.open(path).convert("RGB")
        image.putpixel((0, 0), (1, 2, 3))  # another image than the one that was learned from
        image.save(target / f"{path.parent.name}-{path.name}")
    code, _, err = run(
        "names", "inspect", learned, "-f", "jsonl", "-o", tmp_path / "names.jsonl", "--images", wrong,
        "--candidates", tmp_path / "candidates.txt", "--sheet", tmp_path / "sheet.png", "--doubts", "4",
    )  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "names.jsonl").read_text().splitlines()]
    names = [row for row in rows if row["kind"] == "name"]
    labels = [row for row in rows if row["kind"] == "label"]
    assert [row["label"] for row in names] == list(CLASSES)
    assert all(len(row["suggestions"]) == 3 and len(row["vectors"][0]["nearest"]) == 5 for row in names)
    assert labels == sorted(labels, key=lambda row: -row["score"])
    assert labels and rows[-1] == {"kind": "judged", "by": "names", "judged": 24, "not_judged": 0}
    assert code == 0 and err.strip() == str(tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_the_names_judge_only_what_they_have_not_seen(run, photos, clip, tmp_path):
    import shutil

    out = tmp_path / "names"
    made = ("learn-names", photos, "-e", clip.spec, "--epochs", "1", "--shots", "3", "-o", out)
    assert run(*made)[0] == 0
    report = json.loads((out / "training.json").read_text())
    parts = {row["image"]: row["part"] for row in report["images"]}
    assert sorted(parts.values()) == ["held_out"] * 15 + ["train"] * 9
    shutil.copytree(photos, tmp_path / "elsewhere")  # the same images by other names are the same images
    for more in ((), ("--images", photos), ("--images", tmp_path / "elsewhere")):
        asked = ("names", "inspect", out, "--judge", "names", *more)
        code, said, err = run(*asked)
        assert code == 0 and "judged: 15 images that the learned names have not seen" in said, err
        assert "9 that they were made with were not judged" in said
        rows = [json.loads(line) for line in run(*asked, "-f", "jsonl")[1].splitlines()]
        assert rows[-1] == {"kind": "judged", "by": "names", "judged": 15, "not_judged": 9}
        for row in rows:
            own = row.get("image", "").replace("elsewhere", photos.name)
            assert row["kind"] != "label" or parts.get(own) != "train"
    for path in photos.rglob("*.png"):  # nothing is left but what they learned from
        if parts[str(path)] == "train":
            target = tmp_path / "seen" / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    asked = ("names", "inspect", out, "--images", tmp_path / "seen")
    assert "judged: 9 images, each by a probe" in run(*asked)[1]
    code, said, err = run(*asked, "--judge", "names")
    assert code == 0 and "made with all 9 images" in err and "labels:" not in said


def test_images_that_cannot_be_read_are_said(run, learned, photos, tmp_path):
    import shutil

    shutil.copytree(photos, tmp_path / "photos")
    next((tmp_path / "photos").rglob("*.png")).write_bytes(b"no image")
    code, out, err = run("names", "inspect", learned, "--images", tmp_path / "photos")
    assert code == 3 and "not read: " in err and "judged: 23 images, each by a probe" in out
    # Nothing to draw is no error.
    sheet = tmp_path / "sheet.png"
    code, _, err = run("names", "inspect", learned, "--doubts", "0", "--sheet", sheet)
    assert code == 0 and "is not drawn" in err and not sheet.exists()


def test_images_that_are_gone_are_said_to_be(run, learned, tmp_path):
    import shutil

    shutil.copytree(learned, tmp_path / "copy")
    report = json.loads((tmp_path / "copy/training.json").read_text())
    report["images"][0]["image"] = str(tmp_path / "gone.png")
    (tmp_path / "copy/training.json").write_text(json.dumps(report))
    code, _, err = run("names", "inspect", tmp_path / "copy")
    assert code == 0 and "1 of the 24 images it was made with are not found" in err
    (tmp_path / "copy/training.json").write_text("{}")
    code, _, err = run("names", "inspect", tmp_path / "copy")
    assert code == 1 and "is damaged" in err
    (tmp_path / "copy/training.json").unlink()
    code, out, err = run("names", "inspect", tmp_path / "copy")
    assert code == 0 and "labels are not checked" in err and "labels:" not in out


def test_classes_are_added_by_plain_name(run, learned, tmp_path):
    code, _, err = run("names", "add", learned, "--labels", "owl", "-o", tmp_path / "more")
    assert code == 0 and "4 classes, 1 of them new" in err
    before, after = vlcls.load(learned), vlcls.load(tmp_path / "more")
    assert after.labels.names == (*CLASSES, "owl")
    assert after.prompts.learned == before.prompts.learned
    assert (after.text_embeddings[:3] == before.text_embeddings).all()


def test_base_to_novel_in_a_table(run, photos, clip):
    code, out, err = run("names", "base-to-novel", photos, "-e", clip.spec, "--epochs", "2", "--shots", "2")
    assert (code, err) == (0, "")
    rows = out.splitlines()
    assert rows[0].startswith("base, learned: ") and rows[1].startswith("novel, plain: ")
    assert [row.split(",")[0] for row in rows[3:7]] == ["plain names", "learned names"] * 2
    assert all(row.count("%") == 3 for row in rows[3:7])


def test_mistakes_get_one_clear_line(run, photos, learned, clip, tmp_path):
    common = ("learn-names", photos, "-e", clip.spec, "-o", tmp_path / "x")
    for wrong in ("0", "two", "1,,2"):
        code, _, err = run(*common, "--shots", wrong)
        assert code == 2 and "--shots" in err
    code, _, err = run("learn-names", tmp_path / "nowhere", "-e", clip.spec, "-o", tmp_path / "x")
    assert code == 1 and "no such folder" in err
    code, _, err = run(*common, "--aggregate", "max", "--epochs", "1")
    assert code == 1 and "no gradient" in err
    code, _, err = run("learn-names", photos, "--classifier", learned, "--labels", "a", "-o", tmp_path / "x")
    assert code == 2 and "its own labels" in err
    code, _, err = run("names", "inspect", learned, "-f", "csv")
    assert code == 2 and "jsonl" in err
    plain = vlcls.build_classifier(["a", "b"], clip, cache=False).save_pretrained(tmp_path / "plain")
    code, _, err = run("names", "inspect", plain)
    assert code == 1 and "no learned names" in err


def test_a_data_set_on_disk_is_learned_from(run, clip, picture, tmp_path):
    import datasets

    labels = datasets.ClassLabel(names=["cat", "dog"])
    features = datasets.Features({"picture": datasets.Image(), "kind": labels})
    rows = {"picture": [picture(n % 2, 40 + n) for n in range(8)], "kind": [n % 2 for n in range(8)]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "set")
    columns = ("--image-column", "picture", "--label-column", "kind")
    code, out, _ = run(
        "learn-names", tmp_path / "set", "-e", clip.spec, "--epochs", "1", "-o", tmp_path / "o", *columns
    )
    assert code == 0 and "2 of 2 names learned" in out
