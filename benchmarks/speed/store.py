"""The second run from the embedding store against the first, for images and for texts.

Every round begins with an empty store. Loading the model and hashing its weights (the store's key, once
for each loaded model) are not timed with either run; the hash is a line of its own.

    python benchmarks/speed/store.py
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import models
import timing


def first_and_second(run: Callable[[Path], object], rounds: int) -> timing.Seconds:
    """Seconds of a run with an empty store, and of the same run again."""
    seconds: timing.Seconds = {"first": [], "second": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as store:
            for which in seconds:
                start = time.perf_counter()
                run(Path(store))
                seconds[which].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    import vlcls
    from vlcls.classifiers.prompt import classifier_from_prompts
    from vlcls.labels import as_labels
    from vlcls.prompts import prompts_from_templates

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of JPEGs (default: photographs made for this)")
    parser.add_argument("--count", type=int, default=128, help="how many images (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="first and second runs (default: %(default)s)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        paths = models.find_photos(options.images, Path(scratch), options.count)
        model = models.save_open_clip(Path(scratch) / "model")
        encoder = vlcls.load_encoder(f"open_clip:local-dir:{model}", "cpu", "fp32")
        start = time.perf_counter()
        encoder.fingerprint  # noqa: B018
        hashing = time.perf_counter() - start
        classifier = vlcls.build_classifier(models.LABELS, encoder, cache=False)
        classifier.predict(paths[:1], cache=False)
        prompts = prompts_from_templates(as_labels(models.LABELS), "openai-imagenet")
        runs = {
            f"{len(paths)} images": lambda store: classifier.predict(paths, cache=store),
            f"{len(prompts)} texts": lambda store: classifier_from_prompts(prompts, encoder, cache=store),
        }
        rows = []
        for what, run in runs.items():
            seconds = first_and_second(run, options.rounds)
            times = [f"{median(seconds[which]):.3f}" for which in seconds]
            rows.append([what, *times, timing.times_as_fast(seconds, "second", "first")])
    print(f"{timing.machine()}; ViT-B/32, {options.rounds} rounds\n")
    header = ["from the store", "first run, s", "second run, s", "second is times as fast"]
    print(timing.markdown_table(header, rows))
    print(f"\nHashing the weights, once for each loaded model: {hashing:.2f} s")


if __name__ == "__main__":
    main()
