"""Peak memory of classifying few and ten times as many images.

Each figure is the greatest resident memory of a new process, which classifies with an empty store.

    python benchmarks/speed/memory.py
    python benchmarks/speed/memory.py --encoder conse
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import models
import timing


def save_many_photos(folder: Path, count: int) -> None:
    """JPEGs of which every hundred show the same, and no two are equal files: decoders stop at the end mark,
    so what is written behind it changes a file's hash and nothing else."""
    folder.mkdir(parents=True)
    originals = [path.read_bytes() for path in models.save_photos(folder / "originals", 100)]
    for number in range(count):
        data = originals[number % len(originals)] + str(number).encode()
        (folder / f"{number:05d}.jpg").write_bytes(data)


def classify(encoder: str, folder: Path, count: int) -> None:
    """What the new process does: classify, and print its greatest resident memory in MiB."""
    import vlcls

    logging.disable(logging.WARNING)
    paths = sorted(folder.glob("*.jpg"))[:count]
    with tempfile.TemporaryDirectory() as store:
        classifier = vlcls.build_classifier(models.LABELS, encoder, cache=store)
        done = sum(result.error is None for result in classifier.iter_predict(paths, cache=store))
    if done != count:
        raise SystemExit(f"{done} of {count} images were classified")
    print(timing.peak_memory())


def peak(encoder: str, folder: Path, count: int) -> float:
    """Greatest resident memory, MiB, of a new process that classifies `count` images."""
    command = [sys.executable, __file__, "--child", encoder, str(folder), str(count)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of JPEGs (default: photographs made for this)")
    parser.add_argument(
        "--count", type=int, default=3000, help="images of the long run (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="new processes each (default: %(default)s)")
    parser.add_argument(
        "--encoder", action="append", default=[], help="spec to measure besides a small CLIP; may be repeated"
    )
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    few = options.count // 10
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.images
        if folder is None:
            folder = Path(scratch) / "photos"
            save_many_photos(folder, options.count)
        small = f"open_clip:local-dir:{models.save_tiny_open_clip(Path(scratch) / 'model')}"
        for name, spec in {"small CLIP": small, **{spec: spec for spec in options.encoder}}.items():
            peaks = [
                [peak(spec, folder, count) for count in (few, options.count)] for _ in range(options.rounds)
            ]
            medians = [f"{median(column):.0f}" for column in zip(*peaks, strict=True)]
            rows.append([name, *medians, f"{median(many / less for less, many in peaks):.3f}"])
    print(f"{timing.machine()}\n")
    header = ["peak memory, MiB", f"{few} images", f"{options.count} images", "ratio"]
    print(timing.markdown_table(header, rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        classify(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
