"""One step of learning names at full size: 1000 classes in 7 templates through a text tower as of ViT-B/32.

Random weights and images: time and memory do not depend on what they say. Each row is a new process, whose
greatest resident memory is reported; the peer is the same gradient with one graph over all texts, which is
what a plain training loop does, on as few classes as fit.

    OMP_NUM_THREADS=2 python benchmarks/speed/learned_names.py
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import models
import timing
import torch
import torch.nn.functional as F

import vlcls
from vlcls.imagenet import class_names
from vlcls.labels import Labels
from vlcls.learning.memory import peak_memory
from vlcls.learning.problem import LearningProblem, start_vectors
from vlcls.prompts import prompts_from_templates

IMAGES = 1024


def step(folder: Path, classes: int, tokens_at_once: int) -> None:
    """What the new process does: load, one gradient; print seconds, MiB, texts and the gradient's norm."""
    logging.disable(logging.WARNING)
    encoder = vlcls.load_encoder(f"open_clip:local-dir:{folder}", "cpu", "fp32")
    names = tuple(class_names()[:classes])
    prompts = prompts_from_templates(Labels(names, tuple(map(str, range(classes)))), "simple")
    start = start_vectors(encoder, prompts)
    problem = LearningProblem(encoder, prompts, start.counts, "mean-embedding", tokens_at_once)
    generator = torch.Generator().manual_seed(0)
    images = F.normalize(torch.randn(IMAGES, encoder.embedding_dim, generator=generator), dim=1)
    targets = torch.randint(classes, (IMAGES,), generator=generator)
    before = peak_memory(encoder.device)
    begun = time.perf_counter()
    _, gradient = problem.gradient(start.vectors, images, targets)
    seconds = time.perf_counter() - begun
    peaks = (before / 2**20, peak_memory(encoder.device) / 2**20)
    print(seconds, *peaks, len(prompts), float(gradient.norm()))


def measured(folder: Path, classes: int, tokens_at_once: int) -> list[float]:
    command = [sys.executable, __file__, "--child", str(folder), str(classes), str(tokens_at_once)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ)
    return [float(figure) for figure in run.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--peer-classes", type=int, default=50, help="for one graph (default: %(default)s)")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = models.save_open_clip(Path(scratch) / "model")
        for what, classes, tokens in (
            ("chunks of 2048 tokens (default)", options.classes, 2048),
            ("chunks of 2048 tokens", options.peer_classes, 2048),
            ("one graph", options.peer_classes, 10**9),
        ):
            seconds, before, peak, texts, norm = measured(folder, classes, tokens)
            print(f"{what}, {classes} classes: gradient of norm {norm:.6g}", file=sys.stderr)
            rows.append(
                [what, str(classes), str(int(texts)), f"{seconds:.1f}", f"{before:.0f}", f"{peak:.0f}"]
            )
    print(f"{timing.machine()}\n")
    header = ["one step", "classes", "texts", "seconds", "memory before, MiB", "peak memory, MiB"]
    print(timing.markdown_table(header, rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        step(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
