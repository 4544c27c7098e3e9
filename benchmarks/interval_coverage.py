"""How often 95 % intervals hold the truth, in made-up sets whose truth is known. For `docs/metrics.md`.

python benchmarks/interval_coverage.py [SIMULATIONS]
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vlcls.evaluation import Estimate
from vlcls.evaluation.metrics.calibration import bin_places, calibration_interval
from vlcls.evaluation.metrics.entries import METRICS, of_classes
from vlcls.evaluation.metrics.intervals import over_seeds, proportion
from vlcls.evaluation.metrics.per_image import DEFAULT_BINS, Outcomes
from vlcls.evaluation.metrics.significance import compare_right

IMAGES = (24, 100, 500, 3000)
Numbers = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Estimate | None]

#: How sure models say that they are, and how often they are right when they say so.
CONFIDENCES: dict[str, Callable[[np.random.Generator, int], Numbers]] = {
    "any": lambda rng, count: rng.uniform(0.1, 1, count),
    "middling": lambda rng, count: rng.beta(2, 2, count),
    "sure": lambda rng, count: 1 - rng.beta(1, 15, count),
}
RIGHT: dict[str, Callable[[Numbers], Numbers]] = {
    "calibrated": lambda confidence: confidence,
    "3 points too sure": lambda confidence: np.clip(confidence - 0.03, 0, 1),
    "10 points too sure": lambda confidence: np.clip(confidence - 0.1, 0, 1),
    "right as often as its square": lambda confidence: confidence**2,
    "15 points too sure above 0.7": lambda confidence: np.where(
        confidence < 0.7, confidence, np.clip(confidence - 0.15, 0, 1)
    ),
    "always right": lambda confidence: np.ones_like(confidence),
}


def calibration(sure: str, right: str) -> tuple[Draw, float]:
    """ECE, and its value with endless images."""

    def draw(rng: np.random.Generator, count: int) -> Estimate:
        confidence = CONFIDENCES[sure](rng, count)
        hits = rng.random(count) < RIGHT[right](confidence)
        return calibration_interval(confidence, hits, resamples=300)

    many = CONFIDENCES[sure](np.random.default_rng(1), 2_000_000)
    gaps = np.bincount(bin_places(many, DEFAULT_BINS), RIGHT[right](many) - many)
    return draw, float(np.abs(gaps).sum() / len(many))


def recall(levels: Numbers, shares: Numbers) -> tuple[Draw, float]:
    """Mean class recall of classes of these accuracies and shares of images."""

    def draw(rng: np.random.Generator, count: int) -> Estimate:
        truth = np.concatenate(
            [np.arange(len(levels)), rng.choice(len(levels), count - len(levels), p=shares)]
        )
        rank = 1 * (rng.random(count) >= levels[truth])
        nothing = np.zeros(count)
        found = Outcomes(len(levels), truth, truth, rank, nothing, nothing, nothing)
        return of_classes(METRICS["mean_class_recall"].figure, found, 0, 300)

    return draw, float(levels.mean())


def difference(gained: float, lost: float, seeds: int) -> tuple[Draw, float]:
    """Accuracy of a method less that of another, each image gained and lost with these chances."""

    def draw(rng: np.random.Generator, count: int) -> Estimate:
        kind = rng.random((seeds, count))
        ours = (kind < gained) | (kind > 0.5)
        theirs = ((kind > gained) & (kind < gained + lost)) | (kind > 0.5)
        return compare_right(ours, theirs[:1] if seeds == 1 else theirs, samples=1000).difference

    return draw, gained - lost


def seeded(level: float, spread: float) -> tuple[Draw, float]:
    """Accuracy over seven draws of texts whose own accuracies differ."""

    def draw(rng: np.random.Generator, count: int) -> Estimate | None:
        levels = np.clip(level + spread * rng.uniform(-1, 1, 7), 0, 1)
        hits = (rng.random(count) < levels[:, None]).sum(1)
        each = [proportion(int(right), count) for right in hits]
        return over_seeds([one for one in each if one is not None])

    return draw, level


def covered(draw: Draw, truth: float, count: int, simulations: int) -> str:
    held, width = 0, 0.0
    for number in range(simulations):
        found = draw(np.random.default_rng([number, count]), count)
        assert found is not None and found.low <= found.value <= found.high
        held += found.low - 1e-9 <= truth <= found.high + 1e-9
        width += (found.high - found.low) / simulations
    return f"{100 * held / simulations:.1f} ({width:.3f})"


def main() -> None:
    simulations = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    kinds = {
        f"ECE, {right}, confidence {sure}": calibration(sure, right)
        for right in RIGHT
        for sure in CONFIDENCES
    }
    even = np.full(8, 1 / 8)
    kinds |= {
        "mean class recall, 8 equal classes, 0.8": recall(np.full(8, 0.8), even),
        "the same, 0.5 to 1": recall(np.linspace(0.5, 1, 8), even),
        "the same, a rare class of 0.5": recall(np.array([1.0] * 7 + [0.5]), np.array([0.14] * 7 + [0.02])),
        "difference 0, hardly any image differs": difference(0.01, 0.01, 1),
        "difference 0.1": difference(0.2, 0.1, 1),
        "difference 0.1, three seeds": difference(0.2, 0.1, 3),
        "top-1 over seven seeds, 0.98": seeded(0.98, 0.02),
        "top-1 over seven seeds, 0.6": seeded(0.6, 0.1),
    }
    print("| % that hold the truth (mean width) |", " | ".join(f"{count} images" for count in IMAGES), "|")
    print("|", " | ".join(["---"] * (len(IMAGES) + 1)), "|")
    for name, (draw, truth) in kinds.items():
        cells = [covered(draw, truth, count, simulations) for count in IMAGES]
        print("|", " | ".join([name, *cells]), "|", flush=True)


if __name__ == "__main__":
    main()
