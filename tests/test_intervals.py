"""Every interval of the package holds its figure, and is sure of nothing that a few images say."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

import vlcls
from vlcls.bias.effects import worst_group_change
from vlcls.binomial import interval
from vlcls.evaluation import (
    bootstrap_intervals,
    calibration_error,
    compare_predictions,
    effective_robustness,
    fit_logits,
    holm_corrected,
    maximum_calibration_error,
    mean_interval,
    measure,
    measure_multi_label,
    over_groups,
    proportion,
)
from vlcls.evaluation.metrics.calibration import calibration_interval, maximum_calibration_interval
from vlcls.evaluation.metrics.entries import METRICS
from vlcls.evaluation.metrics.intervals import Estimate, apart, no_surer, over_seeds, posterior_means
from vlcls.evaluation.metrics.significance import compare_right

#: Few draws, for there are many images made up.
FEW = {"resamples": 60}
TOP = 1e-12


def measured(right, confidence, groups, rng):
    """All metrics of made-up images: right ones have their class first, by as much as is drawn."""
    truth = np.asarray(groups) % 7
    logits = rng.normal(size=(len(right), 7))
    logits[np.arange(len(right)), np.where(right, truth, (truth + 1) % 7)] = 4 + 30 * confidence
    figures = measure(logits, truth, **FEW).figures
    return [(found, METRICS[name].least, METRICS[name].most) for name, found in figures.items()]


def seeds_of(right, rng):
    return np.stack([right, right ^ (rng.random(len(right)) < 0.1), right])


#: From right [N], confidence [N], groups [N] and a generator to estimates with the least and greatest that
#: the figure can be. By the functions that make an estimate from numbers: a test below holds the list whole.
CASES = {
    "proportion": lambda r, c, g, rng: [(proportion(int(r.sum()), len(r)), 0, 1)],
    "over_seeds": lambda r, c, g, rng: [
        (over_seeds([proportion(int(s.sum()), len(s)) for s in seeds_of(r, rng)]).within(0, 1), 0, 1)
    ],
    "within": lambda r, c, g, rng: [(group.accuracy, 0, 1) for group in over_groups(r, g).groups],
    "around": lambda r, c, g, rng: [
        (mean_interval(c, **FEW), 0, 1),
        (mean_interval(r, **FEW), 0, 1),
        (compare_right(r[None], (c > 0.5)[None], samples=60).difference, -1, 1),
        (compare_right(r[None], seeds_of(r, rng), samples=60).difference, -9, 9),
        (worst_group_change(r, c > 0.5, g), -1, 1),
        (worst_group_change(r, r, g), -1, 1),
        (effective_robustness(fit_logits([(0, 0.1), (1, 0.2 + c[0] / 2)]), 0.5, c[-1], **FEW).value, -1, 1),
    ],
    "apart": lambda r, c, g, rng: [
        (apart(proportion(int(r.sum()), len(r)), proportion(1, 1)), -1, 1),
    ],
    "times": lambda r, c, g, rng: [
        (group.times(0.5), 0, 0.5) for group in [proportion(int(r.sum()), len(r))]
    ],
    "no_surer": measured,
    "calibration_interval": lambda r, c, g, rng: [
        (calibration_interval(c, r, bins, **FEW), 0, 1) for bins in (1, 15)
    ],
    "maximum_calibration_interval": lambda r, c, g, rng: [(maximum_calibration_interval(c, r), 0, 1)],
    "intervals": lambda r, c, g, rng: [
        (found, -1, 1) for found in over_groups(r, [*g[1:], 9]).intervals.values()
    ],
    "_corrected": lambda r, c, g, rng: [
        (each.simultaneous, -1, 1)
        for each in holm_corrected(
            {"m": {str(k): compare_predictions(r, np.roll(c > 0.5, k), r, samples=60) for k in range(3)}}
        )["m"].values()
    ],
    "bootstrap_intervals": lambda r, c, g, rng: [
        (measure_multi_label(c[:, None], np.ones((len(c), 1), int), **FEW).mean_average_precision, 0, 1)
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=12)
@given(st.integers(2, 30), st.sampled_from([0.0, 0.5, 1.0]), st.booleans(), st.integers(0, 1000))
def test_an_interval_holds_its_figure_and_is_never_certain(name, images, part, alike, seed):
    rng = np.random.default_rng(seed)
    right = rng.random(images) < part
    confidence = np.full(images, 0.97) if alike else rng.random(images)
    for number, (found, least, most) in enumerate(
        CASES[name](right, confidence, rng.integers(0, 3, images).tolist(), rng)
    ):
        assert least - TOP <= found.low <= found.value <= found.high <= most + TOP, (name, number, found)
        assert found.high - found.low > 0.01, (name, number, found)


def test_no_estimate_is_made_elsewhere():
    """Who makes an interval another way adds it to the cases above."""
    makers = set()
    for path in Path(vlcls.__file__).parent.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef) and re.search(
                r"(?<![\w.])(Estimate|around)\(", "\n".join(map(ast.unparse, function.body))
            ):
                makers.add(function.name)
    callers = {"effective_robustness", "mean_interval", "worst_group_change", "compare_right"}
    assert makers - callers == CASES.keys()


def test_several_seeds_that_agree_are_as_sure_as_one():
    one = proportion(24, 24)
    assert over_seeds([one] * 3) == one and one.low == pytest.approx(24 / (24 + 1.959964**2))
    found = measure(np.eye(3)[[0, 1, 2] * 8] * 100, [0, 1, 2] * 8)
    assert over_seeds([found.mean_class_recall] * 3).low <= one.low + 1e-9
    # And as unsure as one where they agree in the figure alone.
    apart_by_bins = over_seeds([found.ece, type(found.ece)(found.ece.value, 0.0, 0.5)])
    assert apart_by_bins.high == pytest.approx((found.ece.high + 0.5) / 2)


def test_two_seeds_that_differ_by_hand():
    """t of one degree of freedom is 12.7062; the standard error of 0.5 and 0.7 is 0.1."""
    found = over_seeds([Estimate(0.5, 0.4, 0.7), Estimate(0.7, 0.5, 0.8)])
    assert (found.value, found.low, found.high) == pytest.approx(
        (0.6, 0.6 - np.hypot(0.15, 1.27062), 0.6 + np.hypot(0.15, 1.27062)), abs=1e-5
    )


def test_a_mean_of_classes_is_as_sure_as_its_rarest_classes_let_it_be():
    found = proportion(10, 10)
    assert no_surer(found, np.array([10]), np.ones(1)) == found
    both = no_surer(found, np.array([5, 5]), np.ones(2))
    assert both.low == pytest.approx(1 - (1 - interval(5, 5)[0]) / np.sqrt(2)) and both.low < found.low
    # 4 / (1 / 1000 + 1 / 4) = 15.94 images.
    alike, counts = type(found)(0.75, 0.75, 0.75), np.array([1000, 4])
    low, high = interval(0.75 * 15.936, 15.936)
    wilson = no_surer(alike, counts, np.full(2, 0.75))
    assert (wilson.low, wilson.high) == pytest.approx((low, high), abs=1e-4)
    # Two images of a rare class that are right are no proof: of eight classes, it is the one in doubt.
    of_two, of_many = 1 - interval(2, 2)[0], 1 - interval(1000, 1000)[0]
    rare = no_surer(type(found)(1.0, 1.0, 1.0), np.array([1000] * 7 + [2]), np.ones(8))
    assert rare.low == pytest.approx(1 - np.sqrt(of_two**2 + 7 * of_many**2) / 8)
    wide = type(found)(0.75, 0.1, 1.2)
    assert (
        no_surer(wide, counts, np.full(2, 0.75)).low,
        no_surer(wide, np.array([4]), np.array([0.75])).high,
    ) == (0.1, 1)
    assert no_surer(type(found)(0.75, -0.1, 0.8), counts, np.full(2, 0.75)).low == 0


@given(st.integers(1, 200), st.data())
def test_wilsons_interval_is_that_of_scipy(count, data):
    right = data.draw(st.integers(0, count))
    found = binomtest(right, count).proportion_ci(0.95, "wilson")
    assert interval(right, count) == pytest.approx((found.low, found.high), abs=1e-12)


def test_a_mean_of_yes_and_no_is_jeffreys_interval():
    found = mean_interval([1] * 7 + [0] * 2, resamples=200_000)
    assert [found.low, found.high] == pytest.approx(beta.ppf([0.025, 0.975], 7.5, 2.5), abs=0.003)
    # Draws of two figures at once belong together, and a few at a time are as good as all at once.
    kinds = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert len(posterior_means(np.arange(60_000), np.ones(60_000), [0], np.random.default_rng(0), 100)) == 100
    draws = posterior_means(kinds, [5, 1, 0, 4], kinds, np.random.default_rng(0), 100_000)
    assert draws.mean(0) == pytest.approx([5 / 12, 6 / 12], abs=0.003)
    assert np.corrcoef(draws.T)[0, 1] == pytest.approx(0.676, abs=0.02)


def test_a_difference_has_the_interval_of_a_change():
    """One way for both: a comparison of runs, and an edit judged over one group."""
    rng = np.random.default_rng(0)
    for images in (3, 40):
        before, after = rng.random((2, images)) < 0.7
        one = compare_right(after[None], before[None]).difference
        two = worst_group_change(before, after, ["all"] * images)
        assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high), abs=0.02)
    equal = compare_right(np.ones((1, 3), bool), np.ones((1, 3), bool)).difference
    assert equal.value == 0 and equal.low < -0.3 and equal.high > 0.3


def test_two_models_say_nothing_of_the_error_of_their_line():
    fit = fit_logits([(0.2, 0.1), (0.8, 0.6)])
    found = effective_robustness(fit, 0.5, 0.7).value
    assert found.high - found.low > 0.9


# ---- calibration errors --------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [24, 300, 2000])
@pytest.mark.parametrize("wrong_by", [0.0, 0.1])
def test_the_interval_of_a_calibration_error_holds_the_truth(images, wrong_by):
    """Images from a model whose ECE is known: it is wrong by as much everywhere."""
    inside = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        confidence = rng.uniform(0.3, 0.9, images)
        right = rng.uniform(size=images) < confidence - wrong_by
        found = calibration_interval(confidence, right, resamples=200)
        assert found.low <= found.value <= found.high
        assert found.value == pytest.approx(calibration_error(confidence, right))
        inside += found.low <= wrong_by <= found.high
    assert inside >= 55


def test_the_interval_of_a_calibration_error_by_hand():
    """Two images of 0.9, one right: with the sign of the bin, 0.9 and -0.1 are on average 0.4."""
    found = calibration_interval([0.9, 0.9], [True, False], 1)
    # Right once of twice is 0.4 / sqrt(2 * 0.09) * 2 = 1.9 standard errors from 0.9: calibrated, as far as
    # one can tell, so that noise adds sqrt(2 / pi) * sqrt(0.18) / 2.
    mean = mean_interval([0.9, -0.1], (-1, 1))
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 0, mean.high))
    many = calibration_interval([0.9] * 200, [True, False] * 100, 1)
    mean = mean_interval([0.9, -0.1] * 100, (-1, 1))
    assert (many.low, many.high) == pytest.approx((mean.low, mean.high))
    near = calibration_interval([0.5] * 100, [True] * 55 + [False] * 45, 1)
    mean = mean_interval([0.5] * 55 + [-0.5] * 45, (-1, 1))
    assert mean.low - 0.0399 == pytest.approx(-0.087, abs=0.01) and near.low == 0
    assert near.high == pytest.approx(mean.high)


def test_noise_is_of_the_bins_that_may_be_calibrated():
    """200 images of 0.9, half of them right, and 100 of 0.5, 55 of them right: the latter add their noise."""
    confidence = [0.9] * 200 + [0.5] * 100
    found = calibration_interval(confidence, [True, False] * 100 + [True] * 55 + [False] * 45)
    mean = mean_interval([0.9, -0.1] * 100 + [0.5] * 55 + [-0.5] * 45, (-1, 1))
    assert found.low == pytest.approx(mean.low - np.sqrt(2 / np.pi) * np.sqrt(100 * 0.25) / 300)
    assert (found.value, found.high) == pytest.approx((mean.value, mean.high))


def test_the_interval_of_the_worst_bin_by_hand():
    confidence = [0.95] * 40 + [0.35] * 10
    right = [True] * 36 + [False] * 4 + [True] * 8 + [False] * 2
    found = maximum_calibration_interval(confidence, right)
    assert found.value == pytest.approx(0.8 - 0.35) == maximum_calibration_error(confidence, right)
    low, high = binomtest(8, 10).proportion_ci(0.975, "exact")
    assert (found.low, found.high) == pytest.approx((low - 0.35, high - 0.35))
    # A bin that holds its confidence says 0 at the least; the other may still be the worst.
    assert maximum_calibration_interval([0.5] * 10, [True, False] * 5).low == 0
    assert maximum_calibration_interval([0.0], [False]).high == 1


def test_a_bootstrap_holds_its_figure():
    (found,) = bootstrap_intervals(lambda rows: np.array([float(len(set(rows.tolist())))]), 9, **FEW)
    assert found.value == 9 == found.low < found.high
