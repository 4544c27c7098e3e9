"""Readers and writers of files: strict, bounded, and clear about what is wrong."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from safetensors.numpy import save_file

from vlcls.errors import LabelError, OutputError, VlclsError
from vlcls.files.arrays import read_npy, read_npz
from vlcls.files.hashes import check_hashes, file_sha256
from vlcls.files.json_text import MAX_DEPTH, parse_json, read_json, to_json
from vlcls.files.lazy import Lazy
from vlcls.files.parquet import read_parquet
from vlcls.files.reading import read_bytes
from vlcls.files.schema import FileModel
from vlcls.files.tensors import read_safetensors
from vlcls.files.terminal import printable, shortened, spreadsheet_safe
from vlcls.files.text import decode_text, iter_lines, read_lines, read_text, split_lines
from vlcls.files.writing import (
    check_output_file,
    check_output_folder,
    locked,
    remove_leftovers,
    replacing,
    write_atomically,
)

#: Every reader of files, as (path) -> anything.
READERS = {
    "bytes": lambda path: read_bytes(path, LabelError),
    "text": lambda path: read_text(path, LabelError),
    "lines": lambda path: list(iter_lines(path, LabelError)),
    "json": lambda path: read_json(path, LabelError),
    "npy": lambda path: read_npy(path, LabelError),
    "npy, mapped": lambda path: read_npy(path, LabelError, mmap=True),
    "npz": lambda path: read_npz(path, LabelError),
    "parquet": lambda path: read_parquet(path, None, LabelError),
    "safetensors": lambda path: read_safetensors(path, LabelError),
    "hash": lambda path: file_sha256(path, LabelError),
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device", "NUL"])
def test_what_is_no_file_is_refused_at_once(read, kind: str, tmp_path: Path):
    path = tmp_path / "it"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "NUL":
        path = Path("a\0b")
    with pytest.raises(LabelError, match=str(path).replace("\0", ".")):
        read(path)


@pytest.mark.parametrize("read", [READERS[name] for name in READERS if name not in ("bytes", "hash")])
@given(rubbish=st.binary(max_size=300))
def test_rubbish_raises_nothing_of_pythons_own(read, rubbish: bytes, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "rubbish"
    path.write_bytes(rubbish)
    try:
        read(path)
    except LabelError as error:
        assert str(path) in str(error)


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=60))
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_text_comes_back_from_every_encoding(text: str, encoding: str):
    text = f"labels of images\n{text}"  # without a mark, UTF-16 is told by its Latin letters
    assert decode_text(text.encode(encoding), "it", LabelError) == text


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_lines_end_where_files_end_them(encoding: str, tmp_path: Path):
    path = tmp_path / "it.txt"
    path.write_bytes("caf\u00e9\r\nU+2028 \u2028 stays\rvertical \x0b tab\n\nlast".encode(encoding))
    expected = ["caf\u00e9", "U+2028 \u2028 stays", "vertical \x0b tab", "", "last"]
    assert read_lines(path, LabelError) == expected
    assert list(iter_lines(path, LabelError)) == list(enumerate(expected, start=1))
    assert split_lines("") == [] and split_lines("\n") == [""]


def test_bytes_are_no_text(tmp_path: Path):
    with pytest.raises(LabelError, match="it, line 2: no text"):
        decode_text(b"cat\nd\0g and more of the kind", "it", LabelError)


def test_text_that_does_not_decode_names_its_line(tmp_path: Path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"cat\n" * 9000 + "caf\u00e9\n".encode("latin-1") + b"dog\n" * 9000)
    for read in (READERS["text"], READERS["lines"]):
        with pytest.raises(LabelError, match=r"latin.txt, line 9001: not UTF-8"):
            read(path)


BAD_JSON = {
    "NaN": "[NaN]", "infinity": "[-Infinity]", "too large": "[1e999]", "digits": f"[{'9' * 5000}]",
    "repeated": '{"a": 1, "b": 2, "a": 3}', "deep": "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2),
    "very deep": "[" * 100_000, "surrogate": r'["\ud800"]', "cut": '{"a": [1,', "nothing": "", "two": "1 2",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD_JSON.values(), ids=BAD_JSON)
def test_json_that_is_refused(text: str):
    with pytest.raises(LabelError, match=r"^it[:,]"):
        parse_json(text, "it", LabelError)


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)


@given(content=JSON)
def test_what_is_written_as_json_is_read_back(content):
    assert parse_json(to_json(content), "it", LabelError) == content
    assert parse_json(json.dumps(content), "it", LabelError) == content


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [-float("inf")]}])
def test_nothing_that_is_not_finite_is_written(value):
    with pytest.raises(ValueError, match="JSON"):
        to_json(value)


class Inner(FileModel):
    weight: float


class Outer(FileModel):
    version: int
    parts: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"parts": []}', "version"),
        ('{"version": "1"}', "version"),
        ('{"version": 1.5}', "version"),
        ('{"version": 1, "parts": [{"weight": 1}, {"weight": "2"}]}', r"parts\.1\.weight"),
        ('{"version": 1, "more": 2}', "more"),
        ("[]", "object"),
        ('{"version": 1, "parts": [{"weight": 1e400}]}', "out of range"),
    ],
)
def test_a_schema_names_the_field(content: str, said: str, tmp_path: Path):
    (tmp_path / "it.json").write_text(content)
    with pytest.raises(LabelError, match=rf"it\.json.*{said}"):
        read_json(tmp_path / "it.json", LabelError, Outer)


def test_a_schema_is_filled(tmp_path: Path):
    (tmp_path / "it.json").write_text('{"version": 1, "parts": [{"weight": 2}]}')
    assert read_json(tmp_path / "it.json", LabelError, Outer) == Outer(version=1, parts=(Inner(weight=2.0),))


def npy_saying(shape: tuple[int, ...]) -> bytes:
    file = BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue() + b"\0" * 16


def test_arrays_larger_than_their_files_are_not_believed(tmp_path: Path):
    (tmp_path / "it.npy").write_bytes(npy_saying((1 << 34, 4)))
    with zipfile.ZipFile(tmp_path / "it.npz", "w") as archive:
        archive.writestr("a.npy", npy_saying((1 << 34, 4)))
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w") as file,
    ):
        for _ in range(1100):
            file.write(bytes(1 << 20))
    with zipfile.ZipFile(tmp_path / "lzma.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", npy_saying((4,)))
    for name, said in (("it.npz", "damaged"), ("bomb.npz", "unpacks to"), ("lzma.npz", "compressed")):
        with pytest.raises(LabelError, match=rf"{name}.*{said}"):
            read_npz(tmp_path / name, LabelError)
    for mapped in (True, False):
        with pytest.raises(LabelError, match=r"it\.npy: damaged"):
            read_npy(tmp_path / "it.npy", LabelError, mmap=mapped)


def test_headers_and_archives_that_numpy_did_not_write(tmp_path: Path):
    for header in (b"{'descr': '<f4', 'shape': (", b"{'a\n", b"(" * 300, b"\xff" * 40, b"1e999", b"[" * 3000):
        text = header.ljust(118) + b"\n"
        (tmp_path / "it.npy").write_bytes(
            b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text + b"\0" * 16
        )
        with pytest.raises(LabelError, match=r"it\.npy: not a whole"):
            read_npy(tmp_path / "it.npy", LabelError)
    np.savez(tmp_path / "it.npz", a=np.ones(3))
    data = bytearray((tmp_path / "it.npz").read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag of encryption, in both its places
        data[data.index(mark) + place] |= 1
    (tmp_path / "it.npz").write_bytes(data)
    with pytest.raises(LabelError, match=r"it\.npz: a: encrypted"):
        read_npz(tmp_path / "it.npz", LabelError)


class Runs:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_no_reader_unpickles(read, tmp_path: Path):
    mark = tmp_path / "ran"
    objects = np.array([Runs(mark)], dtype=object)
    np.save(tmp_path / "a", objects)
    np.savez(tmp_path / "b", a=objects)
    (tmp_path / "c").write_bytes(pickle.dumps(Runs(mark)))
    for name in ("a.npy", "b.npz", "c"):
        try:
            read(tmp_path / name)
        except LabelError as error:
            assert name in str(error)
    assert not mark.exists()


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "|u1", "<c16", "<U7", "|b1"])
@pytest.mark.parametrize("shape", [(5, 3), (4,), (), (0, 3), (2, 3, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_map_of_an_array(dtype: str, shape: tuple[int, ...], order: str, tmp_path: Path):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    np.save(tmp_path / "a.npy", np.asarray(array, order=order))
    found = read_npy(tmp_path / "a.npy", LabelError, mmap=True)
    assert found.dtype == array.dtype and found.shape == array.shape and (found == array).all()
    assert not found.size or not found.flags.writeable


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not list open files")
def test_maps_hold_no_file_open(tmp_path: Path):
    """A folder of embeddings has hundreds of files, a process often may open 256."""
    for number in range(50):
        np.save(tmp_path / f"{number}.npy", np.full((1000, 8), number))
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    maps = [read_npy(tmp_path / f"{number}.npy", LabelError, mmap=True) for number in range(50)]
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) < before + 10
    assert Path("/proc/self/maps").read_text().count(str(tmp_path)) == 50  # mapped they are, not loaded
    assert [int(each[999, 7]) for each in maps] == list(range(50))


def test_arrays_come_back(tmp_path: Path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "b.npz", one=array, two=np.array(["cat", "dog"]))
    save_file({"c": array}, tmp_path / "c.safetensors", {"format": "test"})
    assert (read_npy(tmp_path / "a.npy", LabelError) == array).all()
    assert read_npz(tmp_path / "b.npz", LabelError)["two"].tolist() == ["cat", "dog"]
    tensors, metadata = read_safetensors(tmp_path / "c.safetensors", LabelError)
    assert (tensors["c"] == array).all() and metadata == {"format": "test"}
    save_file({"c": array * np.float32("nan")}, tmp_path / "nan.safetensors")
    with pytest.raises(LabelError, match=r"nan\.safetensors: 'c' holds NaN"):
        read_safetensors(tmp_path / "nan.safetensors", LabelError)


def test_no_length_of_a_header_looks_like_a_pickle(tmp_path: Path):
    for size in range(300, 700, 8):  # among them 640, which begins as a pickle does
        save_file({"a": np.zeros(2, np.float32)}, tmp_path / "a.safetensors", {"x": "y" * size})
        read_safetensors(tmp_path / "a.safetensors", LabelError)


def test_bytes_that_are_no_text_are_found_when_a_table_is_read(tmp_path: Path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"a": ["cat", "dog"]}), path, compression="none", write_statistics=False)
    assert read_parquet(path, ["a"], LabelError)["a"].to_pylist() == ["cat", "dog"]
    path.write_bytes(path.read_bytes().replace(b"dog", b"d\xb0g"))
    with pytest.raises(LabelError, match=r"a\.parquet: .*UTF"):
        read_parquet(path, ["a"], LabelError)


def test_hashes_name_what_changed(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"one")
    known = {"a": file_sha256(tmp_path / "a")}
    check_hashes(tmp_path, known, LabelError)
    (tmp_path / "a").write_bytes(b"two")
    with pytest.raises(LabelError, match="a: damaged"):
        check_hashes(tmp_path, known, LabelError)
    for outside in ("../a", str(tmp_path / "a")):
        with pytest.raises(LabelError, match="no file of this folder"):
            check_hashes(tmp_path, {outside: known["a"]}, LabelError)


def test_a_write_is_whole_or_nothing(tmp_path: Path):
    path = tmp_path / "new" / "it.json"
    write_atomically(path, "caf\u00e9")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        assert temporary.suffix == ".json" and path.read_text("utf-8") == "caf\u00e9"
        raise RuntimeError
    assert path.read_text("utf-8") == "caf\u00e9" and list(path.parent.iterdir()) == [path]
    link = tmp_path / "link"
    link.symlink_to(path)
    write_atomically(link, b"2")
    assert link.is_symlink() and path.read_bytes() == b"2"


def test_what_is_in_the_way_is_said(tmp_path: Path):
    (tmp_path / "file").touch()
    for refuse in (
        lambda: write_atomically(tmp_path, b""),
        lambda: check_output_file(tmp_path),
        lambda: write_atomically(tmp_path / "file" / "below", b""),
        lambda: check_output_file(tmp_path / "file" / "below"),
        lambda: check_output_folder(tmp_path / "file"),
        lambda: check_output_folder(Path("/proc/none")),
    ):
        with pytest.raises(OutputError):
            refuse()
    check_output_file(tmp_path / "file")
    check_output_file("/dev/full")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path):
    code = (
        "import os, sys; from vlcls.files.writing import replacing\n"
        "with replacing(sys.argv[1]) as path: path.write_bytes(b'half'); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "it")], check=False)
    (dead,) = tmp_path.iterdir()
    other = tmp_path / ".tmp-of-the-user"
    other.touch()
    (tmp_path / dead.name.replace(dead.name.split("-")[2], str(os.getpid()))).touch()
    with replacing(tmp_path / "mine") as living:
        living.touch()
        assert remove_leftovers(tmp_path) == [dead]
        assert living.exists()
    assert other.exists()


def test_a_lock_is_held_by_one(tmp_path: Path):
    for place in (tmp_path / "answers.jsonl", tmp_path):
        said = []

        def second(place: Path = place, said: list[str] = said) -> None:
            try:
                with locked(place, "another run"):
                    pass
            except OutputError as error:
                said.append(str(error))

        with locked(place, "another run"):
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()
        assert said and "another run" in said[0]
        with locked(place, "another run"):
            pass


_COUNT = """
import pathlib, sys
from vlcls.files.writing import locked
for _ in range(60):
    with locked(sys.argv[1], "another run", timeout=60):
        count = pathlib.Path(sys.argv[1] + ".count")
        count.write_text(str(int(count.read_text()) + 1))
