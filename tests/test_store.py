"""The embedding store: what it serves is what was put, whoever writes, dies or damages files meanwhile."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlcls.errors import OutputError, VlclsWarning
from vlcls.files import writing
from vlcls.store import EmbeddingStore, Identity, Partition, default_root, text_key
from vlcls.store import partition as module
from vlcls.store import shards as shards_module
from vlcls.store.shards import open_shard

WIDTH = 4
ENCODER: Any = SimpleNamespace(fingerprint="f" * 64, precision="fp32", spec="test:spec", embedding_dim=WIDTH)
IDENTITY = Identity("f" * 64, "fp32", "images", WIDTH)

# Writes numbers START, START+1, ... one shard each, tells the number once it is on disk, and merges often.
WRITER = """
import hashlib, sys
from pathlib import Path
import numpy as np
from vlcls import store
store.partition.FLUSH_SECONDS, store.partition.MAX_SHARDS = -1.0, 3
folder, start, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
partition = store.Partition(folder, store.Identity("f" * 64, "fp32", "images", 4))
partition.refresh()
for number in range(start, start + count):
    key = store.text_key(str(number))
    row = np.frombuffer(hashlib.sha256(key).digest()[:16], np.uint8).reshape(4, 4).sum(1)
    partition.put([key], row[None].astype(np.float32))
    print(number, flush=True)
"""


def opened(folder: Path, width: int = WIDTH) -> Partition:
    """The partition as a process sees it that was just started."""
    partition = Partition(folder, Identity("f" * 64, "fp32", "images", width))
    partition.refresh()
    return partition


def key_of(number: int) -> bytes:
    return text_key(str(number))


def row_of(number: int) -> np.ndarray:
    """What is put under `key_of(number)`: four numbers that only this key has."""
    digest = hashlib.sha256(key_of(number)).digest()[:16]
    return np.frombuffer(digest, np.uint8).reshape(4, 4).sum(1).astype(np.float32)


def put(partition: Partition, numbers: Iterable[int]) -> None:
    numbers = list(numbers)
    partition.put([key_of(n) for n in numbers], np.stack([row_of(n) for n in numbers]))


def served(partition: Partition, numbers: Iterable[int]) -> set[int]:
    """Which of the numbers the partition knows; each with exactly the row that was put."""
    found = set()
    for number in numbers:
        row = partition.get(key_of(number))
        assert (row is not None) == (key_of(number) in partition)
        if row is not None:
            assert row.dtype == np.float32
            assert np.array_equal(row, row_of(number))
            found.add(number)
    return found


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "partition"


def run_writer(folder: Path, start: int, count: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, str(folder), str(start), str(count)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


# ---- put and get ---------------------------------------------------------------------------------------


def test_put_get_reopen(folder: Path):
    with opened(folder) as partition:
        put(partition, range(5))
        assert served(partition, range(8)) == set(range(5))
        assert len(partition) == 5
        assert shards(folder) == []  # still waiting
    assert len(shards(folder)) == 1
    assert served(partition, range(8)) == set(range(5))
    again = opened(folder)
    assert served(again, range(8)) == set(range(5)) and len(again) == 5


def test_nothing_to_write_writes_nothing(folder: Path):
    with opened(folder) as partition:
        assert partition.get(key_of(0)) is None and len(partition) == 0
    assert not folder.exists()


def test_the_first_row_under_a_key_stays(folder: Path):
    with opened(folder) as partition:
        put(partition, [1])
        partition.put([key_of(1)], np.zeros((1, WIDTH), np.float32))
        assert served(partition, [1]) == {1}
    with opened(folder) as partition:
        partition.put([key_of(1)], np.zeros((1, WIDTH), np.float32))
    assert served(opened(folder), [1]) == {1} and len(shards(folder)) == 1


def test_as_many_keys_as_rows(folder: Path):
    with pytest.raises(ValueError, match="1 keys for 2 rows"):
        opened(folder).put([key_of(1)], np.ones((2, WIDTH), np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_never_kept(folder: Path, bad: float):
    rows = np.stack([row_of(0), row_of(1), row_of(2)])
    rows[1, 2] = bad
    with opened(folder) as partition:
        partition.put([key_of(n) for n in range(3)], rows)
        assert served(partition, range(3)) == {0, 2}
    assert served(opened(folder), range(3)) == {0, 2}


def test_rows_wait_no_longer_than_said(folder: Path, monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    partition = opened(folder)
    put(partition, [0])
    now[0] += module.FLUSH_SECONDS * 0.9
    put(partition, [1])
    assert shards(folder) == []
    now[0] += module.FLUSH_SECONDS * 0.2
    put(partition, [2])
    assert served(opened(folder), range(3)) == {0, 1, 2}


def test_rows_stay_known_when_their_file_is_gone_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Another process may merge or clear between the writing of a shard and its mapping; whoever asked
    `key in partition` must still get its row."""

    partition = opened(folder)
    put(partition, range(3))
    whole = shards_module.write_atomically

    def cleared_at_once(path: Path, data: bytes) -> Path:
        whole(path, data).unlink()
        return path

    with monkeypatch.context() as patch:
        patch.setattr(shards_module, "write_atomically", cleared_at_once)
        partition.flush()
    assert served(partition, range(3)) == {0, 1, 2} and shards(folder) == []
    partition.flush()
    assert served(opened(folder), range(3)) == {0, 1, 2}


