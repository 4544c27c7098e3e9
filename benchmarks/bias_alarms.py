"""How often `vlcls bias` reports something where nothing is wrong, and finds what is.

Made-up sets (`tests/planted.py`), one a seed: nothing planted, of several sizes; and a descriptor of one
class that speaks of the background. `docs/bias.md` quotes the table.

    python benchmarks/bias_alarms.py [SEEDS]
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from vlcls.bias import Tagger, check_held_out, failure_modes, find_bias, fit_tagger

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from planted import DESCRIPTOR, LACKING, planted_set

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


def circles(seeds: int) -> Counter[str]:
    """Sets with nothing planted where failure modes are seen in the classifier's own descriptors."""
    found: Counter[str] = Counter()
    for seed in range(seeds):
        made = planted_set(seed, planted=False, per_cell=30)
        words = tuple(prompt.descriptor for prompt in made.classifier.prompts)
        texts, images = made.classifier.text_embeddings, made.images.embeddings
        plain = texts.double().numpy() - texts.double().numpy().mean(0)
        similarities = images.double().numpy() @ plain.T
        taggers = {
            "as they are": Tagger(words, plain, similarities.mean(0) + similarities.std(0)),
            "without what the classifier looks at": fit_tagger(words, texts, images, made.classifier),
        }
        truth = made.images.class_indices
        right = (made.classifier.similarities(images).argmax(1) == truth).numpy()
        for name, tagger in taggers.items():
            modes = failure_modes(right, truth, tagger(images), alpha=0.05 / 3, least=5).modes
            found[name] += bool(modes)
    return found


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    for title, counted in (("nothing planted", alarms), ("planted", discoveries)):
        for classes, per_cell in SIZES:
            images = classes * per_cell * 4
            found = counted(seeds, classes, per_cell)
            line = ", ".join(f"{name} {count}" for name, count in found.items())
            print(f"{title}, {images} images of {classes} classes, {seeds} seeds: {line}", flush=True)
    line = ", ".join(f"{name} {count}" for name, count in circles(seeds).items())
    print(f"nothing planted, descriptors as words, {seeds} seeds, failure modes: {line}")


if __name__ == "__main__":
    main()
