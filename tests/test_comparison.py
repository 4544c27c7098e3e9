"""`compare_runs` and `vlcls compare`: what changed between two runs."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from evaluation_runs import CLASSES, METHODS, SMALL, Shape, multi_label_cell, write_run
from pyarrow import parquet
from scipy.stats import binomtest
from typer.testing import CliRunner

from vlcls.cli import app
from vlcls.errors import EvaluationError
from vlcls.evaluation.report.comparison import compare_runs
from vlcls.evaluation.report.run_files import read_predictions

ONE = Shape({"photo": (60, 0.6)}, {"name": METHODS["name"]}, ("conse",), CLASSES)
BETTER = replace(ONE, methods={"name": ("one prompt", False, 1, 4.0)})


@pytest.fixture
def runs(tmp_path):
    def write(before=ONE, after=BETTER, **changes):
        write_run(tmp_path / "a", before)
        write_run(tmp_path / "b", after, **changes)
        return tmp_path / "a", tmp_path / "b"

    return write


def rows_of(folder):
    results = json.loads((folder / "results.json").read_text())
    return read_predictions(folder, results["cells"][0])


def rewritten(folder, change):
    """Change the table of a run's first cell."""
    results = json.loads((folder / "results.json").read_text())
    path = folder / results["cells"][0]["predictions"]
    parquet.write_table(change(parquet.read_table(path)), path)


def test_flips_and_their_test_by_hand(runs):
    a, b = runs()
    (cell,) = compare_runs(a, b).cells
    before, after = rows_of(a), rows_of(b)
    old, new, truth = before.predicted[0], after.predicted[0], before.truth
    gained = int(((old != truth) & (new == truth)).sum())
    lost = int(((old == truth) & (new != truth)).sum())
    assert gained > 5
    assert cell.counts == {
        "gained": gained,
        "lost": lost,
        "still wrong": int(((old != new) & (old != truth) & (new != truth)).sum()),
    }
    assert (cell.before, cell.after) == ((old == truth).mean(), (new == truth).mean())
    assert cell.difference.p_value == pytest.approx(binomtest(lost, lost + gained).pvalue)
    assert cell.difference.difference.value == pytest.approx((gained - lost) / 60)
    for flip in cell.flips:
        row = before.images.index(flip.image)
        assert (flip.truth, flip.before, flip.after) == tuple(CLASSES[c[row]] for c in (truth, old, new))
        assert flip.direction == (
            "gained" if new[row] == truth[row] else "lost" if old[row] == truth[row] else "still wrong"
        )


def test_the_same_run_twice(runs):
    a, _ = runs()
    found = compare_runs(a, a)
    assert [cell.unchanged for cell in found.cells] == [True]
    assert not list(found.flips) and not found.changes and not found.notes
    assert found.cells[0].difference.p_value == 1


def test_images_are_paired_by_name_whatever_their_order(runs):
    a, b = runs()
    expected = compare_runs(a, b)
    order = np.random.default_rng(0).permutation(60)
    rewritten(b, lambda table: table.take(order))
    assert compare_runs(a, b).to_json() == expected.to_json()


def test_images_of_the_same_name_are_told_apart_by_their_order(runs):
    a, b = runs()
    expected = compare_runs(a, b).to_json()["cells"][0]["flips"]
    for folder in (a, b):
        rewritten(folder, lambda t: t.set_column(t.column_names.index("image"), "image", [["same.jpg"] * 60]))
    assert compare_runs(a, b).to_json()["cells"][0]["flips"] == expected


def test_holm_over_all_cells(runs):
    before = replace(
        ONE, sets={"photo": (60, 0.6), "sketch": (60, 1.2)}, methods=dict(list(METHODS.items())[:2])
    )
    after = replace(
        before, methods={"name": ("one prompt", False, 1, 4.0), "ensemble": (None, False, 1, 3.2)}
    )
    a, b = runs(before, after)
    cells = compare_runs(a, b).cells
    raw = sorted((cell.difference.p_value, n) for n, cell in enumerate(cells))
    largest = 0.0
    for rank, (p_value, n) in enumerate(raw):
        largest = max(largest, min(1, p_value * (len(raw) - rank)))
        assert cells[n].difference.adjusted == pytest.approx(largest)
    assert len(cells) == 4