"""


def test_a_lock_is_held_by_one_though_its_file_goes_each_time(tmp_path: Path):
    (tmp_path / "out.count").write_text("0")
    command = [sys.executable, "-c", _COUNT, str(tmp_path / "out")]
    runs = [subprocess.Popen(command) for _ in range(3)]
    assert [run.wait(120) for run in runs] == [0, 0, 0]
    assert (tmp_path / "out.count").read_text() == "180"
    assert [path.name for path in tmp_path.iterdir()] == ["out.count"]


@pytest.mark.parametrize("folder", [True, False])
def test_no_lock_file_stays(tmp_path: Path, folder: bool):
    place = tmp_path if folder else tmp_path / "out.json"
    lock = tmp_path / (".lock" if folder else ".out.json.lock")
    lock.touch()  # of a killed run
    with locked(place, "another run"):
        assert lock.exists()
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError), locked(place, "another run"):
        raise ValueError
    assert not list(tmp_path.iterdir())


@given(text=st.text(max_size=50))
def test_nothing_printed_is_obeyed(text: str):
    shown = printable(text)
    assert not any(ord(each) < 32 or 0x7F <= ord(each) < 0xA0 for each in shown)
    shown.encode("utf-8")


def test_what_people_read():
    assert printable("a\x1b[31mred\x07\u202eback\udcff") == r"a\x1b[31mred\x07\u202eback\udcff"
    assert printable("one\ntwo") == r"one\ntwo" and printable("one\ntwo\r", lines=True) == "one\ntwo\\r"
    assert (
        printable("\u732b caf\u00e9 \U0001f468\u200d\U0001f469")
        == "\u732b caf\u00e9 \U0001f468\u200d\U0001f469"
    )
    assert len(shortened("x" * 200_000)) == 200 and shortened("cat") == "cat"
    assert [spreadsheet_safe(each) for each in ("=1+1", "@x", "-cmd", "-1.5", "cat")] == [
        "'=1+1", "'@x", "'-cmd", "-1.5", "cat",
    ]  # fmt: skip
    assert issubclass(OutputError, VlclsError)


def test_a_file_of_the_user_in_the_place_of_a_lock_stays_as_it_is(tmp_path: Path):
    (tmp_path / ".lock").write_text("mine")
    with pytest.raises(OutputError, match=r"\.lock is in the way"), locked(tmp_path, "another run"):
        pass
    assert (tmp_path / ".lock").read_text() == "mine"


@given(st.integers(0, 6), st.integers(-8, 8), st.slices(6))
def test_a_lazy_sequence_is_read_like_a_list(count: int, index: int, piece: slice):
    lazy, whole = Lazy(count, "abcdef".__getitem__), list("abcdef"[:count])
    assert (len(lazy), list(lazy), lazy[piece]) == (count, whole, whole[piece])
    if -count <= index < count:
        assert lazy[index] == whole[index]
    else:
        with pytest.raises(IndexError):
            lazy[index]
