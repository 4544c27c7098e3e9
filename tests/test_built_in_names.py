"""A built-in name is a name, whatever lies in the current folder; `./name` is a path; both there is said."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vlcls.cli.commands.names.inspect import _candidates
from vlcls.data import prompts_folder
from vlcls.descriptors import descriptor_names, read_descriptors
from vlcls.errors import VlclsError, VlclsWarning
from vlcls.evaluation.data.class_names import CURATED, given_labels
from vlcls.evaluation.data.suites import SuiteSet, open_suite_set, read_suite, suite_names
from vlcls.evaluation.run.api import plan_of
from vlcls.evaluation.run.kinds import METHODS
from vlcls.llm.requests import _instructions
from vlcls.prompts import load_templates
from vlcls.prompts.templates import template_names
from vlcls.retrieval import builtin, opening


def _suite(name: Any) -> str:
    """The error that a suite without its data ends in names the suite, that of a folder does not."""
    try:
        plan_of(name, ["name"], "conse", root=None)
    except VlclsError as error:
        return str(error) if f"suite {name}" in str(error) else f"no suite: {error}"
    return "opened"


def _suite_labels(name: Any) -> Any:
    entry = SuiteSet.model_construct(name="a", path="builtin:demo", labels=name)
    suite = SimpleNamespace(name="s", sets=[entry], groups={}, folder=Path())
    try:
        return open_suite_set(suite, "a").labels  # type: ignore[arg-type]
    except VlclsError as error:
        return str(error)


def _captions(name: Any) -> Any:
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtin, "wordnet_captions", lambda *args, **options: asked.append("built in"))
        opening.open_captions(name, "conse")
    return asked


#: Whatever takes a built-in name or a path: the names, and what is made of one.
PLACES: dict[str, tuple[list[str], Callable[[Any], Any]]] = {
    "descriptors": (list(descriptor_names()), read_descriptors),
    "templates": (template_names(), load_templates),
    "templates of methods": (template_names(), METHODS["ensemble"].source.options["templates"]),
    "suites": (["pacs"], _suite),
    "suites, read": (list(suite_names()), read_suite),
    "labels": (list(CURATED), given_labels),
    "labels of suites": (list(CURATED), _suite_labels),
    "captions": ([builtin.NAME], _captions),
    "captions, their encoder": ([builtin.NAME], opening.encoder_of),
    "captions of methods": ([builtin.NAME], METHODS["cased"].source.options["captions"]),
    "candidate names": (["wordnet"], lambda name: len(_candidates(name))),
    "instructions": (
        [path.stem for path in (prompts_folder() / "llm").glob("*.j2")],
        lambda name: _instructions(name)[0],
    ),
}
#: Places that cannot mean a file, or that are asked again by one that says it.
SILENT = {"suites, read", "captions, their encoder"}


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("place", PLACES)
def test_a_name_is_a_name(tmp_path, monkeypatch, place, kind):
    monkeypatch.chdir(tmp_path)
    names, read = PLACES[place]
    for name in names:
        with warnings.catch_warnings():
            warnings.simplefilter("error", VlclsWarning)
            before = read(name)
        Path(name).mkdir() if kind == "folder" else Path(name).write_text("rubbish")
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert read(name) == before
        found = [str(each.message) for each in said if issubclass(each.category, VlclsWarning)]
        if place not in SILENT:
            assert any(f"{name!r} is the built-in" in line and f"./{name}" in line for line in found), found


@pytest.mark.parametrize("place", [place for place in PLACES if place not in SILENT])
def test_a_path_is_a_path(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    names, read = PLACES[place]
    for name in names:
        Path(name).mkdir()
        for path in (f"./{name}", f"{name}/", Path(name)):
            if place.endswith("of methods") and isinstance(path, Path):
                continue  # options are texts
            try:
                found = read(path)
            except (VlclsError, TypeError):
                continue
            assert (
                "no suite" in str(found) or "no such file" in str(found) or "this is a folder" in str(found)
            )


def test_a_file_of_that_name_is_read_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pacs").write_text('{"mine": ["fur"]}')
    Path("photo").write_text("mine {}\n")
    Path("imagenet").write_text("mine\nyours\n")
    for path in ("./pacs", Path("pacs"), tmp_path / "pacs"):
        assert read_descriptors(path).labels.names == ("mine",)
    assert load_templates("./photo") == load_templates(Path("photo")) == ["mine {}"]
    assert given_labels("./imagenet").names == ("mine", "yours")
