"""Where results go: the format that a name says, ids that come back, and files that cannot be written."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from PIL import Image
from typer.testing import CliRunner

from vlcls.cli import app
from vlcls.cli.output import chosen_format
from vlcls.errors import OutputError, VlclsError, VlclsWarning

IDS = {"n01": "grand_piano", "n02": "crane", "n03": "crane"}


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for place in ("photos/n01", "photos/n02", "photos/n03"):
        Path(place).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (40, 30), (90 * number, 140, 60 * len(place))).save(f"{place}/{number}.png")
    Path("classes.json").write_text(json.dumps(IDS))
    return Path("photos")


def run(*arguments: object, code: int | None = 0) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if code is not None:
        assert done.exit_code == code, (done.output, done.exception)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


def commands(group: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command of the program, by its words."""
    group = group or typer.main.get_command(app)
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name}{word} ")
        else:
            yield name + word, command


WRITTEN = [
    (name, option.opts[0], option.metavar)
    for name, command in commands()
    for option in command.params
    if any(each in option.opts for each in ("--output", "--save", "--save-labels", "--flips", "--sheet"))
]


def test_the_walk_finds_the_options() -> None:
    assert {"classify", "build", "discover", "names add", "captions build", "descriptors convert"} <= {
        name for name, _, _ in WRITTEN
    }
    assert len(WRITTEN) > 20


# ---- what cannot be written ----------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "option", "metavar"), WRITTEN)
def test_what_is_in_the_way_is_said_before_any_work(
    command: str, option: str, metavar: str | None, tmp_path: Path
) -> None:
    (tmp_path / "file.json").write_text("mine")
    (tmp_path / "folder.json").mkdir()
    whole_folder = metavar in ("DIR", "DB")
    way = tmp_path / ("file.json" if whole_folder else "folder.json")
    below = tmp_path / "file.json" / "new.json"  # a file where a folder should be
    for target in (way, below):
        with pytest.raises(OutputError, match=r"file\.json|folder\.json"):
            run(*command.split(), option, target, code=None)
    assert (tmp_path / "file.json").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.json", "folder.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
@pytest.mark.parametrize("format", ["table", "jsonl", "csv"])
def test_a_full_disk_is_a_clear_error(photos: Path, format: str) -> None:
    command = [
        sys.executable,
        "-m",
        "vlcls",
        "classify",
        "photos",
        "-l",
        "cat,dog",
        "-e",
        "conse",
        "-f",
        format,
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*command, "-o", "/dev/full"], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert done.stderr == "error: /dev/full cannot be written: No space left on device\n"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == 1
    assert done.stderr == "error: the output cannot be written: No space left on device\n"


def test_a_dash_is_standard_output(photos: Path) -> None:
    out = run("classify", "photos", "-l", "cat,dog", "-e", "conse", "-f", "csv", "-o", "-")
    assert len(out.splitlines()) == 7
    assert not Path("-").exists()


# ---- formats -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.csv", "csv"), ("a.CSV", "csv"), ("a.jsonl", "jsonl"), ("a.ndjson", "jsonl"), ("a.json", "jsonl"),
     ("a.txt", "table"), ("a", "table"), ("csv", "table")],
)  # fmt: skip
def test_the_name_says_the_format(name: str, expected: str) -> None:
    assert chosen_format(None, Path(name)) == expected


def test_standard_output_is_a_table_and_format_wins_with_a_word() -> None:
    assert chosen_format(None, None) == "table"
    with pytest.warns(VlclsWarning, match=r"a\.csv is written as jsonl, which --format says"):
        assert chosen_format("jsonl", Path("a.csv")) == "jsonl"
    for name in ("a.parquet", "a.xlsx", "a.tsv"):
        with pytest.raises(typer.BadParameter, match=f"{name[2:]} is not written here.*table, jsonl, csv"):
            chosen_format(None, Path(name))


FORMATTED = [
    name
    for name, command in commands()
    if {"--output", "--format"} <= {opt for option in command.params for opt in option.opts}
]


@pytest.mark.parametrize("command", FORMATTED)
def test_every_command_with_a_format_takes_it_from_the_name(command: str, tmp_path: Path) -> None:
    """Its format is not set by default, and a name that it does not write is refused before any work."""
    (found,) = (each for name, each in commands() if name == command)
    (option,) = (option for option in found.params if "--format" in option.opts)
    assert option.default is None
    required = ["x"] * sum(
        p.required and p.param_type_name == "argument" and p.nargs == 1 for p in found.params
    )
    required += ["x"] if any(p.nargs == -1 for p in found.params) else []
    for other in found.params:
        if other.required and other.param_type_name == "option":
            required += [other.opts[0], "x"]
    done = CliRunner().invoke(
        app, [*command.split(), *required, "-o", str(tmp_path / "a.xlsx")], env={"COLUMNS": "300"}
    )
    assert done.exit_code == 2 and "xlsx is not written here" in done.output.replace("\n", " ")
    assert "classify" in FORMATTED and len(FORMATTED) >= 5


def test_a_csv_file_is_csv(photos: Path) -> None:
    run("classify", "photos", "-l", "cat,dog", "-e", "conse", "-o", "result.csv")
    assert Path("result.csv").read_text().startswith("image,label,id,index,score,error")


