"""What further methods cost: seven against one, on images that are not yet stored.

ViT-B/32 with random weights, made JPEGs in folders of seven classes, an empty store each time.

    python benchmarks/speed/evaluate.py
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import tempfile
import warnings
from pathlib import Path
from statistics import median

import models
import timing

import vlcls
from vlcls.evaluation.data import open_set

ONE, SEVEN = "photo", "name,photo,ensemble,max,autoclip,descriptors,zpe"
CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=840, help="images (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each (default: %(default)s)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        encoder = vlcls.load_encoder(
            f"open_clip:local-dir:{models.save_open_clip(root / 'model')}", "cpu", "fp32"
        )
        for number, path in enumerate(models.save_photos(root / "made", options.count)):
            folder = root / "photos" / CLASSES[number % len(CLASSES)]
            folder.mkdir(parents=True, exist_ok=True)
            path.rename(folder / path.name)
        photos, runs = open_set(root / "photos"), iter(range(1000))

        def evaluated(methods: str) -> None:
            place = root / f"run {next(runs)}"
            with contextlib.redirect_stderr(io.StringIO()):
                vlcls.evaluate(photos, methods, encoder, place, controls=False, cache=place / "cache")

        encoder.encode_texts(["a photo"])
        seconds = timing.alternate(
            {"one method": lambda: evaluated(ONE), "seven methods": lambda: evaluated(SEVEN)}, options.rounds
        )
    print(f"{timing.machine()}; {options.count} images of {len(CLASSES)} classes; seven: {SEVEN}\n")
    rows = [
        [name, f"{median(times):.1f}", timing.times_as_fast(seconds, "one method", name)]
        for name, times in seconds.items()
    ]
    print(timing.markdown_table(["from JPEG files to the report", "seconds", "times as long"], rows))


if __name__ == "__main__":
    main()
