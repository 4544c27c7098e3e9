"""Files of the store: what is believed, what `verify` and `clear` say and delete, folders that refuse."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from test_store import ENCODER, IDENTITY, WIDTH, key_of, opened, put, row_of, served, shards
from typer.testing import CliRunner

import vlcls
from vlcls.cli import app
from vlcls.encoders import Encoder
from vlcls.errors import VlclsError, VlclsWarning
from vlcls.store import EmbeddingStore, Identity, Partition
from vlcls.store import partition as module

GOOD, BAD = range(100, 105), range(3)


def content(
    *, keys: Any = None, rows: Any = None, label: Any = IDENTITY.label, metadata: Any = None, **arrays: Any
) -> bytes:
    """A shard of the numbers in BAD, apart from what is said to be otherwise."""
    ordered = sorted(BAD, key=key_of)
    keys = np.array([list(key_of(n)) for n in ordered], np.uint8) if keys is None else keys
    rows = np.stack([row_of(n) for n in ordered]) if rows is None else rows
    metadata = {"vlcls": json.dumps(label, sort_keys=True)} if metadata is None else metadata
    return save({"keys": keys, "embeddings": rows, **arrays}, metadata or None)


def with_header(change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The same with another header: what `change` returns, text or JSON."""
    data = content()
    length = int.from_bytes(data[:8], "little")
    header = change(json.loads(data[8 : 8 + length]))
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def entry(name: str, **changes: Any) -> bytes:
    return with_header(lambda header: {**header, name: {**header[name], **changes}})


def keys_and_rows() -> tuple[np.ndarray, np.ndarray]:
    ordered = sorted(BAD, key=key_of)
    return np.array([list(key_of(n)) for n in ordered], np.uint8), np.stack([row_of(n) for n in ordered])


def not_finite(value: float) -> bytes:
    _, rows = keys_and_rows()
    rows[1, 2] = value
    return content(rows=rows)


