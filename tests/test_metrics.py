"""Accuracies, calibration and their intervals: by hand, by slow loops, and as other libraries have them."""

import json
import math
import sys
import warnings

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    log_loss,
    top_k_accuracy_score,
)

from vlcls.binomial import interval
from vlcls.errors import EvaluationError, MissingExtraError, VlclsWarning
from vlcls.evaluation import (
    bootstrap_intervals,
    brier_score,
    calibration_error,
    class_table,
    confusion,
    fit_temperature,
    joined,
    maximum_calibration_error,
    mean_average_precision,
    mean_class_recall,
    mean_interval,
    measure,
    measure_multi_label,
    measure_outcomes,
    negative_log_likelihood,
    outcomes,
    reliability,
    top_k_accuracy,
    worst_pairs,
)
from vlcls.evaluation.metrics.calibration import maximum_calibration_interval
from vlcls.evaluation.metrics.entries import METRICS

CONFIDENCE = [0.97, 0.91, 0.78, 0.71, 0.63, 0.52]
RIGHT = [1, 1, 0, 1, 0, 1]


def random_logits(seed=0, images=400, classes=12):
    torch.manual_seed(seed)
    truth = torch.randint(0, classes - 2, (images,))  # two classes without images
    logits = torch.randn(images, classes) * 2
    logits[torch.arange(images), truth] += 2
    return logits, truth


# ---- calibration ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bins", "expected"), [(5, 0.2867), (10, 0.2867), (15, 0.3833)])
def test_calibration_errors_by_hand(bins, expected):
    assert round(calibration_error(CONFIDENCE, RIGHT, bins), 4) == expected
    assert round(np.mean(CONFIDENCE) - np.mean(RIGHT), 4) == 0.0867


def test_bins_by_hand():
    empty, also, *used = reliability(CONFIDENCE, RIGHT, 5)
    assert empty.count == also.count == 0 and empty.accuracy is also.confidence is None
    assert [each.count for each in used] == [1, 3, 2]
    assert [(round(each.confidence, 4), round(each.accuracy, 4)) for each in used] == [
        (0.52, 1), (0.7067, 0.3333), (0.94, 1),
    ]  # fmt: skip
    assert maximum_calibration_error(CONFIDENCE, RIGHT, 5) == pytest.approx(0.48)


def test_there_are_fifteen_bins_if_nothing_is_said():
    rng = np.random.default_rng(0)
    confidence, right = rng.random(50), rng.random(50) < 0.5
    found = reliability(confidence, right)
    assert [each.low for each in found] == pytest.approx([place / 15 for place in range(15)])
    assert [each.high for each in found] == pytest.approx([place / 15 for place in range(1, 16)])
    assert calibration_error(confidence, right) == calibration_error(confidence, right, 15)
    assert calibration_error(confidence, right) != calibration_error(confidence, right, 10)
    logits, truth = random_logits()
    assert measure(logits, truth, resamples=5).bins == 15


def test_top_5_of_five_classes_is_no_figure():
    logits = np.random.default_rng(0).normal(size=(20, 6))
    assert measure(logits[:, :5], np.arange(20) % 5, resamples=5).top5 is None
    assert measure(logits, np.arange(20) % 5, resamples=5).top5 is not None


