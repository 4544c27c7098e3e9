"""What is left of an accuracy elsewhere: under a shift, and in the worst group."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import EvaluationError, VlclsWarning
from vlcls.evaluation.metrics.intervals import RESAMPLES, Estimate, apart, around, over_seeds, proportion
from vlcls.files.delimited import read_rows
from vlcls.files.text import read_lines

#: Accuracies nearer to 0 or 1 than this are moved there before the logit, which has no value at 0 and 1.
CLIP = 1e-4


@dataclass(frozen=True)
class Drop:
    """An accuracy in distribution and under a shift, 0 to 1. Always print both beside what follows from them.

    Attributes:
        before, after: In distribution, and under the shift.
    """

    before: float
    after: float

    @property
    def absolute(self) -> float:
        return self.before - self.after

    @property
    def relative(self) -> float | None:
        """The part of the accuracy that is lost; None at accuracy 0. Kind to weak classifiers."""
        return self.absolute / self.before if self.before else None

    @property
    def retention(self) -> float | None:
        """The part of the accuracy that is left; None at accuracy 0."""
        return self.after / self.before if self.before else None

    def to_json(self) -> dict[str, float | None]:
        derived = {name: getattr(self, name) for name in ("absolute", "relative", "retention")}
        return {"before": self.before, "after": self.after, **derived}


# ---- effective robustness ------------------------------------------------------------------------------


@dataclass(frozen=True)
class LogitFit:
    """The line logit(accuracy under the shift) = slope logit(accuracy in distribution) + intercept.

    Attributes:
        points: The fit set: (accuracy in distribution, accuracy under the shift), 0 to 1.
        slope, intercept: By ordinary least squares.
        source: What the fit set is; belongs beside every figure that comes from it.
    """

    points: tuple[tuple[float, float], ...]
    slope: float
    intercept: float
    source: str

    @property
    def range(self) -> tuple[float, float]:
        """Accuracies in distribution between which the line says anything."""
        ends = [before for before, _ in self.points]
        return min(ends), max(ends)

    def expected(self, before: float) -> float:
        """beta: the accuracy under the shift that the fit set's models have at this one in distribution."""
        return float(_sigmoid(self.slope * _logits(before) + self.intercept))


@dataclass(frozen=True)
class EffectiveRobustness:
    """How far an accuracy under a shift is above what the fit set lets expect.

    Attributes:
        value: rho = after - expected, in units of accuracy, with the interval that the line's uncertainty
            alone gives it.
        expected: beta.
        inside: The accuracy in distribution is within the range of the fit set. If not, the line says
            nothing about it.
        source: The fit set.
    """

    value: Estimate
    expected: float
    inside: bool
    source: str

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"value": self.value.to_json()}


def fit_logits(points: Iterable[tuple[float, float]], source: str = "") -> LogitFit:
    """Fit the line of Taori et al., "Measuring Robustness to Natural Distribution Shifts in Image
    Classification" (NeurIPS 2020), as in their published code.

    Args:
        points: (accuracy in distribution, accuracy under the shift) of each model, 0 to 1. For a shift with
            fewer classes (ImageNet-A, ImageNet-R, ObjectNet) both must be over those classes. The paper fits
            models that were trained on the in-distribution set alone, without measures for robustness.
        source: What they are, for reports.

    Raises:
        EvaluationError: Fewer than two different accuracies in distribution, or figures outside 0..1.
    """
    rows = tuple((float(before), float(after)) for before, after in points)
    outside = [row for row in rows if not all(0 <= value <= 1 for value in row)]
    if outside:
        raise EvaluationError(f"fit set: {outside[0]} is outside 0..1: give parts of 1, not per cent")
    if len({before for before, _ in rows}) < 2:
        raise EvaluationError(f"fit set: a line needs two different accuracies, not {len(rows)} model(s)")
    slope, intercept = _lines(_logits(np.array(rows))[None])
    return LogitFit(rows, float(slope[0]), float(intercept[0]), source)