KEYS, ROWS = keys_and_rows()
NB = ROWS.nbytes
#: Content of shards that fit their names and are none.
RUBBISH: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "seven bytes": lambda: b"1234567",
    "text": lambda: b"this is no shard" * 20,
    "zeros": lambda: bytes(1000),
    "a pickle": lambda: b"\x80\x04\x95" + bytes(100),
    "a header longer than the file": lambda: (1 << 40).to_bytes(8, "little") + bytes(100),
    "a header of 2^64": lambda: b"\xff" * 200,
    "a header of megabytes": lambda: with_header(lambda h: json.dumps(h).encode() + b" " * (1 << 20)),
    "a header that is no JSON": lambda: with_header(lambda h: b"{keys"),
    "a header that is no UTF-8": lambda: with_header(lambda h: b"\xff\xfe{}\xff"),
    "a header 60,000 deep": lambda: with_header(lambda h: b"[" * 60_000),
    "a header that is a list": lambda: with_header(lambda h: [h]),
    "a header that is a number": lambda: with_header(lambda h: 3),
    "a header that is null": lambda: with_header(lambda h: None),
    "a key twice in the header": lambda: with_header(lambda h: json.dumps(h)[:-1].encode() + b',"keys":1}'),
    "NaN in the header": lambda: with_header(lambda h: json.dumps(h)[:-1].encode() + b',"x":NaN}'),
    "no keys": lambda: with_header(lambda h: {"embeddings": h["embeddings"]}),
    "no embeddings": lambda: with_header(lambda h: {"keys": h["keys"]}),
    "keys that are a list": lambda: with_header(lambda h: {**h, "keys": []}),
    "embeddings that are text": lambda: with_header(lambda h: {**h, "embeddings": "F32"}),
    "another array": lambda: content(other=np.zeros(3, np.float32)),
    "an unknown field": lambda: entry("keys", more=1),
    "float16": lambda: content(rows=ROWS.astype(np.float16)),
    "float64": lambda: content(rows=ROWS.astype(np.float64)),
    "int32": lambda: content(rows=ROWS.astype(np.int32)),
    "int8 keys": lambda: content(keys=KEYS.astype(np.int8)),
    "an unknown type": lambda: entry("embeddings", dtype="F31"),
    "a type that is a list": lambda: entry("embeddings", dtype=["F32"]),
    "fewer keys than rows": lambda: content(keys=KEYS[:2]),
    "short keys": lambda: content(keys=np.ascontiguousarray(KEYS[:, :8])),
    "one dimension": lambda: content(rows=ROWS.ravel()),
    "three dimensions": lambda: content(rows=ROWS[None]),
    "no rows": lambda: content(keys=KEYS[:0], rows=ROWS[:0]),
    "no columns": lambda: content(rows=ROWS[:, :0]),
    "a huge shape": lambda: entry("embeddings", shape=[3, 1 << 60]),
    "huge shapes": lambda: with_header(
        lambda h: {
            "keys": {**h["keys"], "shape": [1 << 59, 16]},
            "embeddings": {**h["embeddings"], "shape": [1 << 59, 4]},
        }
    ),
    "a negative shape": lambda: entry("embeddings", shape=[-3, -4]),
    "a shape of floats": lambda: entry("embeddings", shape=[3.0, 4.0]),
    "a shape of truths": lambda: entry("embeddings", shape=[True, True]),
    "a shape of text": lambda: entry("embeddings", shape=["3", "4"]),
    "a shape that is null": lambda: entry("keys", shape=None),
    "overlapping": lambda: entry("keys", data_offsets=[0, KEYS.nbytes]),
    "behind the end": lambda: entry("keys", data_offsets=[NB + 100, NB + 100 + KEYS.nbytes]),
    "negative offsets": lambda: entry("embeddings", data_offsets=[-NB, 0]),
    "offsets the wrong way round": lambda: entry("embeddings", data_offsets=[NB, 0]),
    "one offset": lambda: entry("embeddings", data_offsets=[0]),
    "offsets that are null": lambda: entry("embeddings", data_offsets=None),
    "bytes that are no row": lambda: content() + bytes(64),
    "cut": lambda: content()[:-16],
    "keys out of order": lambda: content(keys=np.ascontiguousarray(KEYS[::-1])),
    "a key twice": lambda: content(keys=KEYS[[0, 0, 1]]),
    "NaN": lambda: not_finite(float("nan")),
    "infinity": lambda: not_finite(float("-inf")),
    "another encoder": lambda: content(label={**IDENTITY.label, "fingerprint": "e" * 64}),
    "another precision": lambda: content(label={**IDENTITY.label, "precision": "bf16"}),
    "another kind": lambda: content(label={**IDENTITY.label, "kind": "texts"}),
    "a label with more": lambda: content(label={**IDENTITY.label, "more": 1}),
    "a label that is a list": lambda: content(label=[]),
    "a label that is no JSON": lambda: content(metadata={"vlcls": "{"}),
    "a label 50,000 deep": lambda: content(metadata={"vlcls": "[" * 50_000}),
    "metadata of another program": lambda: content(metadata={"format": "pt"}),
    "metadata that is a list": lambda: with_header(lambda h: {**h, "__metadata__": []}),
    "metadata that is null": lambda: with_header(lambda h: {**h, "__metadata__": None}),
    "rows of another width": lambda: content(rows=np.ones((3, WIDTH + 1), np.float32)),
}


def folder_of(store: EmbeddingStore, kind: str = "images", fingerprint: str = "f" * 64) -> Path:
    return store.root / f"{fingerprint}-fp32" / kind


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    """A store with the numbers in GOOD."""
    store = EmbeddingStore(tmp_path / "store")
    with store.partition(ENCODER, "images") as partition:
        put(partition, GOOD)
    return store


def names(folder: Path) -> list[str]:
    return [path.name for path in shards(folder)]


