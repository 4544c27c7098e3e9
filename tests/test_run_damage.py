"""Run folders that are damaged or of somebody else: nothing is believed that was not written so."""

from __future__ import annotations

import json
import random
import resource
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from evaluation_runs import SMALL, WHOLE, multi_label_cell, write_run
from pyarrow import parquet

import vlcls
from vlcls.encoders import Encoder
from vlcls.errors import EvaluationError, OutputError, VlclsWarning
from vlcls.evaluation.report.comparison import compare_runs
from vlcls.evaluation.report.run_files import read_predictions, read_results
from vlcls.files.writing import locked

METHODS = "photo,waffle:seeds=2"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Any]) -> Path:
    root = tmp_path_factory.mktemp("data")
    for number in range(12):
        folder = root / ("cat", "dog", "fox")[number % 3]
        folder.mkdir(exist_ok=True)
        picture(number).save(folder / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def whole(data: Path, clip: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    evaluated(data, clip, folder)
    return folder


def evaluated(data: Path, clip: Encoder, folder: Path) -> dict[str, Any]:
    found = vlcls.evaluate(data, METHODS, clip, folder, cache=folder.parent.parent / "cache")
    return {key: value for key, value in found.items() if key not in ("date", "seconds")}


def damages(path: Path) -> Iterator[tuple[str, bytes]]:
    content = path.read_bytes()
    yield "empty", b""
    yield "cut", content[: len(content) // 2]
    yield "without its end", content[:-1]
    draw = random.Random(0)
    for _ in range(6):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        yield "flipped", bytes(flipped)
    if path.suffix == ".json":
        for text in (
            "null",
            "[]",
            "3",
            '"text"',
            '{"key": null, "cell": null}',
            "[" * 50_000,
            '{"cell": []}',
        ):
            yield text[:20], text.encode()
        found = json.loads(content)
        yield "no cell", json.dumps(found | {"cell": None}).encode()
        yield "a list for a cell", json.dumps(found | {"cell": [found["cell"]]}).encode()
        other = json.loads(content)
        other["cell"]["metrics"]["top1"]["value"] = 0.123
        yield "another number", json.dumps(other).encode()
        other["cell"]["predictions"] = "../../../etc/passwd"
        yield "another path", json.dumps(other).encode()


@pytest.mark.parametrize("kind", ["cells/*.json", "predictions/*.parquet"])
def test_a_damaged_cell_is_evaluated_anew(
    data: Path, clip: Encoder, whole: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    from vlcls.evaluation.run import harness
    from vlcls.evaluation.run.cell_files import read_cell

    # The key that was stored stands for the run's own: only what is done about damage is looked at here.
    for path in sorted(whole.glob(kind)):
        name = path.name.removesuffix(path.suffix)
        key = json.loads((whole / "cells" / f"{name}.json").read_text())["key"]
        assert read_cell(whole, name, key) is not None
        for what, content in damages(path):
            shutil.rmtree(tmp_path / "run", ignore_errors=True)
            shutil.copytree(whole, tmp_path / "run")
            (tmp_path / "run" / path.relative_to(whole)).write_bytes(content)
            with pytest.warns(VlclsWarning, match="evaluated anew"):
                assert read_cell(tmp_path / "run", name, key) is None, what
    # And the run as a whole, with everything of that kind damaged at once.
    for path in (tmp_path / "run").glob(kind):
        path.write_bytes(path.read_bytes()[:-9])
    made = []
    run_cell = harness.run_cell
    monkeypatch.setattr(
        harness, "run_cell", lambda cell, *rest: (made.append(cell.name), run_cell(cell, *rest))[1]
    )
    with pytest.warns(VlclsWarning, match="evaluated anew"):
        again = evaluated(data, clip, tmp_path / "run")
    assert len(made) == len(list(whole.glob(kind)))
    first = read_results(whole)
    assert again == {key: value for key, value in first.items() if key not in ("date", "seconds")}


def test_a_run_takes_over_what_is_whole(
    data: Path, clip: Encoder, whole: Path, monkeypatch: pytest.MonkeyPatch
):
    from vlcls.evaluation.run import harness

    monkeypatch.setattr(harness, "run_cell", lambda *rest: pytest.fail("evaluated again"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", VlclsWarning)
        evaluated(data, clip, whole)


def test_flipped_bits_are_named_by_whoever_reads(whole: Path, tmp_path: Path):
    for kind in ("predictions/*.parquet", "results.json"):
        for path in sorted(whole.glob(kind)):
            for what, content in damages_of_bits(path):
                shutil.rmtree(tmp_path / "run", ignore_errors=True)
                shutil.copytree(whole, tmp_path / "run")
                (tmp_path / "run" / path.relative_to(whole)).write_bytes(content)
                with pytest.raises(EvaluationError, match=path.name):
                    compare_runs(tmp_path / "run", whole)
                assert what


def damages_of_bits(path: Path) -> Iterator[tuple[str, bytes]]:
    return (pair for pair in damages(path) if pair[0] == "flipped") if path.suffix != ".json" else flips(path)


def flips(path: Path) -> Iterator[tuple[str, bytes]]:
    content = path.read_bytes()
    draw = random.Random(1)
    for _ in range(20):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        yield "flipped", bytes(flipped)


# ---- every field of the results ------------------------------------------------------------------------

#: What no field may hold, of any type.
ODD: tuple[Any, ...] = (None, True, -1, 1e300, 10**30, "", "text", [], [[]], {}, {"a": None}, "\ud800")


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in some JSON; of lists the first element."""
    if path:
        yield path
    if isinstance(content, dict):
        for key in content:
            yield from places(content[key], (*path, key))
    elif isinstance(content, list) and content:
        yield from places(content[0], (*path, 0))


def changed(content: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    result = json.loads(json.dumps(content))
    holder = result
    for part in path[:-1]:
        holder = holder[part]
    change(holder, path[-1])
    return result


def test_every_field_that_is_odd_is_named_or_harmless(tmp_path: Path):
    """Thousands of rows made from a run's own results: a clear error, or results that a report takes."""
    results = write_run(tmp_path / "run", SMALL)
    whole = write_run(tmp_path / "whole", WHOLE)
    for key in ("shifts", "corruptions", "rationales"):
        results[key] = [row for row in whole[key] if row["encoder"] == "conse"][:1]
    results["cells"].append(multi_label_cell() | {"method": "many"})
    refused = taken = 0
    path = tmp_path / "run" / "results.json"

    def tried(content: Any) -> None:
        nonlocal refused, taken
        path.write_text(json.dumps(content))
        try:
            read_results(path)
            taken += 1
            compare_runs(path.parent, path.parent)
        except EvaluationError as error:
            refused += 1
            assert str(path.parent) in str(error) and len(str(error)) < 1000

    tried(results)
    assert taken == 1
    for place in places(results):
        tried(changed(results, place, lambda holder, key: holder.pop(key)))
        for odd in ODD:
            tried(changed(results, place, lambda holder, key, odd=odd: holder.__setitem__(key, odd)))
        if isinstance(place[-1], str):
            tried(changed(results, (*place[:-1], "unknown"), lambda holder, key: holder.__setitem__(key, 1)))
    assert refused > 2500 and taken < refused / 5, (refused, taken)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("true", [-1]), ("true", [7]), ("predicted", [-1]), ("predicted", [10**6]), ("predicted", [0.5]),
        ("seed", [-1]), ("seed", ["0"]), ("image", [3]), ("image", [None]), ("image", [["a"]]),
        ("confidence", [float("nan")]), ("confidence", [2.0]), ("confidence", [None]), ("confidence", ["x"]),
        ("predicted", [None]), ("true", [True]), ("image", [b"\xff"]), ("predicted", None),
    ],
)  # fmt: skip
def test_predictions_of_odd_columns_are_named(tmp_path: Path, column: str, values: list[Any] | None):
    results = write_run(tmp_path, SMALL)
    cell = results["cells"][0]
    path = tmp_path / cell["predictions"]
    table = parquet.read_table(path).drop_columns([column])
    if values is not None:
        table = table.append_column(column, pa.array(values * table.num_rows))
    parquet.write_table(table, path)
    with pytest.raises(EvaluationError, match=rf"{path.name}.*{column}"):
        read_predictions(tmp_path, cell)


# ---- where nothing can be written ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "taken", ["", "cells", "predictions", "clip_benchmark", "report.html", "results.json"]
)
def test_what_is_in_the_way_is_said_before_any_work(clip: Encoder, tmp_path: Path, taken: str):
    run = tmp_path / "run"
    if taken.endswith((".html", ".json")):
        (run / taken).mkdir(parents=True)
    else:
        run.mkdir(exist_ok=True) if taken else None
        (run / taken).write_text("in the way")
    with pytest.raises(OutputError, match=taken or "run"):
        vlcls.evaluate(tmp_path / "no data", "photo", clip, run)


def test_a_full_disk_is_said_and_the_next_run_goes_on(data: Path, clip: Encoder, tmp_path: Path):
    run = tmp_path / "x" / "run"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            vlcls.evaluate(data, METHODS, clip, run, cache=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in run.rglob("*") if ".tmp" in path.name]
    evaluated(data, clip, run)
    assert read_results(run)["cells"]


def test_two_runs_do_not_write_one_folder(data: Path, clip: Encoder, tmp_path: Path):
    run = tmp_path / "x" / "run"
    run.mkdir(parents=True)
    with (
        locked(run, "another `vlcls evaluate`"),
        pytest.raises(OutputError, match="is being written by another `vlcls evaluate`"),
    ):
        evaluated(data, clip, run)
    assert evaluated(data, clip, run)["cells"]