def read_fit(path: str | Path, before: str, after: str) -> LogitFit:
    """A fit from a CSV file with one model a row and one column a data set.

    Args:
        path: The file. Lines that begin with "#" before the header say what the models are: `source`.
        before, after: The columns of accuracies, 0 to 1, in distribution and under the shift. A row without
            either figure is left out.

    Raises:
        EvaluationError: No such column, or an entry that is no number in 0..1; names the line.
    """
    lines = read_lines(path, EvaluationError)
    notes = [line[1:].strip() for line in lines if line.startswith("#")]
    plain = ["" if line.startswith("#") else line for line in lines]
    skipped = next((number for number, line in enumerate(plain) if line), len(plain))
    rows = read_rows(plain[skipped:], path, EvaluationError)
    _, header = next(rows, (0, []))
    for name in (before, after):
        if name not in header:
            raise EvaluationError(f"{path}: no column {name!r}; there are {', '.join(header)}")
    places = header.index(before), header.index(after)
    points = []
    for number, row in rows:
        cells = [row[place].strip() if place < len(row) else "" for place in places]
        if all(cells):
            points.append((_part(cells[0], path, number + skipped), _part(cells[1], path, number + skipped)))
    return fit_logits(points, " ".join(notes) or Path(path).name)


def effective_robustness(
    fit: LogitFit, before: float, after: float, *, seed: int = 0, resamples: int = RESAMPLES
) -> EffectiveRobustness:
    """rho = accuracy under the shift - beta(accuracy in distribution), of the same classes.

    Args:
        fit: The line.
        before, after: Accuracies in distribution and under the shift, 0 to 1.
        seed, resamples: Of the bootstrap over the fit set's models. Samples of fewer than two different
            models have no line and are left out.

    Returns:
        With a `VlclsWarning` where `before` is outside the fit set's range.
    """
    low, high = fit.range
    inside = low <= before <= high
    if not inside:
        warnings.warn(
            f"accuracy {before:.4f} is outside the fit set's {low:.4f}..{high:.4f} "
            f"({fit.source or 'no source given'}): effective robustness says nothing there",
            VlclsWarning,
            stacklevel=2,
        )
    expected = fit.expected(before)
    points = _logits(np.array(fit.points))
    rng = np.random.default_rng(seed)
    drawn = points[rng.integers(len(points), size=(resamples, len(points)))]
    slopes, intercepts = _lines(drawn[np.ptp(drawn[:, :, 0], axis=1) > 0])
    above = after - _sigmoid(slopes * _logits(before) + intercepts)
    if len(set(fit.points)) == 2:  # every sample has the same line, whose error nobody can know
        above = np.array([after - 1, after])
    return EffectiveRobustness(around(after - expected, above), expected, inside, fit.source)


def _logits(accuracy: Any) -> Any:
    clipped = np.clip(accuracy, CLIP, 1 - CLIP)
    return np.log(clipped / (1 - clipped))


def _sigmoid(value: Any) -> Any:
    return 1 / (1 + np.exp(-value))


