"""One store, many readers: opened once a process, aware of other processes, each thing encoded once."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_store import ENCODER, IDENTITY, key_of, opened, put, served

import vlcls
from vlcls.classifiers.words import WordEmbeddings
from vlcls.embeddings import embed_texts
from vlcls.encoders import Encoder
from vlcls.encoders.base import Encoder as Base
from vlcls.store import EmbeddingStore, Partition
from vlcls.store import partition as module
from vlcls.store import shards as shards_module
from vlcls.store.claims import Claims
from vlcls.store.index import KeyIndex, as_keys

LABELS = ["cat", "dog", "horse"]

# Another process: does something to the store, and ends.
OTHER = """
import sys
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
from test_store import ENCODER, put, served
from vlcls.store import EmbeddingStore
store = EmbeddingStore(sys.argv[2])
if sys.argv[3] == "clear":
    store.clear()
else:
    with store.partition(ENCODER, "images") as partition:
        put(partition, map(int, sys.argv[3:]))
"""


def elsewhere(root: Path, *arguments: object) -> None:
    command = [sys.executable, "-c", OTHER, str(Path(__file__).parent), str(root), *map(str, arguments)]
    subprocess.run(command, check=True)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of all shards that this process reads whole from now on."""
    names: list[str] = []
    whole = shards_module.open_shard

    def counted(path: Path, identity: Any) -> Any:
        names.append(path.name)
        return whole(path, identity)

    monkeypatch.setattr(module, "open_shard", counted)
    return names


def fill(store: EmbeddingStore, encoder: Any, count: int, kind: str = "images") -> None:
    """Rows of images that nobody has, as another process would write them."""
    rows = np.random.default_rng(0).normal(size=(count, encoder.embedding_dim)).astype(np.float32)
    keys = [key_of(number) for number in range(count)]
    with store.partition(encoder, kind) as partition:  # type: ignore[arg-type]
        partition.put(keys, rows)


# ---- opened once -------------------------------------------------------------------------------------------

BYTES = """
import sys
from pathlib import Path
from PIL import Image
import vlcls

def read():
    return next(int(line.split()[1]) for line in open("/proc/self/io") if line.startswith("rchar"))

encoder = vlcls.load_encoder(sys.argv[1], "cpu", "fp32")
image = Image.new("RGB", (40, 40), "red")
classifier = vlcls.build_classifier(["cat", "dog"], encoder, cache=False)
classifier.predict(image, cache=False)
counts = []
for number in range(3):
    before = read()
    classifier.predict(image, cache=sys.argv[2])
    counts.append(read() - before)
    # A classifier and an encoder of their own: the store is the process's.
    encoder = vlcls.load_encoder(sys.argv[1], "cpu", "fp32")
    classifier = vlcls.build_classifier(["cat", "dog"], encoder, cache=False)
    classifier.predict(image, cache=False)
print(*counts)
"""


@pytest.mark.skipif(
    not Path("/proc/self/io").exists(), reason="the system does not count bytes that are read"
)
def test_the_second_prediction_reads_no_more_than_its_rows(tmp_path: Path, clip: Encoder, picture: Any):
    counts = {}
    for rows in (10, 30_000):
        root = tmp_path / str(rows)
        fill(EmbeddingStore(root), clip, rows)
        vlcls.build_classifier(LABELS, clip, cache=False).predict(picture(0), cache=root)
        command = [sys.executable, "-c", BYTES, clip.spec, str(root)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        counts[rows] = list(map(int, done.stdout.split()))
    assert counts[30_000][0] > 30_000 * clip.embedding_dim * 4  # all is checked once ...
    assert max(counts[30_000][1:]) < 50_000  # ... and what is read after that does not grow with it
    assert max(counts[30_000][1:]) < max(counts[10][1:]) + 10_000


def test_a_shard_is_checked_once_whoever_opens_it(
    tmp_path: Path, clip: Encoder, photos: Any, checked: list[str]
):
    fill(EmbeddingStore(tmp_path), clip, 50)
    classifiers = [vlcls.build_classifier(LABELS, clip, cache=tmp_path) for _ in range(2)]
    for classifier in classifiers:
        for photo in photos[:6]:
            classifier.predict(photo, cache=str(tmp_path))
    assert checked == []  # what this process wrote it knows
    moved = tmp_path / "moved"
    (tmp_path / "v1").rename(moved.with_suffix(".tmp"))
    moved.mkdir()
    moved.with_suffix(".tmp").rename(moved / "v1")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda photo: classifiers[0].predict(photo, cache=moved), photos[:16]))
    vlcls.build_classifier(LABELS, clip, cache=moved)
    assert len(checked) == len(set(checked)) >= 3