def test_a_bin_holds_its_upper_edge():
    found = reliability([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [1] * 6, 5)
    assert [each.count for each in found] == [1] * 5  # confidence 0 is in no bin
    assert [each.confidence for each in found] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert calibration_error([1.0, 1.0], [1, 1]) == 0  # perfect and sure of it
    assert maximum_calibration_error([0.0], [1]) == 0


@pytest.mark.parametrize("bins", [5, 10, 15])
def test_calibration_is_torchmetrics(bins):
    logits, truth = random_logits()
    probabilities, found = logits.double().softmax(1), outcomes(logits, truth)
    for norm, ours in (("l1", calibration_error), ("max", maximum_calibration_error)):
        theirs = tm.multiclass_calibration_error(probabilities, truth, 12, n_bins=bins, norm=norm)
        assert ours(found.confidence, found.right, bins) == pytest.approx(float(theirs), abs=1e-6)


def test_likelihood_and_brier_score():
    logits, truth = random_logits()
    p = logits.double().softmax(1).numpy()
    assert negative_log_likelihood(logits, truth) == pytest.approx(log_loss(truth, p, labels=range(12)))
    slow = np.mean([sum((p[i, c] - (c == y)) ** 2 for c in range(12)) for i, y in enumerate(truth.tolist())])
    assert brier_score(logits, truth) == pytest.approx(slow)
    q = logits.double().sigmoid().numpy()
    rows = list(enumerate(truth.tolist()))
    nll = np.mean([-sum(math.log(q[i, c] if c == y else 1 - q[i, c]) for c in range(12)) for i, y in rows])
    assert negative_log_likelihood(logits, truth, "sigmoid") == pytest.approx(nll)
    slow = np.mean([sum((q[i, c] - (c == y)) ** 2 for c in range(12)) for i, y in rows])
    assert brier_score(logits, truth, "sigmoid") == pytest.approx(slow)
    assert outcomes(logits, truth, "sigmoid").confidence == pytest.approx(q.max(1))


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    for activation in ("softmax", "sigmoid"):
        found = outcomes(logits, [0, 0], activation)
        assert np.isfinite(found.nll).all() and found.nll[0] == 0
    # A class that is left out by -inf.
    assert outcomes(torch.tensor([[0.0, 0.0, -math.inf]]), [0]).confidence == pytest.approx([0.5])


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_the_temperature_is_the_minimum(activation):
    logits, truth = random_logits(1)
    for scale in (100.0, 1.0, 0.01):  # raw cosines need a temperature near 0.01
        found = fit_temperature(logits / 2 * scale, truth, activation)
        if scale == 1:
            # Independently: Newton's method on the derivative, numerically, in float64.
            at = np.array([found * step for step in (0.99, 1, 1.01)])
            losses = [negative_log_likelihood(logits.double() / 2 / t, truth, activation) for t in at]
            assert losses[1] < min(losses[0], losses[2])
            reference = found
    assert fit_temperature(logits / 2 * 100, truth, activation) == pytest.approx(100 * reference, rel=1e-4)


def test_the_temperature_is_that_of_the_published_procedure():
    logits, truth = random_logits(2)
    temperature = torch.nn.Parameter(torch.tensor([1.5], dtype=torch.float64))
    optimiser = torch.optim.LBFGS([temperature], lr=0.01, max_iter=5000, tolerance_change=1e-12)

    def closure():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits.double() / temperature, truth)
        loss.backward()
        return loss

    optimiser.step(closure)
    assert fit_temperature(logits, truth) == pytest.approx(temperature.item(), rel=1e-3)
    scaled = logits / fit_temperature(logits, truth)
    assert top_k_accuracy(scaled, truth) == top_k_accuracy(logits, truth)


def test_no_temperature_is_best_for_images_that_are_all_right():
    with pytest.warns(VlclsWarning, match="no temperature is best for these 3 images"):
        fit_temperature(torch.eye(3), [0, 1, 2])
    with pytest.warns(VlclsWarning, match="no temperature is best"):  # nor where they say less than nothing
        assert fit_temperature(torch.eye(3), [1, 2, 0]) > 1e4


@pytest.mark.parametrize(
    "power, warned", [(11.985, False), (11.995, True), (-11.985, False), (-11.995, True)]
)
def test_temperatures_at_the_end_of_the_range_are_none(power, warned):
    """Two classes, 3 of 4 images right: the best T gives 3 to 1, which is the gap over log 3."""
    logits = torch.tensor([[math.log(3) * math.exp(power), 0.0]] * 4, dtype=torch.float64)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        assert fit_temperature(logits, [0, 0, 0, 1]) == pytest.approx(math.exp(power), rel=1e-2)
    assert bool(found) == warned


def test_figures_at_their_ends_lie_in_their_intervals():
    wrong = outcomes(1000 * torch.eye(3), [1, 2, 0])
    metric = METRICS.find("brier")
    found = metric.interval(metric.figure, wrong, 0, 200)
    assert found.value == 2 and found.low <= 2 <= found.high
    none = maximum_calibration_interval([0.0, 0.0], [True, False])  # which are in no bin
    assert (none.value, none.low, none.high) == (0, 0, 1)


@pytest.mark.parametrize(
    ("confidence", "right", "bins", "message"),
    [
        ([0.5], [1, 0], 15, "one each for every image"),
        ([], [], 15, "one each for every image"),
        ([1.5], [1], 15, "apply softmax"),
        ([-0.5], [1], 15, "apply softmax"),
        ([math.nan], [1], 15, "apply softmax"),
        ([0.5], [1], 0, "bins must be at least 1"),
    ],
)
def test_bad_confidences(confidence, right, bins, message):
    with pytest.raises(EvaluationError, match=message):
        calibration_error(confidence, right, bins)


