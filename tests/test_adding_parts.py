"""Each kind of part is added as CONTRIBUTING.md says: the tests that it names, and other toys."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vlcls.classifiers.prompt import classifier_from_prompts
from vlcls.classifiers.weighting import WEIGHTINGS, Rule
from vlcls.cli import app
from vlcls.encoders import Encoder
from vlcls.explain import explain_images
from vlcls.labels import Labels, as_labels
from vlcls.prompts import PromptSet, prompts_from_templates
from vlcls.prompts.sources import SOURCES, Context, PromptSource

TESTS = Path(__file__).parent
KINDS = (
    *("an encoder", "a scorer", "a weighting", "a metric", "a prompt source", "a method"),
    *("a report section", "a command"),
)


@pytest.fixture
def registered() -> Iterator[Callable[[Any, Any], None]]:
    """Registers parts for the time of a test."""
    added: list[tuple[Any, str]] = []

    def register(registry: Any, part: Any) -> None:
        registry.register(part)
        added.append((registry, part.name))

    yield register
    for registry, name in added:
        del registry._parts[name]


@pytest.fixture
def data(tmp_path: Path, picture: Callable[..., Any]) -> Path:
    for number in range(6):
        folder = tmp_path / "data" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / f"{number}.png")
    return tmp_path / "data"


def said(*command: object) -> str:
    done = CliRunner().invoke(app, list(map(str, command)), env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_weighting_is_everywhere(
    registered: Any, data: Path, model_spec: Any, clip: Encoder, tmp_path: Path
):
    about = "templates by their greatest cosine (beta=0.85)"
    registered(WEIGHTINGS, Rule("peak", about, {"beta"}, lambda cosines, scale: cosines.amax(-1)))
    for command in (["explain", "--help"], ["classify", "--help"], ["evaluate", "--list"]):
        assert "templates by their greatest cosine" in " ".join(said(*command).replace("│", "").split())
    spec, run = model_spec("open_clip-clip"), tmp_path / "run"
    methods = "ensemble:weighting=peak,beta=0.5,ensemble:weighting=softmax,beta=0.5"
    said("evaluate", data, "-e", spec, "-m", methods, "-o", run)
    cells = {
        cell["method"]: cell["metrics"] for cell in json.loads((run / "results.json").read_text())["cells"]
    }
    peak, softmax = (cells[f"ensemble:weighting={name},beta=0.5"] for name in ("peak", "softmax"))
    assert peak["nll"]["value"] != softmax["nll"]["value"]
    assert "weighting=peak" in (run / "report.md").read_text()
    asked = ["explain", data / "cat" / "0.png", "-l", "cat,dog", "-e", spec, "-t", "simple", "-f", "jsonl"]
    weighed = json.loads(said(*asked, "--weighting", "peak"))
    plain = json.loads(said(*asked))
    assert weighed["label"] in ("cat", "dog") and weighed != plain


def test_a_prompt_source_is_a_method_and_is_explained(
    registered: Any, data: Path, model_spec: Any, clip: Encoder, tmp_path: Path
):
    def loud(context: Context, options: Any, seed: int) -> PromptSet:
        labels = context.labels
        louder = Labels(tuple(name.upper() for name in labels.names), labels.ids)
        return PromptSet(labels, prompts_from_templates(louder, options.get("template", "photo")).prompts)

    registered(SOURCES, PromptSource("loud", "Names in capitals (template=).", loud, {"template": str}))
    assert "Names in capitals (template=)." in said("evaluate", "--list")
    run = tmp_path / "run"
    methods = "loud,loud:template=my {}"
    said("evaluate", data, "-e", model_spec("open_clip-clip"), "-m", methods, "-o", run)
    results = json.loads((run / "results.json").read_text())
    assert {"loud", "loud:template=my {}"} <= {cell["method"] for cell in results["cells"]}
    assert results["methods"]["loud"]["about"] == "Names in capitals (template=)."
    assert "loud" in (run / "report.md").read_text()
    prompts = SOURCES["loud"].make(Context(as_labels(["cat", "dog"])), {}, 0)
    (found,) = explain_images(classifier_from_prompts(prompts, clip), data / "cat" / "0.png")
    assert {each.label for each in found.classes} == {"cat", "dog"} and "a photo of a CAT." in prompts.texts


def rows() -> dict[str, tuple[str, str]]:
    """CONTRIBUTING.md's table: what is added -> what is written, and the test of it."""
    text = (TESTS.parent / "CONTRIBUTING.md").read_text()
    found = re.findall(r"^\| (an? [a-z ]+) \| (.+) \| `(tests/\S+::\S+)` \|$", text, re.M)
    return {kind: (write, test) for kind, write, test in found}


@pytest.mark.parametrize("kind", KINDS)
def test_how_a_part_is_added_is_said_and_tested(kind: str):
    write, test = rows()[kind]
    for path in re.findall(r"`(vlcls/[\w/]+(?:\.py)?)", write):
        assert (TESTS.parent / path).exists(), path
    file, _, name = test.partition("::")
    tree = ast.parse((TESTS.parent / file).read_text())
    (found,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert found.end_lineno is not None and found.end_lineno - found.lineno < 60


def test_the_toys_in_files_are_short():
    toys = [*(TESTS / "example_plugin").rglob("*.py"), *TESTS.glob("toy_*.py")]
    assert len(toys) > 5
    for path in toys:
        assert len(path.read_text().splitlines()) < 60, path
