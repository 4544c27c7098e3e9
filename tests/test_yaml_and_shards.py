"""YAML and webdataset shards of strangers: bounded, refused with the line or the file, never a bare error."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vlcls.errors import EvaluationError, LabelError, VlclsError
from vlcls.evaluation.data import open_set
from vlcls.evaluation.data.suites import read_suite
from vlcls.files.yaml_text import parse_yaml
from vlcls.labels import read_labels

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

HOSTILE = {
    "alias bomb": (BOMB, r"line 2: aliases \(\*a\) are not read"),
    "merge key": ("a: &a {x: 1}\nb: {<<: *a}\n", r"line 2: aliases"),
    "itself": ("a: &a [*a]\n", "aliases"),
    "deep lists": ("a: " + "[" * 5000 + "]" * 5000, "nested deeper than 100 levels"),
    "deep mappings": ("a: " + "{a: " * 5000 + "1" + "}" * 5000, "nested deeper than 100 levels"),
    "deep lines": ("".join(f"{' ' * n}a:\n" for n in range(300)), "nested deeper than 100 levels"),
    "digits": ("a: " + "9" * 5000, r"line 1: a number of 5,000 digits"),
    "infinity": ("a: .inf", "no number that can be used"),
    "no number": ("a: .nan", "no number that can be used"),
    "object": ("a: !!python/object/apply:os.system [echo]", "not YAML: could not determine a constructor"),
    "name": ("a: !!python/name:os.system", "not YAML: could not determine a constructor"),
    "binary": ("a: !!binary aaaa", "not YAML"),
    "set": ("a: !!set {b, c}", "not YAML"),
    "twice": ("a: 1\na: 2", "line 2: 'a' is twice"),
    "list as key": ("? [a]\n: 1", "no key"),
    "two documents": ("a: 1\n---\nb: 2", "not YAML"),
    "control": ("a: \x07", "not YAML"),
    "cut": ('a: "b', "not YAML"),
    "tab": ("a:\n\t- b", "not YAML"),
    "line break in quotes": ("a: 'b\n", "not YAML"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_yaml_is_refused_at_once(tmp_path, case):
    text, message = HOSTILE[case]
    start = time.perf_counter()
    with pytest.raises(EvaluationError, match=message):
        parse_yaml(text, "x", EvaluationError)
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(EvaluationError, match=r"suite x\.yaml"):
        read_suite(tmp_path / "x.yaml")
    if case not in ("digits", "infinity", "no number"):  # names as they are written
        with pytest.raises(LabelError, match=r"x\.yaml"):
            read_labels(tmp_path / "x.yaml")
    assert time.perf_counter() - start < 20


def test_what_yaml_is_read_as():
    text = "a: 2020-13-45\nb: 007\nc: 0x1f\nd: 1:30\ne: no\nf: ~\ng: -7\nh: 1.5\ni: 9007199254740993\n1: x\n"
    assert parse_yaml(text, "x", EvaluationError) == {
        "a": "2020-13-45", "b": "007", "c": "0x1f", "d": "1:30", "e": False, "f": None, "g": -7, "h": 1.5,
        "i": 9007199254740993, 1: "x",
    }  # fmt: skip
    assert parse_yaml("[no, 1.50, 2020-01-01, ~]", "x", EvaluationError, texts=True) == [
        "no", "1.50", "2020-01-01", None,
    ]  # fmt: skip


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc", min_size=1), inner),
    max_leaves=12,
)  # fmt: skip


@given(PLAIN)
def test_yaml_comes_back_as_it_was_written(content):
    import json

    assert parse_yaml(json.dumps(content), "x", EvaluationError) == content or "\\u" in json.dumps(content)


@given(st.text("[]{}:,-?&*!|>'\"%@` \n\tab1.#<=~") | st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_is_yaml_or_an_error(text):
    try:
        parse_yaml(text, "where", EvaluationError)
    except EvaluationError as error:
        assert str(error).startswith("where")


BASE = "about: x\nsets:\n  - {name: a, path: p}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASE + "methods: [1]", r"methods\[0\]: input should be a valid string"),
        (BASE + "methods: {a: b}", r"methods: input should be a valid"),
        (BASE + "corruptions: [{set: a, seed: 1.5}]", r"corruptions\[0\].seed: input should be a valid int"),
        (BASE + "corruptions: [{set: a, seed: '5'}]", r"corruptions\[0\].seed: input should be a valid int"),
        (
            BASE + "corruptions: [{set: a, severities: [true]}]",
            r"severities\[0\]: input should be a valid int",
        ),
        (BASE + "  - {name: b, path: q, streaming: 1}", r"sets\[1\].streaming: input should be a valid bool"),
        (BASE + "  - {name: .., path: q}", r"sets\[1\].name: string should match"),
        (BASE + f"  - {{name: {'b' * 200}, path: q}}", r"sets\[1\].name: string should have at most"),
        (BASE + "  - {name: b, path: q, labels: [1]}", r"sets\[1\].labels"),
        (
            BASE + "  - {name: b, path: q, labels: ~, split: 3}",
            r"sets\[1\].split: input should be a val",
        ),
    ],
)
def test_fields_of_another_type(tmp_path, text, message):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(EvaluationError, match=message):
        read_suite(tmp_path / "x.yaml")


def test_ids_may_be_numbers_and_dates_texts(tmp_path):
    text = BASE + "  - {name: b, path: q, labels: {0: cat, 1: dog}, revision: 2024-01-01}\n"
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "x.yaml").write_bytes(text.encode(encoding))
        one = read_suite(tmp_path / "x.yaml").sets[1]
        assert one.labels == {"0": "cat", "1": "dog"} and one.revision == "2024-01-01"
    (tmp_path / "x.yaml").write_bytes(b"about: caf\xe9\n")
    with pytest.raises(EvaluationError, match=r"suite x.yaml: cannot be read \(.*line 1: not UTF-8 text"):
        read_suite(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").unlink()
    os.mkfifo(tmp_path / "x.yaml")
    with pytest.raises(EvaluationError, match=r"suite x.yaml: cannot be read \(a file is expected"):
        read_suite(tmp_path / "x.yaml")


# ---- shards --------------------------------------------------------------------------------------------


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "green").save(file, "PNG")
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def shard(folder: Path, *members: tuple[str, bytes], names: bytes = b"cat\ndog\n") -> Path:
    (folder / "test").mkdir(parents=True, exist_ok=True)
    (folder / "classnames.txt").write_bytes(names)
    with tarfile.open(folder / "test" / "0.tar", "w") as file:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return folder


def sparse(name: str, size: int, *, offset: int = 0, stored: int = 512) -> bytes:
    """The header of an old GNU sparse file: some bytes at one place, holes everywhere else."""
    member = tarfile.TarInfo(name)
    member.size, member.type = stored, tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    for start, number in ((386, offset), (398, stored)):
        header[start : start + 12] = b"%011o\0" % number
    header[483:495] = b"\x80" + size.to_bytes(11, "big")
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + b"\0" * stored


@pytest.mark.parametrize("name", ["a.png", "a.cls", "a.npy"])
def test_a_sparse_member_is_refused_by_its_size(tmp_path, name):
    folder = shard(tmp_path, ("a.png" if name != "a.png" else "a.cls", png() if name != "a.png" else b"0"))
    path = folder / "test" / "0.tar"
    data = path.read_bytes().rstrip(b"\0")
    whole = data + b"\0" * (-len(data) % 512)
    path.write_bytes(whole + sparse(name, 40 << 30) + b"\0" * 1024)
    with pytest.raises(EvaluationError, match=rf"0\.tar: {name} is of 42,949,672,960 bytes, more than"):
        open_set(folder)
    path.write_bytes(whole + sparse(name, 4096) + b"\0" * 1024)
    with pytest.raises(EvaluationError, match=rf"0\.tar: {name} is a sparse file"):
        open_set(folder)


@pytest.mark.parametrize("size", [1 << 40, 600, -512])
@pytest.mark.parametrize("name", ["a.png", "a.cls", "a.json"])
def test_sizes_that_are_not_there(tmp_path, name, size):
    folder = shard(tmp_path, ("b.png", png()), ("b.cls", b"0"))
    member = tarfile.TarInfo(name)
    member.size = size
    path = folder / "test" / "0.tar"
    data = path.read_bytes().rstrip(b"\0")
    path.write_bytes(data + b"\0" * (-len(data) % 512) + member.tobuf(tarfile.GNU_FORMAT) + b"xx")
    start = time.perf_counter()
    if name == "a.json" and size > 0:
        with pytest.raises(VlclsError):
            open_set(folder)
    else:
        with pytest.raises(
            EvaluationError, match=r"0\.tar: (a\.\w+ (is of|ends behind)|not an uncompressed)"
        ):
            open_set(folder)
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (("a.cls", b"caf\xe9"), r"its class is no number but b'caf\\xe9'"),
        (("a.cls", b""), "its class is no number"),
        (("a.cls", "1".encode("utf-16")), "its class is no number"),
        (("a.cls", b"9" * 5000), "its class is no number"),
        (("a.cls", b"9" * 30), "no place|there are 2 labels"),
        (("a.npy", b"rubbish"), "its classes are no array of NumPy's"),
        (("a.npy", npy(np.array([{"a": 1}], dtype=object))), "its classes are no array of NumPy's"),
        (("a.npy", npy(np.ones((2, 2)))), "its classes are no vector of zeros and ones"),
        (("a.npy", npy(np.array(["cat"]))), "its classes are no vector"),
        (("a.npy", npy(np.array([1 + 2j]))), "its classes are no vector"),
        (("a.npy", npy(np.ones(9))[:-20]), "its classes are no array"),
    ],
)
def test_labels_that_are_none(tmp_path, label, message):
    with pytest.raises((EvaluationError, LabelError), match=message):
        open_set(shard(tmp_path, ("a.png", png()), label))


def test_texts_of_a_set_in_other_encodings(tmp_path):
    members = (("a.png", png()), ("a.cls", b"1"))
    for encoding in ("utf-8-sig", "utf-16"):
        folder = shard(tmp_path / encoding, *members, names="café\nBär\u2028x\n".encode(encoding))
        assert open_set(folder).labels.names == ("café", "Bär x")
    with pytest.raises(EvaluationError, match=r"classnames\.txt, line 2: not UTF-8"):
        open_set(shard(tmp_path / "latin", *members, names=b"cat\ncaf\xe9\n"))
    folder = shard(tmp_path / "templates", *members)
    (folder / "zeroshot_classification_templates.txt").write_bytes(b"a {c}\ncaf\xe9 {c}\n")
    with pytest.raises(VlclsError, match=r"templates\.txt, line 2: not UTF-8"):
        open_set(folder)
    (folder / "zeroshot_classification_templates.txt").unlink()
    (folder / "test" / "nshards.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(EvaluationError, match=r"nshards\.txt"):
        open_set(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in folders")
def test_a_pipe_for_a_shard_is_refused(tmp_path):
    folder = shard(tmp_path, ("a.png", png()), ("a.cls", b"1"))
    os.mkfifo(folder / "test" / "1.tar")
    with pytest.raises(EvaluationError, match=r"1\.tar: a file is expected, this is a pipe"):
        open_set(folder)


@given(st.binary(max_size=600), st.integers(0, 2000))
def test_any_damage_is_an_error_or_none(tmp_path_factory, junk, place):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    path = shard(folder, ("a.png", png()), ("a.cls", b"1")) / "test" / "0.tar"
    data = path.read_bytes()
    path.write_bytes(data[:place] + junk + data[place + len(junk) :])
    try:
        open_set(folder)
    except VlclsError as error:
        assert "0.tar" in str(error) or "damaged" in str(error)
