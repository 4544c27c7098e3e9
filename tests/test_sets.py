"""Data sets of every kind that can be opened, and what is said of those that cannot."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import tarfile
from pathlib import Path

import datasets
import fsspec
import huggingface_hub
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vlcls import imagenet, wordnet
from vlcls.demo import DEMO_LABELS
from vlcls.errors import EvaluationError, ImageError, LabelError
from vlcls.evaluation.data import open_set, restricted, shared_classes
from vlcls.evaluation.data.class_names import check_labels, curated_labels
from vlcls.evaluation.data.hf_sets import open_rows
from vlcls.evaluation.data.parts import STREAMED_PART, EvaluationSet, LabelledPart, joined_parts
from vlcls.evaluation.data.tables import read_table
from vlcls.image_sources import find_images
from vlcls.images import decode, load_source
from vlcls.labelled.places import matched, own_labels
from vlcls.labels import as_labels

NAMES = ["red_panda", "cat", "owl"]
#: Classes of twelve images; the second pixel says which image it is.
TRUTH = [0, 1, 2, 1, 0, 2, 2, 1, 0, 0, 1, 2]
PLACES = ["zoo" if number % 3 else "home" for number in range(len(TRUTH))]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.full((40, 50, 3), number * 20, np.uint8))


def encoded(number: int, kind: str = "png") -> bytes:
    file = io.BytesIO()
    picture(number).save(file, kind, lossless=True)
    return file.getvalue()


def whole(found: EvaluationSet, limit: int | None = None) -> LabelledPart:
    return joined_parts(found.parts(limit))


def numbers(part: LabelledPart) -> list[int]:
    """Which images these are, by their pixels."""
    images = [decode(load_source(source)) for source in part.sources]
    return [round(image.getpixel((3, 3))[0] / 20) for image in images]


def check_all(found: EvaluationSet, names=("red panda", "cat", "owl"), groups=None) -> None:
    part = whole(found)
    assert numbers(part) == list(range(12))
    assert [found.labels.names[place] for (place,) in part.truth] == [
        ("red panda", "cat", "owl")[place] for place in TRUTH
    ]
    assert found.labels.names == names
    assert part.groups == (groups or {})
    assert found.count in (12, None) and not found.multi_label
    assert len({source.name for source in part.sources}) == 12


@pytest.fixture
def dataset():
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "kind": datasets.ClassLabel(names=NAMES),
            "place": datasets.Value("string"),
            "seen": datasets.ClassLabel(names=["day", "night"]),
            "all": datasets.Sequence(datasets.ClassLabel(names=NAMES)),
            "many": datasets.Sequence(datasets.Value("int64")),
            "word": datasets.Value("string"),
            "number": datasets.Value("int64"),
        }
    )
    rows = {
        "picture": [{"bytes": encoded(number), "path": None} for number in range(12)],
        "kind": TRUTH,
        "place": PLACES,
        "seen": [number % 2 for number in range(12)],
        "all": [[place, 2] for place in TRUTH],
        "many": [[place] if number else [] for number, place in enumerate(TRUTH)],
        "word": [NAMES[place] for place in TRUTH],
        "number": TRUTH,
    }
    return datasets.Dataset.from_dict(rows, features=features)


# ---- folders -------------------------------------------------------------------------------------------


def write_images(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(number))


def test_class_folders(tmp_path):
    files = [f"{NAMES[place]}/{number:02}.png" for number, place in enumerate(TRUTH)]
    write_images(tmp_path / "set", files)
    (tmp_path / "set" / "dodo").mkdir()
    found = open_set(tmp_path / "set")
    part = whole(found)
    assert found.labels.names == ("cat", "owl", "red panda") and found.name == "set" and found.count == 12
    assert [NAMES[TRUTH[n]] for n in numbers(part)] == [found.labels.ids[place] for (place,) in part.truth]
    assert found.problems == ("Folders without an image count as no class: 'dodo'.",)
    (tmp_path / "set" / "notes.csv").write_text("a,b\n")
    assert open_set(tmp_path / "set").labels == found.labels
    with pytest.raises(EvaluationError, match="only data sets on the Hub have revisions"):
        open_set(tmp_path / "set", revision="abc")
    chosen = open_set(tmp_path / "set", labels=["owl", "cat", "Red Panda", "yak"], name="mine")
    assert chosen.labels.names == ("owl", "cat", "Red Panda", "yak") and chosen.name == "mine"
    assert "1 of 4 classes have no image: 'yak'." in chosen.problems
    with pytest.raises(LabelError, match="not among the labels: 'cat'"):
        open_set(tmp_path / "set", labels=["owl", "red panda"])
    with pytest.raises(EvaluationError, match="no columns but its groups"):
        open_set(tmp_path / "set", label_column="label")


def test_class_folders_in_group_and_split_folders(tmp_path):
    files = [f"{PLACES[number]}/{NAMES[place]}/{number}.png" for number, place in enumerate(TRUTH)]
    write_images(tmp_path, [f"test/{file}" for file in files])
    found = open_set(tmp_path, split="test", group_columns=["group"])
    part = whole(found)
    assert list(part.groups["group"]) == [PLACES[n] for n in numbers(part)]
    assert found.source["split"] == "test"
    with pytest.raises(EvaluationError, match="no split 'train'"):
        open_set(tmp_path, split="train")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_image_folders_with_metadata(tmp_path, kind):
    folder = tmp_path / "set"
    write_images(folder, [f"{number:02}.png" for number in range(12)])
    rows = [
        {"file_name": f"{n:02}.png", "label": NAMES[place], "place": PLACES[n]}
        for n, place in enumerate(TRUTH)
    ]
    write_rows(folder / f"metadata.{kind}", rows)
    found = open_set(folder, group_columns=["place"])
    check_all(found, ("cat", "owl", "red panda"), {"place": tuple(PLACES)})
    check_all(open_set(folder, labels=NAMES))


def test_the_demo(tmp_path):
    found = open_set("builtin:demo")
    assert found.labels.names == DEMO_LABELS and found.name == "demo"
    part = whole(found)
    assert len(part) == found.count == 8
    truth = {
        source.name: DEMO_LABELS[place] for source, (place,) in zip(part.sources, part.truth, strict=True)
    }
    assert truth["chelsea.png"] == "cat" and truth["page.png"] == "printed page"
    assert all(decode(load_source(source)).mode == "RGB" for source in part.sources)


# ---- tables --------------------------------------------------------------------------------------------


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_tables_of_paths(tmp_path, suffix):
    write_images(tmp_path, [f"images/{number}.png" for number in range(12)])
    rows = [
        {"path": f"images/{n}.png", "class": NAMES[place], "number": place, "place": PLACES[n]}
        for n, place in enumerate(TRUTH)
    ]
    path = write_rows(tmp_path / f"set{suffix}", rows)
    found = open_set(path, group_columns=["place"])
    check_all(found, ("cat", "owl", "red panda"), {"place": tuple(PLACES)})
    assert found.name == "set" and whole(found).sources[3].name == "images/3.png"
    check_all(open_set(path, labels=NAMES))
    check_all(open_set(path, labels=NAMES, label_column="number"))
    bare = open_set(path, label_column="number", image_column="path")
    assert bare.labels.names == ("0", "1", "2") and "look like numbers" in bare.problems[0]
    with pytest.raises(EvaluationError, match=r"no column 'nope'; It has path \(text\), class \(text\)"):
        open_set(path, image_column="nope")
    with pytest.raises(LabelError, match=r"row 2 has the label '?2'?, and there are 2 labels"):
        open_set(path, labels=["a", "b"], label_column="number")
    with pytest.raises(EvaluationError, match="no splits"):
        open_set(path, split="test")


def test_several_classes_an_image(tmp_path):
    rows = [{"image": "a.png", "labels": ["cat", "owl"]}, {"image": "b.png", "labels": []}]
    found = open_set(write_rows(tmp_path / "a.jsonl", rows))
    assert found.multi_label and list(whole(found).truth) == [(0, 1), ()]
    rows = [{"image": "a.png", "labels": [2, 0]}, {"image": "b.png", "labels": [1]}]
    found = open_set(write_rows(tmp_path / "b.jsonl", rows), labels=NAMES)
    assert found.multi_label and list(whole(found).truth) == [(2, 0), (1,)]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.csv", "", "no rows"),
        ("a.csv", "image,label\n", "no rows"),
        ("a.csv", "image,label\na.png,cat,3\n", "line 2: 3 fields, and the header has 2"),
        ("a.csv", 'image,label\n"a.png,cat\n', "line 2: unexpected end of data"),
        ("a.csv", "label,label\na,b\n", "a column is there twice"),
        ("a.csv", "image,sort\na.png,cat\n", r"no label column found.*It has image \(text\), sort \(text\)"),
        ("a.csv", "label,x\na.png,cat\n", "no image column found"),
        ("a.csv", "image,label\n,cat\n", "row 0, column 'image': no path of an image"),
        ("a.csv", "image,label\nhttps://x.org/a.png,cat\n", "URLs are not fetched"),
        ("a.csv", "image,label\na.png,cat\nb.png,\n", r"row 1 has no class \(1 such rows of 2\)"),
        ("a.csv", "image,label\na.png,0\nb.png,-1\n", "row 1 has no class"),
        ("a.jsonl", '{"image": "a.png", "label": 1}\n[]\n', "line 2: an object is expected"),
        ("a.jsonl", '{"image": "a.png", "label": 1}\n{"ima\n', "line 2: not JSON"),
        ("a.jsonl", '{"image": "a.png", "label": 1}\n{"image": "b.png"}\n', "row 1 has no class"),
        ("a.jsonl", '{"image": "a.png", "label": 12345678901}\n', "ids rather than class numbers"),
        ("a.jsonl", '{"image": "a.png", "label": -3}\n', "there is no number of a class in it"),
        ("a.jsonl", '{"image": "a.png", "label": 1}\n{"image": "b.png", "label": "x"}\n', r"label \(mixed\)"),
        ("a.jsonl", '{"image": "a.png", "label": null}\n', "holds no labels|no label column"),
        ("a.bin", "x", "one of these kinds of files"),
    ],
)
def test_tables_that_do_not_work(tmp_path, file, content, message):
    (tmp_path / file).write_text(content)
    with pytest.raises((EvaluationError, LabelError), match=message):
        open_set(tmp_path / file)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_tables_of_other_programs(tmp_path, suffix, delimiter, encoding):
    rows = [["image", "label"], ["a.png", "rød, panda"], ["b.png", "kat"]]
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows(rows)
    for said in ("", f"sep={delimiter}\r\n"):
        (tmp_path / f"a{suffix}").write_bytes((said + file.getvalue()).encode(encoding))
        assert read_table(tmp_path / f"a{suffix}") == {
            "image": ["a.png", "b.png"],
            "label": ["rød, panda", "kat"],
        }


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".json"])
def test_paths_as_other_systems_write_them(tmp_path, suffix):
    names = ["im/cat/0.png", "im/dog/1.png", "im/ cat/2.png"]
    write_images(tmp_path, names)
    written = ["im\\cat\\0.png", " im/dog/1.png ", "im\\ cat\\2.png"]
    rows = [{"image": name, "label": "x"} for name in written]
    path = tmp_path / f"rows{suffix}"
    if suffix in (".csv", ".jsonl"):
        write_rows(path, rows)
    else:
        made = datasets.Dataset.from_list(rows)
        made.to_parquet(path) if suffix == ".parquet" else made.to_json(path)
    for streaming in (False,) if suffix in (".csv", ".jsonl") else (False, True):
        assert numbers(whole(open_set(path, labels=["x"], streaming=streaming))) == [0, 1, 2]
    write_rows(tmp_path / "missing.csv", [{"image": "im\\cat\\9.png", "label": "x"}])
    with pytest.raises(ImageError, match=r"no such file \(here, backslashes"):
        load_source(whole(open_set(tmp_path / "missing.csv")).sources[0])


def test_lists_of_paths_as_other_systems_write_them(tmp_path, monkeypatch):
    write_images(tmp_path, ["im/cat/0.png", "im/dog/1.png"])
    (tmp_path / "list.txt").write_bytes(b"im\\cat\\0.png\r\n   im/dog/1.png  \r\nim\\cat\\9.png\r\n")
    monkeypatch.chdir(tmp_path.parent)
    found = find_images([tmp_path / "list.txt"])
    assert [Path(source.data).is_file() for source in found] == [True, True, False]
    with pytest.raises(ImageError, match=r"no such file \(here, backslashes"):
        load_source(found[2])


@pytest.mark.parametrize("whole", [False, True], ids=["relative", "absolute"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_one_image_with_two_classes_is_said(tmp_path, monkeypatch, suffix, whole):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"image": "im/a.png", "label": "cat"},
        {"image": "b.png", "label": "cat"},
        {"image": str(tmp_path / "im" / "a.png") if whole else "im/../im/a.png", "label": "dog"},
        {"image": "b.png", "label": "cat"},
    ]
    path = Path(f"rows{suffix}")
    if suffix == ".parquet":
        datasets.Dataset.from_list(rows).to_parquet(path)
    else:
        write_rows(path, rows)
    said = "1 image is there several times with different classes: .*a.png as 'cat' and 'dog'"
    assert re.match(said, open_set(path).problems[0])


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)


@given(st.data())
def test_tables_come_back_as_they_were_written(tmp_path_factory, data):
    header = data.draw(st.lists(st.text("abcdef", min_size=1), min_size=1, max_size=4, unique=True))
    row = st.lists(TEXTS, min_size=len(header), max_size=len(header))
    # A row of one empty field is a blank line, which is left out.
    rows = [r for r in data.draw(st.lists(row, min_size=1, max_size=5)) if r != [""]] or [["x"] * len(header)]
    rows = [dict(zip(header, values, strict=True)) for values in rows]
    folder = tmp_path_factory.mktemp("tables")
    for suffix in (".csv", ".tsv", ".jsonl"):
        table = read_table(write_rows(folder / f"a{suffix}", rows))
        assert table == {name: [each[name] for each in rows] for name in header}


@given(st.binary(max_size=60))
def test_any_bytes_are_a_table_or_an_error(tmp_path_factory, content):
    for suffix in (".csv", ".jsonl"):
        path = tmp_path_factory.getbasetemp() / f"any{suffix}"
        path.write_bytes(content)
        try:
            table = read_table(path)
        except EvaluationError as error:
            assert str(path) in str(error)
        else:
            assert len({len(values) for values in table.values()}) == 1


# ---- what `datasets` opens -----------------------------------------------------------------------------


def test_saved_data_sets(tmp_path, dataset):
    dataset.save_to_disk(str(tmp_path / "one"))
    found = open_set(tmp_path / "one", label_column="kind", group_columns=["place", "seen"])
    seen = tuple(("day", "night")[number % 2] for number in range(12))
    check_all(found, groups={"place": tuple(PLACES), "seen": seen})
    both = datasets.DatasetDict({"train": dataset.select(range(3)), "validation": dataset})
    both.save_to_disk(str(tmp_path / "two"))
    found = open_set(tmp_path / "two", label_column="kind")
    check_all(found)
    assert found.source == {"path": str(tmp_path / "two"), "split": "validation"}
    assert open_set(tmp_path / "two", label_column="kind", split="train").count == 3
    with pytest.raises(EvaluationError, match="no split 'test'; it has train, validation"):
        open_set(tmp_path / "two", label_column="kind", split="test")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("layout", ["file.parquet", "file.arrow", "folder"])
def test_parquet_and_arrow(tmp_path, dataset, layout, streaming):
    path = tmp_path / "data" / layout
    path.parent.mkdir()
    if layout == "file.parquet":
        dataset.to_parquet(path)
    elif layout == "file.arrow":
        dataset.save_to_disk(str(tmp_path / "saved"))
        shutil.copy(next((tmp_path / "saved").glob("*.arrow")), path)
    else:
        path.mkdir()
        dataset.to_parquet(path / "test-00000-of-00001.parquet")
    found = open_set(path, label_column="kind", group_columns=["place"], streaming=streaming)
    check_all(found, groups={"place": tuple(PLACES)})
    assert (found.count is None) == streaming
    assert len(whole(found, 5)) == 5


def test_columns_are_guessed_or_asked_for(tmp_path, dataset):
    path = tmp_path / "a.parquet"
    dataset.select_columns(["picture", "kind", "place"]).to_parquet(path)
    check_all(open_set(path))
    dataset.to_parquet(path)
    with pytest.raises(EvaluationError, match=r"3 columns may be the label column \(kind, seen, all\)"):
        open_set(path)
    dataset.select_columns(["picture", "place"]).to_parquet(path)
    with pytest.raises(EvaluationError, match=r"no label column found.*picture \(image\), place \(text\)"):
        open_set(path)
    with pytest.raises(EvaluationError, match=r"no column 'label'; It has picture \(image\)"):
        open_set(path, label_column="label")
    dataset.rename_column("seen", "label").to_parquet(path)
    assert open_set(path).labels.names == ("day", "night")


@pytest.mark.parametrize("streaming", [False, True])
def test_kinds_of_label_columns(tmp_path, dataset, streaming):
    path = tmp_path / "a.parquet"
    dataset.to_parquet(path)
    found = open_set(path, label_column="all", streaming=streaming)
    assert found.multi_label and whole(found).truth[0] == (0, 2) and whole(found).truth[2] == (2,)
    found = open_set(path, label_column="many", labels=NAMES, streaming=streaming)
    assert found.multi_label and list(whole(found).truth[:2]) == [(), (1,)]
    check_all(open_set(path, label_column="number", labels=NAMES, streaming=streaming))
    order = ["owl", "Cat", "red panda"]
    found = open_set(path, label_column="word", labels=order, streaming=streaming)
    assert [found.labels.names[place] for (place,) in whole(found).truth] == [
        ("red panda", "Cat", "owl")[place] for place in TRUTH
    ]
    renamed = open_set(path, label_column="kind", labels=["x", "y", "z"], streaming=streaming)
    assert [place for (place,) in whole(renamed).truth] == TRUTH
    assert "3 of 3 class names were replaced" in renamed.problems[0]
    if streaming:
        with pytest.raises(LabelError, match="a stream without class names: give the labels"):
            open_set(path, label_column="word", streaming=True)


def test_attributes_that_are_true_or_false(tmp_path, dataset):
    blond = [number % 3 == 0 for number in range(12)]
    male = [number % 2 == 0 for number in range(12)]
    dataset.add_column("blond", blond).add_column("male", male).to_parquet(tmp_path / "a.parquet")
    for streaming in (False, True):
        found = open_set(
            tmp_path / "a.parquet",
            label_column="blond",
            labels=["dark hair", "blond hair"],
            group_columns=["male"],
            streaming=streaming,
        )
        part = whole(found)
        assert [found.labels.names[place] == "blond hair" for (place,) in part.truth] == blond
        assert part.groups["male"] == tuple(map(str, male))


def test_paths_in_files_that_datasets_reads(tmp_path):
    write_images(tmp_path, [f"images/{number}.png" for number in range(12)])
    rows = {"image": [f"images/{n}.png" for n in range(12)], "label": [NAMES[place] for place in TRUTH]}
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "a.parquet")
    datasets.Dataset.from_dict(rows).to_json(tmp_path / "a.json")
    for file in ("a.parquet", "a.json"):
        for streaming in (False, True):
            found = open_set(tmp_path / file, labels=NAMES, streaming=streaming)
            assert numbers(whole(found)) == list(range(12))
            assert [place for (place,) in whole(found).truth] == TRUTH
    with pytest.raises(EvaluationError, match="holds text, and there is no folder it is in"):
        open_rows(datasets.Dataset.from_dict(rows), "org/x", columns=(None, None, ()), labels=None)


def test_images_that_a_stream_only_names():
    memory = fsspec.filesystem("memory")
    memory.pipe("/vlcls/a.png", encoded(5))

    def rows():
        yield {"image": {"path": "memory://vlcls/a.png", "bytes": None}, "label": 0}
        yield {"image": {"path": "memory://vlcls/b.png", "bytes": None}, "label": 0}

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a"])})
    stream = datasets.IterableDataset.from_generator(rows, features=features)
    part = joined_parts(open_rows(stream, "x", columns=(None, None, ()), labels=None).parts(None))
    assert numbers(LabelledPart(part.sources[:1], part.truth[:1], {})) == [5]
    with pytest.raises(ImageError, match="image 1: cannot be read"):
        load_source(part.sources[1])


def test_a_stream_holds_few_images(tmp_path):
    count = STREAMED_PART * 2 + 10
    rows = {"image": [{"bytes": encoded(n % 12), "path": None} for n in range(count)], "label": [0] * count}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    path = tmp_path / "a.parquet"
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    found = open_set(path, streaming=True)
    assert [len(part) for part in found.parts(None)] == [STREAMED_PART, STREAMED_PART, 10]
    assert [len(part) for part in found.parts(300)] == [STREAMED_PART, 44]
    assert next(len(part) for part in found.parts(None)) == STREAMED_PART  # again from the start
    assert list(found.parts(0)) == []
    assert whole(found).sources[300].name == "image 300"


def test_labels_that_are_not_there(tmp_path, dataset):
    path = tmp_path / "a.parquet"
    hidden = dataset.map(lambda row, i: {"kind": -1 if i == 4 else row["kind"]}, with_indices=True)
    hidden.to_parquet(path)
    for streaming in (False, True):
        with pytest.raises(LabelError, match=r"column 'kind': row 4 has no class \(1 such rows"):
            whole(open_set(path, label_column="kind", streaming=streaming))
    with pytest.raises(LabelError, match="row 2 has the label 2, and there are 2 labels, 0 to 1"):
        open_set(path, label_column="number", labels=["a", "b"])


def test_ids_of_the_hub(tmp_path, dataset, monkeypatch):
    asked = []

    def load(path, config=None, **options):
        asked.append((path, config, options))
        return dataset.select_columns(["picture", "kind"])

    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_, **__: ["train", "test"])
    monkeypatch.setattr(datasets, "load_dataset", load)
    found = open_set("org/animals", config="small", revision="abc")
    check_all(found)
    assert asked == [("org/animals", "small", {"split": "test", "streaming": False, "revision": "abc"})]
    assert found.name == "animals"
    assert found.source == {"path": "org/animals", "config": "small", "split": "test", "revision": "abc"}
    open_set("org/animals", split="train[:10%]")
    assert asked[-1][2]["split"] == "train[:10%]"
    with pytest.raises(EvaluationError, match="no split 'val'; it has train, test"):
        open_set("org/animals", split="val")


def test_what_is_not_there(tmp_path):
    with pytest.raises(EvaluationError, match="no such file or folder"):
        open_set(tmp_path / "nope")
    with pytest.raises(EvaluationError, match=r"org/none: cannot be opened as a data set \("):
        open_set("org/none")
    with pytest.raises(EvaluationError, match="org/wds_none: cannot be fetched from the Hub"):
        open_set("org/wds_none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no image in this folder"):
        open_set(tmp_path / "empty")
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    with pytest.raises(EvaluationError, match=r"bad.parquet: .*cannot be"):
        open_set(tmp_path / "bad.parquet")


# ---- shards --------------------------------------------------------------------------------------------


def add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))


def write_shards(folder: Path, *, label=lambda place: ("cls", str(place).encode()), split="test") -> Path:
    """Three shards of CLIP_benchmark's layout, with images of three formats."""
    (folder / split).mkdir(parents=True)
    (folder / "classnames.txt").write_text("red panda\ncat\nowl\n")
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\na {c}.\n")
    (folder / split / "nshards.txt").write_text("3\n")
    for start in range(0, 12, 4):
        with tarfile.open(folder / split / f"{start // 4}.tar", "w") as shard:
            for number in range(start, start + 4):
                extension, content = label(TRUTH[number])
                kind = ("webp", "png", "webp")[start // 4] if number % 4 else "png"
                add(shard, f"s{number:07}.{kind}", encoded(number, kind))
                add(shard, f"s{number:07}.{extension}", content)
    return folder


def test_shards(tmp_path):
    found = open_set(write_shards(tmp_path / "wds_animals"))
    check_all(found)
    assert found.name == "animals" and found.templates == ("a photo of a {}.", "a {}.")
    assert found.source["split"] == "test" and found.problems == ()
    assert whole(found).sources[5].name == "test/1.tar/s0000005.png"
    renamed = open_set(tmp_path / "wds_animals", labels=["cat bear", "cat", "owl"])
    assert renamed.labels.names[0] == "cat bear" and whole(renamed).truth == whole(found).truth


def test_shards_with_several_classes_an_image(tmp_path):
    def label(place):
        file = io.BytesIO()
        np.save(file, np.eye(3, dtype=np.int64)[place] | np.array([0, 0, 1]))
        return "npy", file.getvalue()

    found = open_set(write_shards(tmp_path / "wds_multi", label=label))
    assert found.multi_label and list(whole(found).truth[:3]) == [(0, 2), (1, 2), (2,)]
    (tmp_path / "wds_multi" / "classnames.txt").unlink()
    found = open_set(tmp_path / "wds_multi", labels={"2": "a", "1": "b", "0": "c"})
    assert list(whole(found).truth[:3]) == [(0, 2), (1, 2), (2,)]  # places of a vector are no ids


@pytest.mark.parametrize("streaming", [False, True])
def test_shards_of_the_hub(tmp_path, monkeypatch, streaming):
    asked = []
    folder = write_shards(tmp_path / "0123abcd")
    files = {"test": sorted(map(str, folder.glob("test/*.tar")))}

    def fetch(path, **options):
        asked.append((path, options["allow_patterns"]))
        return str(folder)

    def load(path, config=None, *, split, streaming, **_):
        # One extension to a sample, as `datasets` wants it.
        return original(
            "webdataset", split=split, streaming=streaming, data_files={"test": files["test"][1:2]}
        )

    original = datasets.load_dataset
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_, **__: ["test"])
    found = open_set("clip-benchmark/wds_animals", streaming=streaming)
    assert found.name == "animals" and found.labels.names == ("red panda", "cat", "owl")
    assert found.templates == ("a photo of a {}.", "a {}.")
    wanted = ["classnames.txt", "zeroshot_classification_templates.txt"]
    assert asked == [("clip-benchmark/wds_animals", wanted if streaming else [*wanted, "test/*"])]
    if streaming:
        part = whole(found)
        assert numbers(part) == [4, 5, 6, 7] and [place for (place,) in part.truth] == TRUTH[4:8]
        assert part.sources[0].name.endswith("s0000004")
    else:
        check_all(found)
        assert found.source["revision"] == "0123abcd"