# ---- merging -------------------------------------------------------------------------------------------


def test_merging_keeps_all_rows_in_few_files(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_SHARDS", 3)
    partition = opened(folder)
    most = 0
    for number in range(40):
        put(partition, [number])
        partition.flush()
        most = max(most, len(shards(folder)))
        assert len(partition) == number + 1
    assert most == 3  # a fourth is merged with the others as it is written
    assert served(partition, range(50)) == set(range(40))
    assert served(opened(folder), range(50)) == set(range(40))


def test_a_shard_that_holds_all_that_is_merged_stays(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_SHARDS", 1)
    first, second = opened(folder), opened(folder)
    put(first, [0])
    put(second, [0, 1])
    first.flush()
    second.refresh()
    second.flush()
    assert len(shards(folder)) == 1 and served(opened(folder), range(3)) == {0, 1}


def test_keys_of_texts_are_those_of_older_stores():
    assert text_key("a cat") == hashlib.sha256(b"a cat").digest()[:16]
    assert text_key("\ud800") != text_key("\ud801") != text_key("?")


def test_large_shards_are_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_SHARDS", 2)
    monkeypatch.setattr(module, "MERGE_BYTES", 10 * WIDTH * 4)
    partition = opened(folder)
    put(partition, range(100, 120))
    partition.flush()
    large = shards(folder)
    for number in range(6):
        put(partition, [number])
        partition.flush()
    assert large[0] in shards(folder)
    assert served(opened(folder), range(120)) == {*range(6), *range(100, 120)}


# ---- disks that refuse ---------------------------------------------------------------------------------


def refuse(*_args: Any, **_options: Any) -> Any:
    raise OutputError("Read-only file system")


def test_a_disk_that_refuses_costs_the_cache_and_not_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(shards_module, "write_atomically", refuse)
        partition = opened(folder)
        put(partition, range(3))
        with pytest.warns(VlclsWarning, match=r"not stored in .*Read-only"):
            partition.flush()
        assert served(partition, range(3)) == {0, 1, 2} and len(partition) == 3
    put(partition, [3])
    partition.close()  # writable again: nothing was lost
    assert served(opened(folder), range(4)) == {0, 1, 2, 3}


@pytest.mark.filterwarnings("ignore::vlcls.errors.VlclsWarning")
def test_memory_stays_flat_if_the_disk_refuses(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    monkeypatch.setattr(module.Partition, "_warn", lambda *_: None)
    partition = opened(folder)
    put(partition, range(5))
    assert len(partition) == 5  # the disk has not been asked yet
    with monkeypatch.context() as patch:
        patch.setattr(shards_module, "write_atomically", refuse)
        partition.flush()
    partition.drop_pending()
    put(partition, range(3))
    assert len(partition) == 3
    put(partition, [3])
    assert len(partition) == 0


def test_a_disk_that_refuses_to_merge(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_SHARDS", 2)
    partition = opened(folder)
    monkeypatch.setattr(Partition, "_merge", refuse)
    put(partition, range(3))
    with pytest.warns(VlclsWarning, match="Read-only"):
        partition.flush()
    assert served(partition, range(3)) == {0, 1, 2} and len(partition) == 3


@pytest.mark.filterwarnings("ignore::vlcls.errors.VlclsWarning")
def test_a_store_in_a_read_only_folder_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shards_module, "write_atomically", refuse)
    with EmbeddingStore(tmp_path).partition(ENCODER, "images") as partition:
        put(partition, range(3))
        assert served(partition, range(3)) == {0, 1, 2}


@pytest.mark.filterwarnings("ignore::vlcls.errors.VlclsWarning")
def test_a_damaged_shard_in_a_read_only_folder_is_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch):
    with opened(folder) as partition:
        put(partition, range(3))
    (folder / f"{'0' * 64}.safetensors").write_bytes(b"rubble")

    def read_only(*_args: Any, **_options: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", read_only)
    assert served(opened(folder), range(3)) == {0, 1, 2}


# ---- damage --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards with the numbers 0-4, 5-9 and 10-14."""
    folder = tmp_path_factory.mktemp("intact")
    partition = opened(folder)
    for start in (0, 5, 10):
        put(partition, range(start, start + 5))
        partition.flush()
    assert len(shards(folder)) == 3
    return folder


DAMAGE = st.one_of(
    st.tuples(st.just("truncate"), st.integers(0, 10_000)),
    st.tuples(st.just("flip"), st.integers(0, 80_000)),
    st.tuples(st.just("append"), st.binary(min_size=1, max_size=20)),
    st.tuples(st.just("replace"), st.binary(max_size=100)),
    st.tuples(st.just("swap"), st.none()),
)


def damaged(data: bytes, other: bytes, how: str, what: Any) -> bytes:
    if how == "truncate":
        return data[: what % len(data)]
    if how == "flip":
        place = what % (8 * len(data))
        return data[: place // 8] + bytes([data[place // 8] ^ (1 << place % 8)]) + data[place // 8 + 1 :]
    return {"append": lambda: data + what, "replace": lambda: what, "swap": lambda: other}[how]()


@given(damage=DAMAGE, victim=st.integers(0, 2))
def test_a_damaged_shard_is_removed_and_the_others_are_served(intact: Path, damage: Any, victim: int):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(intact, Path(temporary) / "copy"))
        path, other = shards(folder)[victim], shards(folder)[victim - 1]
        lost = {n for n in range(15) if key_of(n) in path.read_bytes()}
        assert len(lost) == 5
        path.write_bytes(damaged(path.read_bytes(), other.read_bytes(), *damage))
        partition = opened(folder)
        assert served(partition, range(15)) == set(range(15)) - lost
        assert len(shards(folder)) == 2 and path not in shards(folder)
        with partition:
            put(partition, range(15))
        assert served(opened(folder), range(15)) == set(range(15))


def test_a_shard_of_another_width_is_not_served(folder: Path):
    with opened(folder) as partition:
        put(partition, range(3))
    assert served(opened(folder, WIDTH + 1), range(3)) == set()


def test_left_over_temporary_files_go_once_nobody_can_be_writing_them(folder: Path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with opened(folder) as partition:
        put(partition, range(3))
    killed, alive = (
        folder / f".vlcls-{writing._HOST}-{pid}-00000000.tmp" for pid in (ended.pid, os.getpid())
    )
    for path in (killed, alive):
        path.write_bytes(shards(folder)[0].read_bytes())
    assert served(opened(folder), range(3)) == {0, 1, 2}
    assert not killed.exists() and alive.exists()


# ---- other processes -----------------------------------------------------------------------------------


def test_two_processes_write_at_once(folder: Path):
    writers = [run_writer(folder, 0, 60), run_writer(folder, 40, 60)]
    assert [len(writer.communicate()[0].split()) for writer in writers] == [60, 60]
    assert served(opened(folder), range(120)) == set(range(100))
    assert len(list(folder.iterdir())) <= 2 * 4  # both merged as they went


def test_kill_at_any_moment_leaves_what_was_written(folder: Path):
    chance = random.Random(0)
    written: set[int] = set()
    start = 0
    for _ in range(6):
        writer = run_writer(folder, start, 100_000)
        assert writer.stdout is not None
        written.add(int(writer.stdout.readline()))  # it is at work
        time.sleep(chance.uniform(0, 0.1))
        writer.kill()
        lines = writer.stdout.read().splitlines(keepends=True)
        written |= {int(line) for line in lines if line.endswith("\n")}
        writer.stdout.close()
        writer.wait()
        found = served(opened(folder), range(start + 2000))
        assert written <= found
        assert len(found - written) <= 6  # at most one a round was on disk before it was told
        start = max(found) + 1
    assert len(written) > 6
    assert all(open_shard(path, IDENTITY) for path in shards(folder))


# ---- the whole store -----------------------------------------------------------------------------------


def test_partitions_are_apart(tmp_path: Path):
    store = EmbeddingStore(tmp_path)
    other = SimpleNamespace(**{**vars(ENCODER), "fingerprint": "e" * 64})
    half = SimpleNamespace(**{**vars(ENCODER), "precision": "bf16"})
    places = [(ENCODER, "images"), (ENCODER, "texts"), (ENCODER, "images-full-decode")]
    places += [(other, "images"), (half, "images")]
    for number, (encoder, kind) in enumerate(places):
        with store.partition(encoder, kind) as partition:
            put(partition, [number])
    for number, (encoder, kind) in enumerate(places):
        assert served(EmbeddingStore(tmp_path).partition(encoder, kind), range(9)) == {number}


def test_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLCLS_CACHE", str(tmp_path / "mine"))
    assert default_root() == tmp_path / "mine"
    assert tmp_path / "mine" in EmbeddingStore().root.parents
    assert tmp_path / "yours" in EmbeddingStore(tmp_path / "yours").root.parents
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VLCLS_CACHE", "~/cache")
    assert default_root() == tmp_path / "cache"
    monkeypatch.delenv("VLCLS_CACHE")
    assert "vlcls" in default_root().parts
