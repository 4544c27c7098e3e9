"""Caption databases and clip-retrieval folders that are damaged, hostile, old, or written by two at once."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_inputs import broken_json
from hypothesis import given, settings
from hypothesis import strategies as st

from vlcls.cli import main
from vlcls.errors import CaptionError, OutputError, VlclsError, VlclsWarning
from vlcls.retrieval import build_captions, database, index, open_captions
from vlcls.retrieval.builtin import wordnet_texts
from vlcls.retrieval.sources import clean_caption

TEXTS = wordnet_texts()[::2000]  # 11
PART = "captions-000000.arrow"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, clip) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "db"
    build_captions(TEXTS, folder, clip)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of a database, to be damaged."""
    return shutil.copytree(whole, tmp_path / "db")


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "database.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def as_old(folder: Path) -> Path:
    """As an earlier release left it: no hashes."""
    path = folder / "database.json"
    config = json.loads(path.read_text())
    del config["files"]
    path.write_text(json.dumps(config))
    return folder


# ---- damage ------------------------------------------------------------------------------------------------


def test_every_byte_is_covered(folder: Path, clip):
    """A bit flipped anywhere in the parts or the index is refused; FAISS and Arrow never see the file."""
    for name in (PART, "captions.index"):
        data = (folder / name).read_bytes()
        for place in [*range(0, len(data), len(data) // 23), len(data) - 1]:
            (folder / name).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            with pytest.raises(CaptionError, match=name):
                open_captions(folder, clip)
        for cut in (0, 1, len(data) // 2, len(data) - 1):
            (folder / name).write_bytes(data[:cut])
            with pytest.raises(CaptionError, match=name):
                open_captions(folder, clip)
        (folder / name).write_bytes(data)
    assert len(open_captions(folder, clip)) == len(TEXTS)


def test_a_description_is_refused_or_whole(folder: Path, clip):
    config = json.loads((folder / "database.json").read_text())
    accepted = set()
    for name, data in broken_json(config):
        (folder / "database.json").write_bytes(data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", VlclsWarning)
                found = open_captions(folder, clip)
        except VlclsError as error:
            assert str(folder) in str(error), name
            continue
        accepted.add(name)
        assert list(found.captions) == TEXTS and found.info.captions == len(TEXTS), name
    assert accepted == {
        "files missing", "files null",  # of an earlier release
        "encoder text", "encoder blank", "database.encoder text", "database.encoder blank",
        "database.index.factory text", "database.index.factory blank", "database.index.effort next",
        "database.index.recall null", "database.index.recall fraction", "database.index.recall 1e-60",
    } & accepted | {"encoder text"}  # fmt: skip


def column(kind: str, count: int) -> pa.Array:
    values: dict[str, Any] = {
        "numbers": pa.array(range(count)),
        "lists": pa.array([["a"]] * count),
        "structs": pa.array([{"a": 1}] * count),
        "bytes": pa.array([b"\xff"] * count),
        "missing": pa.array([None] * count, pa.string()),
        "some missing": pa.array([None, *["a"] * (count - 1)]),
        "dates": pa.array([0] * count, pa.date32()),
        "truths": pa.array([True] * count),
        "nulls": pa.nulls(count),
    }
    return values[kind]


KINDS = ["numbers", "lists", "structs", "bytes", "missing", "some missing", "dates", "truths", "nulls"]


def write_arrow(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def with_part(folder: Path, table: pa.Table) -> None:
    """A part of other content, with its hash in the description."""
    write_arrow(folder / PART, table)
    files = json.loads((folder / "database.json").read_text())["files"]
    change_config(folder, files={**files, PART: sha256(folder / PART)})


@pytest.mark.parametrize("kind", KINDS)
def test_captions_of_a_part_that_are_no_texts_are_refused(kind: str, folder: Path, clip):
    table = pa.ipc.open_file(pa.memory_map(str(folder / PART))).read_all()
    with_part(folder, pa.table({"caption": column(kind, len(TEXTS)), "embedding": table["embedding"]}))
    with pytest.raises(CaptionError, match=f"{PART} is damaged"):
        open_captions(folder, clip)
    with pytest.raises(CaptionError, match=f"{PART} is damaged"):
        build_captions(["more"], folder, clip)


def fixed(values: np.ndarray, width: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), width)


@pytest.mark.parametrize(
    "kind", ["float32", "int", "text", "ragged", "width", "missing", "list missing", "none"]
)
def test_embeddings_of_a_part_that_are_no_rows_are_refused(kind: str, folder: Path, clip):
    count, width = len(TEXTS), clip.embedding_dim
    rows = np.ones((count, width))
    flat = pa.array([None, *[1.0] * (count * width - 1)], pa.float16())
    tables: dict[str, Callable[[], Any]] = {
        "float32": lambda: fixed(rows.astype(np.float32), width),
        "int": lambda: fixed(rows.astype(np.int16), width),
        "text": lambda: pa.array(["x"] * count),
        "ragged": lambda: pa.array([[1.0] * (row + 1) for row in range(count)], pa.list_(pa.float16())),
        "width": lambda: fixed(np.ones((count, 7), np.float16), 7),
        "missing": lambda: pa.FixedSizeListArray.from_arrays(flat, width),
        "list missing": lambda: pa.array([None] * count, pa.list_(pa.float16(), width)),
    }
    texts = pa.array(TEXTS)
    made = {"caption": texts} if kind == "none" else {"caption": texts, "embedding": tables[kind]()}
    with_part(folder, pa.table(made))
    with pytest.raises(CaptionError, match=f"{PART} is damaged"):
        open_captions(folder, clip)


def test_rows_of_nan_never_come_out(folder: Path, clip):
    """In a folder whose hashes fit: what a search finds is looked at, too."""
    bad = np.full((len(TEXTS), clip.embedding_dim), np.nan, np.float16)
    with_part(folder, pa.table({"caption": pa.array(TEXTS), "embedding": fixed(bad, clip.embedding_dim)}))
    made = index.build_index([bad], "Flat")[0]
    sha = index.write_index(made, folder / "captions.index")
    files = json.loads((folder / "database.json").read_text())["files"]
    change_config(folder, files={**files, "captions.index": sha})
    found = open_captions(folder, clip)
    assert (found.search(np.ones((1, clip.embedding_dim), np.float32), 3).rows == -1).all()
    huge = index.build_index([np.full_like(bad, np.inf)], "Flat")[0]
    with pytest.raises(CaptionError, match="NaN"):
        replace(found, index=huge).search(np.ones((1, clip.embedding_dim), np.float32), 3)
    with pytest.raises(CaptionError, match="NaN"):
        found.embeddings(np.array([0]))


@pytest.mark.parametrize("name", [PART, "captions.index", "database.json"])
def test_pipes_and_folders_in_place_of_files(name: str, folder: Path, clip):
    for make in (os.mkfifo, os.mkdir):
        path = folder / name
        path.unlink()
        make(path)
        with pytest.raises(CaptionError):
            open_captions(folder, clip)
        if path.is_dir():
            path.rmdir()
            path.touch()


def test_parts_that_are_missing_or_strange_are_named(folder: Path, clip):
    shutil.copy(folder / PART, folder / "captions-000007.arrow")
    with pytest.raises(CaptionError, match=r"captions-000007.arrow is not of this database"):
        open_captions(folder, clip)
    (folder / PART).rename(folder / "captions-000003.arrow")
    with pytest.raises(CaptionError, match=r"is not of this database|is missing"):
        open_captions(folder, clip)


def test_files_outside_the_folder_are_not_read(folder: Path, clip, tmp_path: Path):
    (tmp_path / "secret").write_text("x")
    for name in ("../secret", "/etc/passwd", "captions-1.arrow"):
        files = json.loads((folder / "database.json").read_text())["files"]
        change_config(folder, files={**files, name: "0" * 64})
        with pytest.raises(CaptionError, match="is missing"):
            open_captions(folder, clip)


ANY = st.text(st.characters() | st.sampled_from("\0\x1b\u2028\ud800\n\t "), max_size=6)


@settings(max_examples=12)
@given(captions=st.lists(ANY | st.none() | st.sampled_from([3, b"x", ["a"]]), min_size=1, max_size=12))
def test_whatever_captions_are_given_come_back_cleaned_and_once(captions, clip, tmp_path_factory):
    target = tmp_path_factory.getbasetemp() / "any captions"
    shutil.rmtree(target, ignore_errors=True)
    wanted = [text for text in dict.fromkeys(map(clean_caption, captions)) if text]
    try:
        build_captions(captions, target, clip)
    except CaptionError:
        assert not wanted
        return
    assert list(open_captions(target, clip).captions) == wanted


# ---- earlier releases --------------------------------------------------------------------------------------


def test_a_folder_of_an_earlier_release_opens_and_is_completed(folder: Path, clip, monkeypatch):
    wanted = open_captions(folder, clip)
    as_old(folder)
    with monkeypatch.context() as patched:
        patched.setattr(database, "read_index", lambda *_: pytest.fail("opened an index without a hash"))
        with pytest.warns(VlclsWarning, match="earlier release"):
            found = open_captions(folder, clip)
        queries = clip.encode_texts(TEXTS[:3]).numpy()
        assert (found.search(queries, 4).rows == wanted.search(queries, 4).rows).all()
        patched.setattr(index, "MOST_IN_MEMORY", 5)
        with pytest.raises(CaptionError, match="--trust-index"):
            open_captions(folder, clip)
    assert len(open_captions(folder, clip, trust_index=True)) == len(TEXTS)
    report = build_captions([], folder, clip)
    assert (report.added, report.removed, report.total) == (0, 0, len(TEXTS))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(open_captions(folder, clip).captions) == TEXTS


def test_what_two_builds_put_twice_is_taken_out_by_the_next(folder: Path, clip):
    as_old(folder)
    shutil.copy(folder / PART, folder / "captions-000001.arrow")
    table = pa.ipc.open_file(pa.memory_map(str(folder / PART))).read_all()
    width = clip.embedding_dim
    mixed = {"caption": pa.array([TEXTS[2], "new"]), "embedding": table["embedding"].combine_chunks()[:2]}
    assert mixed["embedding"].type.list_size == width
    write_arrow(folder / "captions-000002.arrow", pa.table(mixed))
    report = build_captions([TEXTS[0]], folder, clip)
    assert (report.added, report.removed, report.repeated) == (0, len(TEXTS) + 1, 1)
    assert list(open_captions(folder, clip).captions) == [*TEXTS, "new"]
    assert build_captions([TEXTS[0]], folder, clip).removed == 0


def test_a_damaged_index_is_built_again_and_a_damaged_part_is_never_added_to(folder: Path, clip):
    (folder / "captions.index").write_bytes(b"IxFI" + b"\xff" * 100)
    assert build_captions(TEXTS, folder, clip).added == 0
    assert len(open_captions(folder, clip)) == len(TEXTS)
    data = (folder / PART).read_bytes()
    (folder / PART).write_bytes(data[:-9] + b"x" + data[-8:])
    with pytest.raises(CaptionError, match=f"{PART} is damaged .*delete it and build"):
        build_captions(["more"], folder, clip)
    (folder / PART).unlink()
    assert build_captions(TEXTS, folder, clip).added == len(TEXTS)
    assert list(open_captions(folder, clip).captions) == TEXTS


# ---- two writers, full disks -------------------------------------------------------------------------------


def test_a_second_build_is_refused_while_the_first_runs(tmp_path: Path, clip):
    begun, goes_on = threading.Event(), threading.Event()

    def slowly() -> Iterator[str]:
        yield TEXTS[0]
        begun.set()
        goes_on.wait(60)
        yield from TEXTS[1:]

    first = threading.Thread(target=lambda: build_captions(slowly(), tmp_path / "db", clip))
    first.start()
    assert begun.wait(60)
    with pytest.raises(OutputError, match="another `vlcls captions build`"):
        build_captions(TEXTS, tmp_path / "db", clip)
    goes_on.set()
    first.join()
    report = build_captions([*TEXTS, "more"], tmp_path / "db", clip)
    assert (report.added, report.repeated) == (1, len(TEXTS))
    assert list(open_captions(tmp_path / "db", clip).captions) == [*TEXTS, "more"]


BUILDS = """
import sys, json, time, vlcls
from vlcls.retrieval import build_captions
encoder = vlcls.load_encoder(sys.argv[1], "cpu", "fp32")
print("ready", flush=True); sys.stdin.readline()
try:
    build_captions(json.loads(sys.argv[3]), sys.argv[2], encoder)
except vlcls.errors.OutputError as error:
    print(error)
"""


def test_builds_at_the_same_moment_store_each_caption_once(tmp_path: Path, clip):
    command = [sys.executable, "-c", BUILDS, clip.spec, str(tmp_path / "db"), json.dumps(TEXTS)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for run in runs:
        assert run.stdout.readline() == "ready\n"
    said = [run.communicate("\n", timeout=120)[0] for run in runs]
    assert all(run.returncode == 0 for run in runs) and not all(said)
    build_captions(TEXTS, tmp_path / "db", clip)
    assert list(open_captions(tmp_path / "db", clip).captions) == TEXTS


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The disk is full for files beyond `size`: writing fails in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_is_said_and_leaves_no_temporary_file(tmp_path: Path, clip):
    part = 2 * len(TEXTS) * clip.embedding_dim
    for size in (300, part, part + 1200):
        target = tmp_path / str(size)
        with files_of_at_most(size), pytest.raises(OutputError, match="cannot be written"):
            build_captions(TEXTS, target, clip)
        assert not [path.name for path in target.iterdir() if path.name.endswith(".tmp")]
        build_captions(TEXTS, target, clip)  # when there is room again
        assert list(open_captions(target, clip).captions) == TEXTS


def test_temporary_files_of_killed_builds_are_cleared(tmp_path: Path, clip):
    from vlcls.files import writing

    target = tmp_path / "db"
    target.mkdir()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (target / f".vlcls-{writing._HOST}-{gone.pid}-{'0' * 8}.tmp.arrow").write_text("left")
    build_captions(TEXTS[:2], target, clip)
    assert not [path.name for path in target.iterdir() if ".tmp" in path.name]


@pytest.mark.parametrize("arguments", [
    ("build", "--labels", "cat,dog", "-e", "conse"),
    ("learn-names", "images", "-e", "conse"),
    ("names", "add", "names", "--labels", "owl", "-e", "conse"),
    ("captions", "build", "captions.txt", "-e", "conse"),
])  # fmt: skip
def test_an_output_that_is_in_the_way_is_said_before_any_work(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.setattr("vlcls.encoders.load_encoder", lambda *_: pytest.fail("loaded a model first"))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "captions.txt").write_text("a cat\n")
    monkeypatch.chdir(tmp_path)
    for output in ("file", "file/below"):
        monkeypatch.setattr("sys.argv", ["vlcls", *arguments, "-o", output])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr().err
        assert left.value.code == 1 and "unexpected" not in said and "file" in said, said
        assert "is a file" in said or "cannot be written" in said, said
    assert (tmp_path / "file").read_text() == "mine"


# ---- clip-retrieval ----------------------------------------------------------------------------------------


@pytest.fixture
def strange(tmp_path: Path, clip) -> Path:
    """A folder as clip-retrieval leaves it, whose index is rubbish: it must not be opened."""
    target = tmp_path / "indices"
    (target / "metadata").mkdir(parents=True)
    (target / "text_emb").mkdir()
    (target / "text.index").write_bytes(b"IxFI" + b"\xff" * 200)
    pq.write_table(pa.table({"caption": TEXTS}), target / "metadata" / "metadata_0.parquet")
    np.save(target / "text_emb" / "text_emb_0.npy", clip.encode_texts(TEXTS).numpy().astype(np.float16))
    return target


def test_a_strangers_index_is_not_opened_unless_asked_for(strange: Path, clip, monkeypatch):
    monkeypatch.setattr(index.faiss(), "read_index", lambda *_: pytest.fail("opened"))
    found = open_captions(strange, clip)
    assert (found.search(clip.encode_texts(TEXTS).numpy(), 1).rows[:, 0] == np.arange(len(TEXTS))).all()
    shutil.rmtree(strange / "text_emb")
    with pytest.raises(CaptionError, match="--trust-index"):
        open_captions(strange, clip)


@pytest.mark.parametrize("kind", KINDS)
def test_captions_of_clip_retrieval_that_are_no_texts_are_refused(kind: str, strange: Path, clip):
    pq.write_table(
        pa.table({"caption": column(kind, len(TEXTS))}), strange / "metadata" / "metadata_0.parquet"
    )
    if kind == "some missing":  # a row without a caption is never found by its text
        assert open_captions(strange, clip).captions[0] == ""
        return
    with pytest.raises(VlclsError, match=r"no texts|made with another model|no captions"):
        open_captions(strange, clip)


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}] * 11, dtype=object), np.ones((11, 48), np.complex64), np.ones((11, 48), np.int64),
        np.ones(11, np.float32), np.ones((11, 0), np.float32), np.full((11, 48), np.nan, np.float16),
        np.ones((10, 48), np.float32), np.array([["x"] * 48] * 11), np.ones((11, 7), np.float32),
        np.ones((11, 4, 12), np.float32),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)  # fmt: skip
def test_embeddings_of_clip_retrieval_that_are_no_rows_are_refused(array: np.ndarray, strange: Path, clip):
    np.save(strange / "text_emb" / "text_emb_0.npy", array, allow_pickle=True)
    with pytest.raises(VlclsError):
        open_captions(strange, clip)


@pytest.mark.parametrize("name", ["metadata/metadata_0.parquet", "text_emb/text_emb_0.npy"])
def test_damaged_files_of_clip_retrieval_are_named(name: str, strange: Path, clip):
    data = (strange / name).read_bytes()
    for damaged in (b"", data[: len(data) // 2], b"\0" * 100, data[:8] + b"\xff" * 60 + data[68:]):
        (strange / name).write_bytes(damaged)
        with pytest.raises(CaptionError, match=name):
            open_captions(strange, clip)
    (strange / name).unlink()
    os.mkfifo(strange / name)
    with pytest.raises(CaptionError, match="a pipe"):
        open_captions(strange, clip)
