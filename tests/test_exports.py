"""Results in CLIP_benchmark's shape, against what its code makes and reads; and the table of all cells."""

import csv
import json

import numpy as np
import pytest
from evaluation_runs import METHODS, SMALL, WHOLE, Shape, multi_label_cell, write_run
from sklearn.metrics import average_precision_score, balanced_accuracy_score

from vlcls.evaluation import measure_multi_label
from vlcls.evaluation.report.exports import clip_benchmark_record, write_exports
from vlcls.evaluation.report.run_files import read_predictions

#: What `clip_benchmark eval` writes for a model and a set (clip_benchmark/cli.py, run).
KEYS = ["dataset", "model", "pretrained", "task", "metrics", "language"]
METRICS = ["acc1", "acc5", "mean_per_class_recall"]


def built(paths):
    """Rows as `clip_benchmark build` makes them of files (clip_benchmark/cli.py, main_build)."""
    rows = []
    for path in paths:
        data = json.loads(path.read_text())
        row = {**data["metrics"], **data}
        del row["metrics"]
        row["model_fullname"] = row["model"] + " " + row["pretrained"]
        rows.append({key: "" if value is None else str(value) for key, value in row.items()})
    return rows


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def by_name(rows):
    return sorted(rows, key=lambda row: (row["dataset"], row["model_fullname"]))


def test_each_cell_has_its_keys_and_its_build_command_gives_our_csv(tmp_path):
    results = write_run(tmp_path, WHOLE)
    write_exports(results, tmp_path)
    files = sorted((tmp_path / "clip_benchmark").glob("*.json"))
    assert len(files) == len(results["cells"]) == 42
    for path in files:
        data = json.loads(path.read_text())
        assert list(data) == KEYS and list(data["metrics"]) == METRICS
        assert data["task"] == "zeroshot_classification" and data["language"] == "en"
    rows = read(tmp_path / "clip_benchmark.csv")
    assert by_name(rows) == by_name(built(files))
    assert list(rows[0]) == [*METRICS, *KEYS[:4], "language", "model_fullname"]
    # As a table of sets by models, nothing falls on anything else.
    assert len({(row["dataset"], row["model_fullname"]) for row in rows}) == 42
    assert json.loads((tmp_path / "clip_benchmark.json").read_text()) == [
        clip_benchmark_record(results, cell) for cell in results["cells"]
    ]


def test_figures_are_those_of_its_code(tmp_path):
    results = write_run(tmp_path, SMALL)
    for cell in results["cells"]:
        metrics = clip_benchmark_record(results, cell)["metrics"]
        found = read_predictions(tmp_path, cell)
        given = found.predicted[0]
        assert metrics["acc1"] == pytest.approx((given == found.truth).mean(), abs=1e-12)
        assert metrics["mean_per_class_recall"] == pytest.approx(balanced_accuracy_score(found.truth, given))
        assert metrics["acc1"] <= metrics["acc5"] <= 1


@pytest.mark.parametrize(("classes", "acc5"), [(4, None), (5, 1.0)])
def test_of_few_classes_top_5_is_as_it_has_it(tmp_path, classes, acc5):
    names = tuple("abcde"[:classes])
    results = write_run(tmp_path, Shape({"photo": (20, 0)}, {"name": METHODS["name"]}, ("conse",), names))
    assert clip_benchmark_record(results, results["cells"][0])["metrics"]["acc5"] == acc5


def test_multi_label_sets_count_classes_without_images_as_it_does(tmp_path):
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 2, (40, 6)), rng.normal(size=(40, 6))
    truth[:, 2] = 0
    cell = multi_label_cell() | {"metrics": measure_multi_label(scores, truth, resamples=10).to_json()}
    results = write_run(tmp_path, SMALL, cells=[cell])
    metrics = clip_benchmark_record(results, cell)["metrics"]
    # average_precision_per_class: 0 for a class without images, then the mean over all.
    ours = [average_precision_score(truth[:, c], scores[:, c]) if c != 2 else 0.0 for c in range(6)]
    assert metrics == {"mean_average_precision": pytest.approx(np.mean(ours))}
    write_exports(results, tmp_path)
    assert next(iter(read(tmp_path / "clip_benchmark.csv")[0])) == "mean_average_precision"
    assert read(tmp_path / "summary.csv")[0]["top1"] == ""


