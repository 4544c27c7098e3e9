"""The wheel works where there is no checkout: it carries the prompts, and classifies from another folder."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    target = tmp_path_factory.mktemp("dist")
    # Without isolation: the build back end is one of the test extra's packages, nothing is downloaded.
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, ROOT]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return next(target.glob("*.whl"))


def test_it_carries_the_prompts_and_the_type_marker(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for path in (ROOT / "prompts").rglob("*.txt"):
        assert f"vlcls/_prompts/{path.relative_to(ROOT / 'prompts')}" in names
    for path in (ROOT / "benchmarks" / "suites").glob("*.yaml"):
        assert f"vlcls/_suites/{path.name}" in names
    assert {"vlcls/py.typed", "vlcls/evaluation/report/report.html.j2"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "prompts/", "benchmarks/"))]


def test_it_classifies_from_another_folder(wheel, tmp_path, model_spec, photos):
    # A new environment that sees this one's dependencies, but not its vlcls: the checkout is installed in
    # editable form through a .pth file, and only the environment's own folder handles those.
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = venv / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    site = next(venv.glob("lib/python*/site-packages"))
    ours = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    (site / "dependencies.pth").write_text(f"import sys; sys.path.append({str(ours)!r})\n")

    where = "import vlcls, vlcls.data as d; print(vlcls.__file__); print(d.prompts_folder()); "
    where += "print(d.suites_folder())"
    found = subprocess.check_output([python, "-c", where], text=True, cwd=tmp_path).splitlines()
    assert [Path(line).is_relative_to(venv) for line in found] == [True, True, True]
    suite = "from vlcls.evaluation.data.suites import read_suite; print(read_suite('smoke').sets[0].path)"
    assert subprocess.check_output([python, "-c", suite], text=True, cwd=tmp_path) == "builtin:demo\n"

    command = [venv / "bin" / "vlcls", "classify", photos[0], "-l", "cat,dog", "-t", "pets"]
    command += ["-e", model_spec("open_clip-clip"), "-f", "jsonl"]
    out = subprocess.run(
        list(map(str, command)), check=True, capture_output=True, text=True, cwd=tmp_path
    ).stdout
    assert json.loads(out)["label"] in ("cat", "dog")
