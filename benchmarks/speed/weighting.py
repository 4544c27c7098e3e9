"""What AutoCLIP costs on stored embeddings, next to plain scoring and to encoding the same images.

Random unit embeddings of ViT-B/32's width: time and memory do not depend on what they are. Plain scoring is
there twice: every prompt's cosine averaged, as the papers' code does it (AutoCLIP needs every cosine too),
and vlcls's mean-similarity, which takes the mean on the text side first.

    python benchmarks/speed/weighting.py
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import models
import timing
import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH = 512
PLAIN, MEAN, AUTO = "every cosine, then the mean", "mean-similarity", "AutoCLIP"


def random_rows(count: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)), dim=1)


def every_cosine(texts: Tensor, templates: int, images: Tensor) -> Tensor:
    """As the papers' code scores, in chunks of the size that vlcls takes."""
    size = max(1, 2**23 // len(texts))
    return torch.cat(
        [(part @ texts.T).view(len(part), -1, templates).mean(-1) for part in images.split(size)]
    )


def contestant(name: str, classes: int, templates: int) -> Callable[[Tensor], Tensor]:
    import vlcls
    from vlcls.classifiers.weighting import TemplateWeights, Weighting
    from vlcls.labels import as_labels
    from vlcls.prompts import Prompt, PromptSet

    labels = as_labels([str(index) for index in range(classes)])
    prompts = PromptSet(
        labels,
        tuple(Prompt("", c, "template", template=k) for c in range(classes) for k in range(templates)),
    )
    texts = random_rows(classes * templates, 0)
    if name == PLAIN:
        return partial(every_cosine, texts, templates)
    if name == MEAN:
        return vlcls.PromptClassifier(prompts, texts, aggregate="mean-similarity").similarities
    return TemplateWeights(prompts, texts, Weighting(), 100.0)


def peak(name: str, classes: int, templates: int, images: int) -> float:
    """Greatest resident memory, MiB, of a new process that scores once."""
    command = [sys.executable, __file__, "--child", name, str(classes), str(templates), str(images)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])


def child(name: str, classes: int, templates: int, images: int) -> None:
    contestant(name, classes, templates)(random_rows(images, 1))
    print(timing.peak_memory())


def encoding_seconds(count: int) -> float:
    """Seconds an image that ViT-B/32 takes to encode, on ready pixels."""
    import vlcls

    with tempfile.TemporaryDirectory() as scratch:
        folder = models.save_open_clip(Path(scratch) / "model")
        encoder = vlcls.load_encoder(f"open_clip:local-dir:{folder}", "cpu", "fp32")
        batches = torch.zeros(count, 3, 224, 224, dtype=torch.uint8).split(16)
        encoder.encode_images(batches[0])
        start = time.perf_counter()
        for pixels in batches:
            encoder.encode_images(pixels)
        return (time.perf_counter() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--templates", type=int, default=80)
    parser.add_argument("--count", type=int, default=1000, help="image embeddings (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default: %(default)s)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    images = random_rows(options.count, 1)
    runs: dict[str, Callable[[], object]] = {
        name: partial(contestant(name, options.classes, options.templates), images)
        for name in (PLAIN, MEAN, AUTO)
    }
    for run in runs.values():
        run()
    seconds = timing.alternate(runs, options.rounds)
    encoding = encoding_seconds(64) * options.count
    size = f"{options.classes} classes x {options.templates} templates, {options.count} images"
    print(f"{timing.machine()}; {size}\n")
    rows = [
        [
            name,
            timing.per_second(seconds, name, options.count),
            timing.times_as_fast(seconds, name, PLAIN),
            f"{min(seconds[name]) / encoding:.2%}",
            f"{peak(name, options.classes, options.templates, options.count):.0f}",
        ]
        for name in runs
    ]
    header = ["scoring", "images/s", "times as fast as the first", "share of encoding", "peak memory, MiB"]
    print(timing.markdown_table(header, rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], *map(int, sys.argv[3:]))
    else:
        main()