# ---- ids -----------------------------------------------------------------------------------------------


def own_id(row: dict[str, Any]) -> bool:
    """Whether a row's id, index and label belong together."""
    place = list(IDS).index(row["id"])
    label = {"n01": "grand piano"}.get(row["id"], f"crane ({row['id']})")
    return int(row.get("index", place)) == place and row["label"] == label


def test_ids_come_back_from_classify(photos: Path) -> None:
    arguments = ("classify", "photos", "--labels-file", "classes.json", "-e", "conse")
    rows = [json.loads(line) for line in run(*arguments, "-f", "jsonl").splitlines()]
    assert len(rows) == 6
    assert all(own_id(row) and all(map(own_id, row["top_k"])) for row in rows)
    table = list(csv.DictReader(io.StringIO(run(*arguments, "-f", "csv"))))
    assert [(row["id"], row["index"], row["label"]) for row in table] == [
        (row["id"], str(row["index"]), row["label"]) for row in rows
    ]
    assert {row["id_2"] for row in table} <= set(IDS) and all(own_id(row) for row in table)


def test_ids_come_back_from_explain_and_audit(photos: Path) -> None:
    texts = {"n01": ["keys"], "n02": ["long neck"], "n03": ["hook"]}
    Path("d.json").write_text(json.dumps(texts))
    arguments = ("--labels-file", "classes.json", "-e", "conse")
    rows = run("explain", "photos", "-d", "d.json", *arguments, "-f", "jsonl").splitlines()
    for row in map(json.loads, rows):
        assert own_id(row) and all(map(own_id, row["classes"]))
    run("descriptors", "audit", "d.json", "--images", "photos", *arguments, "-o", "audit.csv")
    table = list(csv.DictReader(Path("audit.csv").read_text().splitlines()))
    assert len(table) == 3 and all(map(own_id, table))


def test_ids_are_names_where_none_were_given(photos: Path) -> None:
    rows = run("classify", "photos", "-l", "cat,red_panda", "-e", "conse", "-f", "jsonl").splitlines()
    assert {(row["id"], row["label"]) for row in map(json.loads, rows)} <= {
        ("cat", "cat"),
        ("red panda",) * 2,
    }
    from vlcls.classifiers import Prediction
    from vlcls.classifiers.vocabulary_free import Naming
    from vlcls.cli.commands.discover import _write_jsonl

    stream = io.StringIO()
    _write_jsonl(
        [Naming("x", (Prediction("cat", 0.5, 0, "cat"),)), Naming("y", (), error="y: no")], stream, 3
    )
    assert [json.loads(line)["id"] for line in stream.getvalue().splitlines()] == ["cat", None]


def test_unread_images_have_neither(photos: Path) -> None:
    (photos / "bad.png").write_text("x")
    out = run("classify", photos / "bad.png", "-l", "cat,dog", "-e", "conse", "-f", "jsonl", code=3)
    row = json.loads(out)
    assert (row["label"], row["id"], row["index"], row["score"], row["top_k"]) == (None, None, None, None, [])
    assert not isinstance(row["error"], VlclsError) and "bad.png" in row["error"]


def test_ids_come_back_from_evaluate_and_compare(photos: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for folder, method in (("one", "name"), ("two", "photo")):
        run("evaluate", "./photos", "-m", method, "-e", "conse", "-o", folder)
        results = json.loads(Path(folder, "results.json").read_text())
        (about,) = results["sets"].values()
        assert about["ids"] == ["n01", "n02", "n03"]
        predictions = parquet.read_table(Path(folder, results["cells"][0]["predictions"])).to_pylist()
        for row in predictions:
            assert row["true_id"] == f"n0{row['true'] + 1}" == Path(row["image"]).parent.name
            assert row["predicted_id"] == f"n0{row['predicted'] + 1}"
        for row in csv.DictReader(Path(folder, "confusions.csv").read_text().splitlines()):
            assert {row["true_id"], row["predicted_id"]} <= {"n01", "n02", "n03"}
    run("compare", "one", "two", "--flips", "flips.jsonl")
    for row in map(json.loads, Path("flips.jsonl").read_text().splitlines()):
        assert row["truth_id"] == Path(row["image"]).parent.name and row["before_id"] != row["after_id"]


def test_every_row_of_flips_has_ids() -> None:
    from vlcls.editing import ChangedImage
    from vlcls.evaluation.report.comparison import Flip

    for kind in (ChangedImage, Flip):
        assert {"before_id", "after_id", "truth_id"} <= set(kind.__annotations__)


def test_a_name_of_megabytes_is_cut_in_the_table_and_exact_in_json() -> None:
    from vlcls.classifiers import Classification
    from vlcls.cli.output import write_jsonl, write_table

    rows = [Classification("A" * 200_000, (), error="no such file")]
    table, lines = io.StringIO(), io.StringIO()
    write_table(rows, table)
    write_jsonl(rows, lines)
    assert len(table.getvalue()) < 3000
    assert json.loads(lines.getvalue())["image"] == "A" * 200_000
