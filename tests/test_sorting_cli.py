"""`vlcls classify --sort-into` and `vlcls unsort`, as they are typed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from documented import CLASSES, draw
from sorted_trees import snapshot
from typer.testing import CliRunner

from vlcls.cli import app
from vlcls.errors import OutputError
from vlcls.results.manifest import MANIFEST

LABELS = ",".join(CLASSES)


@pytest.fixture
def world(tmp_path: Path, model_spec: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 12 photos and one that is none."""
    for number, name in enumerate(CLASSES):
        for index in range(4):
            draw(tmp_path / "photos" / name / f"{index}.jpg", number, index)
    (tmp_path / "photos/broken.jpg").write_text("no image")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLCLS_ENCODER", model_spec("open_clip-clip"))
    return tmp_path


def run(*arguments: str, code: int = 3) -> Any:
    """Exit code 3 as there is always an image that cannot be read."""
    done = CliRunner().invoke(app, arguments)
    if isinstance(done.exception, Exception) and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done


def classify(*more: str, code: int = 3) -> Any:
    return run("classify", "photos", "-l", LABELS, *more, code=code)


@pytest.mark.parametrize("how", ["--copy", "--link", "--move"])
def test_each_image_lies_in_the_folder_of_the_label_that_its_row_names(world: Path, how: str) -> None:
    before = snapshot(world)
    contents = {path.relative_to(world).as_posix(): path.read_bytes() for path in world.rglob("*.jpg")}
    done = classify("--sort-into", "sorted", how, "-f", "jsonl")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 13
    for row in rows:
        folder = world / "sorted" / (row["label"] or "unreadable")
        assert contents[row["image"]] in {path.read_bytes() for path in folder.iterdir()}
    assert "unreadable 1" in done.stderr and "`vlcls unsort sorted` puts everything back" in done.stderr
    again = run("unsort", "sorted", code=0)
    assert ("13 moved back" if how == "--move" else "13 copies and links deleted") in again.stderr
    assert snapshot(world) == before


def test_the_same_command_again_finds_all_of_it_there(world: Path) -> None:
    before = snapshot(world)
    classify("--sort-into", "sorted")
    assert "nothing new; 13 were there already" in classify("--sort-into", "sorted").stderr
    run("unsort", "sorted", code=0)
    classify("--sort-into", "sorted", "--move")
    assert not list((world / "photos").rglob("*.jpg"))
    done = classify("--sort-into", "sorted", "--move", code=0)
    assert "nothing new; 13 were there already" in done.stderr and done.stdout == ""
    run("unsort", "sorted", code=0)
    assert snapshot(world) == before


def test_sorting_a_folder_into_itself_does_not_grow(world: Path) -> None:
    before = snapshot(world)
    classify("--sort-into", "photos")
    once = set(snapshot(world))
    with pytest.warns(UserWarning, match="13 of the images were sorted into it by an earlier run"):
        classify("--sort-into", "photos")
    assert set(snapshot(world)) == once
    run("unsort", "photos", code=0)
    assert snapshot(world) == before


def test_what_was_left_is_named_and_the_exit_code_says_so(world: Path) -> None:
    classify("--sort-into", "sorted")
    (world / "sorted/unreadable/broken.jpg").write_text("mine")
    done = run("unsort", "sorted", code=3)
    assert (
        "left: " in done.stderr and "sorted/unreadable/broken.jpg: changed since it was placed" in done.stderr
    )
    assert "12 copies and links deleted" in done.stderr and "1 left as they are" in done.stderr


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--move"], "--move says how to sort: --sort-into DIR says where"),
        (["--sort-into", "sorted", "--link", "--copy"], "--copy and --link: give one of them"),
    ],
)
def test_options_that_do_not_go_together(world: Path, typed: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["classify", "photos", "-l", LABELS, *typed], env={"COLUMNS": "300"})
    assert done.exit_code == 2 and said in done.output
    assert not (world / "sorted").exists()


def test_embeddings_are_no_images(world: Path) -> None:
    done = CliRunner().invoke(
        app, ["classify", "--embeddings", "x.npy", "--sort-into", "sorted"], env={"COLUMNS": "300"}
    )
    assert done.exit_code == 2 and "--embeddings stands in place of images" in done.output


def test_a_run_that_fails_leaves_nothing(world: Path) -> None:
    before = snapshot(world)
    for wrong in (["-e", "no such encoder"], ["--aggregate", "nonsense"]):
        done = CliRunner().invoke(
            app, ["classify", "photos", "-l", LABELS, "--sort-into", "a/sorted", *wrong]
        )
        assert done.exit_code
    assert snapshot(world) == before
    with pytest.raises(OutputError, match=r"photos/broken\.jpg is a file: give the name of a folder"):
        classify("--sort-into", "photos/broken.jpg")
    with pytest.raises(OutputError, match="nothing was sorted into it by vlcls"):
        run("unsort", "photos")


def started(*arguments: str, launch: bool = False) -> list[str]:
    if not launch:
        return [sys.executable, "-m", "vlcls", *arguments]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    return [*command, "--main_process_port", "0", "-m", "vlcls", *arguments]


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "ACCELERATE_USE_CPU": "true",
        "CUDA_VISIBLE_DEVICES": "",
    }


def test_in_a_launch_one_process_sorts(world: Path) -> None:
    before = snapshot(world)
    arguments = ("classify", "photos", "-l", LABELS, "-f", "jsonl", "--sort-into", "sorted", "--move")
    done = subprocess.run(
        started(*arguments, launch=True), capture_output=True, text=True, env=environment(), timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) == 13 and done.stderr.count("puts everything back") == 1
    assert len([path for path in (world / "sorted").rglob("*.jpg") if path.is_file()]) == 13
    again = subprocess.run(
        started(*arguments, launch=True), capture_output=True, text=True, env=environment(), timeout=300
    )
    assert again.returncode == 0 and "13 were there already" in again.stderr, again.stderr[-2000:]
    run("unsort", "sorted", code=0)
    assert snapshot(world) == before


def test_kills_at_any_moment_and_everything_is_put_back(world: Path) -> None:
    """The real command, killed while it places images; `benchmarks/kills.py` does so more often."""
    before = snapshot(world)
    dice, kills = random.Random(0), 0
    arguments = ("classify", "photos", "-l", LABELS, "-f", "jsonl", "--sort-into", "sorted", "--move")
    for _ in range(3):
        process = subprocess.Popen(
            started(*arguments), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wanted = dice.randrange(1, 13)
        deadline = time.monotonic() + 100
        while process.poll() is None and time.monotonic() < deadline:
            manifest = world / "sorted" / MANIFEST
            if manifest.exists() and manifest.read_bytes().count(b'"origin"') >= wanted:
                process.kill()
                kills += 1
                break
            time.sleep(0.0005)
        process.wait()
    assert kills
    classify("--sort-into", "sorted", "--move", code=3 if (world / "photos/broken.jpg").exists() else 0)
    assert len([path for path in (world / "sorted").rglob("*.jpg") if path.is_file()]) == 13
    run("unsort", "sorted", code=0)
    assert snapshot(world) == before
