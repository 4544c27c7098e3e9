"""Sorting that is killed at every step, on full disks, beside other runs, with manifests of somebody else."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sorted_trees import make_photos, photos_of, plain, snapshot

from vlcls.errors import OutputError
from vlcls.image_sources import ImageSource
from vlcls.results.folders import remove_half_made
from vlcls.results.manifest import MANIFEST, Manifest
from vlcls.results.sorting import Sorter, sort_into
from vlcls.results.unsorting import unsort

WAYS = ("copy", "link", "move")
#: What a process may do to files, each of which may be its last or find no room.
EVENTS = {"open", "os.link", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.symlink"}


def sort(home: Path, how: Any) -> None:
    """Sort the photos of a folder, or go on with it."""
    paths, results = photos_of(home / "photos")
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sorter = Sorter(home / "x/sorted", how, stack)
        sources = [ImageSource(str(number), path) for number, path in enumerate(paths)]
        for source in sorter.unsorted(sources):
            sorter.place(results[int(source.name)], source)
        assert not sorter.done.left


def in_child(work: Callable[[], Any], at: Callable[[int, str], None]) -> int:
    """Do something in a process of its own, where `at` is told of every step before it is taken.

    Returns:
        0 if it came to its end, 1 after an OutputError, 2 after another error, -9 if it was killed.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 2
    try:
        count = 0

        def hook(event: str, arguments: Any) -> None:
            nonlocal count
            if event in EVENTS:
                count += 1
                at(count, event)

        sys.addaudithook(hook)
        work()
        code = 0
    except OutputError:
        code = 1
    finally:
        os._exit(code)


def killed(step: int) -> Callable[[int, str], None]:
    return lambda count, _: os.kill(os.getpid(), signal.SIGKILL) if count == step else None


