"""One entry makes a metric, and one a section: they are in all that a run writes, with no other edit."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from evaluation_runs import CLASSES, METHODS, SMALL, Shape, write_run
from pydantic import create_model
from rich.console import Console
from typer.testing import CliRunner

import vlcls
from vlcls.cli import app
from vlcls.cli.commands.compare import _other_figures
from vlcls.encoders import Encoder
from vlcls.errors import EvaluationError, VlclsError
from vlcls.evaluation import measure, measure_multi_label
from vlcls.evaluation.metrics import entries
from vlcls.evaluation.metrics.entries import METRICS, Metric
from vlcls.evaluation.metrics.measuring import mean_over_seeds
from vlcls.evaluation.metrics.per_image import MultiLabel, Outcomes
from vlcls.evaluation.metrics.vocabulary_free import FoundNames
from vlcls.evaluation.report.blocks import Table
from vlcls.evaluation.report.comparison import compare_runs
from vlcls.evaluation.report.entries import SECTIONS, SectionEntry
from vlcls.evaluation.report.exports import write_exports
from vlcls.evaluation.report.pages import write_report
from vlcls.evaluation.report.run_files import read_results
from vlcls.evaluation.report.run_schemas import DiscoveryOf
from vlcls.evaluation.report.section_rows import columns_of
from vlcls.evaluation.run import cell_files, harness
from vlcls.evaluation.run.naming import naming_key

DOUBT = Metric(
    "doubt", lambda found: 1 - float(found.confidence.mean()), "mean doubt",
    "One less the mean confidence.", better="lower", scale=1, digits=4, clip_benchmark="doubt_there",
)  # fmt: skip
SHAPE = Shape({"photo": (40, 0.0)}, dict(list(METHODS.items())[:2]), ("conse",), CLASSES)
BETTER = replace(SHAPE, methods={name: (*about[:3], 4.0) for name, about in SHAPE.methods.items()})


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], None]]:
    """Registers metrics and sections for the time of a test."""
    added: list[Any] = []

    def register(entry: Any) -> None:
        registry: Any = METRICS if isinstance(entry, Metric) else SECTIONS
        registry.register(entry)
        added.append((registry, entry.name))

    yield register
    for registry, name in added:
        del registry._parts[name]


@pytest.fixture
def data(tmp_path: Path, picture: Callable[..., Any]) -> Path:
    for number in range(6):
        folder = tmp_path / "data" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / f"{number}.png")
    return tmp_path / "data"


def test_a_metric_is_in_all_that_is_written(registered: Any, tmp_path: Path):
    registered(DOUBT)
    results = write_run(tmp_path / "a", SHAPE)
    write_report(results, tmp_path / "a")
    write_exports(results, tmp_path / "a")
    found = [cell["metrics"]["doubt"] for cell in read_results(tmp_path / "a")["cells"]]
    assert all(0 < each["low"] <= each["value"] <= each["high"] < 1 for each in found)
    told = [f"{each['value']:.4f} [{each['low']:.4f}, {each['high']:.4f}]" for each in found]
    for name in ("report.html", "report.md"):
        text = (tmp_path / "a" / name).read_text().replace("\\", "")
        assert "mean doubt" in text and all(figure in text for figure in told)
    rows = list(csv.DictReader((tmp_path / "a" / "summary.csv").open()))
    assert [[float(row[f"doubt{end}"]) for end in ("", "_low", "_high")] for row in rows] == [
        list(each.values()) for each in found
    ]
    there = json.loads((tmp_path / "a" / "clip_benchmark.json").read_text())
    assert [each["metrics"]["doubt_there"] for each in there] == [each["value"] for each in found]
    assert "doubt_there" in (tmp_path / "a" / "clip_benchmark.csv").read_text().splitlines()[0].split(",")


def test_intervals_end_where_the_figure_does(registered: Any):
    registered(Metric("hits", lambda found: float(found.right.mean()), "hits", "Right ones."))
    found = measure([[1.0, 0], [1, 0], [1, 0], [1, 0], [1, 0]], [1, 1, 1, 1, 0], resamples=200).hits
    assert found.value == 0.2 and found.low == 0
    found = measure([[1.0, 0], [1, 0], [1, 0], [1, 0], [1, 0]], [0, 0, 0, 0, 1], resamples=200)
    assert found.hits.high == 1 == mean_over_seeds([found, found]).hits.high


def test_a_metric_is_compared(registered: Any, tmp_path: Path):
    registered(DOUBT)
    runs = [write_run(tmp_path / name, shape) for name, shape in (("a", SHAPE), ("b", BETTER))]
    ends = [run["cells"][0]["metrics"]["doubt"]["value"] for run in runs]
    shown = CliRunner().invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b")], color=False)
    assert "mean doubt" in shown.stdout and f"{ends[0]:.4f} to {ends[1]:.4f}" in shown.stdout
    as_json = CliRunner().invoke(
        app, ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--format", "json"]
    )
    assert json.loads(as_json.stdout)["cells"][0]["figures"]["doubt"] == ends
    same = CliRunner().invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "a")])
    assert "mean doubt" not in same.stdout


def test_what_is_better_is_green(registered: Any, tmp_path: Path):
    registered(DOUBT)
    registered(replace(DOUBT, name="doubted", better="higher", clip_benchmark=None))
    for name, shape in (("a", SHAPE), ("b", BETTER)):
        write_run(tmp_path / name, shape)
    console = Console(
        record=True, width=400, file=io.StringIO(), color_system="standard", force_terminal=True
    )
    found = compare_runs(tmp_path / "a", tmp_path / "b")
    _other_figures(console, found)
    before, after = found.cells[0].figures["doubt"]
    assert before > after
    told = f"{before:.4f} to {after:.4f}"
    text = console.export_text(styles=True)
    assert text.index(f"\x1b[32m{told}") < text.index(f"\x1b[31m{told}")


def test_metrics_of_several_classes_and_of_found_names(registered: Any, tmp_path: Path):
    registered(Metric("labels", lambda found: float(found.labels.mean()), "labels", "-", of=MultiLabel))
    assert measure_multi_label([[1.0, 0.0], [0.0, 1.0]], [[1, 1], [0, 1]], resamples=5).labels.value == 0.75
    assert "labels" not in measure([[1.0, 0.0]], [0], resamples=5).figures
    registered(Metric("long", lambda found: len(found.predicted[0]) / 9, "long names", "-", of=FoundNames))
    row = {
        "set": "photo", "encoder": "conse", "method": "name", "images": 3, "fallbacks": 0,
        "names": [["a", 3]],
        **{metric.name: 0.5 for metric in METRICS.values() if metric.of is FoundNames},
        "predictions": "predictions/a.parquet",
    }  # fmt: skip
    results = write_run(tmp_path, SMALL, discoveries=[row | {"long": 0.123}])
    assert read_results(tmp_path)["discoveries"][0]["long"] == 0.123
    write_report(results, tmp_path)
    assert "long names" in (tmp_path / "report.md").read_text()
    assert "12.3" in (tmp_path / "report.md").read_text()
    for wrong in (1.5, "0.5", None):
        write_run(tmp_path, SMALL, discoveries=[row | {"long": wrong}])
        with pytest.raises(EvaluationError, match="long"):
            read_results(tmp_path)


def test_results_are_read_whatever_metrics_there_are(registered: Any, tmp_path: Path):
    """Those of before a metric was added, and those of somebody who has more."""
    old = write_run(tmp_path / "old", SHAPE)
    registered(DOUBT)
    new = write_run(tmp_path / "new", SHAPE)
    found = compare_runs(tmp_path / "old", tmp_path / "new").cells[0].figures
    assert "doubt" not in found and found["ece"][0] == found["ece"][1]
    write_report(old, tmp_path / "old")
    write_exports(old, tmp_path / "old")
    del METRICS._parts["doubt"]
    assert read_results(tmp_path / "new") == json.loads(json.dumps(new))
    METRICS.register(DOUBT)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top1", None), ("top1", ...), ("ece", ...), ("top1", {"value": 0.5, "low": -1.0, "high": 1.0}),
        ("mce", {"value": 2.0, "low": 0.0, "high": 2.0}), ("nll", 0.5), ("doubt", "much"), ("doubt", 3),
        ("doubt", {"value": 0.1, "low": 0.3, "high": 0.2}), ("doubt", {"value": 0.1, "low": 0.1}),
    ],
)  # fmt: skip
def test_figures_that_cannot_be_are_named(name: str, value: Any, tmp_path: Path):
    results = write_run(tmp_path, SMALL)
    metrics = results["cells"][0]["metrics"]
    metrics[name] = value
    if value is ...:
        del metrics[name]
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(EvaluationError, match=name):
        read_results(tmp_path)


def test_no_name_is_taken_twice(registered: Any):
    for name in ("top1", "doubt"):
        entry = Metric(name, DOUBT.figure, "x", "-")
        if name == "doubt":
            registered(DOUBT)
        with pytest.raises(VlclsError, match=f"metric called '{name}' already"):
            METRICS.register(entry)
    with pytest.raises(VlclsError, match="section of a report called 'run' already"):
        SECTIONS.register(SectionEntry("run", "x", lambda run: None))


@pytest.mark.parametrize("name", ["images", "figures", "set", "names", "top 3", "", "Top3", "../x"])
def test_names_that_stand_for_something_else_are_no_metrics(name: str):
    with pytest.raises(EvaluationError, match="a metric cannot be called"):
        Metric(name, DOUBT.figure, "x", "-")


def test_all_that_stands_beside_metrics_is_no_name_of_one(tmp_path: Path):
    results = write_run(tmp_path, SMALL)
    write_exports(results, tmp_path)
    columns = next(csv.reader((tmp_path / "summary.csv").open()))
    fields = {*columns, *results["cells"][0]["metrics"], *DiscoveryOf.model_fields}
    ends = {f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")}
    assert fields - ends <= set(entries._TAKEN)


def test_every_metric_is_documented():
    text = (Path(vlcls.__file__).parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    for each in METRICS.values():
        interval = "" if each.of is FoundNames else f"`{each.interval.__name__}`"
        assert f"| `{each.name}` | {each.title} | {each.better} | {interval} | {each.about} |\n" in text


def test_the_first_of_each_kind_is_the_main_one():
    mains = {metric.of: metric.name for metric in reversed(list(METRICS.values()))}
    assert mains == {
        Outcomes: "top1", MultiLabel: "mean_average_precision", FoundNames: "cluster_accuracy",
    }  # fmt: skip


def test_a_section_is_in_the_report(registered: Any, tmp_path: Path):
    def weather(run: Any) -> Any:
        rows = [[name, "sunny"] for name in run.results["sets"]]
        return "As it was on the day.", [Table("By set", columns_of("set", "weather"), rows)]

    registered(SectionEntry("weather", "What the weather was", weather))
    registered(SectionEntry("empty", "Nothing to say", lambda run: ("", [])))
    results = write_run(tmp_path, SMALL)
    page, text = write_report(results, tmp_path).read_text(), (tmp_path / "report.md").read_text()
    assert '<section id="weather">' in page and "## What the weather was" in text and "sunny" in text
    assert page.index("What the weather was</h2>") < page.index("What was run</h2>")
    assert "Nothing to say" not in page


def test_a_cell_of_before_a_metric_or_field_was_there_is_evaluated_again(
    registered: Any, data: Path, clip: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[str] = []
    run_cell = harness.run_cell
    monkeypatch.setattr(
        harness, "run_cell", lambda cell, *rest: (made.append(cell.name), run_cell(cell, *rest))[1]
    )

    def evaluated() -> dict[str, Any]:
        found = vlcls.evaluate(data, "photo", clip, tmp_path / "run", cache=tmp_path / "cache")
        return found["cells"][0]["metrics"]

    first = evaluated()
    assert evaluated() == first and len(made) == 3  # two are controls
    registered(DOUBT)
    metrics = evaluated()
    assert len(made) == 6 and metrics == first | {"doubt": metrics["doubt"]}
    assert f"{metrics['doubt']['value']:.4f}" in (tmp_path / "run" / "report.md").read_text()
    # A field that earlier results may lack, and no new ones.
    wider = create_model("Wider", __base__=cell_files.StoredCell, weather=(str, ""))
    monkeypatch.setattr(cell_files, "StoredCell", wider)
    assert evaluated() == metrics and len(made) == 9


def test_found_names_are_kept_by_their_fields_too(registered: Any):
    given: Any = SimpleNamespace(name="a", content="b", fingerprint="c", precision="d", spec="e", options={})
    before = naming_key(given, given, given)
    assert naming_key(given, given, given) == before
    registered(DOUBT)
    assert naming_key(given, given, given) != before