# ---- accuracies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_accuracies_are_those_of_other_libraries(seed):
    logits, truth = random_logits(seed)
    for k in (1, 2, 5):
        theirs = tm.multiclass_accuracy(logits, truth, 12, average="micro", top_k=k)
        assert top_k_accuracy(logits, truth, k) == pytest.approx(float(theirs))
        theirs = top_k_accuracy_score(truth, logits, k=k, labels=range(12))
        assert top_k_accuracy(logits, truth, k) == pytest.approx(theirs)
    kept = logits[:, :10]  # scikit-learn warns of predicted classes without images
    assert mean_class_recall(kept, truth) == pytest.approx(balanced_accuracy_score(truth, kept.argmax(1)))
    table = confusion_matrix(truth, logits.argmax(1), labels=range(12))
    recall = np.mean([table[c, c] / table[c].sum() for c in range(10)])
    assert mean_class_recall(logits, truth) == pytest.approx(recall)
    assert (confusion(logits.argmax(1), truth, 12).toarray() == table).all()


@given(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=8), st.data())
def test_equal_scores_go_to_the_first_class(scores, data):
    truth = data.draw(st.lists(st.integers(0, 3), min_size=len(scores), max_size=len(scores)))
    found = outcomes(torch.tensor(scores, dtype=torch.float32), truth)
    for row, (values, own) in enumerate(zip(scores, truth, strict=True)):
        order = sorted(range(4), key=lambda c: (-values[c], c))
        assert found.predicted[row] == order[0] and found.rank[row] == order.index(own)
        assert found.right[row] == (order[0] == own)


def test_blocks_and_batches_do_not_matter(monkeypatch):
    logits, truth = random_logits()
    whole = outcomes(logits, truth)
    monkeypatch.setattr("vlcls.evaluation.metrics.per_image._ENTRIES_AT_ONCE", 12 * 7)
    parts = joined([outcomes(logits[:150], truth[:150]), outcomes(logits[150:], truth[150:])])
    for name, array in vars(whole).items():
        assert np.array_equal(array, getattr(parts, name))
    assert measure_outcomes(parts, resamples=50) == measure(logits, truth, resamples=50)
    assert (whole.rows(whole.right).rank == 0).all() and len(whole.rows([3, 5])) == 2
    with pytest.raises(EvaluationError, match="cannot be joined"):
        joined([whole, outcomes(logits[:, :11], truth)])


def test_all_metrics_at_once():
    logits, truth = random_logits()
    found = measure(logits, truth, seed=3)
    values = {
        "top1": top_k_accuracy(logits, truth),
        "top5": top_k_accuracy(logits, truth, 5),
        "mean_class_recall": mean_class_recall(logits, truth),
        "nll": negative_log_likelihood(logits, truth),
        "brier": brier_score(logits, truth),
        "ece": calibration_error(outcomes(logits, truth).confidence, outcomes(logits, truth).right),
        "mce": maximum_calibration_error(outcomes(logits, truth).confidence, outcomes(logits, truth).right),
    }
    for name, value in values.items():
        estimate = getattr(found, name)
        assert estimate.value == pytest.approx(value) and estimate.low <= value <= estimate.high, name
    assert (found.top1.low, found.top1.high) == interval(round(400 * values["top1"]), 400)
    assert (found.images, found.classes, found.classes_with_images) == (400, 12, 10)
    assert measure(logits, truth, seed=3) == found != measure(logits, truth, seed=4)
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["top1"]["value"] == values["top1"] and plain["activation"] == "softmax"


def test_odd_sizes():
    one = measure(torch.tensor([[3.0]]), [0])  # one class only, one image
    assert one.top1.value == 1 and one.top5 is None and one.nll.value == 0
    json.dumps(one.to_json(), allow_nan=False)
    torch.manual_seed(0)
    many = torch.randn(20, 100_000)
    found = measure(many, torch.arange(20), resamples=20)
    assert found.classes == 100_000 and found.classes_with_images == 20 and found.top5.value == 0
    predicted = many.argmax(1)
    assert confusion(predicted, torch.arange(20), 100_000).nnz == 20
    assert len(class_table(predicted, torch.arange(20), 100_000)) == 100_000


