"""Descriptor files: three formats, exact lines, and files that nobody should write."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlcls.descriptors import Descriptor, DescriptorSet, descriptor_names, read_descriptors, write_descriptors
from vlcls.descriptors.files import to_plain, to_text
from vlcls.descriptors.parsing import parse_descriptors, string_lines
from vlcls.errors import DescriptorError, VlclsError
from vlcls.labels import Labels, clean_name
from vlcls.limits import LEAST_WEIGHT, MOST_WEIGHT


def parsed(text: str, **options) -> DescriptorSet:
    return parse_descriptors(text, "set.json", "set.json", **options).descriptors


OWN = """{
 "format": "vlcls-descriptors",
 "version": 1,
 "style": "descriptors",
 "sources": {
  "gpt": {"model": "some-model", "date": "2026-11-23"}
 },
 "classes": [
  {
   "name": "tiger",
   "id": "n02129604",
   "descriptors": [
    {"text": "black stripes", "source": "gpt"},
    {"text": "long white whiskers", "source": "gpt", "edited": true, "weight": 2},
    "a ringed tail"
   ]
  },
  {
   "name": "void",
   "descriptors": []
  }
 ]
}
"""


def test_our_own_format():
    found = parsed(OWN)
    assert found.labels == Labels(("tiger", "void"), ("n02129604", "void"))
    assert found.descriptors == (
        (
            Descriptor("black stripes", "gpt"),
            Descriptor("long white whiskers", "gpt", 2.0, True),
            Descriptor("a ringed tail"),
        ),
        (),
    )
    assert found.sources == {"gpt": {"model": "some-model", "date": "2026-11-23"}}
    assert to_text(found) == OWN.replace('"weight": 2}', '"weight": 2.0}')


def test_the_two_formats_in_the_wild():
    phrases = parsed('{"corn_field": ["tall stalks", "green leaves"], "hen": ["a red comb"]}')
    assert (phrases.style, phrases.labels.names, phrases.labels.ids) == (
        "descriptors",
        ("corn field", "hen"),
        ("corn field", "hen"),
    )
    assert phrases.descriptors[0][0] == Descriptor("tall stalks", "file")
    assert phrases.sources == {"file": {"file": "set.json"}}
    sentences = parsed('{"hen": ["A hen has a small red comb.", "Hens are birds with feathers."]}')
    assert sentences.style == "sentences"
    assert parsed('{"hen": ["A hen has a comb."]}', style="descriptors").style == "descriptors"


def test_a_name_that_is_there_twice_loses_no_class():
    found = parsed('{"sunglasses": ["dark lenses"], "sunglasses": ["tinted lenses"]}')
    assert found.labels == Labels(("sunglasses", "sunglasses"), ("sunglasses", "sunglasses#2"))
    assert found.texts(1) == ["tinted lenses"]
    assert json.loads(to_plain(found)) == {"sunglasses": ["dark lenses"], "sunglasses#2": ["tinted lenses"]}


#: All but control characters and halves of characters, which are refused.
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n\t"))
WORDS = TEXT.filter(lambda text: bool(clean_name(text)))
TEXTS = st.lists(TEXT, max_size=4)


@given(st.dictionaries(WORDS, TEXTS, min_size=1, max_size=4))
def test_plain_files_come_back_unchanged(content: dict[str, list[str]]):
    try:
        found = parsed(json.dumps(content), style="descriptors")
    except DescriptorError as error:
        assert "twice" in str(error)  # two keys that are one name once they are tidied
        return
    assert [found.texts(index) for index in range(len(content))] == list(content.values())
    assert [clean_name(key) for key in content] == list(found.labels.names)
    if len(set(found.labels.names)) == len(content):
        plain = json.loads(to_plain(found))
        assert list(plain.values()) == list(content.values())


WEIGHTS = st.just(0.0) | st.floats(LEAST_WEIGHT, MOST_WEIGHT)
DESCRIPTORS = st.builds(Descriptor, TEXT, st.sampled_from(["hand", "gpt"]), WEIGHTS, st.booleans())


@given(st.data())
def test_our_own_files_come_back_equal(data: st.DataObject):
    ids = data.draw(st.lists(WORDS.map(clean_name), min_size=1, max_size=4, unique=True))
    names = [data.draw(WORDS.map(clean_name)) for _ in ids]
    own = tuple(tuple(data.draw(st.lists(DESCRIPTORS, max_size=3))) for _ in ids)
    sources = {"gpt": data.draw(st.dictionaries(st.text(), st.text(), max_size=3))}
    whole = DescriptorSet(Labels(tuple(names), tuple(ids)), own, "descriptors", sources)
    assert parsed(to_text(whole)) == whole


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_any_json_is_read_or_refused(content):
    try:
        parsed(json.dumps(content))
    except VlclsError as error:
        assert "set.json" in str(error)


@given(st.text())
def test_any_text_is_read_or_refused(text: str):
    with pytest.raises(DescriptorError, match="set"):
        parsed(text)


def test_lines_of_strings():
    text = '{"a": ["x\\"\\n",\n\n "y"],\n"b":\n["z"]}'
    assert string_lines(text, [0, 1, 2, 3, 4, 99]) == [1, 1, 3, 4, 5, 5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"set.json, line 1: not JSON"),
        ('{"a": ["x",]\n}', r"line 1: not JSON"),
        ('{"a":\n [NaN]}', r"line 2: NaN is not JSON"),
        ("[" * 100_000, r"nested too deep"),
        ("[]", r"an object is expected"),
        ("{}", r"empty"),
        ('{"a": "x"}', r"class 'a': a list of descriptors is expected, not 'x'"),
        ('{"a": ["x"],\n"b": ["y",\n3]}', r"line \d: class 'b': a descriptor must be text, not 3"),
        ('{"a": [{"text": "x"}]}', r"class 'a': a descriptor must be text"),
        ('{" ": ["x"]}', r"blank"),
        ('{"a_b": ["x"], "a b": ["y"]}', r"twice"),
        (OWN.replace('"version": 1', '"version": 2'), r"version 2 is not 1"),
        (OWN.replace('"style": "descriptors"', '"style": "poems"'), r"style 'poems'"),
        (OWN.replace(' "style"', ' "colour": 3,\n "style"'), r"line 4: unknown key 'colour'"),
        (OWN.replace('"weight": 2', '"weight": -2'), r"line 14: class 'tiger': weight -2"),
        (OWN.replace('"weight": 2', '"weight": 1e999'), r"line 14: class 'tiger': weight inf"),
        (OWN.replace('"weight": 2', '"heft": 2'), r"line 14: class 'tiger': 'heft' is unknown"),
        (OWN.replace('"edited": true', '"edited": 1'), r"line 14: class 'tiger': 'edited' is unknown"),
        (
            OWN.replace('{"text": "black stripes", "source": "gpt"}', '{"source": "gpt"}'),
            r"line 13: .*without a text",
        ),
        (OWN.replace('stripes", "source": "gpt"', 'stripes", "source": "gtp"'), r"line 13: .*source 'gtp'"),
        (OWN.replace('   "name": "void",\n', ""), r"line 19: class 2 has no 'name'"),
        (
            OWN.replace('"name": "void",\n   "descriptors": []', '"name": "void"'),
            r"line 19: class 'void' has no 'desc",
        ),
    ],
)
def test_errors_name_file_class_and_line(text: str, message: str):
    with pytest.raises(DescriptorError, match=message):
        parsed(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": ["\xff"]}', "line 1: not UTF-8"),
        (b'{"a":\n["\x00"]}', "line 2: no text: it holds NUL"),
        (b"\x00" * 100, "line 1: no text"),
    ],
)
def test_bytes_that_are_no_text(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "set.json"
    path.write_bytes(content)
    with pytest.raises(DescriptorError, match=message):
        read_descriptors(path)


def test_files_that_are_not_there(tmp_path: Path):
    for path in (tmp_path / "none.json", tmp_path, "no-such-set"):
        with pytest.raises(DescriptorError, match="built-in descriptor sets are"):
            read_descriptors(path)


def test_a_line_of_fifty_megabytes(tmp_path: Path):
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"a": ["x" * 50_000_000], "b": ["y"]}))
    assert [len(read_descriptors(path).texts(index)[0]) for index in (0, 1)] == [50_000_000, 1]


def test_a_million_classes(tmp_path: Path):
    path = tmp_path / "set.json"
    path.write_text(json.dumps({f"class {number}": ["x"] for number in range(1_000_000)}))
    found = read_descriptors(path)
    assert len(found.labels) == 1_000_000 and found.labels.names[-1] == "class 999999"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "<script>alert(1)</script>", "a\tb", "{{ 7 * 7 }}", "CON"]
)
def test_names_are_only_names(tmp_path: Path, name: str):
    path = tmp_path / "set.json"
    path.write_text(json.dumps({name: ["x"]}))
    write_descriptors(read_descriptors(path), tmp_path / "own.json")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["own.json", "set.json"]
    assert read_descriptors(tmp_path / "own.json").labels.names == (clean_name(name),)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "set.json"
    path.write_text("old")
    twice = DescriptorSet(Labels(("a", "a", "x"), ("x", "y", "a")), ((), (), ()))
    with pytest.raises(DescriptorError, match="tell two classes"):
        write_descriptors(twice, path, format="plain")
    assert path.read_text() == "old"


def test_built_in_sets_load():
    for name in descriptor_names():
        found = read_descriptors(name)
        assert all(found.descriptors), name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"cat": ["fur",\n"a\\u001b[31mb"]}', r"line 2: class 'cat': a descriptor holds '\x1b'"),
        ('{"cat": ["a \\ud800 b"]}', r"line 1: class 'cat': a descriptor holds '\ud800'"),
        ('{"cat": ["fur"],\n"d\\u0000g": ["fur"]}', r"line 2: class 'd\x00g': the name or id holds '\x00'"),
        ('{"cat": {"fur": ["x"]}}', "a list of descriptors is expected, not an object"),
        ('{"cat": {}}', "a list of descriptors is expected, not an object"),
    ],
)
def test_what_a_terminal_or_a_list_cannot_hold_is_refused(text: str, message: str):
    with pytest.raises(DescriptorError) as caught:
        parsed(text)
    assert message in str(caught.value)


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_weight_of_many_digits(digits: int):
    text = OWN.replace('"weight": 2', f'"weight": {"9" * digits}')
    with pytest.raises(DescriptorError, match="line 14: class 'tiger': weight inf is not 0 or more"):
        parsed(text)


def test_endless_files_are_not_read_to_their_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vlcls.descriptors.files.MAX_BYTES", 1000)
    (tmp_path / "large.json").write_bytes(b" " * 1001)
    with pytest.raises(DescriptorError, match=r"large.json: more than 1,000 bytes"):
        read_descriptors(tmp_path / "large.json")
    os.mkfifo(tmp_path / "pipe.json")
    for path, kind in (("/dev/zero", "a device"), (tmp_path / "pipe.json", "a pipe")):
        with pytest.raises(DescriptorError, match=kind):
            read_descriptors(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_files_in_the_encodings_that_programs_write(encoding: str, tmp_path: Path):
    path = tmp_path / "set.json"
    path.write_text('{"caf\u00e9": ["tables", "chairs on a pavement"]}', encoding=encoding)
    found = read_descriptors(path)
    assert found.labels.names == ("caf\u00e9",)
    write_descriptors(found, path)
    assert read_descriptors(path) == found


def test_a_link_goes_on_pointing_at_what_is_edited(tmp_path: Path):
    (tmp_path / "own.json").write_text('{"cat": ["fur"]}')
    (tmp_path / "link.json").symlink_to(tmp_path / "own.json")
    write_descriptors(read_descriptors(tmp_path / "own.json"), tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink() and "vlcls-descriptors" in (
        tmp_path / "own.json"
    ).read_text()


def test_half_characters_in_sources_are_refused():
    text = OWN.replace('"some-model"', '"some-\\ud800"')
    assert text != OWN
    with pytest.raises(DescriptorError, match="source 'gpt': half of a surrogate pair"):
        parsed(text)