def add(folder: Path, data: bytes) -> Path:
    path = folder / f"{hashlib.sha256(data).hexdigest()}.safetensors"
    path.write_bytes(data)
    return path


def test_the_table_is_of_what_would_be_served(store: EmbeddingStore):
    """Else every row of it might be refused for a mistake of `content`."""
    add(folder_of(store), content())
    assert served(opened(folder_of(store)), [*GOOD, *BAD]) == {*GOOD, *BAD}


@pytest.mark.parametrize("case", RUBBISH)
def test_a_shard_that_fits_its_name_and_is_none(case: str, store: EmbeddingStore):
    folder = folder_of(store)
    path = add(folder, RUBBISH[case]())
    assert store.info()[0].embeddings in (len(GOOD), len(GOOD) + len(BAD))  # as many as headers say
    copy = folder.parent.parent.parent / "copy"
    shutil.copytree(folder, copy)
    partition = opened(copy)
    assert served(partition, [*GOOD, *BAD]) == set(GOOD)
    with partition:  # what it should have held is made anew
        put(partition, BAD)
    assert served(opened(copy), [*GOOD, *BAD]) == {*GOOD, *BAD}

    if case == "rows of another width":  # of what width an encoder's are, only the encoder knows
        return
    found = store.verify()
    assert [each.path for each in found.bad] == [path] and found.bad[0].deleted and found.whole == 1
    assert str(path) not in found.bad[0].reason and not path.exists()
    assert store.verify().bad == []
    assert served(opened(folder), GOOD) == set(GOOD)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    with contextlib.chdir(path.parent) if hasattr(contextlib, "chdir") else contextlib.nullcontext():
        listening.bind(path.name)
    listening.close()


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(40 << 30)


NO_FILES: dict[str, Callable[[Path], Any]] = {
    "a pipe": pipe,
    "a socket": a_socket,
    "a folder": Path.mkdir,
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "40 GB of nothing": sparse,
}


@pytest.mark.parametrize("case", NO_FILES)
def test_what_is_no_file_is_passed_over_at_once(case: str, store: EmbeddingStore):
    folder = folder_of(store)
    path = folder / f"{'0' * 64}.safetensors"
    NO_FILES[case](path)
    store.info()
    found = store.verify()
    assert all(each.path == path for each in found.bad) and found.whole == 1
    for _ in range(2):
        assert served(store.partition(ENCODER, "images"), [*GOOD, *BAD]) == set(GOOD)
    if case == "a folder":
        (path / "mine").write_text("of the user")
    done = store.clear()
    assert done.files == 2  # the shard, and encoder.json
    assert os.path.lexists(path) == (case != "40 GB of nothing")
    assert case != "a folder" or (path / "mine").read_text() == "of the user"


# ---- whose rows --------------------------------------------------------------------------------------------


def test_the_label_says_whose_rows_they_are(store: EmbeddingStore):
    data = shards(folder_of(store))[0].read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert json.loads(header["__metadata__"]["vlcls"]) == IDENTITY.label
    again = EmbeddingStore(store.root.parent.parent / "again")  # equal content, equal name
    with again.partition(ENCODER, "images") as partition:
        put(partition, reversed(GOOD))
    assert [path.name for path in shards(folder_of(again))] == [
        path.name for path in shards(folder_of(store))
    ]


