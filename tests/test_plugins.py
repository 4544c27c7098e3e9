"""Parts of other packages: an example that is really installed, and plugins that are broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlcls.classifiers.scorers import SCORERS
from vlcls.encoders.families import FAMILIES
from vlcls.errors import EvaluationError, VlclsError, VlclsWarning
from vlcls.evaluation.metrics.entries import METRICS
from vlcls.evaluation.run.kinds import METHODS
from vlcls.registry import Registry

EXAMPLE = Path(__file__).parent / "example_plugin"
ROOT = Path(__file__).parent.parent

Vlcls = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def vlcls_with_example(tmp_path_factory: pytest.TempPathFactory) -> Vlcls:
    """Runs `vlcls`, or Python, in a process that has the example installed."""
    folder = tmp_path_factory.mktemp("plugin")
    site, work = folder / "site", folder / "work"
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-q"]
    install = [sys.executable, "-m", "pip", "install", *options, "--target", site, EXAMPLE]
    subprocess.run(list(map(str, install)), check=True, capture_output=True)
    generator = np.random.default_rng(0)
    for name, colour in {"red": (200, 30, 30), "green": (30, 200, 30)}.items():
        (work / "data" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.clip(colour + generator.integers(-30, 30, (48, 64, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(work / "data" / name / f"{number}.png")
    return running(site, work)


def running(site: Path, work: Path) -> Vlcls:
    paths = os.pathsep.join([str(site), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "XDG_CACHE_HOME": str(work / "cache"), "COLUMNS": "200"}

    def run(*arguments: str, python: bool = False, fails: bool = False) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *(["-c"] if python else ["-m", "vlcls"]), *arguments]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        return done

    return run


def test_parts_of_the_example_are_listed(vlcls_with_example: Vlcls):
    families = vlcls_with_example("encoders").stdout
    assert "colours  installed" in families and "--encoder colours" in families
    listed = vlcls_with_example("evaluate", "--list").stdout
    assert "Names in capitals (template=)." in listed and "midway between the least" in listed
    assert "middle: midway between" in " ".join(
        vlcls_with_example("explain", "--help").stdout.split()
    ).replace(" │ │ ", " ")


def test_the_doctor_examines_the_encoder_of_the_example(vlcls_with_example: Vlcls):
    said = vlcls_with_example("doctor", "colours").stdout
    assert "this model is used as it was trained" in said and "fail" not in said


def test_parts_of_the_example_are_evaluated(vlcls_with_example: Vlcls, tmp_path: Path):
    methods = "loud,ensemble:aggregate=middle,templates=simple"
    vlcls_with_example("evaluate", "data", "-e", "colours", "-m", methods, "-o", str(tmp_path))
    results = json.loads((tmp_path / "results.json").read_text())
    top1 = {each["method"]: each["metrics"]["top1"]["value"] for each in results["cells"]}
    assert top1["loud"] == top1["ensemble:aggregate=middle,templates=simple"] == 1.0
    assert all(0 < each["metrics"]["hesitation"]["value"] < 1 for each in results["cells"])
    report = (tmp_path / "report.md").read_text()
    assert "hesitation" in report and "loud" in report and "colours" in report
    assert "hesitation" in (tmp_path / "summary.csv").read_text()


def test_parts_of_the_example_are_explained_and_audited(vlcls_with_example: Vlcls, tmp_path: Path):
    command = ["explain", "data/red/0.png", "-l", "red,green", "-e", "colours", "-t", "simple"]
    said = vlcls_with_example(*command, "--aggregate", "middle", "-f", "jsonl").stdout
    assert json.loads(said)["label"] == "red"
    vlcls_with_example(*command, "--aggregate", "middle", "--heatmap", "--save", str(tmp_path / "map.png"))
    assert (tmp_path / "map.png").stat().st_size > 1000
    described = tmp_path / "descriptors.json"
    described.write_text(json.dumps({"red": ["red of red", "a red photo"], "green": ["green", "of green"]}))
    audit = ["descriptors", "audit", str(described), "--images", "data", "-e", "colours"]
    assert (
        "6 images, accuracy 100.0%; 4 descriptors"
        in vlcls_with_example(*audit, "--aggregate", "middle").stdout
    )


def test_no_plugin_is_imported_before_it_is_asked_for(vlcls_with_example: Vlcls):
    asked = """
import sys, vlcls
from typer.testing import CliRunner
from vlcls.cli import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0