def test_seeds_are_paired(runs):
    shape = replace(ONE, methods={"waffle": ("one prompt", False, 3, 2.5)})
    a, b = runs(shape, replace(shape, methods={"waffle": ("one prompt", False, 2, 3.5)}))
    (cell,) = compare_runs(a, b).cells
    assert cell.shared_seeds == 2 and {flip.seed for flip in cell.flips} == {0, 1}
    assert (cell.difference.reference_seeds, cell.difference.seeds) == (3, 2)
    before, after = rows_of(a), rows_of(b)
    assert len(cell.flips) == int((before.predicted[:2] != after.predicted).sum())


def test_only_shared_images_are_compared_and_it_says_so(runs):
    a, b = runs(after=replace(BETTER, sets={"photo": (45, 0.6)}), limit=45)
    found = compare_runs(a, b)
    (cell,) = found.cells
    assert (cell.images, cell.only_before, cell.only_after) == (45, 15, 0)
    assert "only the 45 images that both runs have" in found.notes[0] and "15" in found.notes[0]
    before = rows_of(a)
    assert cell.before == before.right[0][:45].mean()
    assert ("limit", None, 45) in [(c.what, c.before, c.after) for c in found.changes]


def test_other_images_are_refused(runs):
    a, b = runs(after=replace(BETTER, prefix="other"))
    with pytest.raises(EvaluationError, match=r"no image is in both .*evaluate the same data"):
        compare_runs(a, b)


def test_other_contents_under_the_same_names_are_refused(runs):
    a, b = runs()
    results = json.loads((b / "results.json").read_text())
    results["sets"]["photo"]["content_sha256"] = "f" * 64
    (b / "results.json").write_text(json.dumps(results))
    with pytest.raises(EvaluationError, match=r"same names, but other contents .*ffffffffffff"):
        compare_runs(a, b)


def test_other_true_classes_are_refused(runs):
    a, b = runs()
    rewritten(b, lambda t: t.set_column(t.column_names.index("true"), "true", [[*range(6), 0] + [0] * 53]))
    with pytest.raises(EvaluationError, match=r"is 'person' in the one and 'dog' in the other \(\d+ of 60"):
        compare_runs(a, b)


def test_classes_in_another_order_are_the_same_classes(runs):
    a, b = runs()
    expected = compare_runs(a, b).to_json()["cells"]
    order = [3, 0, 6, 1, 2, 5, 4]  # class i is now in place order[i]
    results = json.loads((b / "results.json").read_text())
    results["sets"]["photo"]["classes"] = [CLASSES[order.index(place)] for place in range(7)]
    (b / "results.json").write_text(json.dumps(results))

    def moved(table):
        for name in ("true", "predicted"):
            column = [[order[c] for c in table[name].to_pylist()]]
            table = table.set_column(table.column_names.index(name), name, column)
        return table

    rewritten(b, moved)
    found = compare_runs(a, b)
    assert found.to_json()["cells"] == expected
    (change,) = found.changes
    assert change.what == "set photo: classes" and "order" in change.after


def test_classes_that_only_one_run_has_are_named(runs):
    a, b = runs()
    results = json.loads((b / "results.json").read_text())
    results["sets"]["photo"]["classes"] += [f"new {number}" for number in range(8)]
    (b / "results.json").write_text(json.dumps(results))
    (change,) = compare_runs(a, b).changes
    assert change.before == "in this order"
    assert change.after == "new 0, new 1, new 2, new 3, new 4 and 3 more"