@pytest.mark.parametrize(
    "other",
    [
        (SimpleNamespace(**{**vars(ENCODER), "fingerprint": "e" * 64}), "images"),
        (SimpleNamespace(**{**vars(ENCODER), "precision": "bf16"}), "images"),
        (ENCODER, "texts"),
        (ENCODER, "images-full-decode"),
    ],
)
def test_a_shard_in_the_folder_of_another(store: EmbeddingStore, other: Any):
    """The same width, a name that fits, and wrong in every number."""
    encoder, kind = other
    with store.partition(encoder, kind) as partition:
        put(partition, BAD)
        folder = partition.folder
    moved = Path(shutil.copy(shards(folder_of(store))[0], folder))
    assert served(opened_as(folder, encoder, kind), [*GOOD, *BAD]) == set(BAD)
    assert served(store.partition(encoder, kind), [*GOOD, *BAD]) == set(BAD)
    assert moved.exists()  # it was not damaged; `verify` tells of it
    found = store.verify()
    assert [each.path for each in found.bad] == [moved]
    assert "another encoder or kind" in found.bad[0].reason and found.bad[0].deleted
    assert served(opened(folder_of(store)), GOOD) == set(GOOD)


def opened_as(folder: Path, encoder: Any, kind: str) -> Partition:
    partition = Partition(folder, Identity(encoder.fingerprint, encoder.precision, kind, WIDTH))
    partition.refresh()
    return partition


def unlabelled(folder: Path, numbers: range, rows: Any = None) -> Path:
    """A shard as versions before the label wrote them."""
    ordered = sorted(numbers, key=key_of)
    keys = np.array([list(key_of(n)) for n in ordered], np.uint8)
    rows = np.stack([row_of(n) for n in ordered]) if rows is None else rows
    return add(folder, save({"keys": keys, "embeddings": rows}))


def test_an_old_shard_is_served_once_one_of_its_rows_proved_right(store: EmbeddingStore):
    old = unlabelled(folder_of(store), range(20))
    assert (store.verify().bad, store.verify().unlabelled) == ([], 1)
    partition = opened(folder_of(store))
    assert served(partition, range(20)) == set()
    keys = [key_of(n) for n in range(20)]
    assert len(partition.doubted(keys)) == 1  # one row made anew is enough
    with partition:
        put(partition, partition.doubted(keys))
        assert served(partition, range(20)) == set(range(20)) and partition.doubted(keys) == []
    assert not old.exists()  # written anew, with a label
    assert served(opened(folder_of(store)), [*GOOD, *range(20)]) == {*GOOD, *range(20)}
    assert store.verify().unlabelled == 0


def test_an_old_shard_of_another_encoder_is_never_served(store: EmbeddingStore):
    rows = np.random.default_rng(0).normal(size=(20, WIDTH)).astype(np.float32)
    old = unlabelled(folder_of(store), range(20), rows)
    with opened(folder_of(store)) as partition:
        assert len(partition.doubted([key_of(n) for n in range(20)])) == 1
        put(partition, [3])
        assert served(partition, range(20)) == {3}
        assert partition.doubted([key_of(n) for n in range(20)]) == []
    assert old.exists()
    assert served(opened(folder_of(store)), range(20)) == {3}


def without_labels(folder: Path) -> None:
    from safetensors.numpy import load

    for path in shards(folder):
        data = path.read_bytes()
        path.unlink()
        add(folder, save(load(data)))


def test_an_old_store_encodes_one_text_and_a_few_images_again(
    tmp_path: Path, clip: Encoder, photos: list[Path], monkeypatch: pytest.MonkeyPatch
):
    labels = ["cat", "dog", "horse"]
    old = tmp_path / "old"
    wanted = vlcls.build_classifier(labels, clip, cache=old).predict(photos, cache=old)
    for part in EmbeddingStore(old).info():
        without_labels(part.folder)
    assert EmbeddingStore(old).verify().unlabelled == 2
    old = old.rename(tmp_path / "moved")  # as a new process finds it
    counts = {"images": 0, "texts": 0}
    images, texts = clip.encode_images, clip.encode_texts

    def count_images(pixels: Any) -> Any:
        counts["images"] += len(pixels)
        return images(pixels)

    def count_texts(some: Any, **options: Any) -> Any:
        counts["texts"] += len(some)
        return texts(some, **options)

    monkeypatch.setattr(clip, "encode_images", count_images)
    monkeypatch.setattr(clip, "encode_texts", count_texts)
    classifier = vlcls.build_classifier(labels, clip, cache=old)
    found = classifier.predict(photos, cache=old, batch_size=4, workers=1)
    assert [each.label for each in found] == [each.label for each in wanted]
    assert [each.score for each in found] == pytest.approx([each.score for each in wanted], abs=1e-5)
    assert counts["texts"] == 1 and 4 <= counts["images"] <= 4 * 4 < len(photos)
    assert EmbeddingStore(old).verify().unlabelled == 0


