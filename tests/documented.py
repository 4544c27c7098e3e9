"""What the pages and the help texts tell people to type, and a made-up folder in which all of it works."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import typer
from PIL import Image, ImageDraw

from vlcls.cli import app

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
CLASSES = ("cat", "dog", "frog")
#: What the commands of the pages name that cannot be had here, and what stands for it. `{model}` is a saved
#: model, `{server}` an address of a language model's server.
STAND_INS = {
    "clip-benchmark/wds_vtab-pets": "pets-shards",
    "evaluate imagenet-shifts": "evaluate smoke",
    "hf:ORG/DATASET": "captions-set",
    "hf:path/to/model": "{model}",
    "open_clip:ViT-B-32-quickgelu/openai": "{model}",
    "open_clip:ViT-B-16/laion2b_s34b_b88k": "{model}",
    "http://localhost:11434/v1": "{server}",
    " | jq .label": "",
    " | jq .rationale": "",
}
#: Lines of shell blocks that are no command of ours.
OTHERS = ("make ", "python3 -m venv", "pip install", "clip_benchmark ", "docker ", "curl ")


def fenced(page: Path, language: str) -> list[str]:
    """The blocks of one language of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


def page_commands(page: Path) -> list[str]:
    """The commands of a page's shell blocks, in order, without their comments."""
    lines = "".join(fenced(page, "sh")).replace("\\\n", " ").splitlines()
    return [found for line in lines if (found := _command(line)) and not found.startswith(OTHERS)]


def help_examples() -> dict[str, list[str]]:
    """The examples in the help text of each command, by the command's name."""
    found = {}
    for name, command in _walk(typer.main.get_command(app), "vlcls"):
        text = re.sub(r"\[/?\w*\]", "", command.help or "")
        lines = re.findall(r"^ +((?:vlcls |accelerate launch |find ).*)$", text, re.M)
        if lines:
            found[name] = [_command(line) for line in lines]
    return found


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for child, each in getattr(command, "commands", {}).items():
        yield from _walk(each, f"{name} {child}")


def _command(line: str) -> str:
    return re.sub(r"\s+#.*$", "", line).strip()


def make_world(folder: Path, classes: Sequence[str] = CLASSES) -> None:
    """Every file and folder that the commands of the pages and of the help texts name."""
    for number, name in enumerate(classes):
        for index in range(10):
            for place in (f"photos/{name}", f"labelled/{name}"):
                draw(folder / place / f"{index}.jpg", number, index)
    for number, name in enumerate(PACS):
        for index in range(4):
            for group in ("photo", "sketch"):
                draw(folder / "pacs" / group / name / f"{index}.png", number, index)
    for number, name in enumerate(SHAPES):
        for index in range(8):
            texture = SHAPES[(number + index) % len(SHAPES)]
            draw(folder / "cue-conflict" / name / f"{name}{index + 1}-{texture}1.png", number, index)
    for name in ("photo.jpg", "tiger.jpg", "sketch.png", "new/one.jpg", f"more-photos/{classes[0]}/1.jpg"):
        draw(folder / name, 1, 77)
    (folder / "YOUR_PHOTOS").symlink_to("photos")
    _texts(folder, classes)
    _tables(folder)


PACS = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
SHAPES = ("knife", "cat")


def draw(path: Path, kind: int, index: int) -> None:
    """A picture of a class: a shape and a colour of its own, somewhere."""
    random = np.random.default_rng((kind, index))
    image = Image.new("RGB", (48, 40), tuple(random.integers(0, 90, 3).tolist()))
    colour = [60, 60, 60]
    colour[kind % 3] = 130 + 60 * (kind // 3)
    x, y = random.integers(2, 16, 2).tolist()
    shape = (ImageDraw.ImageDraw.rectangle, ImageDraw.ImageDraw.ellipse)[kind % 2]
    shape(ImageDraw.Draw(image), (x, y, x + 26, y + 20), tuple(colour))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _texts(folder: Path, classes: Sequence[str]) -> None:
    own = {name: ["whiskers", "a long tail", f"the face of a {name}"] for name in classes}
    contents = {
        "birds.json": {"gull": ["a yellow beak", "sea"], "crow": ["black feathers", "a field"]},
        "shapes.json": {"knife": ["a blade"], "cat": ["whiskers"]},
    }
    files = ("animals.json", "descriptors.json", "mine.json", "old.json", "new.json", "published.json")
    for name, content in (dict.fromkeys(files, own) | contents).items():
        (folder / name).write_text(json.dumps(content))
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
    (folder / "names.txt").write_text("gull\ncrow\n")
    (folder / "places.txt").write_text("sea\nsand\nfield\nforest\n")
    captions = [f"a {colour} {animal} on the {place}" for colour in ("red", "green", "black")
                for animal in ("cat", "dog", "frog", "tiger") for place in ("sofa", "grass")]  # fmt: skip
    (folder / "captions.jsonl").write_text("".join(json.dumps({"caption": each}) + "\n" for each in captions))
    (folder / "captions").mkdir()
    (folder / "captions" / "a.txt").write_text("".join(f"{each}\n" for each in captions))
    shutil.copytree(folder / "captions", folder / "captions-set")
    (folder / "captions-set" / "a.txt").rename(folder / "captions-set" / "b.txt")


def _tables(folder: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    rows: dict[str, list[str]] = {"image": [], "label": [], "background": []}
    for number, name in enumerate(("gull", "crow")):
        for index in range(24):
            draw(folder / "birds" / name / f"{index}.png", number, index)
            row = (f"birds/{name}/{index}.png", name, ("sea", "field")[(index % 4 == 0) ^ number])
            for column, value in zip(rows, row, strict=True):
                rows[column].append(value)
    parquet.write_table(pa.table(rows), folder / "birds.parquet")
    lines = [",".join(rows), *map(",".join, zip(*rows.values(), strict=True))]
    (folder / "birds.csv").write_text("\n".join(lines) + "\n")
    random = np.random.default_rng(0)
    np.save(folder / "img.npy", random.normal(size=(5, 8)).astype(np.float32))
    np.save(folder / "txt.npy", random.normal(size=(len(CLASSES), 8)).astype(np.float32))