def test_everything_else_that_differs_is_named(runs):
    a, b = runs()
    results = json.loads((b / "results.json").read_text())
    results["encoders"]["conse"]["fingerprint"] = "changed"
    results["versions"]["torch"] = "3.0"
    results["cells"][0]["prompts_sha256"] = "1" * 64
    results["sets"]["photo"]["unreadable"] = [{"image": "x", "error": "y"}]
    (b / "results.json").write_text(json.dumps(results))
    found = {change.what: change.after for change in compare_runs(a, b).changes}
    assert found == {
        "encoder conse: fingerprint": "changed",
        "versions: torch": "3.0",
        "photo / conse / name: prompts_sha256": "1" * 64,
        "set photo: unreadable": 1,
    }


def test_multi_label_cells_have_figures_and_no_test(runs):
    a, b = runs()
    for folder, value in ((a, 0.5), (b, 0.75)):
        results = json.loads((folder / "results.json").read_text())
        cell = multi_label_cell()
        cell["metrics"]["mean_average_precision"]["value"] = value
        (folder / "results.json").write_text(json.dumps(results | {"cells": [cell]}))
    found = compare_runs(a, b)
    (cell,) = found.cells
    assert (cell.metric, cell.before, cell.after) == ("mean_average_precision", 0.5, 0.75)
    assert cell.difference is None and "no test" in found.notes[0] and not cell.unchanged


def test_cells_of_one_run_only(runs):
    a, b = runs(SMALL, replace(SMALL, methods=dict(list(SMALL.methods.items())[:2])))
    found = compare_runs(a, b)
    assert found.only_before == ("photo / conse / descriptors",) and not found.only_after
    with pytest.raises(
        EvaluationError, match=r"no cell is in both runs\. .*photo / conse / name, .*photo / conse / cupl"
    ):
        compare_runs(a, write_only(b, "cupl"))


def write_only(folder, method):
    results = json.loads((folder / "results.json").read_text())
    cells = [cell | {"method": method} for cell in results["cells"][:1]]
    (folder / "results.json").write_text(json.dumps(results | {"cells": cells}))
    return folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("{", "not JSON"),
        ("[]", "does not hold results"),
        ('{"format": "vlcls-results", "version": 9}', "version 9"),
    ],
)
def test_folders_that_hold_no_results(tmp_path, text, message):
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(EvaluationError, match=message):
        compare_runs(tmp_path, tmp_path)


def test_missing_and_damaged_predictions_are_named(runs):
    a, b = runs()
    (path,) = (b / "predictions").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(EvaluationError, match=path.name):
        compare_runs(a, b)
    shutil.rmtree(b / "predictions")
    with pytest.raises(EvaluationError, match=path.name):
        compare_runs(a, b)


def test_seeds_of_other_images_are_refused(runs):
    a, b = runs(after=replace(ONE, methods={"name": ("one prompt", False, 2, 2.0)}))
    rewritten(b, lambda table: table.slice(0, table.num_rows - 1))
    with pytest.raises(EvaluationError, match="seed 1 is not of the same images as seed 0"):
        compare_runs(a, b)


def test_on_the_command_line(runs, tmp_path):
    a, b = runs(replace(ONE, prefix="[bold]image"), replace(BETTER, prefix="[bold]image"))
    flips = tmp_path / "flips.jsonl"
    shown = CliRunner().invoke(app, ["compare", str(a), str(b), "--top", "3", "--flips", str(flips)])
    assert shown.exit_code == 0, shown.output
    found = compare_runs(a, b)
    assert "better" in shown.stdout and "photo/[bold]image" in shown.stdout
    assert f"{len(list(found.flips)) - 3} more flips" in shown.stdout
    assert "nothing else differs" in shown.stdout
    assert [json.loads(line) for line in flips.read_text().splitlines()] == [vars(f) for f in found.flips]
    as_json = CliRunner().invoke(app, ["compare", str(a), str(b), "--format", "json"])
    assert json.loads(as_json.stdout) == json.loads(json.dumps(found.to_json()))
    same = CliRunner().invoke(app, ["compare", str(a), str(a)])
    assert "1 of 1 cells are the same" in same.stdout and "0 images flipped" in same.stdout
