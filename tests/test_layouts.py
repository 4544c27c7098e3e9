"""Folders of images stay what they are, whatever other file lies among them; what is left aside is said."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from vlcls.errors import EvaluationError
from vlcls.evaluation.data import open_set
from vlcls.evaluation.data.parts import joined_parts


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))


def images(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number * 20, 80, 30)).save(path)
    return folder


def tar(path: Path) -> None:
    with tarfile.open(path, "w") as file:
        file.addfile(tarfile.TarInfo("a.cls"), io.BytesIO())


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


STRAYS: dict[str, Callable[[Path], object]] = {
    "notes.csv": text("who,when\nme,May\n"),
    "results.csv": text("image,label\nday/cat/0.png,dog\n"),
    "results.tsv": text("image\tlabel\nday/cat/0.png\tdog\n"),
    "rows.jsonl": text('{"image": "day/cat/0.png", "label": "dog"}\n'),
    "stats.json": text('{"mean": 0.5}'),
    "broken.csv": text('"'),
    "state.json": text("{}"),
    "dataset_info.json": text("{}"),
    "metadata.csv": text("img_id,img_filename,y\n1,day/cat/0.png,0\n"),
    "metadata.jsonl": text("not JSON"),
    "classnames.txt": text("cat\ndog\n"),
    "rows.parquet": lambda path: datasets.Dataset.from_dict({"label": [1]}).to_parquet(path),
    "rows.arrow": lambda path: path.write_bytes(b"ARROW1"),
    "old.tar": tar,
    "img.npy": lambda path: np.save(path, np.ones((2, 3))),
    ".hidden.csv": text("image,label\nday/cat/0.png,dog\n"),
    "._notes.csv": lambda path: path.write_bytes(b"\0\5\x16\7"),
    ".DS_Store": lambda path: path.write_bytes(b"\0\0\0\1Bud1"),
    "README.md": text("# birds"),
    "labels.yaml": text("- cat\n"),
}
#: Not said: hidden, or no kind of file that data sets come in.
QUIET = {".hidden.csv", "._notes.csv", ".DS_Store", "README.md", "labels.yaml", "img.npy",
         "dataset_info.json", "state.json"}  # fmt: skip


def shape(folder: Path):
    found = open_set(folder)
    part = joined_parts(found.parts(None))
    return found.labels, part.truth, part.groups, [source.name for source in part.sources]


@pytest.mark.parametrize("stray", STRAYS)
@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("", ("day/cat/0.png", "day/dog/0.png", "night/cat/0.png", "night/dog/0.png")),
        ("day", ("day/cat/0.png", "day/dog/0.png", "night/cat/0.png", "night/dog/0.png")),
        ("night/dog", ("day/cat/0.png", "day/dog/0.png", "night/cat/0.png", "night/dog/0.png")),
        ("", ("cat/0.png", "dog/0.png")),
        ("cat", ("cat/0.png", "dog/0.png")),
    ],
)
def test_a_stray_file_changes_nothing_and_is_said(tmp_path, place, names, stray):
    folder = images(tmp_path / "birds", *names)
    before = shape(folder)
    STRAYS[stray](folder / place / stray)
    assert shape(folder) == before
    assert set(before[2]) == ({"group"} if "day/cat/0.png" in names else set())
    said = " ".join(open_set(folder).problems)
    if stray not in QUIET:
        assert (
            f"Left aside, as the folders of images are the data set: {Path(place, stray).as_posix()}." in said
        )
    elif stray not in ("dataset_info.json", "state.json"):
        assert stray not in said


def test_both_kinds_of_a_saved_set_are_needed(tmp_path):
    rows = datasets.Dataset.from_dict({"image": ["a.png"], "label": ["cat"]})
    rows.save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(EvaluationError, match="holds text, and there is no folder"):
        open_set(tmp_path / "saved")


def test_a_table_beside_its_images_is_the_set(tmp_path):
    folder = images(tmp_path / "set", "images/0.png", "images/1.png")
    (folder / "labels.csv").write_text("file,label\nimages/0.png,cat\nimages/1.png,dog\n")
    assert open_set(folder).labels.names == ("cat", "dog")
    (folder / "other.csv").write_text("file,label\nimages/0.png,owl\n")
    with pytest.raises(EvaluationError, match=r"which of its tables \(.*(labels|other).csv\)"):
        open_set(folder)
    assert open_set(folder, split="other").labels.names == ("owl",)
    images(folder, "images/train/2.png", "images/val/3.png")
    with pytest.raises(EvaluationError, match=r"both .*csv, which .*, and the folders train, val"):
        open_set(folder)


def test_the_only_group(tmp_path):
    folder = images(tmp_path / "set", "day/cat/0.png", "day/dog/0.png")
    (folder / "notes.csv").write_text("who,when\nme,May\n")
    found = open_set(folder)
    assert found.labels.names == ("cat", "dog") and "notes.csv" in found.problems[0]


def test_metadata_in_one_group_describes_no_other(tmp_path):
    folder = images(
        tmp_path / "birds", "day/cat/0.png", "day/dog/0.png", "night/cat/0.png", "night/dog/0.png"
    )
    (folder / "night" / "metadata.csv").write_text("file_name,label\ncat/0.png,cat\n")
    found = open_set(folder)
    assert found.labels.names == ("cat", "dog")
    assert joined_parts(found.parts(None)).groups == {"group": ("day", "day", "night", "night")}
    assert any("night/metadata.csv" in sentence for sentence in found.problems)
