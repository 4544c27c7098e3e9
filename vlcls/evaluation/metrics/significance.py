"""Is one method better than another on the same images, beyond chance?

Two things vary by chance: which images there are, and, for methods with random texts, which texts were drawn.

Images. The images are the same for both methods, so only the differences d_i count: the part of runs (seeds)
of the first that have image i right, less that of the second. With one run each the test is McNemar's, exact;
with several it is the sign-flip test of the d_i, which is the same test for more than two values.

Texts. If a method was run with S seeds, the variance of accuracy between them, beyond what images explain, is
estimated by a two-way analysis of variance. A difference from a mean over seeds is uncertain by that variance
/ S. And a method with one fixed set of texts that is compared with random ones is one more draw from them, if
what its texts say does not matter: then the variance counts once more, for that draw. (With 27 000 images two
draws of random words can differ by four points on EuroSAT, and every test over images alone will call that
significant.) A t test on the variances of images and texts together takes this in, with the few degrees of
freedom that a few seeds give; the p value is the larger one of both tests.

A table of many comparisons is corrected with Holm, and so are the intervals in it: each is at the level of
its step, so that what a reader sees is what was decided. An interval at 95 % of its own beside a p value of
the whole table may exclude 0 where there is no evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlcls.binomial import mcnemar
from vlcls.errors import EvaluationError
from vlcls.evaluation.metrics.intervals import Estimate, around, posterior_means

#: Draws of a difference, and sign flips of a test.
SAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """One method less another, on the same images.

    Attributes:
        accuracy, reference: Of both, means over their seeds.
        difference: accuracy - reference with its paired interval over images
            (`vlcls.evaluation.metrics.intervals.posterior_means`); between seeds it is widened by the
            variance described above.
        gained, lost: Images that only the method and only the reference has right; of several seeds the mean
            over all pairs of them.
        seeds, reference_seeds: Runs of each.
        p_value: That they differ by chance; not corrected.
        adjusted: The same, Holm-corrected over a table; `p_value` until `holm_corrected` has seen it.
        simultaneous: The difference with the interval that goes with `adjusted`: at the level of its step in
            Holm's procedure, and with 0 inside just if the difference is not significant there.
        p_images: The p value over images alone, as if other draws of texts gave the same.
        between_seeds: Standard deviation of accuracy between the runs of the side with random texts (of both,
            the larger one); None without several seeds.
        freedom: Degrees of freedom of that; None without several seeds.
    """

    accuracy: float
    reference: float
    difference: Estimate
    gained: float
    lost: float
    seeds: int
    reference_seeds: int
    p_value: float
    adjusted: float
    simultaneous: Estimate
    p_images: float
    between_seeds: float | None = None
    freedom: float | None = None

    def few_draws(self, alpha: float) -> bool:
        """Not significant, though it would be if all draws of random texts were as good as those made."""
        if self.between_seeds is None or self.adjusted <= alpha or not self.p_value:
            return False
        # At the same step of Holm's procedure.
        return self.p_images * self.adjusted / self.p_value <= alpha and self.p_value > self.p_images

    def to_json(self) -> dict[str, Any]:
        plain = {"difference": self.difference.to_json(), "simultaneous": self.simultaneous.to_json()}
        return vars(self) | plain


def compare_predictions(
    predicted: Any, reference: Any, truth: Any, *, seed: int = 0, samples: int = SAMPLES
) -> Difference:
    """Compare two methods over the same images.

    Args:
        predicted: Classes given by the method: [N], or [S, N] if it was run with S seeds.
        reference: The same of the method that it is compared with: [N] or [T, N].
        truth: [N].
        seed: Of the resampling.
        samples: How many.

    Raises:
        EvaluationError: Other numbers of images, or none.
    """
    return compare_right(right_of(predicted, truth), right_of(reference, truth), seed=seed, samples=samples)


def compare_right(
    right: NDArray[np.bool_], reference: NDArray[np.bool_], *, seed: int = 0, samples: int = SAMPLES
) -> Difference:
    """The same from which predictions are right: bool[S, N] and bool[T, N]."""
    if right.ndim != 2 or reference.ndim != 2 or right.shape[1] != reference.shape[1] or not right.size:
        raise EvaluationError(f"predictions {right.shape} and {reference.shape} are not of the same images")
    seeds = len(right), len(reference)
    right, reference = _several(right), _several(reference)
    rng = np.random.default_rng(seed)
    # As integers in units of 1 / (S T), so that equal differences are equal.
    unit = len(right) * len(reference)
    ours, theirs = (each.sum(0, dtype=np.int64) for each in (right, reference))  # [S, N], [T, N] -> [N] each
    # [N] -> [V] each: the V distinct differences, and how many images have each.
    values, counts = np.unique(ours * len(reference) - theirs * len(right), return_counts=True)
    texts = _texts(right, reference)
    first, second = float(right.mean()), float(reference.mean())
    total = right.shape[1]
    apart = int(values @ counts) / (unit * total)
    gained = float(ours @ (len(reference) - theirs)) / unit
    lost = float((len(right) - ours) @ theirs) / unit
    estimate = around(apart, _differences(values / unit, counts, texts, rng, samples))
    if unit == 1:
        p_value = mcnemar([int(lost)], [int(gained)])[0]
        return Difference(
            first, second, estimate, gained, lost, *seeds, p_value, p_value, estimate, p_value
        )  # fmt: skip
    p_images = max(_flip_test(values, counts, rng, samples), _t_test(values / unit, counts, (0.0, math.inf)))
    p_value = max(p_images, _t_test(values / unit, counts, texts))
    spread = max(float(runs.mean(1).std(ddof=1)) for runs in (right, reference) if len(runs) > 1)
    return Difference(
        first, second, estimate, gained, lost, *seeds, p_value, p_value, estimate, p_images, spread, texts[1]
    )  # fmt: skip


def right_of(predicted: Any, truth: Any) -> NDArray[np.bool_]:
    """Which predictions [N] or [S, N] are right: bool[S, N].

    Raises:
        EvaluationError: Other numbers of images, or none.
    """
    given, classes = np.atleast_2d(np.asarray(predicted)), np.asarray(truth)  # [N] or [S, N] -> [S, N]; [N]
    if given.ndim != 2 or classes.ndim != 1 or given.shape[1] != len(classes) or not given.size:
        raise EvaluationError(
            f"predictions must be [images] or [seeds, images] for the {classes.shape} true classes, "
            f"not {given.shape}"
        )
    right: NDArray[np.bool_] = given == classes  # [S, N] == [N] -> [S, N]
    return right


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) correction: with a threshold on these, the chance of any false positive is below it.

    The k-th smallest of m is multiplied by m - k + 1, and is no smaller than the one before.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    result = np.empty_like(values)
    result[order] = np.minimum(1, np.maximum.accumulate(steps))
    return [float(value) for value in result]


def holm_corrected(
    table: Mapping[str, Mapping[str, Difference]], alpha: float = 0.05
) -> dict[str, dict[str, Difference]]:
    """A table of methods by references with `adjusted` and `simultaneous` set, over all of its cells.

    Cells without an image that only one of both has right are left out of the count: they can never be
    significant, and which cells these are says nothing about the direction of any difference.
    """
    cells = [(method, name, each) for method, row in table.items() for name, each in row.items()]
    tested = [(method, name) for method, name, each in cells if each.gained or each.lost]
    p_values = [table[method][name].p_value for method, name in tested]
    found = dict(zip(tested, zip(holm(p_values), _levels(p_values, alpha), strict=True), strict=True))
    return {
        method: {
            name: _corrected(each, *found[method, name], alpha)
            if (method, name) in found
            else replace(each, adjusted=1.0)
            for name, each in row.items()
        }
        for method, row in table.items()
    }


def _levels(p_values: Sequence[float], alpha: float) -> list[float]:
    """The level at which Holm's procedure looks at each: alpha / (m - k + 1) of the k-th smallest, and for
    all behind the first that is not significant the level of that one."""
    order = np.argsort(p_values, kind="stable")
    levels = alpha / np.arange(len(order), 0, -1)
    above = np.asarray(p_values)[order] > levels
    if above.any():
        levels[above.argmax() :] = levels[above.argmax()]
    result = np.empty_like(levels)
    result[order] = levels
    return [float(level) for level in result]


def _corrected(each: Difference, adjusted: float, level: float, alpha: float) -> Difference:
    """With the interval of this level: the distances of the ends at 95 %, stretched by quantiles.

    An interval and a test may disagree about 0 by a hair: the test decides, and the end moves to 0.
    """
    from scipy.stats import t

    freedom = math.inf if each.freedom is None else each.freedom
    middle = each.difference
    if level <= 0:  # nothing is ever significant: the interval has no end within 1
        return replace(each, adjusted=adjusted, simultaneous=Estimate(middle.value, -1.0, 1.0))
    stretch = float(t.ppf(1 - level / 2, freedom) / t.ppf(0.975, freedom))
    low = max(middle.value - stretch * (middle.value - middle.low), -1.0)
    high = min(middle.value + stretch * (middle.high - middle.value), 1.0)
    if adjusted > alpha:
        low, high = min(low, 0.0), max(high, 0.0)
    elif middle.value > 0:
        low = max(low, 0.0)
    else:
        high = min(high, 0.0)
    return replace(each, adjusted=adjusted, simultaneous=Estimate(middle.value, low, high))


# ---- the parts of a comparison -------------------------------------------------------------------------


def _texts(right: NDArray[np.bool_], reference: NDArray[np.bool_]) -> tuple[float, float]:
    """Variance of the difference that comes from which texts were drawn, and the degrees of freedom.

    Those are of what the accuracies of runs show (Welch and Satterthwaite), and endless without seeds.
    """
    # One fixed set of texts beside random ones is one more draw of them, if its meaning does not matter.
    one_more = len(right) == 1 and len(reference) > 1
    variance, shown, squares = 0.0, 0.0, 0.0
    for runs, share in ((right, 1 / len(right)), (reference, 1 / len(reference) + one_more)):
        if len(runs) > 1:
            between = float(runs.mean(1).var(ddof=1))  # [S, N] -> [S] -> one
            variance += share * max(0.0, between - _noise_of_images(runs))
            shown += share * between
            squares += (share * between) ** 2 / (len(runs) - 1)
    if len(right) == len(reference) == 1:
        return 0.0, math.inf
    return variance, shown**2 / squares if squares else 1.0


def _noise_of_images(right: NDArray[np.bool_]) -> float:
    """How much of the variance between runs bool[S, N] comes from there being only N images.

    The residual mean square of x - run mean - image mean + mean, over N.
    """
    seeds, images = right.shape
    means, of_images = right.mean(1), right.mean(0)  # [S, N] -> [S], [N]
    total = right.size * right.mean() * (1 - right.mean())
    between = images * ((means - means.mean()) ** 2).sum()
    across = seeds * ((of_images - of_images.mean()) ** 2).sum()
    residual = max(0.0, float(total - between - across)) / ((seeds - 1) * max(1, images - 1))
    return residual / images


def _several(right: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Runs bool[S, N] that are all alike are one, bool[1, N]: such a method is not random."""
    return right[:1] if (right == right[0]).all() else right