@pytest.mark.parametrize(
    ("encoder", "model", "pretrained"),
    [
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "ViT-B-32", "laion2b_s34b_b79k [name]"),
        ("open_clip:ViT-B-32//models/a.pt", "ViT-B-32", "/models/a.pt [name]"),
        ("open_clip:hf-hub:org/name", "hf-hub:org/name", "[name]"),
        ("conse", "conse", "[name]"),
        ("transformers:org/name", "transformers:org/name", "[name]"),
    ],
)
def test_models_are_named_as_it_names_them(encoder, model, pretrained):
    cell = multi_label_cell() | {"encoder": encoder, "method": "name"}
    record = clip_benchmark_record({}, cell)
    assert (record["model"], record["pretrained"]) == (model, pretrained)


def test_names_of_sets_and_methods_are_no_paths(tmp_path):
    hostile = "../../etc/passwd"
    shape = Shape(
        {hostile: (14, 0), "a": (14, 0), "A": (14, 0)}, {"name": METHODS["name"]}, ("conse",), WHOLE.classes
    )
    results = write_run(tmp_path / "run", shape)
    write_exports(results, tmp_path / "run")
    files = list((tmp_path / "run" / "clip_benchmark").iterdir())
    assert len({path.name.lower() for path in files}) == 3
    assert sorted(json.loads(path.read_text())["dataset"] for path in files) == ["../../etc/passwd", "A", "a"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_summary_has_one_row_a_cell_with_every_figure(tmp_path):
    results = write_run(tmp_path, WHOLE)
    write_exports(results, tmp_path)
    rows = read(tmp_path / "summary.csv")
    assert len(rows) == len(results["cells"])
    gains = {(g["set"], g["encoder"], g["method"]): g["reason"] for g in results["gains"]}
    for row, cell in zip(rows, results["cells"], strict=True):
        key = (row["set"], row["encoder"], row["method"])
        assert key == (cell["set"], cell["encoder"], cell["method"])
        for name in ("top1", "top5", "mean_class_recall", "nll", "brier", "ece", "mce"):
            estimate = cell["metrics"][name]
            assert float(row[name]) == estimate["value"]
            assert float(row[f"{name}_low"]) == estimate["low"]
            assert float(row[f"{name}_high"]) == estimate["high"]
        assert row["gain"] == gains.get(key, "")
        assert row["prompts_sha256"] == cell["prompts_sha256"]
        assert row["reference"] == (METHODS[row["method"]][0] or "")


def test_a_run_without_cells(tmp_path):
    write_exports(write_run(tmp_path, SMALL, cells=[], gains=[]), tmp_path)
    assert json.loads((tmp_path / "clip_benchmark.json").read_text()) == []
    assert (tmp_path / "summary.csv").read_text().strip() == ""


def test_no_cell_runs_in_a_spreadsheet_and_names_come_back(tmp_path):
    from vlcls.labels import as_labels
    from vlcls.llm.contrast import read_siblings

    names = ("=1+1", "-cat", "@dog", "+fox", "'owl", '=HYPERLINK("http://x")', "plain")
    shape = Shape({"=cmd": (70, 1.5)}, {"name": METHODS["name"]}, ("conse",), names)
    write_exports(write_run(tmp_path, shape), tmp_path)
    for path in tmp_path.glob("*.csv"):
        for row in read(path):
            assert not [cell for cell in row.values() if cell[:1] in ("=", "+", "-", "@")], path.name
    siblings = read_siblings(str(tmp_path / "confusions.csv"), as_labels(list(names)))
    assert {names[place] for place in siblings} >= {"=1+1", "-cat"}