def _lines(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares of many sets [B, n, 2] at once: slopes and intercepts [B]."""
    means = points.mean(1, keepdims=True)
    x, y = np.moveaxis(points - means, 2, 0)
    slopes = (x * y).sum(1) / (x * x).sum(1)
    return slopes, means[:, 0, 1] - slopes * means[:, 0, 0]


def _part(cell: str, path: str | Path, line: int) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise EvaluationError(
            f"{path}, line {line}: {cell!r} is no accuracy in 0..1 (parts of 1, no per cent)"
        )
    return value


# ---- groups --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """The images of one group, and how many of them are right with each seed."""

    name: str
    images: int
    right_of_seeds: tuple[int, ...]

    @property
    def right(self) -> float:
        """Mean over seeds."""
        return math.fsum(self.right_of_seeds) / len(self.right_of_seeds)

    @property
    def accuracy(self) -> Estimate | None:
        """Mean over seeds, with an interval over images (Wilson's) and seeds; None without images."""
        return over_seeds(self.of_seeds).within(0.0, 1.0) if self.images else None

    @property
    def of_seeds(self) -> list[Estimate]:
        """The accuracy with each seed; none without images."""
        each = [proportion(right, self.images) for right in self.right_of_seeds]
        return [one for one in each if one is not None]

    def to_json(self) -> dict[str, Any]:
        accuracy = self.accuracy
        return {
            "name": self.name, "images": self.images, "right": self.right,
            "accuracy": None if accuracy is None else accuracy.to_json(),
        }  # fmt: skip


@dataclass(frozen=True)
class Groups:
    """Accuracies over groups (Sagawa et al., "Distributionally Robust Neural Networks for Group Shifts",
    ICLR 2020). All are means over seeds.

    Attributes:
        groups: In the order given, those without images too.
        worst: The group with images of the least accuracy; of equal ones the first.
        average: Over all images.
        mean: Of the groups with images, each counting the same.
        gap: average - accuracy of the worst.
        reweighted: Average with the shares given, as for Waterbirds, whose test set is balanced but whose
            averages are weighted as in training; None without shares, or if a group with a share is empty.
    """

    groups: tuple[Group, ...]
    worst: Group
    average: float
    mean: float
    gap: float
    reweighted: float | None

    @property
    def empty(self) -> tuple[str, ...]:
        """Groups that nothing is known of: `worst` may not be the worst."""
        return tuple(group.name for group in self.groups if not group.images)

    @property
    def intervals(self) -> dict[str, Estimate]:
        """`average` and `gap` with their intervals over images and seeds."""
        whole = _joined(self.groups)
        average, images = whole.accuracy, sum(group.images for group in self.groups)
        assert average is not None  # there are images
        others = [group for group in self.groups if group is not self.worst and group.images]
        gap = Estimate(self.gap, self.gap, self.gap)
        if others:
            # average - worst = share of the others x (their accuracy - that of the worst)
            joined = _joined(others)
            pairs = zip(joined.of_seeds, self.worst.of_seeds, strict=True)
            gap = over_seeds([apart(*pair) for pair in pairs]).times(joined.images / images)
        return {"average": average, "gap": Estimate(self.gap, max(gap.low, -1.0), min(gap.high, 1.0))}

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {
            "groups": [group.to_json() for group in self.groups],
            "worst": self.worst.to_json(),
            "empty": list(self.empty),
            "intervals": {name: each.to_json() for name, each in self.intervals.items()},
        }


def _joined(groups: Sequence[Group]) -> Group:
    rights = tuple(sum(each) for each in zip(*(group.right_of_seeds for group in groups), strict=True))
    return Group("", sum(group.images for group in groups), rights)


def over_groups(
    right: Any,
    groups: Sequence[str],
    *,
    names: Iterable[str] | None = None,
    shares: Mapping[str, float] | None = None,
) -> Groups:
    """Accuracies of groups of images.

    Groups are usually class x attribute: `[f"{label} / {place}" for ...]`. Choosing a method by the worst
    group of the test set leaks.

    Args:
        right: [N] bool, or [S, N] of S seeds.
        groups: [N], the group of each image.
        names: All groups that there should be; by default those of the images, in alphabetical order.
        shares: Of each group in the training set, in any unit, for `Groups.reweighted`.

    Raises:
        EvaluationError: Lengths that differ, no images, or groups that `names` or `shares` do not know.
    """
    correct = np.atleast_2d(np.asarray(right).astype(bool))
    if correct.ndim != 2 or correct.shape[1] != len(groups) or not correct.size:
        raise EvaluationError(f"{correct.shape} right or wrong for the groups of {len(groups)} images")
    order = sorted(set(groups)) if names is None else list(dict.fromkeys(names))
    unknown = sorted((set(groups) | set(shares or ())) - set(order))
    if unknown:
        raise EvaluationError(f"group {unknown[0]!r} is not among {', '.join(map(repr, order))}")
    place = {name: index for index, name in enumerate(order)}
    rows = np.array([place[name] for name in groups])
    counts = np.bincount(rows, minlength=len(order)).tolist()
    hits = np.array([np.bincount(rows[seed], minlength=len(order)) for seed in correct]).T.tolist()
    found = tuple(
        Group(name, count, tuple(own)) for name, count, own in zip(order, counts, hits, strict=True)
    )
    seen = [group for group in found if group.images]
    worst = min(seen, key=lambda group: group.right / group.images)
    average = float(correct.mean())
    return Groups(
        found,
        worst,
        average,
        math.fsum(group.right / group.images for group in seen) / len(seen),
        average - worst.right / worst.images,
        None if shares is None else _reweighted(found, shares),
    )


def _reweighted(groups: Sequence[Group], shares: Mapping[str, float]) -> float | None:
    total = math.fsum(shares.values())
    if total <= 0 or min(shares.values()) < 0:
        raise EvaluationError("shares of groups must be 0 or more, and not all 0")
    missing = [group.name for group in groups if group.images and group.name not in shares]
    if missing:
        raise EvaluationError(f"no share is given for group {missing[0]!r}")
    used = [group for group in groups if shares.get(group.name)]
    if not all(group.images for group in used):
        return None
    return math.fsum(shares[group.name] * group.right / group.images for group in used) / total