def test_class_tables_and_worst_pairs():
    truth, predicted = [0, 0, 0, 1, 1, 3], [0, 1, 1, 1, 0, 0]
    table = class_table(predicted, truth, 4)
    assert [(c.images, c.predicted, c.right) for c in table] == [(3, 3, 1), (2, 3, 1), (0, 0, 0), (1, 0, 0)]
    assert table[0].recall.value == pytest.approx(1 / 3) and table[1].precision.value == pytest.approx(1 / 3)
    assert table[2].recall is None and table[3].precision is None and table[3].recall.value == 0
    assert worst_pairs(confusion(predicted, truth, 4)) == [(0, 1, 2), (1, 0, 1), (3, 0, 1)]
    assert worst_pairs(confusion(predicted, truth, 4), 1) == [(0, 1, 2)]
    # The number of images decides, not the class.
    assert worst_pairs(confusion([3, 1, 1], [0, 2, 2], 4)) == [(2, 1, 2), (0, 3, 1)]


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        (torch.zeros(0, 3), [], "neither empty"),
        (torch.zeros(3), [0, 0, 0], r"must be \[images, classes\]"),
        (torch.zeros(2, 3), [0], "true classes must be 2 indices"),
        (torch.zeros(2, 3), [0.0, 1.0], "true classes must be 2 indices"),
        (torch.zeros(2, 3), [0, -1], "image 1 has true class -1"),
        (torch.zeros(2, 3), [3, 0], "image 0 has true class 3, which is none of 3 classes"),
        (torch.tensor([[0.0, math.nan]]), [0], "image 0 hold NaN"),
        (torch.tensor([[0.0, math.inf]]), [0], "image 0 hold NaN or infinity"),
    ],
)
def test_bad_scores(scores, truth, message):
    for function in (outcomes, top_k_accuracy, mean_class_recall, fit_temperature):
        with pytest.raises(EvaluationError, match=message):
            function(scores, truth)


# ---- several labels ------------------------------------------------------------------------------------


def test_mean_average_precision_is_that_of_other_libraries():
    torch.manual_seed(0)
    scores, truth = torch.randn(200, 9), torch.rand(200, 9) < 0.3
    found = mean_average_precision(scores, truth)
    assert found == pytest.approx(average_precision_score(truth, scores, average="macro"))
    theirs = tm.multilabel_average_precision(scores.double(), truth.long(), 9)
    assert found == pytest.approx(float(theirs), abs=1e-6)
    # By hand: hits at ranks 1 and 3 of 3.
    assert mean_average_precision([[3.0], [2.0], [1.0]], [[1], [0], [1]]) == pytest.approx((1 + 2 / 3) / 2)


def test_classes_without_images_have_no_average_precision():
    torch.manual_seed(0)
    scores, truth = np.random.default_rng(0).normal(size=(60, 4)), np.zeros((60, 4), int)
    truth[:30, :3] = 1
    found = measure_multi_label(scores, truth, resamples=100)
    assert found.classes_with_images == 3 and found.classes == 4
    assert found.mean_average_precision.value == mean_average_precision(scores[:, :3], truth[:, :3])
    assert found.mean_average_precision.low < found.mean_average_precision.value
    json.dumps(found.to_json(), allow_nan=False)
    for bad, message in (
        (truth * 2, "0 or 1"),
        (truth[:, :3], r"\[images, classes\]"),
        (truth * 0, "no image"),
    ):
        with pytest.raises(EvaluationError, match=message):
            mean_average_precision(scores, bad)


# ---- intervals -----------------------------------------------------------------------------------------


def test_intervals_of_means():
    values = np.random.default_rng(0).exponential(size=500)
    found = mean_interval(values, resamples=20_000)
    half = 1.96 * values.std() / math.sqrt(500)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.03)
    (slow,) = bootstrap_intervals(lambda rows: np.array([values[rows].mean()]), 500, resamples=5000)
    assert slow.high - slow.low == pytest.approx(found.high - found.low, rel=0.05)
    assert mean_interval([]) is None
    with pytest.raises(EvaluationError, match="nothing to resample"):
        bootstrap_intervals(lambda rows: np.zeros(1), 0)


def test_average_precision_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(MissingExtraError, match=r"vlcls\[evaluation\]"):
        mean_average_precision([[1.0]], [[1]])
    assert measure([[1.0, 0.0]], [0], resamples=5).top1.value == 1  # nothing else needs it
