"""One rule for all readers of labelled data: the same values and labels are the same classes everywhere."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as parquet_files
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vlcls.cli.learning import LabelledOptions, found_images
from vlcls.errors import ImageError, LabelError, VlclsWarning
from vlcls.evaluation.data import open_set
from vlcls.evaluation.data.parts import joined_parts
from vlcls.labelled import labelled_dataset, labelled_folder, value_places
from vlcls.labelled.scheme import label_scheme, read_truth
from vlcls.labels import Labels, as_labels

Numbers = list[int]
#: Reads images whose classes are these numbers: the name of each one's class.
Reader = Callable[[Path, Numbers, Any], list[str]]


def encoded(number: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number * 9 % 256, 90, 40)).save(file, "PNG")
    return file.getvalue()


def dataset(values: list[Any], kind: Any) -> datasets.Dataset:
    rows = {"image": [{"bytes": encoded(n), "path": None} for n in range(len(values))], "label": values}
    return datasets.Dataset.from_dict(
        rows, features=datasets.Features({"image": datasets.Image(), "label": kind})
    )


def of_set(path: Path, labels: Any, **options: Any) -> list[str]:
    found = open_set(path, labels=labels, **options)
    return [found.labels.names[place] for (place,) in joined_parts(found.parts(None)).truth]


def of_images(images: Any) -> list[str]:
    return [images.labels.names[place] for place in images.class_indices]


def table(write: Callable[[Numbers], str], suffix: str) -> Reader:
    def read(folder: Path, numbers: Numbers, labels: Any) -> list[str]:
        path = folder / f"rows{suffix}"
        path.write_text(write(numbers), encoding="utf-8")
        return of_set(path, labels)

    return read


def delimited(delimiter: str, form: str = "{}") -> Callable[[Numbers], str]:
    def write(numbers: Numbers) -> str:
        file = io.StringIO()
        rows = [["image", "label"], *([f"{row}.png", form.format(n)] for row, n in enumerate(numbers))]
        csv.writer(file, delimiter=delimiter).writerows(rows)
        return file.getvalue()

    return write


def json_lines(kind: Callable[[int], Any]) -> Callable[[Numbers], str]:
    return lambda numbers: "".join(
        json.dumps({"image": f"{row}.png", "label": kind(n)}) + "\n" for row, n in enumerate(numbers)
    )


def parquet(kind: Any, **options: Any) -> Reader:
    def read(folder: Path, numbers: Numbers, labels: Any) -> list[str]:
        values = [str(n) if kind == datasets.Value("string") else n for n in numbers]
        dataset(values, kind).to_parquet(folder / "rows.parquet")
        return of_set(folder / "rows.parquet", labels, **options)

    return read


def saved(folder: Path, numbers: Numbers, labels: Any) -> list[str]:
    dataset(numbers, datasets.Value("int32")).save_to_disk(str(folder / "saved"))
    return of_set(folder / "saved", labels)


def in_memory(kind: Any, form: str | None = None) -> Reader:
    def read(folder: Path, numbers: Numbers, labels: Any) -> list[str]:
        values = [str(n) if kind == datasets.Value("string") else n for n in numbers]
        rows = dataset(values, kind).with_format(form)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VlclsWarning)
            return of_images(labelled_dataset(rows, labels))

    return read


def folders(*above: str) -> Reader:
    def read(folder: Path, numbers: Numbers, labels: Any) -> list[str]:
        for row, number in enumerate(numbers):
            path = folder.joinpath("folders", *above, str(number), f"{row}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(row))
        images = labelled_folder(folder / "folders", as_labels(labels))
        found = dict(
            zip([Path(source.data).stem for source in images.sources], of_images(images), strict=True)
        )
        assert of_set(folder / "folders", labels) == of_images(images)
        return [found[str(row)] for row in range(len(numbers))]

    return read


def shards(folder: Path, numbers: Numbers, labels: Any) -> list[str]:
    (folder / "wds" / "test").mkdir(parents=True)
    with tarfile.open(folder / "wds" / "test" / "0.tar", "w") as shard:
        for row, number in enumerate(numbers):
            for name, content in ((f"s{row}.png", encoded(row)), (f"s{row}.cls", str(number).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    return of_set(folder / "wds", labels)


INT, TEXT, FLOAT = datasets.Value("int64"), datasets.Value("string"), datasets.Value("float64")

READERS: dict[str, Reader] = {
    "csv": table(delimited(","), ".csv"),
    "csv-floats": table(delimited(",", "{}.0"), ".csv"),
    "tsv": table(delimited("\t"), ".tsv"),
    "jsonl": table(json_lines(int), ".jsonl"),
    "jsonl-texts": table(json_lines(str), ".jsonl"),
    "jsonl-floats": table(json_lines(float), ".jsonl"),
    "parquet": parquet(INT),
    "parquet-texts": parquet(TEXT),
    "parquet-floats": parquet(FLOAT),
    "saved": saved,
    "memory": in_memory(INT),
    "memory-small": in_memory(datasets.Value("uint8")),
    "memory-texts": in_memory(TEXT),
    "memory-floats": in_memory(FLOAT),
    "memory-torch": in_memory(INT, "torch"),
    "memory-numpy": in_memory(INT, "numpy"),
    "memory-pandas": in_memory(INT, "pandas"),
    "folders": folders(),
    "groups": folders("day"),
    "shards": shards,
}
TWELVE = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay", "koi", "lynx"]
SORTED_KEYS = dict(sorted((str(number), name) for number, name in enumerate(TWELVE)))
FROM_ONE = {str(number): name for number, name in enumerate(TWELVE, start=1)}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    datasets.disable_progress_bars()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("labels", "numbers", "right"),
    [
        (SORTED_KEYS, [2, 3, 10], ["cat", "dog", "koi"]),
        (FROM_ONE, [1, 2, 12], ["ant", "bee", "lynx"]),
        (FROM_ONE, [0, 1, 11], ["ant", "bee", "lynx"]),  # 0 is no id: all are places
        ({"007": "cat", "012": "dog"}, [7, 12, 7], ["cat", "dog", "cat"]),
        ({"n01": "cat", "n02": "dog"}, [1, 0], ["dog", "cat"]),
        (["cat", "dog"], [1, 0, 1], ["dog", "cat", "dog"]),
        (["3", "7"], [7, 3], ["7", "3"]),  # names that are numbers
        (["cat", "dog"], [0, 2], None),
        ({"5": "cat", "9": "dog"}, [1, 9], None),
    ],
)
def test_numbers_are_ids_or_places(tmp_path, reader, labels, numbers, right):
    if right is not None:
        assert READERS[reader](tmp_path, numbers, labels) == right
        return
    with pytest.raises(LabelError, match=r"and there are 2 labels, 0 to 1|no place among the 2 labels|'day'"):
        READERS[reader](tmp_path, numbers, labels)


@pytest.mark.parametrize("reader", [name for name in READERS if name not in ("folders", "groups", "shards")])
def test_numbers_without_labels_count_classes(tmp_path, reader):
    assert READERS[reader](tmp_path, list(range(12)), None) == [str(n) for n in range(12)]


LABELS = st.one_of(
    st.lists(st.sampled_from(TWELVE), min_size=1, max_size=5, unique=True),
    st.dictionaries(st.integers(0, 12).map(str), st.sampled_from(TWELVE), min_size=1, max_size=6),
    st.dictionaries(st.sampled_from(["a", "b", "1", "03"]), st.sampled_from(TWELVE), min_size=1, max_size=4),
)


def outcome(read: Callable[[], dict[Any, int]]) -> list[int] | None:
    try:
        return list(read().values())
    except LabelError:
        return None


@given(labels=LABELS, numbers=st.lists(st.integers(0, 12), min_size=1, max_size=5, unique=True))
def test_every_kind_of_value_says_the_same(labels, numbers):
    known = as_labels(labels)

    def read(kind: str, form: Callable[[int], Any], many: bool = False) -> dict[Any, int]:
        values = [[form(number)] if many else form(number) for number in numbers]
        scheme = label_scheme(kind, None, known, values, "x")
        return dict(zip(numbers, [place for (place,) in read_truth(values, scheme, "x")], strict=True))

    said = outcome(lambda: value_places(numbers, known, "x"))
    assert outcome(lambda: value_places(map(str, numbers), known, "x")) == said
    for kind, form in (("int", int), ("text", str), ("float", float), ("text", "{}.0".format)):
        assert outcome(lambda kind=kind, form=form: read(kind, form)) == said
    assert (
        outcome(lambda: read("ints", int, many=True))
        == outcome(lambda: read("texts", str, many=True))
        == said
    )
    stream = label_scheme("int", None, known, None, "x")
    assert outcome(lambda: dict(enumerate(read_truth(numbers, stream, "x")))) in (
        None,
        said if said is None else [(place,) for place in said],
    )


# ---- rows without a class, and what is no class --------------------------------------------------------

FEW = ["cat", "dog"]


@pytest.mark.parametrize("labels", [None, FEW])
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (TEXT, ["cat", None, "dog"]),
        (TEXT, ["cat", "", "dog"]),
        (TEXT, ["cat", "  ", "dog"]),
        (INT, [0, None, 1]),
        (INT, [0, -1, 1]),
        (FLOAT, [0.0, float("nan"), 1.0]),
        (FLOAT, [0.0, None, 1.0]),
        (datasets.ClassLabel(names=FEW), [0, None, 1]),
        (datasets.ClassLabel(names=FEW), [0, -1, 1]),
    ],
)
@pytest.mark.parametrize("form", [None, "torch", "numpy", "pandas"])
def test_a_row_without_a_class_is_named(tmp_path, kind, values, labels, form):
    rows = dataset(values, kind)
    with pytest.raises(LabelError, match=r"row 1 has no class \(1 such rows of 3\)"):
        labelled_dataset(rows.with_format(form), labels)
    rows.to_parquet(tmp_path / "rows.parquet")
    for streaming in (False, True):
        if streaming and labels is None and not isinstance(kind, datasets.ClassLabel):
            continue
        with pytest.raises(LabelError, match="row 1 has no class"):
            of_set(tmp_path / "rows.parquet", labels, streaming=streaming)


def test_lists_are_one_class_each_or_refused():
    texts, numbers = datasets.Sequence(TEXT), datasets.Sequence(INT)
    assert of_images(labelled_dataset(dataset([["cat"], ["dog"]], texts))) == ["cat", "dog"]
    for values, kind in (([["cat"], ["cat", "dog"]], texts), ([[0], [1, 0]], numbers)):
        with pytest.raises(LabelError, match="row 1 has 2 classes, and one is expected"):
            labelled_dataset(dataset(values, kind), FEW)
    with pytest.raises(LabelError, match="row 1 has 0 classes"):
        labelled_dataset(dataset([["cat"], []], texts), FEW)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (FLOAT, [0.5, 1.0], "0.5 is no class: names or whole numbers"),
        (INT, [-3, 0], "row 0 has the label -3"),
        (INT, [2_000_000, 0], "ids rather than class numbers"),
    ],
)
def test_values_that_are_no_class(kind, values, message):
    with pytest.raises(LabelError, match=message):
        labelled_dataset(dataset(values, kind))


def test_spaces_around_labels_are_none_of_them(tmp_path):
    (tmp_path / "rows.csv").write_text("image, label\na.png, cat\nb.png,cat\nc.png, dog \n")
    assert of_set(tmp_path / "rows.csv", None) == ["cat", "cat", "dog"]
    assert of_set(tmp_path / "rows.csv", ["dog", "cat"]) == ["cat", "cat", "dog"]


# ---- names that the data set has of its own ------------------------------------------------------------


def test_own_names_that_are_numbers_are_numbers():
    names = sorted(str(number) for number in range(12))  # as an image folder sorts them: 0, 1, 10, 11, 2
    rows = dataset([names.index("2"), names.index("10")], datasets.ClassLabel(names=names))
    assert of_images(labelled_dataset(rows, TWELVE)) == ["cat", "koi"]
    assert of_images(labelled_dataset(rows, SORTED_KEYS)) == ["cat", "koi"]
    others = sorted(str(number) for number in range(1, 13))
    rows = dataset([others.index("2"), others.index("12")], datasets.ClassLabel(names=others))
    assert of_images(labelled_dataset(rows, FROM_ONE)) == ["bee", "lynx"]
    with pytest.raises(LabelError, match="called by numbers in no order"):
        labelled_dataset(rows, TWELVE)


def test_classes_without_images_need_no_label():
    names = ["cat", "dog", "yak"]
    rows = dataset([1, 0], datasets.ClassLabel(names=names))
    assert of_images(labelled_dataset(rows, ["dog", "cat"])) == ["dog", "cat"]
    with pytest.raises(LabelError, match="not among the labels: 'yak'"):
        labelled_dataset(dataset([2, 0], datasets.ClassLabel(names=names)), ["dog", "cat"])


def test_new_names_by_place_are_said():
    rows = dataset([1, 0], datasets.ClassLabel(names=["n1", "n2"]))
    with pytest.warns(VlclsWarning, match="2 of 2 class names were replaced by the labels given"):
        assert of_images(labelled_dataset(rows, ["cat", "dog"])) == ["dog", "cat"]


def test_what_is_no_split(tmp_path):
    rows = dataset([0, 1], INT)
    for given_data in (datasets.DatasetDict({"train": rows}), rows.to_iterable_dataset(), [1, 2]):
        with pytest.raises(ImageError, match="pass one split, not streamed"):
            labelled_dataset(given_data)


def test_numbered_folders_are_in_the_order_of_their_numbers(tmp_path):
    for number in (0, 2, 10):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "a.png").write_bytes(encoded(number))
    assert labelled_folder(tmp_path).labels == Labels(("0", "2", "10"), ("0", "2", "10"))


# ---- the commands that learn ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "saved", "folder"])
def test_commands_that_learn_read_what_evaluate_reads(tmp_path, kind):
    numbers = [2, 3, 10]
    path = tmp_path / ("rows" if kind in ("saved", "folder") else f"rows.{kind}")
    if kind == "csv":
        path.write_text(delimited(";")(numbers))
    elif kind == "jsonl":
        path.write_text(json_lines(int)(numbers))
    elif kind == "parquet":
        dataset(numbers, INT).to_parquet(path)
    elif kind == "saved":
        dataset(numbers, INT).save_to_disk(str(path))
    else:
        for number in numbers:
            (path / str(number)).mkdir(parents=True)
            (path / str(number) / "0.png").write_bytes(encoded(number))
        (path / "notes.csv").write_text("who,when\n")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = found_images(LabelledOptions(str(path)), as_labels(SORTED_KEYS))
    assert sorted(of_images(found)) == ["cat", "dog", "koi"]
    if kind in ("csv", "jsonl"):
        assert found.sources[0].name == str(tmp_path / "0.png")
    assert any("notes.csv" in str(each.message) for each in said) == (kind == "folder")


def test_commands_that_learn_take_one_class_an_image(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"image": "a.png", "label": ["cat"]}\n{"image": "b.png", "label": ["cat", "dog"]}\n')
    with pytest.raises(LabelError, match="rows: row 1 has 2 classes, and one is expected"):
        found_images(LabelledOptions(str(path)), None)


def test_bytes_that_are_no_text_in_a_column_of_texts_are_named(tmp_path: Path):
    path = tmp_path / "rows.parquet"
    rows = dataset(["cat", "dog"], datasets.Value("string"))
    parquet_files.write_table(rows.data.table, path, compression="none", write_statistics=False)
    path.write_bytes(path.read_bytes().replace(b"dog", b"d\xb0g"))
    with pytest.raises(LabelError, match=r"rows\.parquet: a damaged row"):
        of_set(path, None)