def test_a_damaged_shard_that_cannot_be_deleted_is_read_once(
    tmp_path: Path, checked: list[str], monkeypatch: pytest.MonkeyPatch
):
    store = EmbeddingStore(tmp_path)
    with store.partition(ENCODER, "images") as partition:
        put(partition, range(3))
    (partition.folder / f"{'0' * 64}.safetensors").write_bytes(b"damaged")
    with monkeypatch.context() as patch:

        def refuse(*_args: Any, **_options: Any) -> None:
            raise PermissionError(13, "Permission denied")

        patch.setattr(Path, "unlink", refuse)
        for _ in range(5):
            assert served(store.partition(ENCODER, "images"), range(3)) == {0, 1, 2}
    assert len(checked) == 1


def open_files() -> set[str]:
    """What this process's descriptors point at."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(link.readlink()))
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not list open files")
def test_no_file_stays_open(tmp_path: Path):
    store = EmbeddingStore(tmp_path)
    with store.partition(ENCODER, "images") as partition:
        for number in range(20):
            put(partition, [number])
            partition.flush()
    before = open_files()
    fresh = opened(partition.folder)
    assert served(fresh, range(20)) == served(partition, range(20)) == set(range(20))
    assert open_files() <= before


def test_few_partitions_stay_open_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from vlcls.store import opened

    monkeypatch.setattr(opened, "MAX_OPEN", 3)
    stores = [EmbeddingStore(tmp_path / str(number)) for number in range(6)]
    for store in stores:
        put(store.partition(ENCODER, "images"), [1])  # not closed: what waits is written when it is put away
    assert len(opened._OPEN) == 3
    assert all(served(store.partition(ENCODER, "images"), [1]) == {1} for store in stores)


# ---- other processes ---------------------------------------------------------------------------------------


def test_a_long_process_sees_what_others_write_and_clear(tmp_path: Path, checked: list[str]):
    store = EmbeddingStore(tmp_path)
    with store.partition(ENCODER, "images") as partition:
        put(partition, [0])
    elsewhere(tmp_path, 1, 2)
    assert served(store.partition(ENCODER, "images"), range(4)) == {0, 1, 2}
    elsewhere(tmp_path, 3)
    assert served(EmbeddingStore(tmp_path).partition(ENCODER, "images"), range(4)) == {0, 1, 2, 3}
    assert len(checked) == 2
    elsewhere(tmp_path, "clear")
    with store.partition(ENCODER, "images") as partition:
        assert served(partition, range(4)) == set() and len(partition) == 0
        put(partition, [1])
    elsewhere(tmp_path, 2)
    assert served(store.partition(ENCODER, "images"), range(4)) == {1, 2}


def test_a_folder_that_did_not_change_is_not_listed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    listed: list[Path] = []
    names = module.file_names
    monkeypatch.setattr(module, "file_names", lambda folder: listed.append(folder) or names(folder))
    store = EmbeddingStore(tmp_path)
    with store.partition(ENCODER, "images") as partition:
        put(partition, [0])
    folder, long_ago = partition.folder, (time.time() - 60,) * 2
    os.utime(folder, long_ago)
    store.partition(ENCODER, "images")
    listed.clear()
    for _ in range(5):
        assert served(store.partition(ENCODER, "images"), range(3)) == {0}
    assert listed == []
    elsewhere(tmp_path, 1)
    assert served(store.partition(ENCODER, "images"), range(3)) == {0, 1}
    # Listed within a tick of a change, the next change may not show.
    stamp = folder.stat()
    elsewhere(tmp_path, 2)
    os.utime(folder, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert served(store.partition(ENCODER, "images"), range(3)) == {0, 1, 2}


def test_rows_merged_elsewhere_while_a_partition_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its files are gone, their rows are in another: they are found, not made anew."""
    store = EmbeddingStore(tmp_path)
    with store.partition(ENCODER, "images") as partition:
        for number in range(5):
            put(partition, [number])
            partition.flush()
    monkeypatch.setattr(module, "MAX_SHARDS", 2)
    other = Partition(partition.folder, IDENTITY)
    other.refresh()
    put(other, [5])
    other.close()
    assert len(list(partition.folder.iterdir())) == 1
    assert served(partition, range(7)) == set(range(6))