print([name for name in sys.modules if name.startswith("vlcls_example")])
from vlcls.encoders.families import FAMILIES
assert "conse" in FAMILIES
print([name for name in sys.modules if name.startswith("vlcls_example")])
assert "colours" in FAMILIES
print([name for name in sys.modules if name.startswith("vlcls_example")])
"""
    said = vlcls_with_example(asked, python=True).stdout.splitlines()
    assert said == ["[]", "[]", "['vlcls_example', 'vlcls_example.family']"]


# ---- broken ones ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Toy:
    """What the registries of these tests hold."""

    name: object


BROKEN = {
    "raises": ("raise RuntimeError('no\\nluck')", "RuntimeError: no luck"),
    "is not there": (None, "ModuleNotFoundError: No module named"),
    "needs what is not there": ("import no_such_package_at_all", "No module named 'no_such_package_at_all'"),
    "has no such part": ("", "AttributeError: module"),
    "exits": ("import sys; sys.exit('bye')", "SystemExit: bye"),
    "is another kind": ("PART = 3", "a toy is a Toy, not int"),
    "is its class": ("from test_plugins import Toy as PART", "a toy is a Toy, not type"),
    "has no name": ("from test_plugins import Toy; PART = Toy(3)", "the name of a toy is a text, not 3"),
    "has an empty name": ("from test_plugins import Toy; PART = Toy('')", "is a text, not ''"),
    "has a taken name": (
        "from test_plugins import Toy; PART = Toy('own')",
        "there is a toy called 'own' already",
    ),
    "is no syntax": ("def", "SyntaxError"),
}


#: For plugins that look back.
REGISTRIES: list[Registry[Toy]] = []  # type: ignore[type-var]


def write_plugin(site: Path, name: str, code: str | None, group: str) -> None:
    """What `pip install` leaves of a package with one entry point, whose module is `code`."""
    module, info = f"plugin_{name.replace(' ', '_')}", site / f"{name.replace(' ', '_')}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace(' ', '-')}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{group}]\npart = {module}:PART\n")
    if code is not None:
        (site / f"{module}.py").write_text(code)


def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[Toy]:  # type: ignore[type-var]
    monkeypatch.syspath_prepend(str(tmp_path))
    registry: Registry[Toy] = Registry(Toy, "toy", EvaluationError, "vlcls.toys")  # type: ignore[type-var]
    registry.register(Toy("own"))
    return registry


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_plugin_is_a_warning_that_names_it(fault: str, tmp_path, monkeypatch):
    code, reason = BROKEN[fault]
    write_plugin(tmp_path, fault, code, "vlcls.toys")
    write_plugin(tmp_path, "whole", "from test_plugins import Toy; PART = Toy('more')", "vlcls.toys")
    registry = toys(tmp_path, monkeypatch)
    with pytest.warns(VlclsWarning) as said:
        assert list(registry) == ["own", "more"]
    (line,) = [str(each.message) for each in said]
    assert f"the plugin 'part' of the package {fault.replace(' ', '-')} (vlcls.toys, plugin_" in line
    assert "is left out: " in line and reason in line and "\n" not in line
    with warnings.catch_warnings():  # once
        warnings.simplefilter("error")
        assert len(registry) == 2 and registry["own"] == Toy("own") and "missing" not in registry


def test_plugins_wait_for_a_name_that_is_not_known(tmp_path, monkeypatch):
    write_plugin(tmp_path, "raises", "raise RuntimeError", "vlcls.toys")
    registry = toys(tmp_path, monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry.find("own") == Toy("own")
    with (
        pytest.warns(VlclsWarning, match="raises"),
        pytest.raises(EvaluationError, match="no toy 'x': choose one of own"),
    ):
        registry.find("x")


def test_a_plugin_may_look_at_the_registry_that_takes_it(tmp_path, monkeypatch):
    code = "import test_plugins; PART = test_plugins.Toy(f'{len(test_plugins.REGISTRIES[0])} before')"
    write_plugin(tmp_path, "curious", code, "vlcls.toys")
    registry = toys(tmp_path, monkeypatch)
    monkeypatch.setattr(sys.modules[__name__], "REGISTRIES", [registry])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(registry) == ["own", "1 before"]


def test_no_name_is_taken_twice_and_a_registry_without_plugins_has_none():
    registry: Registry[Toy] = Registry(Toy, "toy")  # type: ignore[type-var]
    registry.register(Toy("own"))
    with pytest.raises(VlclsError, match="there is a toy called 'own' already"):
        registry.register(Toy("own"))
    assert dict(registry) == {"own": Toy("own")}


def test_what_families_name_is_there():
    for family in FAMILIES.values():
        heat = family.heat
        assert heat is None or (heat.tower is None) != (heat.own is None)
        for function in (family.load, family.reference, heat and heat.tower, heat and heat.own):
            if isinstance(function, partial):
                module, _, name = function.args[0].partition(":")
                assert callable(getattr(import_module(module), name))


def test_the_groups_are_those_that_the_docs_name():
    groups = {registry.group for registry in (FAMILIES, SCORERS, METHODS, METRICS)}
    assert groups == {"vlcls.encoders", "vlcls.scorers", "vlcls.methods", "vlcls.metrics"}
    said = (ROOT / "docs" / "plugins.md").read_text()
    example = (EXAMPLE / "pyproject.toml").read_text()
    for group in groups:
        assert group in said and f'"{group}"' in example


def test_a_command_says_which_plugin_is_broken_and_goes_on(tmp_path: Path):
    for group in ("encoders", "scorers", "methods", "metrics"):
        write_plugin(tmp_path / "site", f"bad {group}", "raise RuntimeError('no luck')", f"vlcls.{group}")
    run = running(tmp_path / "site", tmp_path)
    for command, group in ((["encoders"], "encoders"), (["evaluate", "--list"], "methods")):
        done = run(*command)
        (line,) = [line for line in done.stderr.splitlines() if f"bad-{group}" in line]
        assert line.startswith("warning: the plugin 'part'") and line.endswith("RuntimeError: no luck")
    assert not run("--help").stderr
