"""How often verdicts on gains are wrong where there is nothing to find, and right where there is.

Simulated predictions: images differ in how hard they are, runs in their noise on each image, and random texts
in skill from draw to draw. `docs/metrics.md` quotes the table.

    python benchmarks/false_positives.py [SIMULATIONS]
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping

import numpy as np

from vlcls.evaluation import judge_gains
from vlcls.evaluation.metrics.verdicts import CONTROLS, ONE_PROMPT, RANDOM_CONTROLS

NOISE = 0.6
IMAGES = (336, 2000, 20_000)
DRAWS = (0.0, 0.02, 0.1, 0.3)
#: Skill, and the number of seeds of a method with random texts.
Methods = Mapping[str, tuple[float, int | None]]


def reasons(methods: Methods, images: int, draw: float, simulations: int) -> Counter[str]:
    """Verdicts on "method" over simulations."""
    found: Counter[str] = Counter()
    for number in range(simulations):
        rng = np.random.default_rng([number, images])
        ease = rng.normal(size=images)
        predicted = {}
        for name, (skill, seeds) in methods.items():
            skills = skill + (rng.normal(0, draw, seeds) if seeds else np.zeros(1))
            right = ease + skills[:, None] + NOISE * rng.normal(size=(len(skills), images)) > 0
            predicted[name] = np.where(right, 0, 1)
        method = predicted.pop("method")
        judged = judge_gains({"method": method}, predicted, np.zeros(images, int), samples=1000)  # type: ignore[arg-type]
        found[judged["method"].reason] += 1
    return found


def main() -> None:
    simulations = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    alone: Methods = {ONE_PROMPT: (0.5, None), "method": (0.5, None)}
    everything = alone | dict.fromkeys(CONTROLS, (0.5, None)) | dict.fromkeys(RANDOM_CONTROLS, (0.5, 7))
    worlds: dict[str, tuple[Methods, float]] = {
        "no difference, five references": (everything, 0.0),
        "no difference, one reference": (alone, 0.0),
        "no difference, 7 seeds, draws of 0.05": (alone | {"method": (0.5, 7)}, 0.05),
        "a better method": (everything | {"WaffleCLIP": (0.55, 7), "method": (0.8, None)}, 0.02),
    }
    for draw in DRAWS:
        for seeds in (3, 7):
            for own in (1, seeds):
                name = f"random words, draws of {draw}, {seeds} seeds against {own}"
                words: Methods = {ONE_PROMPT: (0.5, None), "WaffleCLIP": (0.6, seeds), "method": (0.6, own)}
                worlds[name] = words, draw
    for name, (methods, draw) in worlds.items():
        for images in IMAGES:
            found = reasons(methods, images, draw, simulations)
            parts = ", ".join(
                f"{reason} {count / simulations:.1%}" for reason, count in sorted(found.items())
            )
            print(f"{name}; {images} images: {parts}", flush=True)


if __name__ == "__main__":
    main()
