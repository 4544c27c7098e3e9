"""Is a gain real, and why: tests against other libraries and enumeration, planted cases, simulated nulls."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, ttest_1samp
from scipy.stats import t as student

from vlcls.classifiers.fitted import Fitted
from vlcls.errors import EvaluationError
from vlcls.evaluation import compare_predictions, holm, holm_corrected, judge_gains, verdict
from vlcls.evaluation.metrics.intervals import Estimate
from vlcls.evaluation.metrics.significance import (
    Difference,
    _differences,
    _flip_test,
    _levels,
    _noise_of_images,
    _t_test,
    _texts,
    compare_right,
)

SIMULATIONS = 200
#: At most 7 % of the simulations.
FALSE_POSITIVES = 14


def world(seed, images, methods, *, draw=0.0, noise=0.6):
    """Predictions of methods on the same images, of class 0: {name: (skill, seeds or None)}.

    Images differ in how hard they are, runs in their noise on each image; texts of methods with seeds differ
    in skill by `draw` from draw to draw.
    """
    rng = np.random.default_rng([7, seed])
    ease = rng.normal(size=images)
    found = {}
    for name, (skill, seeds) in methods.items():
        runs = seeds or 1
        skills = skill + (rng.normal(0, draw, runs) if seeds else np.zeros(runs))
        right = ease + skills[:, None] + noise * rng.normal(size=(runs, images)) > 0
        found[name] = np.where(right, 0, 1)
    return found


def judged(seed, images, methods, **options):
    predicted = world(seed, images, methods, **options)
    method = predicted.pop("method")
    return judge_gains({"method": method}, predicted, np.zeros(images, int), samples=1000)["method"]


# ---- one comparison ------------------------------------------------------------------------------------


def test_single_runs_are_compared_by_mcnemar():
    found = world(0, 500, {"a": (0.6, None), "b": (0.4, None)})
    one, two = found["a"][0], found["b"][0]
    truth = np.zeros(500, int)
    compared = compare_predictions(one, two, truth)
    gained, lost = int(((one == 0) & (two != 0)).sum()), int(((one != 0) & (two == 0)).sum())
    assert (compared.gained, compared.lost, compared.seeds) == (gained, lost, 1)
    assert compared.p_value == pytest.approx(binomtest(gained, gained + lost).pvalue)
    assert compared.difference.value == pytest.approx((gained - lost) / 500)
    assert compared.accuracy - compared.reference == pytest.approx(compared.difference.value)
    # The paired bootstrap, by resampling images one sample after the other.
    rng, apart = np.random.default_rng(1), (one == 0).astype(int) - (two == 0)
    slow = np.percentile([apart[rng.integers(500, size=500)].mean() for _ in range(4000)], [2.5, 97.5])
    assert [compared.difference.low, compared.difference.high] == pytest.approx(slow, abs=0.004)
    assert compare_predictions(one, two, truth) == compared
    assert compare_predictions(one, two, truth, samples=20) != compared
    turned = compare_predictions(two, one, truth)
    assert turned.p_value == compared.p_value
    assert turned.difference.value == pytest.approx(-compared.difference.value)
    json.dumps(compared.to_json(), allow_nan=False)


def test_equal_predictions_do_not_differ():
    one = world(0, 50, {"a": (0.5, None)})["a"]
    compared = compare_predictions(one, one, np.zeros(50, int))
    assert compared.p_value == 1 and compared.difference.value == 0
    # As in a table of right and wrong before and after: 50 images alike, and half an image of each kind.
    gained, lost, _ = np.random.default_rng(1).dirichlet([0.5, 0.5, 51], 100_000).T
    ends = np.percentile(gained - lost, [2.5, 97.5])
    assert [compared.difference.low, compared.difference.high] == pytest.approx(ends, rel=0.1)
    # Runs that are all alike are one run, with nothing random about it.
    many = compare_predictions(np.repeat(one, 7, 0), one, np.zeros(50, int))
    assert many.seeds == 7 and many.difference == compared.difference and many.p_value == 1


def test_sign_flips_by_enumeration():
    """Three seeds and eight images, all with differences: every way to turn their signs."""
    reference = np.zeros((1, 8), bool)
    right = np.array([[1, 1, 1, 1, 1, 1, 1, 0], [1, 1, 0, 1, 0, 1, 0, 1], [1, 0, 0, 1, 1, 1, 0, 0]], bool)
    apart = right.sum(0)
    sums = [abs(np.dot(signs, apart)) for signs in itertools.product((1, -1), repeat=8)]
    exact = np.mean([value >= apart.sum() for value in sums])
    # The t test decides where it is more careful; over means of runs it has two degrees of freedom.
    compared = compare_right(right, reference, samples=200_000)
    assert compared.p_value >= exact - 0.002
    assert compared.gained == pytest.approx(apart.mean() / 3 * 8) and compared.lost == 0
    values, counts = np.unique(apart, return_counts=True)
    flipped = _flip_test(values, counts, np.random.default_rng(0), 200_000)
    assert flipped == pytest.approx(exact, abs=0.002)


def test_the_noise_of_images_by_hand():
    """Two runs of three images. Squares around the mean of 1/2: 3/2 in all, 1/6 between runs, 1 between
    images; 1/3 is left for (2 - 1)(3 - 1) degrees of freedom, and a mean is over three images."""
    runs = np.array([[1, 1, 0], [1, 0, 0]], bool)
    assert _noise_of_images(runs) == pytest.approx(1 / 3 / 2 / 3)
    # Between the runs, (2/3 - 1/3)^2 / 2 = 1/18 is what noise alone makes: texts do not vary.
    variance, freedom = _texts(runs, np.ones((1, 3), bool))
    assert variance == pytest.approx(0) and freedom == pytest.approx(1)


def test_endless_seeds_without_spread_are_the_images_alone():
    values, counts = np.array([-1.0, 0.0, 1.0]), np.array([1, 3, 8])
    alone, seeds = (
        _differences(values, counts, (0.0, freedom), np.random.default_rng(0), 200)
        for freedom in (math.inf, 1e9)
    )
    assert np.allclose(alone, seeds, atol=1e-3)


def test_variance_of_texts_by_hand():
    """Runs right on 9, 6 and 0 of 10 images in order: nearly all of their variance is that of texts."""
    runs = np.arange(10) < np.array([9, 6, 0])[:, None]
    between, noise = np.var([0.9, 0.6, 0.0], ddof=1), _noise_of_images(runs)
    fixed = np.arange(10)[None] < 5
    assert 0 < noise < between / 5
    assert _texts(runs, fixed) == pytest.approx(((between - noise) / 3, 2))
    # One more draw of the reference's texts: a third of the variance for its mean, and all for the draw.
    assert _texts(fixed, runs) == pytest.approx(((between - noise) * 4 / 3, 2))
    # Welch and Satterthwaite, of two sides with seeds each.
    two = runs[:2]
    shown = between / 3, np.var([0.9, 0.6], ddof=1) / 2
    variance, freedom = _texts(runs, two)
    assert freedom == pytest.approx(sum(shown) ** 2 / (shown[0] ** 2 / 2 + shown[1] ** 2 / 1))
    noises = noise / 3, _noise_of_images(two) / 2
    assert variance == pytest.approx(sum(shown) - sum(noises))
    compared = compare_right(runs, two, samples=50)
    assert compared.freedom == freedom and compared.between_seeds == pytest.approx(math.sqrt(between))


def test_runs_that_are_alike_are_one_run():
    rng = np.random.default_rng(0)
    one, other = rng.random((1, 60)) < 0.8, rng.random((1, 60)) < 0.5
    once, often = compare_right(one, other), compare_right(np.repeat(one, 5, 0), np.repeat(other, 3, 0))
    assert (often.seeds, often.reference_seeds, often.freedom) == (5, 3, None)
    assert (often.p_value, often.difference, often.gained) == (once.p_value, once.difference, once.gained)


def told(value, p_value, adjusted, **options):
    estimate = Estimate(value, value - 0.01, value + 0.01)
    return Difference(0.5 + value, 0.5, estimate, 9, 1, 1, 7, p_value, adjusted, estimate, p_value, **options)


def test_the_best_control_that_is_not_beaten_decides():
    row = {"one prompt": told(0.1, 1e-4, 1e-3), "WaffleCLIP": told(0.08, 0.2, 0.4)}
    found = verdict(row)
    assert found.reason == "open" and "which has only 20% of the gain (WaffleCLIP" in found.sentence
    row["swapped descriptors"] = told(0.01, 0.2, 0.4)
    found = verdict(row)
    assert found.reason == "ensembling alone"
    assert "swapped descriptors, which says nothing about the classes, has 90% of the gain" in found.sentence


def test_verdicts_are_by_the_p_value_of_the_whole_table():
    """0.01 alone is 0.2 among all comparisons."""
    assert verdict({"one prompt": told(0.1, 0.01, 0.2)}).reason == "no evidence"
    row = {"one prompt": told(0.1, 1e-4, 1e-3), "WaffleCLIP": told(0.08, 0.01, 0.2)}
    assert verdict(row).reason == "open" and "p = 0.2, both after Holm" in verdict(row).sentence
    row["WaffleCLIP"] = told(0.08, 0.01, 0.04)
    assert verdict(row).reason == "what the text says"
    assert verdict(row, 0.03).reason == "open"


def test_with_endless_images_a_method_is_one_more_draw():
    """Nothing varies but the texts: the t test of one draw against seven others."""
    skills = np.array([0.52, 0.58, 0.49, 0.61, 0.55, 0.53, 0.57])
    images, own = 200_000, 0.64
    rng = np.random.default_rng(0)
    ease = rng.uniform(size=images)  # the same for all: no noise of its own for any run
    compared = compare_right((ease < own)[None], ease < skills[:, None], samples=2000)
    spread = skills.std(ddof=1) * math.sqrt(1 + 1 / 7)
    t = (own - skills.mean()) / spread
    assert compared.p_value == pytest.approx(2 * student.sf(t, 6), rel=0.03)
    half = student.ppf(0.975, 6) * spread
    assert compared.difference.high - compared.difference.low == pytest.approx(2 * half, rel=0.1)
    # The other way round, seven draws against one fixed reference: a question of their mean.
    turned = compare_right(ease < skills[:, None], (ease < own)[None], samples=2000)
    assert turned.p_value == pytest.approx(ttest_1samp(skills, own).pvalue, rel=0.05)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_stepping_down(p_values):
    adjusted = holm(p_values)
    for alpha in (0.01, 0.05, 0.3):
        rejected = set()
        for step, row in enumerate(sorted(range(len(p_values)), key=lambda row: p_values[row])):
            if p_values[row] * (len(p_values) - step) > alpha:
                break
            rejected.add(row)
        assert {row for row, value in enumerate(adjusted) if value <= alpha} == rejected


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_a_table_is_corrected_over_what_can_differ():
    found = world(0, 400, {"a": (0.9, None), "b": (0.5, None), "c": (0.45, None)})
    truth = np.zeros(400, int)
    table = {m: {r: compare_predictions(found[m], found[r], truth) for r in "bc"} for m in "abc"}
    corrected = holm_corrected(table)
    flat = [(m, r) for m, r in itertools.product("abc", "bc") if m != r]
    expected = holm([table[m][r].p_value for m, r in flat])
    assert [corrected[m][r].adjusted for m, r in flat] == pytest.approx(expected)
    assert corrected["b"]["b"].adjusted == 1


def test_what_only_gains_counts_as_tested():
    """Two methods that are right wherever the reference is, and once more: both are in the correction."""
    truth, known = np.zeros(40, int), np.r_[np.zeros(20, int), np.ones(20, int)]
    more = [compare_predictions(np.where(np.arange(40) < end, 0, 1), known, truth) for end in (26, 28)]
    corrected = holm_corrected({"a": {"b": more[0]}, "c": {"b": more[1]}})
    assert [each.lost for each in more] == [0, 0] and more[0].p_value == pytest.approx(2 / 64)
    assert corrected["c"]["b"].adjusted == pytest.approx(2 * 2 / 256)
    assert corrected["a"]["b"].adjusted == pytest.approx(2 / 64)


def test_intervals_of_a_table_by_hand():
    """Two comparisons, of which one is told and one is not; and none if nothing may ever be told."""
    truth, rng = np.zeros(200, int), np.random.default_rng(3)
    told = compare_predictions(truth, np.where(rng.random(200) < 0.3, 1, 0), truth)
    untold = compare_predictions(np.r_[1, truth[1:]], np.r_[truth[:198], 1, 1], truth)
    row = holm_corrected({"a": {"b": told, "c": untold}})["a"]
    stretch = norm.ppf(1 - 0.05 / 4) / norm.ppf(0.975)
    for each, factor in ((told, stretch), (untold, 1.0)):
        found = row["b" if each is told else "c"].simultaneous
        middle = each.difference
        assert found.low == pytest.approx(middle.value - factor * (middle.value - middle.low))
        assert found.high == pytest.approx(middle.value + factor * (middle.high - middle.value))
    never = holm_corrected({"a": {"b": told}}, alpha=0.0)["a"]["b"].simultaneous
    assert (never.low, never.high) == (-1, 1)


def test_the_t_test_at_its_ends():
    assert _t_test(np.array([1.0]), np.array([30]), (0.0, math.inf)) == 0  # as the flip test decides
    assert _t_test(np.array([-1.0, 1.0]), np.array([4, 4]), (0.0, math.inf)) == 1
    values, counts = np.array([0.0, 1.0]), np.array([30, 10])
    expected = ttest_1samp(np.repeat(values, counts), 0).statistic
    found = _t_test(values, counts, (0.0, math.inf))
    assert found == pytest.approx(2 * student.sf(expected, 40))


def test_levels_of_holm_by_hand():
    assert _levels([0.001, 0.02, 0.04], 0.06) == pytest.approx([0.02, 0.03, 0.06])
    # 0.04 is above 0.03: it and all behind it are looked at by that level.
    assert _levels([0.2, 0.04, 0.001], 0.06) == pytest.approx([0.03, 0.03, 0.02])


@pytest.mark.parametrize(
    ("predicted", "reference", "truth"),
    [([0, 1], [0], [0, 0]), ([0, 1], [0, 1], [0]), ([], [], []), ([[[0]]], [0], [0])],
)
def test_predictions_of_other_images(predicted, reference, truth):
    with pytest.raises(EvaluationError, match="predictions must be"):
        compare_predictions(predicted, reference, truth)


# ---- planted cases -------------------------------------------------------------------------------------

PLANTED = {
    "one prompt": (0.5, None),
    "template ensemble": (0.65, None),
    "WaffleCLIP": (0.7, 7),
    "shared random descriptors": (0.7, 7),
    "swapped descriptors": (0.4, 7),
}


def test_identical_methods_are_no_evidence():
    found = world(0, 1000, PLANTED, draw=0.02)
    result = judge_gains({"same": found["one prompt"]}, found, np.zeros(1000, int))["same"]
    assert result.reason == "no evidence"
    assert result.sentence.startswith("No evidence of a difference from one prompt (+0.00 points")
    assert result.comparisons["one prompt"].adjusted == 1


def test_an_ensemble_of_random_words_is_ensembling_alone():
    for seeds in (1, 7):
        found = [judged(s, 3000, PLANTED | {"method": (0.7, seeds)}, draw=0.02) for s in range(20)]
        assert sum(each.reason == "ensembling alone" for each in found) >= 19
        assert all(each.reason != "what the text says" for each in found)
    assert "which says nothing about the classes" in found[0].sentence
    # WaffleCLIP as a method, with the very runs it is a reference with.
    predicted = world(0, 3000, PLANTED, draw=0.02)
    itself = judge_gains({"waffle": predicted["WaffleCLIP"]}, predicted, np.zeros(3000, int))["waffle"]
    assert itself.reason == "ensembling alone"


def test_a_really_better_method_is_better_because_of_what_it_says():
    for seeds in (None, 7):
        found = [judged(s, 3000, PLANTED | {"method": (0.95, seeds)}, draw=0.02) for s in range(20)]
        assert sum(each.reason == "what the text says" for each in found) >= 19
    assert "also better than template ensemble, WaffleCLIP, shared random descriptors and swapped" in (
        found[0].sentence
    )
    json.dumps(found[0].to_json(), allow_nan=False)


def test_a_worse_method_is_worse():
    found = judged(0, 3000, PLANTED | {"method": (0.3, None)})
    assert found.reason == "worse" and found.sentence.startswith("Worse than one prompt (-")


def test_text_is_never_claimed_without_a_random_control():
    alone = {"one prompt": (0.5, None), "method": (0.95, None)}
    found = judged(0, 3000, alone)
    assert found.reason == "open" and "no control with random or swapped texts was run." in found.sentence
    found = judged(0, 3000, alone | {"template ensemble": (0.65, None)})
    assert found.reason == "open" and "only the template ensemble" in found.sentence
    # With templates as good as it, that is enough of a reason.
    found = judged(0, 3000, alone | {"template ensemble": (0.95, None)})
    assert found.reason == "ensembling alone"


def test_what_was_not_run_is_said():
    methods = {"one prompt": (0.5, None), "WaffleCLIP": (0.7, None), "method": (0.95, None)}
    found = judged(0, 3000, methods)
    assert found.reason == "what the text says"
    assert "(shared random descriptors and swapped descriptors not run)" in found.sentence
    assert "One seed only of WaffleCLIP: luck with random texts is not excluded" in found.sentence
    assert "One seed" not in judged(0, 3000, methods | {"WaffleCLIP": (0.7, 7)}).sentence


def test_a_control_that_explains_little_leaves_it_open():
    """Better than one prompt; not significantly than random texts, but these hardly gain at all."""
    reasons = [
        judged(s, 600, {"one prompt": (0.5, None), "WaffleCLIP": (0.55, 3), "method": (0.8, None)}, draw=0.06)
        for s in range(20)
    ]
    found = [each for each in reasons if each.reason == "open"]
    assert found and "of the gain" in found[0].sentence and "More images would tell" in found[0].sentence
    for each in found:
        control, gain = each.comparisons["WaffleCLIP"], each.comparisons["one prompt"].difference.value
        assert control.adjusted > 0.05 and gain - control.difference.value < gain / 2


@pytest.mark.parametrize("alpha", [0.05, 0.2])
@pytest.mark.parametrize("draw", [0.0, 0.1])
def test_no_interval_that_is_shown_denies_its_verdict(alpha, draw):
    """0 is in the interval just where the difference is not significant, in tables of any size."""
    decided = []
    for seed in range(30):
        methods = PLANTED | {f"method {n}": (0.5 + 0.03 * n, 1 + 2 * (n % 2)) for n in range(1 + seed % 6)}
        found = world(seed, 400, methods, draw=draw)
        references = {name: found[name] for name in PLANTED}
        judged_ones = {name: found[name] for name in methods if name not in PLANTED}
        verdicts = judge_gains(judged_ones, references, np.zeros(400, int), alpha=alpha, samples=2000)
        for each in (c for row in verdicts.values() for c in row.comparisons.values()):
            shown = each.simultaneous
            significant = each.adjusted <= alpha and each.difference.value != 0
            # Where bootstrap and test disagree by a hair, an end is at 0.
            assert (not shown.low < 0 < shown.high) if significant else (shown.low <= 0 <= shown.high)
            assert shown.low <= each.difference.value <= shown.high
            decided.append(significant)
        for row in verdicts.values():
            over = row.comparisons["one prompt"]
            assert f"interval {100 * over.simultaneous.low:+.2f}" in row.sentence
            assert f"p = {over.adjusted:.2g}, both after Holm" in row.sentence
    assert 20 < sum(decided) < len(decided) - 20


def test_one_comparison_alone_has_its_own_interval():
    rng = np.random.default_rng(0)
    truth = np.zeros(300, int)
    each = compare_predictions(rng.random(300) > 0.6, rng.random(300) > 0.4, truth)
    ((alone,),) = (row.values() for row in holm_corrected({"a": {"b": each}}).values())
    assert alone.simultaneous == alone.difference
    # Beside others that tell nothing it is at the level of 0.05 / 3, which is wider.
    none = compare_predictions(rng.random(300) > 0.5, rng.random(300) > 0.5, truth)
    corrected = holm_corrected({"a": {"b": each, "c": none, "d": none}})["a"]
    wide = corrected["b"].simultaneous
    half = (each.difference.value - each.difference.low) * norm.ppf(1 - 0.05 / 6) / norm.ppf(0.975)
    assert wide.low == pytest.approx(each.difference.value - half)


def test_few_draws_are_named_as_the_reason():
    """A gain that any test over images sees, over draws that differ by as much."""
    methods = {"one prompt": (0.5, None), "swapped descriptors": (0.5, 7), "method": (0.62, None)}
    told = [judged(seed, 4000, methods, draw=0.15) for seed in range(10)]
    few = [
        each for each in told if "Images alone would tell it from swapped descriptors (+" in each.few_draws
    ]
    assert len(few) > 3
    for each in few:
        against = each.comparisons["swapped descriptors"]
        assert f"7 draws, standard deviation {100 * against.between_seeds:.1f})" in each.few_draws
        assert "seeds=21 would tell more" in each.few_draws
        assert against.adjusted > 0.05 and against.p_images < 0.05 and each.reason != "what the text says"
    for each in [each for each in told if not each.few_draws]:
        against = each.comparisons["swapped descriptors"]
        assert against.adjusted <= 0.05 or against.p_images > 0.025
    assert not any(judged(seed, 4000, methods, draw=0.0).few_draws for seed in range(5))


@pytest.mark.parametrize(
    ("fitted", "reason"),
    [
        (Fitted(frozenset({"a", "b"})), "trained on 2 labelled images"),
        (Fitted(frozenset({"a"})), "trained on 1 labelled image"),
        (Fitted(unknown=7), "trained on 7 labelled images"),
        (Fitted(recorded=False), "trained on labelled images"),
        (Fitted(judged=True), "fitted on the judged images"),
        (Fitted(frozenset({"a"}), unknown=2, judged=True), "trained on 3 labelled images"),
    ],
)
def test_what_was_fitted_never_gains_by_what_its_text_says(fitted, reason):
    found = world(0, 3000, PLANTED | {"method": (0.95, None)}, draw=0.02)
    predicted = found.pop("method")

    def judge(**options):
        return judge_gains({"method": predicted}, found, np.zeros(3000, int), samples=500, **options)[
            "method"
        ]

    assert judge().reason == "what the text says"
    given = judge(fitted={"method": fitted})
    assert given.reason == reason and f"Better, and {reason}" in given.sentence
    assert ("is not known" in given.sentence) == bool(fitted.unknown or not fitted.recorded)
    assert judge(fitted={"method": Fitted()}).reason == "what the text says"
    # A loss is a loss.
    worse = judge_gains(
        {"method": 1 - predicted}, found, np.zeros(3000, int), samples=500, fitted={"method": fitted}
    )
    assert worse["method"].reason == "worse"


def test_one_prompt_must_be_there():
    found = world(0, 10, PLANTED)
    with pytest.raises(EvaluationError, match="run it on the same images"):
        judge_gains({}, {"WaffleCLIP": found["WaffleCLIP"]}, np.zeros(10, int))
    with pytest.raises(EvaluationError, match="'waffle' is no reference; there are 'one prompt'"):
        judge_gains({}, {"waffle": found["WaffleCLIP"]}, np.zeros(10, int))
    with pytest.raises(EvaluationError, match="compare with it"):
        verdict({})


# ---- simulated nulls -----------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [336, 2000])
def test_a_method_that_is_no_better_is_rarely_called_so(images):
    """No method differs from one prompt: any verdict but "no evidence" is a false positive."""
    null = dict.fromkeys(("one prompt", "template ensemble", "method"), (0.5, None))
    null |= dict.fromkeys(("WaffleCLIP", "shared random descriptors", "swapped descriptors"), (0.5, 7))
    found = [judged(seed, images, null).reason for seed in range(SIMULATIONS)]
    assert sum(reason != "no evidence" for reason in found) <= FALSE_POSITIVES


def test_a_single_comparison_is_rarely_called_a_difference():
    """Without the correction over a table, which hides much."""
    null = {"one prompt": (0.5, None), "method": (0.5, None)}
    found = [judged(seed, 336, null).reason for seed in range(SIMULATIONS)]
    assert sum(reason != "no evidence" for reason in found) <= FALSE_POSITIVES
    random = null | {"method": (0.5, 7)}
    found = [judged(seed, 336, random, draw=0.05).reason for seed in range(SIMULATIONS)]
    assert sum(reason != "no evidence" for reason in found) <= FALSE_POSITIVES


@pytest.mark.parametrize("seeds", [3, 7])
@pytest.mark.parametrize("draw", [0.02, 0.3])
@pytest.mark.parametrize("images", [336, 20_000])
def test_text_is_rarely_claimed_of_one_more_draw_of_random_words(images, draw, seeds):
    """However much random words differ from draw to draw, and however many images there are."""
    methods = {"one prompt": (0.5, None), "WaffleCLIP": (0.6, seeds), "method": (0.6, 1)}
    claimed = sum(
        judged(seed, images, methods, draw=draw).reason == "what the text says" for seed in range(SIMULATIONS)
    )
    assert claimed <= FALSE_POSITIVES


def test_images_alone_cannot_tell_a_lucky_draw():
    """Why seeds matter: McNemar's test alone would claim text for most lucky draws."""
    one_seed = {"one prompt": (0.5, None), "WaffleCLIP": (0.6, 1), "method": (0.6, 1)}
    lucky = [judged(seed, 20_000, one_seed, draw=0.1).reason for seed in range(50)]
    assert sum(reason == "what the text says" for reason in lucky) > 10
