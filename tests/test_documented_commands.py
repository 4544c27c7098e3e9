"""Every command of the README, the docs and the help texts runs as it is written, on made-up images."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from documented import CLASSES, PAGES, ROOT, STAND_INS, draw, fenced, help_examples, make_world, page_commands
from fault_server import FaultServer, chat, user_text
from typer.testing import CliRunner

import vlcls
from vlcls.classifiers.prompt import DEFAULT_ENCODER, build_classifier
from vlcls.cli import app
from vlcls.labelled import embed_labelled
from vlcls.learning import learn_names
from vlcls.retrieval.builtin import wordnet_texts

#: What commands name that other commands make; made when a page has not made it itself.
MADE = {
    "sorted": "vlcls classify photos/ -l {classes} --sort-into sorted/",
    "saved": "vlcls build -l {classes} -t simple -o saved/",
    "names": "vlcls learn-names photos/ --shots 2 -o names/",
    "coco": "vlcls captions build captions.jsonl -o coco/",
    "run": "vlcls evaluate photos/ -m photo -o run/",
    "other": "vlcls evaluate photos/ -m photo,ensemble -e conse -o other/",
    "runs/monday": "vlcls evaluate photos/ -m photo -o runs/monday",
    "runs/tuesday": "vlcls evaluate photos/ -m photo,ensemble -o runs/tuesday",
}
#: What commands may say of made-up images instead of doing what they are told.
RIGHTLY_REFUSED = {"--apply 1": "no suggestion 1 to apply"}
HELP = help_examples()
#: Pages whose animals are others.
ANIMALS = {r" tiger |\blion\b": ("tiger", "zebra", "lion"), r'"dog", "okapi"': ("cat", "dog", "okapi")}
COMMANDS = {page.relative_to(ROOT).as_posix(): page_commands(page) for page in PAGES} | {
    f"{name} --help": commands for name, commands in HELP.items()
}


def make_shards(folder: Path, classes: Sequence[str]) -> None:
    shards = folder / "pets-shards"
    (shards / "test").mkdir(parents=True)
    (shards / "classnames.txt").write_text("".join(f"{name}\n" for name in classes))
    with tarfile.open(shards / "test" / "0.tar", "w") as archive:
        for number, name in enumerate(classes):
            for index in range(4):
                (folder / "cls").write_text(str(number))
                archive.add(folder / "photos" / name / f"{index}.jpg", f"{name}{index}.jpg")
                archive.add(folder / "cls", f"{name}{index}.cls")


@pytest.fixture(scope="session")
def server() -> Iterator[FaultServer]:
    """Answers every request for descriptors, whatever the class."""
    with FaultServer(lambda body, _: chat(_answer(user_text(body)))).running() as running:
        yield running


def _answer(asked: str) -> str:
    return json.dumps({"descriptors": ["a tail", "a long tail", f"ears {len(asked)} cm long", "whiskers"]})


@pytest.fixture
def shell(
    request: pytest.FixtureRequest, tmp_path: Path, model_spec: Callable[[str], str], server: FaultServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], str]:  # fmt: skip
    """Runs a command of a page in the made-up world; returns what it printed."""
    page = request.node.callspec.params["page"]
    commands = fenced(page, "python") if isinstance(page, Path) else COMMANDS[page]
    classes = next((own for word, own in ANIMALS.items() if re.search(word, " ".join(commands))), CLASSES)
    world = tmp_path / "world"
    make_world(world, classes)
    make_shards(world, classes)
    for command in commands:
        if command.startswith("vlcls describe") and (made := re.search(r"-o (\S+)", command)):
            (world / made[1]).unlink(missing_ok=True)  # the page makes it itself
    monkeypatch.chdir(world)
    few = wordnet_texts()[::200]
    monkeypatch.setattr("vlcls.retrieval.builtin.wordnet_texts", lambda: few)  # conse takes minutes for all
    monkeypatch.setenv("VLCLS_ENCODER", model_spec("open_clip-clip"))
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    shims = tmp_path / "bin"
    shims.mkdir()
    (shims / "vlcls").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vlcls "$@"\n')
    (shims / "vlcls").chmod(0o755)
    path = [str(shims), str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    stand_ins = {"model": model_spec("hf-clip"), "server": server.url}

    def run(command: str) -> str:
        for name, other in STAND_INS.items():
            command = command.replace(name, other.format(**stand_ins))
        for name, maker in MADE.items():
            if _takes(command, name) and not Path(name).exists():
                own = "gull,crow" if "birds" in command else ",".join(classes)
                run(maker.replace("{classes}", own))
        if command.startswith("vlcls edit"):
            return _served(command)
        if "|" in command or not command.startswith("vlcls "):
            return _in_a_shell(command)
        return _in_process(command)

    return run


def _takes(command: str, name: str) -> bool:
    """Whether a command reads the folder of this name: not where it says what to write."""
    words = shlex.split(command)
    return any(
        word.rstrip("/") == name and words[place - 1] not in ("-o", "--output", "--sort-into")
        for place, word in enumerate(words)
    )


def _in_process(command: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = CliRunner().invoke(app, shlex.split(command)[1:])
    if any(part in command and said in str(result.exception) for part, said in RIGHTLY_REFUSED.items()):
        return result.output
    assert result.exit_code == 0, f"{command}\n{result.output[-3000:]}\n{result.exception!r}"
    return result.output


def _in_a_shell(command: str) -> str:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def _served(command: str) -> str:
    """Start the editor, open its page, end it."""
    if "--port" not in command:
        command += " --port 0"
    editor = subprocess.Popen(shlex.split(command), stderr=subprocess.PIPE, text=True)
    assert editor.stderr is not None
    said = ""
    for line in editor.stderr:
        said += line
        if address := re.search(r"http://\S+", line):
            with urllib.request.urlopen(address[0], timeout=30) as page:
                assert b"vlcls" in page.read()
            editor.send_signal(signal.SIGINT)
            break
    said += editor.communicate(timeout=60)[1]
    assert "http://" in said, said
    return said


@pytest.mark.parametrize("page", [page for page, commands in COMMANDS.items() if commands])
def test_commands_run_as_written(page: str, shell: Callable[[str], str]):
    for command in COMMANDS[page]:
        shell(command)


def test_all_pages_and_commands_are_there():
    assert len(COMMANDS["README.md"]) >= 13
    assert {"docs/bias.md", "docs/editor.md", "vlcls classify --help", "vlcls descriptors add --help"} <= set(
        COMMANDS
    )
    told = {name.removesuffix(" --help") for name in COMMANDS}
    assert {"vlcls evaluate", "vlcls captions build", "vlcls names inspect"} <= told
    assert all(
        command.split()[0] in ("vlcls", "find", "accelerate")
        for each in COMMANDS.values()
        for command in each
    )


@pytest.mark.parametrize(
    "page", [page for page in PAGES if fenced(page, "python")], ids=lambda page: page.name
)
def test_python_of_the_pages_runs(
    page: Path, shell: Callable[[str], str], model_spec: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
):
    spec = model_spec("open_clip-clip")
    # The encoder of a page that names none is a download.
    for function in map(inspect.unwrap, (build_classifier, learn_names)):
        defaults = (spec if each == DEFAULT_ENCODER else each for each in function.__defaults__ or ())
        monkeypatch.setattr(function, "__defaults__", tuple(defaults))
    known = _names_of(page, spec)
    for block in fenced(page, "python"):
        for name, other in STAND_INS.items():
            block = block.replace(name, other.format(model=model_spec("hf-clip"), server=""))
        exec(compile(block, str(page), "exec"), known)


def _names_of(page: Path, spec: str) -> dict[str, Any]:
    """What the blocks of a page take for granted: a classifier, an encoder, embeddings."""
    encoder = vlcls.load_encoder(spec)
    classes = ["gull", "crow"] if page.stem == "bias" else list(CLASSES)
    classifier = vlcls.build_classifier(classes, encoder=encoder, templates="openai-imagenet")
    images: Any = None
    if page.stem == "datasets":  # its birds are others
        Path("names.txt").write_text("house sparrow\ntree sparrow\n")
        for number, name in enumerate(("house sparrow", "tree sparrow")):
            draw(Path("birds", "test", name, "1.jpg"), number, 0)
    if page.stem == "bias":
        classifier = vlcls.build_classifier(descriptors="birds.json", encoder=encoder)
        found = vlcls.labelled_folder("birds", classifier.labels)
        images = embed_labelled(found, encoder)
        images = replace(images, groups={"background": ("sea", "field") * (len(images) // 2)})
    return {
        "vlcls": vlcls, "encoder": encoder, "classifier": classifier, "plain_classifier": classifier,
        "names": classes, "truth": torch.tensor([0, 1, 2, 0, 1, 2]), "images": images,
        "words": ["sea", "field"], "word_embeddings": encoder.encode_texts(["sea", "field"]),
        "text_embeddings": torch.randn(2, 8), "image_embeddings": torch.randn(3, 8),
        "embeddings": torch.nn.functional.normalize(torch.randn(6, 48)),
    }  # fmt: skip


def test_every_promise_is_held_by_tests_that_exist():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    promises = re.findall(r"^- \*\*.*?(?=\n\n|\n- |\Z)", text, re.S | re.M)
    without = [each for each in promises if "`tests/" not in each and "telemetry" not in each]
    assert len(promises) >= 12 and not without
    for name in re.findall(r"`(tests/\S+)`", text):
        file, _, test = name.partition("::")
        assert (
            f"def {test}(" in (ROOT / file).read_text(encoding="utf-8") if test else (ROOT / file).exists()
        ), name
