"""Time and peak memory of the three aggregates, for classes of unequal numbers of prompts.

Random unit embeddings of ViT-B/32's width. The peer is what one writes with torch alone: every cosine in one
matrix, and a loop over classes; it takes a part of the images, since the whole matrix would be 32 GB.

    python benchmarks/speed/aggregates.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import timing
import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH = 512
PEER = "torch alone (part of the images)"
PEER_IMAGES = 2000


def random_rows(count: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)), dim=1)


def class_sizes(classes: int, mean: int) -> list[int]:
    """From half to one and a half times the mean."""
    spread = torch.linspace(mean / 2, 1.5 * mean, classes).round().int()
    return spread[torch.randperm(classes, generator=torch.Generator().manual_seed(0))].tolist()


def child(name: str, classes: int, mean: int, count: int) -> None:
    """What a new process does: score once; print seconds an image and its greatest resident memory, MiB."""
    import vlcls
    from vlcls.labels import as_labels
    from vlcls.prompts import Prompt, PromptSet

    sizes = class_sizes(classes, mean)
    texts = random_rows(sum(sizes), 0)
    images = random_rows(PEER_IMAGES if name == PEER else count, 1)
    if name == PEER:
        start = time.perf_counter()
        cosines = images @ texts.T
        torch.stack([part.amax(1) for part in cosines.split(sizes, dim=1)], dim=1)
    else:
        places = [index for index, size in enumerate(sizes) for _ in range(size)]
        labels = as_labels([str(index) for index in range(classes)])
        prompts = PromptSet(labels, tuple(Prompt("", index, "descriptor") for index in places))
        classifier = vlcls.PromptClassifier(prompts, texts, aggregate=name)
        start = time.perf_counter()
        classifier.similarities(images)
    seconds = time.perf_counter() - start
    print(len(images) / seconds, timing.peak_memory())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--prompts", type=int, default=80, help="mean a class (default: %(default)s)")
    parser.add_argument("--images", type=int, default=100_000)
    options = parser.parse_args()
    sizes = [str(options.classes), str(options.prompts), str(options.images)]
    rows = []
    for name in (PEER, "max", "mean-similarity", "mean-embedding"):
        command = [sys.executable, __file__, "--child", name, *sizes]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        rate, memory = map(float, output[-2:])
        rows.append([name, f"{rate:.0f}", f"{memory:.0f}"])
    what = f"{options.classes} classes x {options.prompts} prompts on average, {options.images} images"
    print(f"{timing.machine()}; {what}\n")
    print(timing.markdown_table(["aggregate", "images/s", "peak memory, MiB"], rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], *map(int, sys.argv[3:]))
    else:
        main()