# ---- verify, info, clear -----------------------------------------------------------------------------------


def test_info_verify_clear(tmp_path: Path):
    store = EmbeddingStore(tmp_path)
    assert store.info() == [] and store.verify().bad == []
    assert (store.clear().files, store.clear().bytes) == (0, 0)
    for kind, count in (("images", 5), ("texts", 3)):
        with store.partition(ENCODER, kind) as partition:  # type: ignore[arg-type]
            put(partition, range(count))
    images, texts = store.info()
    assert (images.kind, images.embeddings, texts.kind, texts.embeddings) == ("images", 5, "texts", 3)
    assert (images.spec, images.precision) == ("test:spec", "fp32")
    assert images.bytes == sum(path.stat().st_size for path in images.folder.iterdir()) > 5 * (16 + WIDTH * 4)
    assert store.verify().bad == []
    victim = shards(texts.folder)[0]
    victim.write_bytes(victim.read_bytes()[:-1])
    assert store.info()[1].embeddings == 0
    assert [each.path for each in store.verify().bad] == [victim] and not victim.exists()
    assert [part.embeddings for part in store.info()] == [5, 0]
    everything = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    done = store.clear()
    assert done.bytes == everything > 0 and done.files == 2 and not done.failed and not done.foreign
    assert store.info() == [] and list(tmp_path.iterdir()) == []


def test_verify_survives_a_shard_merged_away_meanwhile(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
):
    from vlcls.store import folder as whole

    present = shards(folder_of(store))
    names = [*(path.name for path in present), f"{'1' * 64}.safetensors"]
    monkeypatch.setattr(whole, "shard_names", lambda folder: names)
    found = store.verify()
    assert found.bad == [] and found.whole == 1 and present[0].exists()


def test_clear_deletes_nothing_that_it_did_not_write(store: EmbeddingStore, tmp_path: Path):
    folder = folder_of(store)
    mine = [
        store.root / "notes.txt",
        store.root / "other" / "a.safetensors",
        folder.parent / "thesis.pdf",
        folder.parent / "weights" / f"{'0' * 64}.safetensors",
        folder / "embeddings.safetensors",
        folder / f"{'0' * 63}.safetensors",
        folder / f"{'0' * 64}.safetensors.bak",
        folder / "encoder.json",
        folder / ".tmp-mine",
    ]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("of the user")
    leftovers = [folder / f".tmp-{'0' * 32}", folder / ".vlcls-00000000-1-00000000.tmp.safetensors"]
    for path in leftovers:
        path.write_bytes(bytes(1000))
    opened(folder), store.verify(), store.info()  # these delete nothing of it either
    assert all(path.read_text() == "of the user" for path in mine)
    size = sum(
        path.stat().st_size for path in [*shards_named(folder), *leftovers, folder.parent / "encoder.json"]
    )
    done = store.clear()
    assert all(path.read_text() == "of the user" for path in mine)
    assert done.failed == [] and done.bytes == size and done.files == 4
    assert len(done.foreign) == len(mine)
    assert not any(path.exists() for path in leftovers) and not shards_named(folder)


def shards_named(folder: Path) -> list[Path]:
    return [path for path in shards(folder) if len(path.stem) == 64 and path.read_bytes()[:2] != b"of"]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["cache", *arguments])


