"""Nothing of the user's is deleted or replaced: not in a run's folder, and nowhere else in the package."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path

import pytest
import torch
from evaluation_runs import METHODS, SMALL, Shape, write_run
from safetensors.torch import save_file

import vlcls
from vlcls.app.session_files import START, load
from vlcls.errors import OutputError, SessionError
from vlcls.evaluation.report.exports import write_exports
from vlcls.evaluation.report.run_folder import FILES, listed
from vlcls.learning.checkpoint import CHECKPOINT, remove_state

PACKAGE = Path(vlcls.__file__).parent
ONE = Shape({"photo": (14, 0.0)}, {"name": METHODS["name"]}, ("conse",), SMALL.classes)
#: The files of the package that delete anything: each only what it wrote itself, and through no link.
DELETIONS = {
    "app/session_files.py": "the start of a session that was never written, known by its schema",
    "evaluation/report/run_folder.py": "files of its own list that hold what was written",
    "files/writing.py": "temporary files, by a name of ours and of a process that is gone; its own locks",
    "learning/checkpoint.py": "a checkpoint, known by its header",
    "results/folders.py": "the manifest of a folder in which nothing of ours is left",
    "results/placing.py": "a moved image, once what was read again at its new place has its hash",
    "results/sorting.py": "a temporary file of its own",
    "results/unsorting.py": "copies and links that are as they were placed; a moved image that is back",
    "retrieval/build.py": "parts of a database, known by their name and schema",
    "store/folder.py": "shards, by a name that only the store gives",
    "store/partition.py": "the same",
}


def exported(folder: Path, shape: Shape = SMALL) -> set[str]:
    write_exports(write_run(folder, shape), folder)
    return {path.name for path in (folder / "clip_benchmark").glob("*.json")}


def test_json_files_of_the_user_stay(tmp_path: Path):
    own = tmp_path / "run" / "clip_benchmark" / "mine.json"
    own.parent.mkdir(parents=True)
    own.write_text('{"mine": 1}')
    for shape in (SMALL, ONE, SMALL):
        exported(tmp_path / "run", shape)
        assert own.read_text() == '{"mine": 1}'


def test_what_an_earlier_run_wrote_is_cleared_away(tmp_path: Path):
    many = exported(tmp_path)
    few = exported(tmp_path, ONE)
    assert len(many) == 3 and len(few) == 1 and few < many
    assert {f"clip_benchmark/{name}" for name in few} < set(listed(tmp_path))


def test_what_was_changed_since_is_somebody_s(tmp_path: Path):
    names = exported(tmp_path)
    for name in names:
        (tmp_path / "clip_benchmark" / name).write_text('{"edited": true}')
    assert exported(tmp_path, ONE) == names
    left = [json.loads(path.read_text()) for path in (tmp_path / "clip_benchmark").glob("*.json")]
    assert left.count({"edited": True}) == 2


@pytest.mark.parametrize("link", ["clip_benchmark", "file"])
def test_no_link_is_followed(tmp_path: Path, link: str):
    run, other = tmp_path / "run", tmp_path / "other"
    exported(run)
    if link == "clip_benchmark":  # the folder is moved away and linked to
        (run / "clip_benchmark").rename(other)
        (run / "clip_benchmark").symlink_to(other, target_is_directory=True)
    else:
        other.mkdir()
        for path in list((run / "clip_benchmark").iterdir()):
            path.rename(other / path.name)
            path.symlink_to(other / path.name)
    before = {path.name: path.read_bytes() for path in other.iterdir()}
    exported(run, ONE)
    after = {path.name: path.read_bytes() for path in other.iterdir()}
    assert before.keys() == after.keys()


@pytest.mark.parametrize("name", ["clip_benchmark/../../victim.json", "/{root}/victim.json"])
def test_a_list_that_names_files_elsewhere_deletes_nothing(tmp_path: Path, name: str):
    victim = tmp_path / "victim.json"
    victim.write_text("{}")
    run = tmp_path / "run"
    exported(run)
    about = json.loads((run / FILES).read_text())
    about["files"][name.format(root=tmp_path)] = hashlib.sha256(b"{}").hexdigest()
    about["files"]["clip_benchmark/" + name.format(root=tmp_path)] = hashlib.sha256(b"{}").hexdigest()
    (run / FILES).write_text(json.dumps(about))
    exported(run, ONE)
    assert victim.exists()


@pytest.mark.parametrize("text", ["", "[]", "null", '{"format": "vlcls-files", "version": 1}', "[" * 9999])
def test_a_damaged_list_deletes_nothing_and_stops_nothing(tmp_path: Path, text: str):
    many = exported(tmp_path)
    (tmp_path / FILES).write_text(text)
    assert exported(tmp_path, ONE) == many


def test_a_file_of_the_name_of_ours_is_not_replaced(tmp_path: Path):
    (name,) = exported(tmp_path / "other", ONE)
    own = tmp_path / "run" / "clip_benchmark" / name
    own.parent.mkdir(parents=True)
    own.write_text('{"mine": 1}')
    assert len(exported(tmp_path / "run", ONE)) == 2
    assert own.read_text() == '{"mine": 1}'


@pytest.mark.parametrize("name", ["results.json", "report.html", "summary.csv", FILES])
def test_a_folder_with_files_of_the_user_is_refused_before_any_work(tmp_path: Path, clip, name: str):
    data = tmp_path / "data" / "cat"
    data.mkdir(parents=True)
    (data / "a.png").write_text("never read")
    run = tmp_path / "run"
    run.mkdir()
    (run / name).write_text('{"mine": 1}')
    with pytest.raises(OutputError, match=f"{name} is in the way"):
        vlcls.evaluate(tmp_path / "data", "photo", clip, run)
    assert [path.name for path in run.iterdir()] == [name]
    assert (run / name).read_text() == '{"mine": 1}'


def test_whoever_lists_a_folder_meets_no_half_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append((sorted(path.name for path in tmp_path.rglob("*.json")), target.name))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    exported(tmp_path)
    assert len(seen) > 5 and not [name for names, _ in seen for name in names if name.startswith(".")]


# ---- elsewhere -----------------------------------------------------------------------------------------


def test_every_deletion_of_the_package_is_known():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = ast.unparse(call.func) if isinstance(call, ast.Call) else ""
            if called.endswith((".unlink", ".rmtree")) or called.startswith("os.remove"):
                found.add(path.relative_to(PACKAGE).as_posix())
    assert found == set(DELETIONS), "say in the table why a new deletion only reaches what vlcls wrote"


def test_a_checkpoint_of_another_program_stays(tmp_path: Path):
    path = tmp_path / CHECKPOINT
    for write in (
        lambda: save_file({"weights": torch.ones(2)}, path),
        lambda: save_file({"weights": torch.ones(2)}, path, {"state": "{}"}),
        lambda: path.write_bytes(b"\xff" * 20),
    ):
        write()
        before = path.read_bytes()
        remove_state(tmp_path)
        assert path.read_bytes() == before


def test_a_start_of_another_program_stays(tmp_path: Path):
    (tmp_path / START).write_text('{"mine": 1}')
    with pytest.raises(SessionError, match=r"start\.json is in the way"):
        load(tmp_path)
    assert (tmp_path / START).read_text() == '{"mine": 1}'
