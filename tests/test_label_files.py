"""Files of class names in every form that people write: read as they were meant, or refused."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vlcls.errors import LabelError, VlclsWarning
from vlcls.labels import Labels, parse_labels, read_labels

NAMES = ("red panda", "cat", "tench, Tinca tinca")


def read(tmp_path: Path, name: str, content: str | bytes, *, warned: str | None = None) -> Labels:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if warned is not None:
        with pytest.warns(VlclsWarning, match=warned):
            return read_labels(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_labels(path)


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("a.txt", "cat\ndog\n", "cat dog"),
        ("a.names", "cat\r\ndog\r\n", "cat dog"),
        ("a.txt", "cat\rdog\r", "cat dog"),
        ("a.txt", "  cat\n   dog  \n", "cat dog"),
        ("a.txt", "- cat\n- dog\n", "cat dog"),
        ("a.txt", "* cat\n* dog\n", "cat dog"),
        ("a.txt", "• cat\n• dog\n", "cat dog"),
        ("a.txt", '- "cat"\n- "dog"\n', "cat dog"),
        ("a.txt", "- [ ] cat\n- [x] dog\n", "cat dog"),
        ("a.txt", "・ 猫\n・ 犬\n", "猫 犬"),
        ("a.txt", '"cat"\n"dog"\n', "cat dog"),
        ("a.txt", "'cat',\n'dog',\n", "cat dog"),
        ("a.txt", '"cat",\n"dog"\n', "cat dog"),
        ("a.txt", "cat, dog,\nfox, owl\n", "cat dog fox owl"),
        ("a.txt", '["cat", "dog"]', "cat dog"),
        ("a.txt", '{"0": "cat", "1": "dog"}', "cat dog"),
        ("a.csv", "cat\ndog\n", "cat dog"),
        ("a.csv", "id,name\n0,cat\n1,dog\n", "cat dog"),
        ("a.csv", "Name;ID\ncat;0\ndog;1\n", "cat dog"),
        ("a.csv", "sep=;\nName;ID\ncat;0\ndog;1\n", "cat dog"),
        ("a.csv", "index\tclass\n0\tcat\n1\tdog\n", "cat dog"),
        ("a.csv", 'label,count,"class name"\n7,100,cat\n9,200,dog\n', "cat dog"),
        ("a.csv", "0,cat\n1,dog\n", "cat dog"),
        ("a.csv", "n02123045,cat\nn02084071,dog\n", "cat dog"),
        ("a.csv", "cat,5\ndog,6\n", "cat dog"),
        ("a.txt", "id,name\n0,cat\n1,dog\n", "cat dog"),
        ("a.txt", "label,what it is\ncat,a pet\ndog,another\n", "cat dog"),
        ("a.csv", ",name\n0,cat\n1,dog\n", "cat dog"),
        ("a.tsv", "id\tname\n0\tcat\n1\tdog\n", "cat dog"),
        ("a.tsv", "n1\tcat\nn2\tdog\n", "cat dog"),
        ("a.yaml", "- cat\n- dog\n", "cat dog"),
        ("a.yml", "- 'no'\n- yes\n- 007\n- 2020-01-01\n", "no yes 007 2020-01-01"),
        ("a.yaml", "0: cat\n1: dog\n", "cat dog"),
        ("a.yaml", "dog: 1\ncat: 0\n", "cat dog"),
        ("a.json", '{"dog": 2, "cat": 1}', "cat dog"),
        ("a.yaml", "path: ../data\nnc: 2\nnames:\n  0: cat\n  1: dog\n", "cat dog"),
        ("a.yaml", "names: [cat, dog]\n", "cat dog"),
        ("a.json", '["cat", "dog"]', "cat dog"),
        ("a.json", '{"dog": 1, "cat": 0}', "cat dog"),
        ("a.json", '{"id2label": {"0": "cat", "1": "dog"}, "label2id": {"cat": 0, "dog": 1}}', "cat dog"),
        ("a.json", '{"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}', "cat dog"),
        ("a.json", '[{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]', "cat dog"),
        ("a.json", '{"0": ["n02123045", "cat"], "1": ["n02084071", "dog"]}', "cat dog"),
        ("a.json", '[["n1", "cat"], ["n2", "dog"]]', "cat dog"),
        ("a.json", '{"classes": ["cat", "dog"]}', "cat dog"),
        ("a.jsonl", '{"id": 0, "name": "cat"}\n{"id": 1, "name": "dog"}\n', "cat dog"),
    ],
)
def test_forms_that_are_sure(tmp_path, name, content, names):
    assert read(tmp_path, name, content).names == tuple(names.split())
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        assert read(tmp_path, name, content.encode(encoding)).names == tuple(names.split())


@pytest.mark.parametrize(
    ("content", "said", "names", "ids"),
    [
        ("cat,dog,bird\n", "one line with ',' in it: read as 3 names", "cat dog bird", None),
        ("cat; dog; bird", "one line with ';' in it", "cat dog bird", None),
        ("cat|dog|bird", "one line with", "cat dog bird", None),
        ("cat\tdog\tbird", "one line with", "cat dog bird", None),
        ('# animals\n"cat", "dog", "bird",\n', "read as 3 names", "cat dog bird", None),
        ("1. cat\n2. dog\n", "numbers at the beginning", "cat dog", "1 2"),
        ("1) cat\n2) dog\n", "numbers at the beginning", "cat dog", "1 2"),
        ("(1) cat\n(2) dog\n", "numbers at the beginning", "cat dog", "1 2"),
        ("0: cat\n1: dog\n", "numbers at the beginning", "cat dog", "0 1"),
        ("0 cat\n1 dog\n", "numbers at the beginning", "cat dog", "0 1"),
        ("0,cat\n1,dog\n", "numbers at the beginning", "cat dog", "0 1"),
        ("0=cat\n1=dog\n", "numbers at the beginning", "cat dog", "0 1"),
        ("cat 0\ndog 1\n", "numbers at the end", "cat dog", "0 1"),
        ("cat\t0\ndog\t1\n", "numbers at the end", "cat dog", "0 1"),
        ("cat: 1\ndog: 2\n", "numbers at the end", "cat dog", "1 2"),
        ("cat;0\ndog;1\n", "numbers at the end", "cat dog", "0 1"),
        ("1 - cat\n2 - dog\n", "numbers at the beginning", "cat dog", "1 2"),
        ("1 001.cat\n2 002.dog\n", "numbers at the beginning", "cat dog", "1 2"),
        ("n02123045 cat\nn02084071 dog\n", "synsets at the beginning", "cat dog", "n02123045 n02084071"),
        ("猫、犬、鳥\n", "one line with '、' in it: read as 3 names", "猫 犬 鳥", None),
        ("猫，犬，鳥\n", "read as 3 names", "猫 犬 鳥", None),
        ("قط، كلب\n", "read as 2 names", "قط كلب", None),
        ("１．猫\n２．犬\n", "numbers at the beginning", "猫 犬", "1 2"),
        ("（1）猫\n（2）犬\n", "numbers at the beginning", "猫 犬", "1 2"),
        ("1、猫\n2、犬\n", "numbers at the beginning", "猫 犬", "1 2"),
        ("١. قط\n٢. كلب\n", "numbers at the beginning", "قط كلب", "1 2"),
        ("cat,dog\nfox,owl\n", "each line is read as one name", "cat,dog fox,owl", None),
        ("name\ncat\ndog\n", "'name', is read as a heading", "cat dog", None),
        ("cat", "one class in it, 'cat'", "cat", None),
    ],
)
def test_forms_that_are_guessed_are_said(tmp_path, content, said, names, ids):
    labels = read(tmp_path, "a.txt", content, warned=said)
    assert labels.names == tuple(names.split())
    assert labels.ids == tuple((ids or names).split())


@pytest.mark.parametrize(
    "lines",
    [
        ["tench, Tinca tinca", "goldfish, Carassius auratus"],
        ["2 door coupe", "4 door sedan"],
        ["1 person", "2 person"],
        ["3D printer", "Boeing 737", "Boeing 747"],
        ["level 0", "level 1", "level 2"],
        ["Apollo 11", "Soyuz 7"],
        ["0", "1", "2"],
        ["17", "23"],
        ["- cat", "dog"],
        ["rock-paper", "C++"],
        ["label = none", "names of places", "item", "class"],
        ["<unk>", "<pad>"],
        ["| bar", "a|b|c"],
        ["“quoted” things", "others"],
        ["red\u2028panda", "vertical\x0btab", "next\x85line", "file\x1cseparator"],
        ["猫", "собака", "کتاب"],
    ],
)
def test_names_that_only_look_like_a_form(tmp_path, lines):
    labels = read(tmp_path, "a.txt", "\n".join(lines) + "\n")
    assert labels.names == tuple(" ".join(line.split()) for line in lines)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "['cat', 'dog']", "not JSON.*one name a line"),
        ("a.txt", "[cat, dog]", "not JSON.*one name a line"),
        ("a.txt", "labels = ['cat', 'dog']\n", "this is code"),
        ("a.py", "# mine\nNAMES: list[str] = [\n'cat',\n]\n", "line 2: this is code"),
        ("a.txt", "('cat', 'dog')\n", "this is code"),
        ("a.toml", 'names = ["cat"]\n', "this is code"),
        ("a.md", "| id | name |\n|---|:--|\n| 0 | cat |\n", "this is a Markdown table"),
        ("a.html", "<ul>\n<li>cat</li>\n</ul>\n", "this is XML or HTML"),
        ("a.pbtxt", "item {\n  id: 1\n  name: 'cat'\n}\n", "label map of TensorFlow"),
        ("a.txt", "names:\n  - cat\n  - dog\n", "this is YAML"),
        ("a.txt", "Classes: cat, dog\n", "this is YAML"),
        ("a.yaml", "labels: cat, dog\n", "labels must hold a list of names, not 'cat, dog'"),
        ("a.csv", "cat,dog\nfox,owl\n", "2 columns, and no heading says which holds the names"),
        ("a.csv", "id,name\n0,cat\n1,dog,x\n", "line 3: 3 fields, and the first has 2"),
        ("a.csv", 'name\n"cat\n', "line 2: unexpected end of data"),
        ("a.csv", "id,name\n0,cat\n0,dog\n", "'0' is there twice"),
        ("a.csv", "id,name\n0,cat\n1,\n", "label 2 of 2 is blank"),
        ("a.yaml", "- cat\n- [dog]\n", "a label must be text"),
        ("a.yaml", "- cat\n-\n", "a label must be text"),
        ("a.yaml", "cat\n", "must hold a list of names"),
        ("a.yaml", "- cat\n: {", "not YAML"),
        ("a.yaml", "0: cat\n0: dog\n", "'0' is twice"),
        ("a.json", '[{"id": 1}]', "no name in it"),
        ("a.json", '{"cat": 3, "dog": 9}', "a label must be text, not 3"),
        ("a.yaml", "cat: 3\ndog: 9\n", "a label must be text, not 3"),
        ("a.json", '{"a": NaN}', "NaN is no number"),
        ("a.json", '["\\ud800"]', "surrogate"),
        ("a.txt", b"cat\ncaf\xe9\n", "a.txt, line 2: not UTF-8"),
        ("a.txt", b"cat\n\0\0dog\n", "line 2: no text: it holds NUL"),
    ],
)
def test_forms_that_are_refused(tmp_path, name, content, message):
    with pytest.raises(LabelError, match=message) as caught:
        read(tmp_path, name, content)
    assert str(tmp_path / name) in str(caught.value)


WORDS = st.text(st.sampled_from("abcdeéßжあ猫 '-"), min_size=1, max_size=8).map(str.strip)
SOME = st.lists(
    WORDS.filter(lambda name: len(name) > 1 and name[0].isalpha() and name[-1].isalpha()),
    min_size=2, max_size=5, unique_by=lambda name: " ".join(name.split()),
)  # fmt: skip

FORMS: dict[str, tuple[str, Callable[[list[str]], str]]] = {
    "lines": ("a.txt", "\n".join),
    "windows": ("a.txt", "\r\n".join),
    "numbers": ("a.txt", lambda names: "".join(f"{n}. {name}\n" for n, name in enumerate(names, 1))),
    "bullets": ("a.txt", lambda names: "".join(f"- {name}\n" for name in names)),
    "commas": ("a.txt", ",".join),
    "semicolons": ("a.txt", "; ".join),
    "code": ("a.txt", lambda names: "".join(f'"{name}",\n' for name in names)),
    "table": ("a.csv", lambda names: "id,name\n" + "".join(f"{n},{name}\n" for n, name in enumerate(names))),
    "excel": (
        "a.csv",
        lambda names: "Name;Id\r\n" + "".join(f"{name};x{n}\r\n" for n, name in enumerate(names)),
    ),
    "json": ("a.json", json.dumps),
    "json-ids": ("a.json", lambda names: json.dumps({str(n): name for n, name in enumerate(names)})),
    "json-numbers": ("a.json", lambda names: json.dumps({name: n for n, name in enumerate(names)})),
    "yaml": ("a.yaml", lambda names: yaml.safe_dump(names, allow_unicode=True)),
    "yaml-ids": ("a.yaml", lambda names: yaml.safe_dump({"names": dict(enumerate(names))})),
}


@given(names=SOME, form=st.sampled_from(sorted(FORMS)), encoding=st.sampled_from(["utf-8", "utf-16"]))
@pytest.mark.filterwarnings("ignore::vlcls.errors.VlclsWarning")
def test_every_form_holds_the_same_names(tmp_path_factory, names, form, encoding):
    file, write = FORMS[form]
    path = tmp_path_factory.getbasetemp() / file
    path.write_bytes(write(names).encode(encoding))
    assert read_labels(path).names == tuple(" ".join(name.split()) for name in names)


def test_the_command_lines_list_may_have_semicolons():
    assert parse_labels("cat; red panda;dog").names == ("cat", "red panda", "dog")
    assert parse_labels('"a;b",c').names == ("a;b", "c")
    assert parse_labels("red\u2028panda,dog").names == ("red panda", "dog")
    for text in ("猫、犬", "猫，犬", "猫، 犬"):
        assert parse_labels(text).names == ("猫", "犬")
    assert parse_labels("猫、犬,鳥").names == ("猫、犬", "鳥")


@pytest.mark.parametrize("text", ["['cat', 'dog']", '["cat", "dog"]', "('cat', 'dog')", '{"cat": 0}'])
def test_the_command_lines_list_has_no_brackets(text):
    with pytest.raises(LabelError, match="without brackets and quotes"):
        parse_labels(text)
    assert parse_labels("(cat),[dog]").names == ("(cat)", "[dog]")