@pytest.mark.parametrize("how", ["cut", "overwritten", "deleted", "replaced"])
def test_a_file_that_changes_while_it_is_in_use(how: str, tmp_path: Path, checked: list[str]):
    """Cut under a map it would kill the process; overwritten, it would give other numbers."""
    store = EmbeddingStore(tmp_path)
    with store.partition(ENCODER, "images") as partition:
        put(partition, range(50))
    path = next(partition.folder.glob("*.safetensors"))
    data = path.read_bytes()
    if how == "deleted":
        path.unlink()
    elif how == "replaced":
        path.with_suffix(".new").write_bytes(bytes(len(data)))
        path.with_suffix(".new").replace(path)
    else:
        with path.open("r+b") as file:
            if how == "cut":
                file.truncate(len(data) // 2)
            else:
                file.seek(len(data) // 3)
                file.write(bytes(len(data) // 3))
    assert served(partition, range(50)) == set()
    with store.partition(ENCODER, "images") as again:
        put(again, range(50))
    assert served(store.partition(ENCODER, "images"), range(50)) == set(range(50))


def test_a_file_that_is_whole_again_is_used_again(tmp_path: Path):
    store = EmbeddingStore(tmp_path)
    with store.partition(ENCODER, "images") as partition:
        put(partition, range(3))
    path = next(partition.folder.glob("*.safetensors"))
    os.utime(partition.folder, (time.time() - 60,) * 2)
    store.partition(ENCODER, "images")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert partition.get(key_of(1)) is None
    partition.folder.mkdir(exist_ok=True)
    path.write_bytes(whole)
    assert served(store.partition(ENCODER, "images"), range(3)) == {0, 1, 2}


def test_rows_cleared_away_between_the_look_and_the_reading(
    tmp_path: Path, clip: Encoder, photos: Any, monkeypatch: pytest.MonkeyPatch
):
    classifier = vlcls.build_classifier(LABELS, clip, cache=False)
    wanted = plain(classifier.predict(photos[:10], cache=tmp_path))
    whole = Partition.get_many

    def cleared_first(self: Partition, keys: Sequence[bytes]) -> Any:
        elsewhere(tmp_path, "clear")
        return whole(self, keys)

    monkeypatch.setattr(Partition, "get_many", cleared_first)
    assert plain(classifier.predict(photos[:10], cache=tmp_path, batch_size=4)) == wanted


def test_clear_forgets_what_is_not_yet_written(tmp_path: Path):
    store = EmbeddingStore(tmp_path)
    with store.partition(ENCODER, "images") as partition:
        put(partition, [1])
        EmbeddingStore(tmp_path).clear()
        assert served(partition, [1]) == set()
    assert store.info() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_waits_for_none_of_its_parents_threads(tmp_path: Path):
    """Locks and claims that a thread holds at the moment of the fork are nobody's in the child."""
    store = EmbeddingStore(tmp_path)
    partition = store.partition(ENCODER, "images")
    put(partition, [0])
    partition.claim([key_of(1)])
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with partition._lock, partition._reading, partition._writing:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        partition.claims.wait([key_of(1)])
        with store.partition(ENCODER, "images") as mine:
            put(mine, [1, 2])
        os._exit(0 if served(mine, range(4)) == {0, 1, 2} else 1)
    deadline = time.monotonic() + 30
    ended, status = os.waitpid(child, os.WNOHANG)
    while not ended and time.monotonic() < deadline:
        time.sleep(0.02)
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, 9)
        os.waitpid(child, 0)
    done.set()
    thread.join()
    partition.claims.release([key_of(1)])
    assert ended and status == 0
    assert served(store.partition(ENCODER, "images"), range(4)) == {0, 1, 2}


def test_partitions_and_stores_go_through_pickle(tmp_path: Path, clip: Encoder):
    store = EmbeddingStore(tmp_path)
    with store.partition(ENCODER, "images") as partition:
        put(partition, [1])
    again = pickle.loads(pickle.dumps(store))
    assert again.partition(ENCODER, "images") is partition
    assert pickle.loads(pickle.dumps(partition)) is partition
    words = WordEmbeddings(clip, store)
    state = {name: value for name, value in vars(words).items() if name != "encoder"}
    assert pickle.loads(pickle.dumps(state))["_partition"] is words._partition


# ---- each thing once ---------------------------------------------------------------------------------------


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many images and texts reach any encoder from now on, slowly."""
    counts = {"images": 0, "texts": 0}
    lock = threading.Lock()
    images, texts = Base.encode_images, Base.encode_texts

    def slow_images(self: Any, pixels: Any) -> Any:
        with lock:
            counts["images"] += len(pixels)
        time.sleep(0.02)
        return images(self, pixels)

    def slow_texts(self: Any, some: Sequence[str], **options: Any) -> Any:
        with lock:
            counts["texts"] += len(some)
        time.sleep(0.05)
        return texts(self, some, **options)

    monkeypatch.setattr(Base, "encode_images", slow_images)
    monkeypatch.setattr(Base, "encode_texts", slow_texts)
    return counts


def at_once(work: Sequence[Callable[[], Any]]) -> list[Any]:
    """Results of functions that all begin at one moment, each in a thread; fails if one does not end."""
    gate = threading.Barrier(len(work))
    results: list[Any] = [None] * len(work)

    def one(place: int) -> None:
        gate.wait()
        try:
            results[place] = work[place]()
        except Exception as error:
            results[place] = error

    threads = [threading.Thread(target=one, args=(place,), daemon=True) for place in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    return results


def plain(found: Sequence[vlcls.Classification]) -> list[Any]:
    return [(each.image, each.label, round(each.score or 0, 5)) for each in found]


def test_eight_threads_encode_new_images_once(
    tmp_path: Path, clip: Encoder, photos: Any, encoded: dict[str, int]
):
    paths = photos[:48]
    wanted = plain(vlcls.build_classifier(LABELS, clip, cache=False).predict(paths, cache=False))
    alone = encoded["texts"]
    encoded.update(images=0, texts=0)
    other = vlcls.load_encoder(clip.spec, "cpu", "fp32")  # of the same weights
    makers = [lambda e=e: vlcls.build_classifier(LABELS, e, cache=tmp_path) for e in (clip, other) * 4]
    classifiers = at_once(makers)
    assert encoded["texts"] == alone
    found = at_once([lambda c=c: c.predict(paths, cache=tmp_path, batch_size=4) for c in classifiers])
    assert encoded["images"] == 48
    assert [plain(each) for each in found] == [wanted] * 8


def test_threads_whose_images_overlap_in_another_order(
    tmp_path: Path, clip: Encoder, photos: Any, encoded: dict[str, int]
):
    """Two that waited for each other would never end."""
    classifier = vlcls.build_classifier(LABELS, clip, cache=tmp_path)
    parts = [photos[:32], photos[:32][::-1], photos[16:48], photos[8:40:2], [*photos[:8], *photos[:8]]]
    found = at_once([lambda p=p: classifier.predict(p, cache=tmp_path, batch_size=5) for p in parts])
    assert encoded["images"] == 48
    again = [classifier.predict(part, cache=False) for part in parts]
    assert [plain(each) for each in found] == [plain(each) for each in again]


def test_threads_that_need_the_same_texts(
    tmp_path: Path, clip: Encoder, encoded: dict[str, int], monkeypatch: pytest.MonkeyPatch
):
    tries: list[int] = []
    claim = Partition.claim
    monkeypatch.setattr(Partition, "claim", lambda self, keys: tries.append(1) or claim(self, keys))
    texts = [f"a photo of {number} cats" for number in range(40)]
    store = EmbeddingStore(tmp_path)
    done: list[int] = []
    found = at_once([lambda: embed_texts(texts, clip, store=store, progress=done.append)] * 8)
    assert encoded["texts"] == 40 and sum(done) == 8 * 40
    assert len(tries) <= 8  # they sleep, and do not ask again and again
    assert all(torch.equal(rows, found[0]) for rows in found)
    words = [WordEmbeddings(clip, store) for _ in range(8)]
    at_once([lambda table=table: table([*texts, "dog", "horse"]) for table in words])
    assert encoded["texts"] == 42 == 40 + sum(table.encoded for table in words)


def test_when_the_thread_that_encodes_fails_another_does_it(
    tmp_path: Path, clip: Encoder, photos: Any, monkeypatch: pytest.MonkeyPatch
):
    whole, lock, calls = clip.encode_images, threading.Lock(), []

    def fails_first(pixels: Any) -> Any:
        with lock:
            calls.append(len(pixels))
            first = len(calls) == 1
        time.sleep(0.1)
        if first:
            raise RuntimeError("the device is gone")
        return whole(pixels)

    classifier = vlcls.build_classifier(LABELS, clip, cache=tmp_path)
    monkeypatch.setattr(clip, "encode_images", fails_first)
    found = at_once([lambda: classifier.predict(photos[:4], cache=tmp_path)] * 4)
    failed = [each for each in found if isinstance(each, Exception)]
    assert len(failed) == 1 and "the device is gone" in str(failed[0])
    assert calls == [4, 4]
    assert all(each.error is None for results in found if results is not failed[0] for each in results)


def test_images_that_overflow_are_not_waited_for_without_end(
    tmp_path: Path, clip: Encoder, photos: Any, monkeypatch: pytest.MonkeyPatch
):
    whole = clip.encode_images
    monkeypatch.setattr(clip, "encode_images", lambda pixels: whole(pixels) * float("nan"))
    classifier = vlcls.build_classifier(LABELS, clip, cache=tmp_path)
    for results in at_once([lambda: classifier.predict(photos[:4], cache=tmp_path)] * 3):
        assert all("overflows" in str(each.error) for each in results)


def test_without_a_store_nobody_waits(clip: Encoder, photos: Any, encoded: dict[str, int]):
    classifier = vlcls.build_classifier(LABELS, clip, cache=False)
    at_once([lambda: classifier.predict(photos[:4], cache=False)] * 2)
    assert encoded["images"] == 8


def test_claims_are_of_one_and_end():
    claims = Claims()
    assert claims.claim([b"a", b"b", b"a"]) == [b"a", b"b"]
    assert claims.claim([b"b", b"c"]) == [b"c"]
    released: list[str] = []
    waiting = threading.Thread(target=lambda: (claims.wait([b"a", b"c"]), released.append("now")))
    waiting.start()
    claims.release([b"a", b"b"])
    assert not released
    claims.release([b"c", b"of nobody"])
    waiting.join(10)
    assert released == ["now"] and claims.claim([b"a"]) == [b"a"]


# ---- the index ---------------------------------------------------------------------------------------------


def test_the_index_finds_what_a_dictionary_finds():
    chance = np.random.default_rng(0)
    index, known = KeyIndex(), {}
    for shard in range(60):
        # Zeros at the end are what NumPy would drop; equal keys lie in many shards.
        size = int(chance.integers(1, 400))
        raw = sorted({bytes(chance.integers(0, 3, 16, dtype=np.uint8)) for _ in range(size)} | {bytes(16)})
        raw = sorted({key[:2] + bytes(14) for key in raw[: size // 2]} | set(raw))
        index.add(as_keys(raw), shard)
        known[shard] = {key: row for row, key in enumerate(raw)}
        if shard % 7 == 6:
            gone = int(chance.choice(list(known)))
            index.remove(gone)
            del known[gone]
    everything = {key for rows in known.values() for key in rows}
    assert len(index) == len(everything) and len(index._runs) < 15
    asked = [*everything, b"\xff" * 16, b"\0" * 15 + b"\1", b"\0\0\0\5" + bytes(12)]
    shards, rows = index.find(as_keys(asked))
    for key, shard, row in zip(asked, shards.tolist(), rows.tolist(), strict=True):
        assert (known[shard][key] == row) if key in everything else shard == -1
        alone = [int(found[0]) for found in index.find(as_keys([key]))]
        assert (known[alone[0]][key] == alone[1]) if key in everything else alone[0] == -1
