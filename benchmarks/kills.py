"""Kill every long command at random moments, run it again, and compare with a run that nobody disturbed.

    python benchmarks/kills.py [--kills 60] [--seed 0] [--command evaluate]

Each command gets its share of the kills (SIGKILL, at a random moment of its run, several in a row), is then
run to its end, and must leave the same results as the undisturbed run and no temporary file. Everything is
made up here and needs no network. Exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))


@dataclass(frozen=True)
class Command:
    """A command line, and what of its results must be the same."""

    line: str
    results: Callable[[Path], Any]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", action="append", help="only these")
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="vlcls-kills-"))
    from documented import make_world
    from fault_server import FaultServer, chat
    from models import save_open_clip

    make_world(home / "world")
    more_photos(home / "world" / "photos")
    server = FaultServer(lambda body, _: chat(answer(body)))
    with server.running():
        os.environ |= {
            "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": server.url,
            "VLCLS_ENCODER": f"open_clip:local-dir:{save_open_clip(home / 'model')}",
            "PYTHONPATH": os.pathsep.join([str(TESTS.parent), os.environ.get("PYTHONPATH", "")]),
        }  # fmt: skip
        run(Command("captions build captions.jsonl -o coco", captions_of), home / "world")
        names = given.command or list(COMMANDS)
        faults, kills = 0, 0
        for name in names:
            share = -(-given.kills // len(names))
            found, killed = disturb(name, COMMANDS[name], home, share, random.Random(f"{name}/{given.seed}"))
            faults, kills = faults + len(found), kills + killed
            print(
                f"{name:16} {killed:3} kills: {'; '.join(found) or 'same results, nothing left over'}",
                flush=True,
            )
    shutil.rmtree(home, ignore_errors=True)
    print(f"{kills} kills, {faults} faults")
    return int(bool(faults))


def disturb(
    name: str, command: Command, home: Path, kills: int, dice: random.Random
) -> tuple[list[str], int]:
    """Faults of one command, and how often it was killed before its end."""
    calm, rough = home / f"{name}-calm", home / f"{name}-rough"
    for place in (calm, rough):
        shutil.copytree(home / "world", place, symlinks=True)
    start = time.monotonic()
    code, said = run(command, calm)
    usual = time.monotonic() - start
    if code:
        return [f"fails undisturbed: {said}"], 0
    killed, tries = 0, 0
    while killed < kills and tries < 3 * kills:
        tries += 1
        done = finished(command, rough, dice.uniform(0.3, 1.0) * usual)
        killed += not done
        if done or dice.random() < 0.2:
            clean(rough)
    code, said = run(command, rough)
    faults = [f"exit code {code}: {said}"] if code else []
    if not code and command.results(calm) != command.results(rough):
        faults.append("other results")
    left = [path.relative_to(rough).as_posix() for path in rough.rglob("*") if LEFT.search(path.name)]
    return [*faults, *(f"left over: {name}" for name in left[:3])], killed


#: Names of files that are being written.
LEFT = re.compile(r"\.tmp|\.partial|\.part$")


def run(command: Command, place: Path) -> tuple[int, str]:
    done = subprocess.run(
        arguments(command), cwd=place, capture_output=True, text=True, env=environment(place)
    )
    return done.returncode, done.stderr[-300:]


def finished(command: Command, place: Path, seconds: float) -> bool:
    """Whether it came to its end within so many seconds; it is killed otherwise."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(arguments(command), cwd=place, env=environment(place), **quiet)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return False
    return True


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "VLCLS_CACHE": str(place / "cache")}


def arguments(command: Command) -> list[str]:
    return [sys.executable, "-m", "vlcls", *command.line.split()]


def clean(place: Path) -> None:
    """Take away what runs made and stored: the next one starts anew."""
    for name in ("out", "cache"):
        target = place / name
        if target.is_dir():
            shutil.rmtree(target)
    for path in place.glob("out.*"):
        path.unlink()


def answer(body: dict[str, Any]) -> str:
    time.sleep(0.02)
    asked = json.dumps(body["messages"])
    return json.dumps({"descriptors": [f"mark {len(asked)} of it", "a tail", "two ears"]})


def more_photos(folder: Path) -> None:
    """So many that a command is at work, and not only starting, when it is killed."""
    from documented import CLASSES, draw

    for number, name in enumerate(CLASSES):
        for index in range(10, 120):
            draw(folder / name / f"{index}.jpg", number, index)
    (folder.parent / "many.txt").write_text("".join(f"thing {n}\n" for n in range(40)))


def text_of(name: str) -> Callable[[Path], Any]:
    return lambda place: (place / name).read_text()


def descriptors_of(place: Path) -> Any:
    content = json.loads((place / "out.json").read_text())
    return content["classes"]


def results_of(place: Path) -> Any:
    """The figures of an evaluation, without its dates and durations."""
    cells = json.loads((place / "out" / "results.json").read_text())["cells"]
    return [(cell["method"], cell["metrics"]) for cell in cells]


def tensors_of(pattern: str) -> Callable[[Path], Any]:
    def read(place: Path) -> Any:
        from safetensors.numpy import load_file

        return {
            name: np.round(array, 5).tolist()
            for path in sorted((place / "out").glob(pattern))
            for name, array in load_file(path).items()
        }

    return read


def captions_of(place: Path) -> Any:
    """The captions of a database, in order, and the nearest ones of a few of its vectors."""
    done = subprocess.run(
        [sys.executable, "-m", "vlcls", "captions", "search", "out", "a red cat", "--format", "jsonl"],
        cwd=place, capture_output=True, text=True, env=environment(place),
    )  # fmt: skip
    return done.returncode, done.stdout


def sorted_in(folder: str) -> Callable[[Path], Any]:
    """What lies in a folder that images were sorted into, and in that of the images once all is put back."""

    def read(place: Path) -> Any:
        there = files_of(place / folder)
        there.pop("vlcls-sorted.jsonl")
        done = run(Command(f"unsort {folder}", files_of), place)
        return there, done, (place / folder).exists(), files_of(place / "photos")

    return read


def files_of(folder: Path) -> dict[str, Any]:
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths
    }


COMMANDS = {
    "classify": Command("classify photos --labels cat,dog,frog -f jsonl -o out.jsonl", text_of("out.jsonl")),
    "classify and copy": Command("classify photos --labels cat,dog,frog --sort-into out", sorted_in("out")),
    "classify and move": Command(
        "classify photos --labels cat,dog,frog --sort-into moved --move", sorted_in("moved")
    ),
    "build": Command("build --labels cat,dog,frog -t openai-imagenet -o out", tensors_of("*.safetensors")),
    "describe": Command("describe --labels-file many.txt -o out.json --model m --overwrite", descriptors_of),
    "evaluate": Command("evaluate photos -m photo,ensemble,autoclip -o out", results_of),
    "captions build": Command("captions build captions.jsonl -o out", captions_of),
    "discover": Command("discover photos --captions coco --format jsonl -o out.jsonl", text_of("out.jsonl")),
    "learn-names": Command("learn-names photos --epochs 30 -o out", tensors_of("*.safetensors")),
    "audit": Command(
        "descriptors audit animals.json --images labelled --format csv -o out.csv", text_of("out.csv")
    ),
}


if __name__ == "__main__":
    sys.exit(main())
