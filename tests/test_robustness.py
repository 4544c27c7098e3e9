"""Shifts, groups and corruptions: the worked examples of their definitions, and what must be refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from vlcls.binomial import interval
from vlcls.errors import EvaluationError, VlclsWarning
from vlcls.evaluation import (
    Drop,
    corruption_errors,
    effective_robustness,
    fit_logits,
    mean_corruption_error,
    normalised_errors,
    over_groups,
    read_fit,
    relative_mean_corruption_error,
)
from vlcls.evaluation.metrics.corruptions import ALEXNET, ALEXNET_CLEAN

POINTS = [(0.60, 0.45), (0.70, 0.56), (0.80, 0.69)]
PUBLISHED = Path(__file__).parent.parent / "benchmarks" / "robustness" / "clip-models.csv"


def test_drops_by_hand():
    drop = Drop(0.76, 0.61)
    assert [round(x, 4) for x in (drop.absolute, drop.relative, drop.retention)] == [0.1500, 0.1974, 0.8026]
    assert Drop(0.0, 0.1).relative is Drop(0.0, 0.1).retention is None
    assert json.loads(json.dumps(drop.to_json()))["before"] == 0.76


def test_effective_robustness_by_hand():
    fit = fit_logits(POINTS, "three models")
    assert (round(fit.slope, 4), round(fit.intercept, 4)) == (1.0210, -0.6179)
    assert round(fit.expected(0.75), 4) == 0.6233
    found = effective_robustness(fit, 0.75, 0.70)
    assert round(found.value.value, 4) == 0.0767 and found.inside and found.source == "three models"
    assert found.value.low <= found.value.value <= found.value.high
    # On plain axes it would be another: the logit matters.
    slope, intercept = np.polyfit(*zip(*POINTS, strict=True), 1)
    assert round(slope * 0.75 + intercept, 4) == 0.6267
    json.dumps(found.to_json())


def test_the_line_is_the_least_squares_of_numpy():
    rng = np.random.default_rng(0)
    points = rng.uniform(0.1, 0.9, (20, 2))
    x, y = np.log(points / (1 - points)).T
    slope, intercept = np.polyfit(x, y, 1)
    fit = fit_logits(points)
    assert (fit.slope, fit.intercept) == pytest.approx((slope, intercept))
    # The bootstrap, by a slow loop of its own.
    lines = []
    for _ in range(2000):
        rows = rng.integers(20, size=20)
        lines.append(np.polyval(np.polyfit(x[rows], y[rows], 1), 0.0))
    expected = np.percentile(0.6 - 1 / (1 + np.exp(-np.array(lines))), [2.5, 97.5])
    found = effective_robustness(fit, 0.5, 0.6, resamples=5000).value
    assert [found.low, found.high] == pytest.approx(expected, abs=0.01)


def test_outside_the_fit_and_at_the_ends():
    fit = fit_logits(POINTS)
    with pytest.warns(VlclsWarning, match=r"0.9000 is outside the fit set's 0.6000..0.8000"):
        assert not effective_robustness(fit, 0.9, 0.8).inside
    whole = fit_logits([(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])  # clipped, not infinite
    assert whole.slope == pytest.approx(1) and whole.expected(1.0) == pytest.approx(1, abs=1e-3)


@pytest.mark.filterwarnings("error")
def test_the_ends_of_the_fit_are_inside():
    fit = fit_logits(POINTS)
    assert effective_robustness(fit, 0.6, 0.5).inside and effective_robustness(fit, 0.8, 0.7).inside


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([(60, 45), (70, 56)], "not per cent"),
        ([(0.5, 0.4)], "two different accuracies, not 1"),
        ([(0.5, 0.4), (0.5, 0.6)], "two different accuracies"),
    ],
)
def test_no_line(points, message):
    with pytest.raises(EvaluationError, match=message):
        fit_logits(points)


def test_published_figures_say_what_they_are():
    fit = read_fit(PUBLISHED, "imagenet", "imagenet-v2")
    assert len(fit.points) == 6 and fit.points[0] == (0.5982, 0.5284) and "NOT the" in fit.source
    assert 0.8 < fit.slope < 1.2 and fit.range == (0.5982, 0.7656)
    assert fit.expected(0.6834) == pytest.approx(0.6188, abs=0.02)


def test_a_fit_file(tmp_path):
    path = tmp_path / "fit.csv"
    path.write_text("# note\nmodel,a,b\nx,.5,.4\n\n# more\ny,.6,\nz,.7,.6\n")
    fit = read_fit(path, "a", "b")
    assert fit.points == ((0.5, 0.4), (0.7, 0.6)) and fit.source == "note more"
    with pytest.raises(EvaluationError, match="no column 'c'; there are model, a, b"):
        read_fit(path, "a", "c")
    path.write_text("model,a,b\n\nx,.5,.4\ny,61,.5\n")
    with pytest.raises(EvaluationError, match=r"fit.csv, line 4: '61' is no accuracy"):
        read_fit(path, "a", "b")
    path.write_text("model,a,b\nx,.5,good\n")
    with pytest.raises(EvaluationError, match="line 2: 'good'"):
        read_fit(path, "a", "b")


# ---- groups --------------------------------------------------------------------------------------------

COUNTS = {"a": (90, 100), "b": (30, 50), "c": (10, 20), "d": (27, 30)}


def waterbirds():
    right = [row < hit for hit, count in COUNTS.values() for row in range(count)]
    return right, [name for name, (_, count) in COUNTS.items() for _ in range(count)]


def test_groups_by_hand():
    right, groups = waterbirds()
    found = over_groups(right, groups, shares={"a": 0.73, "b": 0.04, "c": 0.01, "d": 0.22})
    assert [round(group.accuracy.value, 2) for group in found.groups] == [0.90, 0.60, 0.50, 0.90]
    assert found.worst.name == "c" and found.worst.accuracy.value == 0.5
    figures = [found.average, found.mean, found.reweighted, found.gap]
    assert [round(value, 4) for value in figures] == [0.7850, 0.7250, 0.8840, 0.2850]
    assert (found.worst.accuracy.low, found.worst.accuracy.high) == interval(10, 20)
    json.dumps(found.to_json(), allow_nan=False)
    in_counts = over_groups(right, groups, shares={"a": 730, "b": 40, "c": 10, "d": 220})
    assert in_counts.reweighted == pytest.approx(found.reweighted)


def test_an_empty_group_is_unknown_and_not_0():
    right, groups = waterbirds()
    shares = {"a": 0.5, "e": 0.5, "b": 0, "c": 0, "d": 0}
    found = over_groups(right, groups, names="abcde", shares=shares)
    assert found.groups[4].accuracy is None and found.empty == ("e",) and found.worst.name == "c"
    assert found.mean == pytest.approx(0.725) and found.reweighted is None
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["groups"][4]["accuracy"] is None
    assert over_groups(right, groups, names="abcde", shares=shares | {"e": 0}).reweighted == 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": "abc"}, "group 'd' is not among"),
        ({"shares": {"x": 1}}, "group 'x' is not among"),
        ({"shares": {"a": 1}}, "no share is given for group 'b'"),
        ({"shares": {"a": 0, "b": 0, "c": 0, "d": 0}}, "not all 0"),
    ],
)
def test_bad_groups(options, message):
    with pytest.raises(EvaluationError, match=message):
        over_groups(*waterbirds(), **options)
    with pytest.raises(EvaluationError, match="groups of 1 images"):
        over_groups([True, False], ["a"])


# ---- corruptions ---------------------------------------------------------------------------------------

TWO = {"gaussian_noise": [0.3, 0.4, 0.5, 0.6, 0.7], "brightness": [0.20, 0.25, 0.30, 0.35, 0.40]}


def test_corruption_errors_by_hand():
    found = normalised_errors(TWO, ALEXNET, "AlexNet")
    assert {name: round(value, 2) for name, value in found.errors.items()} == {
        "gaussian_noise": 56.41,
        "brightness": 53.14,
    }
    assert round(found.mean, 2) == 54.77 and "mCE" not in found.name
    plain = corruption_errors(TWO)
    assert round(plain.mean, 2) == 40.00 and plain.baseline is None and "unnormalised" in plain.name
    assert round(math.fsum(ALEXNET.values()) / 15, 4) == 0.7890 and len(ALEXNET) == 15


def test_mce_of_alexnet_is_100():
    errors = {name: [value] * 5 for name, value in reversed(ALEXNET.items())} | {"spatter": [0.5] * 5}
    found = mean_corruption_error(errors, dataset="ImageNet-C")
    assert found.mean == pytest.approx(100) and found.name == "mCE" and "spatter" not in found.errors
    relative = relative_mean_corruption_error(errors, ALEXNET_CLEAN, dataset="imagenet_c")
    assert relative.mean == pytest.approx(100) and relative.name == "relative mCE"
    half = {name: [value / 2] * 5 for name, value in ALEXNET.items()}
    assert mean_corruption_error(half, dataset="imagenet-c").mean == pytest.approx(50)
    slow = np.mean([(v / 2 - 0.2) / (v - ALEXNET_CLEAN) for v in ALEXNET.values()])
    assert relative_mean_corruption_error(half, 0.2, dataset="imagenet-c").mean == pytest.approx(100 * slow)
    json.dumps(found.to_json())


def relative(errors, dataset):
    return relative_mean_corruption_error(errors, 0.2, dataset=dataset)


@pytest.mark.parametrize("function", [mean_corruption_error, relative])
def test_nothing_else_is_called_mce(function):
    whole = {name: [0.5] * 5 for name in ALEXNET}
    with pytest.raises(EvaluationError, match="not on 'pacs'"):
        function(whole, dataset="pacs")
    with pytest.raises(EvaluationError, match=r"shot_noise, .* missing: use corruption_errors"):
        function(TWO, dataset="imagenet-c")
    with pytest.raises(EvaluationError, match="not 3 of fog"):
        function(whole | {"fog": [0.5] * 3}, dataset="imagenet-c")


def test_bad_errors():
    for errors, message in (
        ({}, "no corruptions"),
        ({"fog": []}, "fog: errors"),
        ({"fog": [40]}, "parts of 1"),
    ):
        with pytest.raises(EvaluationError, match=message):
            corruption_errors(errors)
    with pytest.raises(EvaluationError, match="spatter: mine has no error"):
        normalised_errors({"spatter": [0.5]}, {"fog": 0.4}, "mine")


# ---- seeds ---------------------------------------------------------------------------------------------


def seeded(seeds=7, spread=0.2):
    """bool[S, 60] of draws that differ, and the groups of the images."""
    rng = np.random.default_rng(0)
    levels = 0.6 + spread * rng.standard_normal(seeds)
    return rng.random((seeds, 60)) < levels[:, None], ["a", "b", "c"] * 20


def test_groups_are_over_all_seeds_by_hand():
    right, groups = seeded()
    found = over_groups(right, groups)
    means = {name: right[:, [g == name for g in groups]].mean() for name in "abc"}
    for group in found.groups:
        assert group.right / group.images == pytest.approx(means[group.name])
        assert group.accuracy.value == pytest.approx(means[group.name])
    worst = min(means, key=means.get)
    assert found.worst.name == worst
    assert found.average == pytest.approx(right.mean())
    assert found.gap == pytest.approx(right.mean() - means[worst])
    assert found.intervals["average"].value == pytest.approx(right.mean())
    assert found.intervals["gap"].value == found.gap


def test_intervals_of_groups_have_the_spread_of_seeds_in_them():
    right, groups = seeded()
    found = over_groups(right, groups)
    own = right[:, [g == "a" for g in groups]].mean(1)
    ends = [(x, *interval(round(20 * x), 20)) for x in own]
    over_images = np.mean([[x - low, high - x] for x, low, high in ends], 0)
    seeds = t.ppf(0.975, 6) * own.std(ddof=1) / math.sqrt(7)
    wanted = own.mean() - math.hypot(over_images[0], seeds), own.mean() + math.hypot(over_images[1], seeds)
    shown = found.groups[0].accuracy
    assert (shown.low, shown.high) == pytest.approx((max(wanted[0], 0), min(wanted[1], 1)))
    # Seven runs that are all alike are one run.
    alike = over_groups(np.stack([right[0]] * 7), groups)
    once = over_groups(right[0], groups)
    assert [g.accuracy for g in alike.groups] == [g.accuracy for g in once.groups]
    assert [vars(alike.intervals[n]) == pytest.approx(vars(once.intervals[n])) for n in ("average", "gap")]
    # And with more spread between seeds all intervals are wider.
    for name in ("average", "gap"):
        one = alike.intervals[name]
        assert found.intervals[name].high - found.intervals[name].low > one.high - one.low


def test_the_gap_of_one_group_is_exactly_0():
    found = over_groups([True, False, True], ["a"] * 3).intervals["gap"]
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_accuracies_of_groups_stay_parts_of_one():
    found = over_groups([[True] * 4, [False] * 4], ["a"] * 4).groups[0].accuracy
    assert (found.value, found.low, found.high) == (0.5, 0, 1)