@pytest.fixture
def cache(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLCLS_CACHE", str(store.root.parent))
    return store.root.parent


def test_clear_of_a_store_behind_a_link(cache: Path, store: EmbeddingStore, tmp_path: Path):
    real = store.root.rename(tmp_path / "elsewhere")
    store.root.symlink_to(real)
    size = sum(path.stat().st_size for path in real.rglob("*") if path.is_file())
    result = run("clear", "--yes")
    assert result.exit_code == 0 and f"2 files deleted, {size} bytes freed" in result.output
    assert not list(real.rglob("*.safetensors")) and store.root.is_symlink()


@pytest.mark.parametrize("level", ["encoder", "kind", "shard"])
def test_clear_follows_no_link_within_the_store(
    level: str, cache: Path, store: EmbeddingStore, tmp_path: Path
):
    """What is behind it may be another's; and nothing is said to be freed that was not."""
    folder = folder_of(store)
    linked = {"encoder": folder.parent, "kind": folder, "shard": shards(folder)[0]}[level]
    real = linked.rename(tmp_path / linked.name)
    linked.symlink_to(real)
    assert served(opened(folder), GOOD) == set(GOOD)
    result = run("clear", "--yes")
    files = 0 if level == "encoder" else 1
    assert result.exit_code == 1 and f"{files} files deleted" in result.output
    assert f"not deleted: {linked}: a link" in result.output.replace("\n", "")
    assert real.exists() and linked.is_symlink() and served(opened(folder), GOOD) == set(GOOD)


def test_clear_frees_no_room_that_another_name_keeps(cache: Path, store: EmbeddingStore, tmp_path: Path):
    shard = shards(folder_of(store))[0]
    (tmp_path / "kept").hardlink_to(shard)
    about = (folder_of(store).parent / "encoder.json").stat().st_size
    assert f"2 files deleted, {about} bytes freed" in run("clear", "--yes").output
    assert not shard.exists()


def test_the_commands_name_what_is_not_used(cache: Path, store: EmbeddingStore):
    folder = folder_of(store)
    rubbish = add(folder, b"rubbish")
    os.mkfifo(folder / f"{'0' * 64}.safetensors")
    unlabelled(folder, range(20))
    result = run("verify")
    output = result.output.replace("\n", " ")
    assert result.exit_code == 1 and f"deleted: {rubbish}" in output and "this is a pipe" in output
    assert "1 files of an older version" in output and "2 damaged files" in output
    assert run("info").exit_code == 0


# ---- folders that refuse -----------------------------------------------------------------------------------


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """As a user who has no rights anywhere: root may write into every folder."""
    import psutil  # noqa: F401  (now: the interpreter's own folder may be closed to nobody, too)

    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody can look into (pytest's own is closed to others)."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        for path in [Path(folder), *Path(folder).rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)


def in_the_way(path: Path) -> Path:
    path.write_text("a file")
    return path


def closed(path: Path, mode: int, below: str = "") -> Path:
    (path / below).mkdir(parents=True)
    (path / below).chmod(mode)
    return path


def loop(path: Path) -> Path:
    path.symlink_to(path.name)
    return path


REFUSING: dict[str, Callable[[Path], Path]] = {
    "no rights at all": lambda path: closed(path, 0o000),
    "no rights to list": lambda path: closed(path, 0o111),
    "no rights to enter": lambda path: closed(path, 0o444),
    "read-only": lambda path: closed(path, 0o555),
    "no rights below": lambda path: closed(path, 0o000, "v1"),
    "a folder that cannot be made": lambda path: closed(path, 0o555) / "new",
    "a file in the way": in_the_way,
    "a file above": lambda path: in_the_way(path) / "new",
    "a file in place of v1": lambda path: in_the_way(closed(path, 0o755) / "v1").parent,
    "a link to itself": loop,
    "a path too long": lambda path: path.joinpath(*["x" * 200] * 25),
    "a device": lambda path: Path("/dev/null"),
}


@pytest.mark.parametrize("case", REFUSING)
def test_a_folder_that_refuses_costs_the_cache_and_one_warning(
    case: str, place: Path, clip: Encoder, picture: Any
):
    cache = REFUSING[case](place / "cache")
    images = [picture(seed) for seed in range(3)]
    labels = ["cat", "dog"]
    wanted = vlcls.build_classifier(labels, clip, cache=False).predict(images, cache=False)
    with nobody(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        classifier = vlcls.build_classifier(labels, clip, cache=cache)
        for _ in range(2):
            assert classifier.predict(images, cache=cache) == wanted
        with contextlib.suppress(VlclsError):
            EmbeddingStore(cache).info()
        with contextlib.suppress(VlclsError):
            EmbeddingStore(cache).verify()
        EmbeddingStore(cache).clear()
    told = [str(each.message) for each in caught if issubclass(each.category, VlclsWarning)]
    assert (
        len(told) == 1 and "not stored" in told[0] and str(cache)[:60] in told[0] and "VLCLS_CACHE" in told[0]
    )


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_store_that_others_own(mode: int, place: Path, monkeypatch: pytest.MonkeyPatch):
    """It can be read where it may be; nothing is said to be deleted that is not."""
    store = EmbeddingStore(place / "cache")
    with store.partition(ENCODER, "images") as partition:
        put(partition, GOOD)
    folder = folder_of(store)
    shard = shards(folder)[0]
    (folder / f"{'0' * 64}.safetensors").write_bytes(b"damaged")
    monkeypatch.setenv("VLCLS_CACHE", str(place / "empty"))
    assert run("clear", "--yes").exit_code == run("verify").exit_code == 0  # all is imported
    monkeypatch.setenv("VLCLS_CACHE", str(place / "cache"))
    folder.chmod(mode)
    with nobody(), warnings.catch_warnings():
        warnings.simplefilter("ignore", VlclsWarning)
        assert served(opened(folder), GOOD) == (set(GOOD) if mode == 0o555 else set())
        if mode == 0o555:
            found = store.verify()
            assert found.whole == 1 and [each.deleted for each in found.bad] == [False]
        else:
            with pytest.raises(VlclsError, match="Permission denied"):
                store.verify()
        result = run("clear", "--yes")
    assert result.exit_code == 1 and "0 files deleted, 0 bytes freed" in result.output
    assert "Permission denied" in result.output
    folder.chmod(0o755)
    assert shard.exists()


def test_no_folder_can_be_named_so(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(VlclsError, match="root takes a path"):
        EmbeddingStore("a\0b")
    with pytest.raises(VlclsError, match="VLCLS_CACHE"):
        EmbeddingStore("~nobody-of-this-name/cache")


FEW_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from vlcls.cli import main
main()
"""


def test_a_hundred_shards_under_a_limit_of_64_files(
    tmp_path: Path, clip: Encoder, picture: Any, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("resource")
    monkeypatch.setattr(module, "MAX_SHARDS", 1000)
    folder, cache = tmp_path / "photos", tmp_path / "cache"
    folder.mkdir()
    classifier = vlcls.build_classifier(["cat", "dog"], clip, cache=cache)
    for number in range(101):
        path = folder / f"{number:03}.png"
        picture(number, 20, 20).save(path)
        assert classifier.predict(path, cache=cache)[0].error is None
    count = len(shards(EmbeddingStore(cache).partition(clip, "images").folder))
    assert count == 101
    arguments = [
        "classify",
        str(folder),
        "-l",
        "cat,dog",
        "-e",
        clip.spec,
        "-o",
        str(tmp_path / "found.jsonl"),
    ]
    arguments += ["--precision", "fp32", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", FEW_FILES, *arguments, "--format", "jsonl"],
        env={**os.environ, "VLCLS_CACHE": str(cache)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert len(lines) == 101 and not any(line.get("error") for line in lines)
    wanted = classifier.predict(folder, cache=cache)
    assert [line["label"] for line in lines] == [each.label for each in wanted]