def test_shards_that_do_not_work(tmp_path):
    folder = write_shards(tmp_path / "set")
    with pytest.raises(EvaluationError, match="no split 'train'; it has test"):
        open_set(folder, split="train")
    with pytest.raises(LabelError, match=r"row 2 has the label 2, and there are 2 labels"):
        (folder / "classnames.txt").write_text("a\nb\n")
        open_set(folder)
    (folder / "classnames.txt").write_text("a\n\nb\n")
    with pytest.raises(EvaluationError, match=r"classnames.txt: line 2 is blank"):
        open_set(folder)
    (folder / "classnames.txt").unlink()
    with pytest.raises(LabelError, match=r"there is no classnames.txt in .*: give the labels"):
        open_set(folder)
    check_all(open_set(folder, labels=NAMES))
    shard = folder / "test" / "1.tar"
    shard.write_bytes(shard.read_bytes()[:1200])
    with pytest.raises(EvaluationError, match=r"1.tar: (not an uncompressed, whole tar file|sample)"):
        open_set(folder, labels=NAMES)
    with tarfile.open(shard, "w") as file:
        add(file, "a.png", encoded(0))
    with pytest.raises(EvaluationError, match=r"sample 'a' has an image but no .cls \(1 such"):
        open_set(folder, labels=NAMES)
    with tarfile.open(shard, "w") as file:
        add(file, "a.png", encoded(0))
        add(file, "a.cls", b"cat")
    with pytest.raises(EvaluationError, match=r"its class is no number but b'cat'"):
        open_set(folder, labels=NAMES)
    shard.unlink()
    with pytest.raises(EvaluationError, match=r"2 shards, and nshards.txt says 3"):
        open_set(folder, labels=NAMES)


