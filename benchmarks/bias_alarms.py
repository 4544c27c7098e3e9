"""How often `vlcls bias` reports something where nothing is wrong, and finds what is.

Made-up sets (`vlcls.bias.planted`), one a seed: nothing planted, of several sizes; and a descriptor of one
class that speaks of the background. `docs/bias.md` quotes the table.

    python benchmarks/bias_alarms.py [SEEDS]
"""

from __future__ import annotations

import sys
from collections import Counter

from vlcls.bias import check_held_out, find_bias
from vlcls.bias.planted import DESCRIPTOR, LACKING, planted_set

#: Classes, and images of each class in each of the four groups; half of them are shown.
SIZES = ((2, 20), (3, 60), (6, 12), (3, 150))


def alarms(seeds: int, classes: int, per_cell: int) -> Counter[str]:
    """In how many sets with nothing planted each search reported something."""
    found: Counter[str] = Counter()
    for seed in range(seeds):
        made = planted_set(seed, planted=False, classes=classes, per_cell=per_cell)
        vocabulary = (made.words, made.word_embeddings)
        report = find_bias(made.classifier, made.images, vocabulary=vocabulary, seed=seed, least=5)
        found["failure modes"] += bool(report.failures.modes)
        found["reliance"] += bool(report.reliance.found)
        found["suggestions"] += bool(report.suggestions)
        found["any"] += not report.empty
    return found


def discoveries(seeds: int, classes: int, per_cell: int) -> Counter[str]:
    """In how many sets with a planted descriptor it was found, and shown to be worth removing."""
    found: Counter[str] = Counter()
    for seed in range(seeds):
        made = planted_set(seed, classes=classes, per_cell=per_cell)
        vocabulary = (made.words, made.word_embeddings)
        report = find_bias(made.classifier, made.images, vocabulary=vocabulary, seed=seed, least=5)
        first = report.reliance.found[:1]
        found["relied on first"] += any(x.text == DESCRIPTOR and x.group in LACKING for x in first)
        suggested = report.suggestions[:1]
        right = any(x.text == DESCRIPTOR and x.group in LACKING for x in suggested)
        found["suggested first"] += right
        held = check_held_out(report, made.classifier, made.images)
        found["gain on held-out images"] += right and held.effects[0].change.value > 0
        found["... beyond chance"] += right and held.effects[0].change.low > 0
        found["sand named"] += any(mode.words == ("yellow sand",) for mode in report.failures.modes)
    return found


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    for title, counted in (("nothing planted", alarms), ("planted", discoveries)):
        for classes, per_cell in SIZES:
            images = classes * per_cell * 4
            found = counted(seeds, classes, per_cell)
            line = ", ".join(f"{name} {count}" for name, count in found.items())
            print(f"{title}, {images} images of {classes} classes, {seeds} seeds: {line}", flush=True)


if __name__ == "__main__":
    main()