def _differences(
    values: NDArray[np.float64], counts: NDArray[np.int64], texts: tuple[float, float],
    rng: np.random.Generator, samples: int,
) -> NDArray[np.float64]:  # fmt: skip
    """Draws of the mean difference: of an image it can be -1 or 1, or 0 in two ways. Seeds are too few to
    resample: their part is drawn from a t distribution."""
    draws = posterior_means(values, counts, (-1, 0, 0, 1), rng, samples)  # [V] -> [B]
    variance, freedom = texts
    if freedom < math.inf:
        mean = float(values @ counts) / counts.sum()
        apart = draws - mean + math.sqrt(variance) * rng.standard_normal(samples)
        draws = mean + apart * np.sqrt(freedom / rng.chisquare(freedom, samples))
    return draws


def _flip_test(
    values: NDArray[np.int64], counts: NDArray[np.int64], rng: np.random.Generator, samples: int
) -> float:
    """Two-sided: how often the sum is as large if each difference has its sign by chance.

    Of the n images with the difference +-v, a Binomial(n, 1/2) of them are positive. Beyond the reach of
    `samples` it is 0, and the t test decides, which with that many differences is as good.
    """
    sizes = np.unique(np.abs(values[values != 0]))
    if not len(sizes):
        return 1.0
    each = np.array([counts[np.abs(values) == size].sum() for size in sizes])  # [V] -> [U], U sizes
    sums = (2 * rng.binomial(each, 0.5, size=(samples, len(sizes))) - each) @ sizes  # [B, U] @ [U] -> [B]
    return float((np.abs(sums) >= abs(int(values @ counts))).mean())


def _t_test(values: NDArray[np.float64], counts: NDArray[np.int64], texts: tuple[float, float]) -> float:
    """Two-sided t test of the mean, its variance the sum of that of images and that of texts."""
    from scipy.stats import t

    total = int(counts.sum())
    mean = float(values @ counts) / total
    of_images = float(((values - mean) ** 2) @ counts) / (total * max(1, total - 1))
    variance, freedom = of_images + texts[0], texts[1]
    if not mean or not variance:  # no difference; or the same on every image, where the flip test decides
        return 0.0 if mean else 1.0
    return float(2 * t.sf(abs(mean) / math.sqrt(variance), min(freedom, total)))