# ---- hard cases ----------------------------------------------------------------------------------------


def test_damaged_images_come_through_and_fail_when_they_are_read(tmp_path, dataset):
    bad = dataset.cast_column("picture", datasets.Image(decode=False)).to_dict()
    for row in (3, 7):
        bad["picture"][row] = {"bytes": encoded(0)[:60], "path": None}
    bad["picture"][9] = None
    path = tmp_path / "a.parquet"
    datasets.Dataset.from_dict(bad, features=dataset.features).to_parquet(path)
    for streaming in (False, True):
        part = whole(open_set(path, label_column="kind", streaming=streaming))
        assert [place for (place,) in part.truth] == TRUTH
        failed = []
        for row, source in enumerate(part.sources):
            try:
                decode(load_source(source))
            except ImageError as error:
                assert str(error).startswith(f"image {row}: ")
                failed.append(row)
        assert failed == [3, 7, 9]


def test_one_class_only(tmp_path):
    write_images(tmp_path, ["cat/0.png", "cat/1.png"])
    found = open_set(tmp_path)
    assert found.labels.names == ("cat",)
    assert found.problems == ("There is only one class, 'cat': every prediction is right.",)


def test_a_hundred_thousand_classes(tmp_path):
    names = [f"kind {number} of bird" for number in range(100_000)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    rows = [{"image": f"{n}.png", "label": name} for n, name in enumerate(names)]
    path = write_rows(tmp_path / "a.csv", rows)
    found = open_set(path, labels=tmp_path / "names.txt")
    assert len(found.labels) == found.count == 100_000 and found.problems == ()
    assert list(whole(found).truth) == [(n,) for n in range(100_000)]
    assert len(restricted(found, names[5:8]).labels) == 3


# ---- limits, subsets, names ----------------------------------------------------------------------------


def test_a_limit_is_spread_over_the_set(tmp_path):
    write_images(tmp_path, [f"{name}/{number}.png" for name in ("a", "b", "c") for number in range(4)])
    found = open_set(tmp_path)
    assert [place for (place,) in whole(found, 3).truth] == [0, 1, 2]
    assert numbers(whole(found, 6)) == [0, 2, 4, 6, 8, 10]
    assert len(whole(found, 100)) == 12 and list(found.parts(0)) == []


@pytest.mark.parametrize("streaming", [False, True])
def test_some_classes_of_a_set(tmp_path, dataset, streaming):
    path = tmp_path / "a.parquet"
    dataset.to_parquet(path)
    found = open_set(path, label_column="kind", group_columns=["place"], streaming=streaming)
    some = restricted(found, ["OWL", "red_panda"])
    assert some.labels.names == ("red panda", "owl") and some.labels.ids == ("red_panda", "owl")
    rows = [row for row, place in enumerate(TRUTH) if place != 1]
    part = whole(some)
    assert numbers(part) == rows
    assert [place for (place,) in part.truth] == [TRUTH[row] // 2 for row in rows]
    assert part.groups["place"] == tuple(PLACES[row] for row in rows)
    assert some.count == (None if streaming else len(rows))
    assert len(whole(some, 2)) == 2
    with pytest.raises(LabelError, match="a: no classes of it: 'yak'"):
        restricted(found, ["cat", "yak"])
    several = restricted(open_set(path, label_column="all", streaming=streaming), ["cat", "red panda"])
    assert set(whole(several).truth) == {(0,), (1,)}


def test_shared_classes():
    a = as_labels({"n1": "missile", "n2": "missile", "n3": "tench", "n4": "red_fox"})
    assert shared_classes(a, as_labels({"n2": "missile", "x": "Red  Fox"})) == ("n2", "red fox")
    assert shared_classes(a, as_labels(["missile"])) == ("missile",)
    full, some = curated_labels("imagenet"), curated_labels("imagenet-r")
    assert shared_classes(full, some) == some.ids and len(some) == 200


def test_curated_lists_are_in_label_order():
    full = curated_labels("imagenet")
    assert list(full.names) == imagenet.class_names() and full.ids[0] == "n01440764"
    for name, file in (("imagenet-a", "imagenet_a_indices.txt"), ("imagenet-r", "imagenet_r_indices.txt")):
        indices = [int(line) for line in wordnet._lines(file)]
        part = curated_labels(name)
        assert part.names == tuple(full.names[index] for index in indices)
        assert part.ids == tuple(full.ids[index] for index in indices)
    with pytest.raises(LabelError, match="no such file, nor a curated list"):
        open_set("builtin:demo", labels="imagenet-x")
    with pytest.raises(LabelError, match="there are imagenet, imagenet-a, imagenet-r"):
        curated_labels("imagenet-x")


def test_labels_are_matched_by_name_or_place():
    assert matched(["b_x", "a"], as_labels(["a", "B x", "c"]), "w") == ({0: 1, 1: 0}, ())
    assert matched(["n1", "n2"], as_labels({"n2": "x", "n1": "y"}), "w") == ({0: 1, 1: 0}, ())
    places, said = matched(["tench, Tinca tinca", "cat"], as_labels(["tench", "cat"]), "w")
    assert places == {0: 0, 1: 1} and "1 of 2 class names were replaced" in said[0]
    with pytest.raises(LabelError, match=r"w: the labels are in another order.*class 0 is 'a'.*number 1"):
        matched(["a", "b", "c"], as_labels(["b", "a", "d"]), "w")
    assert matched(["a b", "A_b"], as_labels(["a b", "c"]), "w")[0] == {0: 0, 1: 1}
    with pytest.raises(LabelError, match="two of its classes would be one and the same"):
        matched(["a b", "A_b"], as_labels(["a b", "c", "d"]), "w")
    with pytest.raises(LabelError, match="not among the labels: 'x'"):
        matched(["a", "x"], as_labels(["a", "b", "c"]), "w")


def test_names_of_a_set_stay_as_they_are():
    labels = own_labels(["sunglasses", "b", "sunglasses"])
    assert labels.names == ("sunglasses", "b", "sunglasses") and labels.ids == ("0", "1", "2")
    assert own_labels(["red_panda", "red panda"]).ids == ("red_panda", "red panda")
    with pytest.raises(LabelError, match="label 2 of 2 is blank"):
        own_labels(["a", " "])


def test_check_labels():
    assert check_labels(as_labels(["cat", "dog"]), {0, 1}) == ()
    said = check_labels(["17", "-3", "n01440764", "cat", "Cat", "", "??"], [0, 3, 9])
    assert [line.split(":")[0] for line in said] == [
        "2 of 7 class names look like numbers, not like words",
        "1 of 7 class names look like WordNet synsets, not like words",
        "1 of 7 class names are blank",
        "1 of 7 class names have no letter in them",
        "Several classes share a name",
        "Images have labels that none of the 7 names covers",
        "5 of 7 classes have no image",
    ]
    assert check_labels(["猫", "собака", "3D printer", "Boeing 737"]) == ()


@given(st.lists(TEXTS, min_size=1, max_size=6), st.sets(st.integers(-2, 8)))
def test_check_labels_of_anything(names, used):
    said = "\n".join(check_labels(names, used))
    assert ("have no image" in said) == (not set(range(len(names))) <= used)
    assert ("covers" in said) == bool(used - set(range(len(names))))
    assert ("blank" in said) == any(not name.strip() for name in names)
