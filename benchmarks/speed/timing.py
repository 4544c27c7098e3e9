"""Timing several ways of doing one thing so that a busy machine favours none of them."""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch

#: Seconds of each contestant, round by round.
Seconds = dict[str, list[float]]


def peak_memory() -> float:
    """Greatest resident memory of this process so far, MiB."""
    try:
        # Not `ru_maxrss`: on Linux a process that was just started has its parent's in it.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        unit = 1 << 20 if sys.platform == "darwin" else 1 << 10  # macOS counts bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def alternate(contestants: dict[str, Callable[[], object]], rounds: int) -> Seconds:
    """Run every contestant once in every round, each round starting with another one.

    Call the contestants once before, outside of this, if the first run is slower.
    """
    names = list(contestants)
    seconds: Seconds = {name: [] for name in names}
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.perf_counter()
            contestants[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def times_as_fast(seconds: Seconds, name: str, other: str) -> str:
    """How many times as fast `name` is as `other`: median of the rounds' ratios, least and greatest."""
    ratios = [b / a for a, b in zip(seconds[name], seconds[other], strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def per_second(seconds: Seconds, name: str, count: int) -> str:
    return f"{count / median(seconds[name]):.1f}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(table_line(line) for line in (header, ["---"] * len(header), *rows))


def table_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def machine() -> str:
    """Processor, threads and library versions: what a ratio may depend on."""
    packages = ("torch", "torchvision", "open_clip_torch", "transformers", "pillow")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{_processor()}, {torch.get_num_threads()} cores, Python {platform.python_version()}, {versions}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