@pytest.fixture(params=["hard links", "no hard links", "another file system"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the file system answers to `os.link`."""
    real = os.link

    def link(source: Any, target: Any) -> None:
        if request.param == "no hard links":
            raise OSError(errno.EPERM, "Operation not permitted")
        if request.param == "another file system" and Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    return str(request.param)


@pytest.mark.parametrize("how", WAYS)
def test_a_kill_at_any_step_loses_nothing(tmp_path: Path, how: Any, disk: str) -> None:
    if how == "link" and disk != "hard links":
        pytest.skip("symbolic links are no other there")
    calm = tmp_path / "calm"
    make_photos(calm / "photos")
    before = snapshot(calm)
    sort(calm, how)
    sorted_once = snapshot(calm / "x/sorted", [MANIFEST])
    kills = 0
    for step in range(1, 1000):
        home = tmp_path / str(step)
        make_photos(home / "photos")
        if in_child(lambda home=home: sort(home, how), killed(step)) != -signal.SIGKILL:
            break
        kills += 1
        if step % 2 or not (home / "x/sorted").exists():
            sort(home, how)
            found = snapshot(home / "x/sorted", [MANIFEST])
            expected = json.loads(json.dumps(sorted_once, default=repr).replace(str(calm), str(home)))
            assert json.loads(json.dumps(found, default=repr)) == expected, f"killed at step {step}"
        unsort(home / "x/sorted")
        assert snapshot(home) == before, f"killed at step {step}"
    assert kills > 30


@pytest.mark.parametrize("how", WAYS)
def test_a_kill_while_it_is_put_back_loses_nothing(tmp_path: Path, how: Any, disk: str) -> None:
    if disk != "hard links" and how != "move":
        pytest.skip("as with hard links")
    kills = 0
    for step in range(1, 1000):
        home = tmp_path / str(step)
        make_photos(home / "photos")
        before = snapshot(home)
        sort(home, how)
        code = in_child(lambda home=home: unsort(home / "x/sorted"), killed(step))
        if (home / "x/sorted" / MANIFEST).exists():
            unsort(home / "x/sorted")
        remove_half_made(home)  # as the next run there does
        assert snapshot(home) == before, f"killed at step {step}"
        if code == 0:
            break
        kills += 1
    assert kills > 15


@pytest.mark.parametrize("how", WAYS)
def test_no_room_at_any_step_is_a_clear_error_and_loses_nothing(tmp_path: Path, how: Any) -> None:
    def no_room(step: int) -> Callable[[int, str], None]:
        def fail(count: int, event: str) -> None:
            if count >= step and event in ("os.mkdir", "os.symlink", "os.link"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return fail

    check_recovery(tmp_path, how, [(no_room(step), None) for step in range(1, 60, 2)])


@pytest.mark.parametrize("how", WAYS)
def test_files_that_cannot_grow_are_a_clear_error_and_lose_nothing(tmp_path: Path, how: Any) -> None:
    """As on a full disk, the manifest ends in the middle of a line, or an image in its middle."""
    check_recovery(tmp_path, how, [(lambda count, event: None, size) for size in range(0, 2400, 40)])


def check_recovery(tmp_path: Path, how: Any, faults: list[tuple[Any, int | None]]) -> None:
    codes = []
    for number, (fault, size) in enumerate(faults):
        home = tmp_path / str(number)
        make_photos(home / "photos")
        before = snapshot(home)

        def limited(home: Path = home, size: int | None = size) -> None:
            if size is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            sort(home, how)

        codes.append(in_child(limited, fault))
        assert not list(home.rglob("*.tmp*")), "what was half written is gone"
        sort(home, how)
        unsort(home / "x/sorted")
        assert snapshot(home) == before
    assert set(codes) <= {0, 1} and codes.count(1) > len(codes) / 3, codes


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("how", ["copy", "move"])
def test_a_disk_that_is_full(tmp_path: Path, small_disk: Path, how: Any) -> None:
    paths = [tmp_path / "photos" / f"{number}.jpg" for number in range(20)]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_bytes(os.urandom(20_000))
    before = snapshot(tmp_path / "photos")
    results = [plain(path, "dog") for path in paths]
    with pytest.raises(OutputError, match=r"cannot be (placed|written).*No space left on device"):
        sort_into(results, paths, small_disk / "sorted", how)
    there = {path.name for path in (small_disk / "sorted/dog").iterdir()}
    assert 3 < len(there) < 12
    assert {path.name for path in paths if not path.exists()} == (there if how == "move" else set())
    assert unsort(small_disk / "sorted").left == []
    assert snapshot(tmp_path / "photos") == before
    assert list(small_disk.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second file system")
def test_a_move_to_another_file_system_and_back(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        if Path(other).stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("no second file system")
        paths, results = make_photos(tmp_path / "photos")
        before = snapshot(tmp_path)
        sort_into(results, paths, Path(other, "sorted"), "move")
        assert not any(path.exists() for path in paths)
        assert Path(other, "sorted/dog/1.jpg").stat().st_mtime_ns == before["photos/a/1.jpg"][1]
        unsort(Path(other, "sorted"))
        assert snapshot(tmp_path) == before and not list(Path(other).iterdir())


# ---- two runs ------------------------------------------------------------------------------------------


def test_two_runs_at_once_are_one_and_a_refusal(tmp_path: Path) -> None:
    paths, results = make_photos(tmp_path / "photos")
    with ExitStack() as stack:
        first = Sorter(tmp_path / "sorted", "copy", stack)
        for act in (
            lambda: sort_into(results, paths, tmp_path / "sorted"),
            lambda: unsort(tmp_path / "sorted"),
        ):
            with pytest.raises(
                OutputError, match=r"is being written by another `vlcls classify --sort-into`"
            ):
                act()
        first.place(results[0], ImageSource("1", paths[0]))
    assert unsort(tmp_path / "sorted").removed == 1


def test_many_runs_that_begin_at_once(tmp_path: Path) -> None:
    """Each sorts all or is refused; no folder is lost to a race for making it."""
    paths, _ = make_photos(tmp_path / "photos")
    before = snapshot(tmp_path)
    script = (
        "import sys\nfrom pathlib import Path\nfrom sorted_trees import plain\n"
        "from vlcls.errors import OutputError\nfrom vlcls.results.sorting import sort_into\n"
        "paths = sorted(Path('photos').rglob('*.jpg'))\ninput()\n"
        "try: sort_into([plain(p, 'dog') for p in paths], paths, 'x/y/sorted')\n"
        "except OutputError as error: sys.exit(str(error))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script], cwd=tmp_path, env=environment, text=True,
            stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(4)
    ]  # fmt: skip
    said = []
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("\n")
        run.stdin.flush()
    for run in runs:
        said.append(run.communicate()[1])
    assert all(each == "" or "is being written by another" in each for each in said) and "" in said, said
    assert len(list((tmp_path / "x/y/sorted/dog").iterdir())) == len(paths)
    unsort(tmp_path / "x/y/sorted")
    assert snapshot(tmp_path) == before


# ---- folders and manifests of somebody else ------------------------------------------------------------


def test_a_link_in_a_folders_place_is_not_followed(tmp_path: Path) -> None:
    paths, results = make_photos(tmp_path / "photos")
    (tmp_path / "outside").mkdir()
    (tmp_path / "sorted").mkdir()
    (tmp_path / "sorted/dog").symlink_to("../outside")
    before = snapshot(tmp_path)
    with pytest.raises(OutputError, match=r"sorted/dog is no folder but a link or a file"):
        sort_into(results, paths, tmp_path / "sorted", "move")
    unsort_if_there(tmp_path / "sorted")
    assert snapshot(tmp_path) == before


def test_a_folder_that_became_a_link_is_left_alone(tmp_path: Path) -> None:
    paths, results = make_photos(tmp_path / "photos")
    sort_into(results, paths, tmp_path / "sorted")
    (tmp_path / "sorted/dog").rename(tmp_path / "outside")
    (tmp_path / "sorted/dog").symlink_to("../outside")
    outside = snapshot(tmp_path / "outside")
    assert len(unsort(tmp_path / "sorted").left) == 3
    assert snapshot(tmp_path / "outside") == outside and len(outside) == 3


def unsort_if_there(folder: Path) -> None:
    if (folder / MANIFEST).exists():
        unsort(folder)


HOSTILE: dict[str, tuple[int, dict[str, Any]]] = {
    "a way out": (2, {"to": "dog/../../outside.jpg"}),
    "an absolute place": (2, {"to": "/etc/passwd"}),
    "a place in no folder": (2, {"to": "cow/1.jpg"}),
    "a folder alone": (2, {"to": "dog/"}),
    "a folder in a folder": (2, {"to": "dog/a/b"}),
    "bytes that lead out": (2, {"to": "bytes:dog/%2E%2E/%2E%2E/x"}),
    "an origin that is not absolute": (2, {"origin": "photos/1.jpg"}),
    "an origin with a way out": (2, {"origin": "/tmp/../etc/passwd"}),
    "another number": (2, {"number": 7}),
    "no hash": (2, {"sha256": None}),
    "a hash of something else": (2, {"sha256": "x"}),
    "a link without a target": (2, {"way": "link"}),
    "an unknown way": (2, {"way": "delete"}),
    "an outcome of nothing": (3, {"done": 5}),
    "a folder outside": (1, {"folder": ".."}),
    "a folder with a slash": (1, {"folder": "a/b"}),
    "a hidden folder": (1, {"folder": ".ssh"}),
    "the manifest as a folder": (1, {"folder": MANIFEST}),
    "no label": (1, {"label": None}),
    "another version": (0, {"version": 2}),
    "another format": (0, {"format": "x"}),
    "a place that is none": (0, {"folder": "sorted"}),
    "an unknown field": (2, {"run": "rm -rf"}),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_manifest_that_leads_elsewhere_is_refused(tmp_path: Path, what: str) -> None:
    paths, _ = make_photos(tmp_path / "photos")
    sort_into([plain(paths[0], "dog")], paths[:1], tmp_path / "sorted", "move")
    path = tmp_path / "sorted" / MANIFEST
    lines = list(map(json.loads, path.read_text().splitlines()))
    assert len(lines) == 4
    number, changes = HOSTILE[what]
    lines[number] |= changes
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = snapshot(tmp_path)
    for act in (lambda: unsort(tmp_path / "sorted"), lambda: sort_into([], [], tmp_path / "sorted")):
        with pytest.raises(OutputError, match=rf"{MANIFEST}, line {number + 1}: "):
            act()
    assert snapshot(tmp_path) == before


def test_a_folder_that_came_from_elsewhere_does_not_say_where_files_go(tmp_path: Path) -> None:
    paths, results = make_photos(tmp_path / "photos")
    before = snapshot(tmp_path)
    sort_into(results, paths, tmp_path / "sorted", "move")
    (tmp_path / "sorted").rename(tmp_path / "other")
    with pytest.raises(OutputError, match=rf"was sorted as {tmp_path}/sorted.*--was {tmp_path}/sorted"):
        unsort(tmp_path / "other")
    with pytest.raises(OutputError, match="was sorted as"):
        unsort(tmp_path / "other", tmp_path)
    assert not unsort(tmp_path / "other", tmp_path / "sorted").left
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("torn", [b"{", b'{"done": 3, "pla', b"\xff\xfe", b'{"done": 0, "placed": true}'])
def test_a_line_that_a_kill_cut_off_is_fine(tmp_path: Path, torn: bytes) -> None:
    paths, results = make_photos(tmp_path / "photos")
    before = snapshot(tmp_path)
    sort_into(results[:3], paths[:3], tmp_path / "sorted")
    with (tmp_path / "sorted" / MANIFEST).open("ab") as file:
        file.write(torn)
    sort_into(results, paths, tmp_path / "sorted")
    Manifest(tmp_path / "sorted" / MANIFEST)
    assert not unsort(tmp_path / "sorted").left
    assert snapshot(tmp_path) == before
