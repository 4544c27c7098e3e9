"""Every text of a user's is read in the encodings that programs write, or refused with file and line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlcls.cli.commands.bias import _words
from vlcls.descriptors import read_descriptors
from vlcls.errors import VlclsError
from vlcls.evaluation.data.shards import read_class_names
from vlcls.evaluation.data.suites import read_suite
from vlcls.evaluation.data.tables import read_table
from vlcls.evaluation.metrics.robustness import read_fit
from vlcls.image_sources import find_images
from vlcls.labels import read_labels
from vlcls.prompts import load_templates
from vlcls.retrieval import read_captions

Read = Callable[[Path], Any]

SUITE = "# {}\nabout: {}\nsets:\n  - name: a\n    path: p\n"
FIT = "# {}\nmodel,a,b\n{},0.5,0.4\nx,0.6,0.5\ny,0.7,0.6\n"

#: Everything that reads text of a user: a file, its content with two places for words, and the reader.
READERS: dict[str, tuple[str, str, Read]] = {
    "labels": ("a.txt", "{}\n{}\n", lambda path: read_labels(path).names),
    "labels, CSV": ("a.csv", "name\n{}\n{}\n", lambda path: read_labels(path).names),
    "labels, JSON": ("a.json", '["{}",\n"{}"]', lambda path: read_labels(path).names),
    "labels, YAML": ("a.yaml", "- {}\n- {}\n", lambda path: read_labels(path).names),
    "class names of shards": ("classnames.txt", "{}\n{}\n", lambda path: read_class_names(path.parent)),
    "templates": ("a.txt", "a {} of {{}}\na {} of {{}}\n", load_templates),
    "descriptors": (
        "a.json",
        '{{"{}": ["fur"],\n"{}": ["fur"]}}',
        lambda path: read_descriptors(path).labels,
    ),
    "captions": ("a.txt", "{}\n{}\n", lambda path: list(read_captions(path))),
    "captions, CSV": ("a.csv", "caption\n{}\n{}\n", lambda path: list(read_captions(path))),
    "captions, JSON": ("a.jsonl", '"{}"\n"{}"\n', lambda path: list(read_captions(path))),
    "tables, CSV": ("a.csv", "image,label\n{},x\n{},x\n", read_table),
    "tables, JSON": ("a.jsonl", '{{"image": "{}"}}\n{{"image": "{}"}}\n', read_table),
    "suites": ("a.yaml", SUITE, lambda path: read_suite(path).about),
    "fits": ("a.csv", FIT, lambda path: read_fit(path, "a", "b")),
    "vocabulary": ("a.txt", "{}\n{}\n", lambda path: _words(path, None)),  # type: ignore[arg-type]
    "lists of images": (
        "a.txt",
        "{}.png\n{}.png\n",
        lambda path: [each.name for each in find_images([path])],
    ),
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
WORDS = ("red panda", "Bär in café 猫")


@pytest.mark.parametrize("name", READERS)
def test_the_encodings_that_programs_write(tmp_path, name):
    file, form, read = READERS[name]
    path = tmp_path / file
    found = []
    for encoding in ENCODINGS:
        for end in ("\n", "\r\n"):
            path.write_bytes(form.format(*WORDS).replace("\n", end).encode(encoding))
            found.append(read(path))
    assert all(each == found[0] for each in found)
    assert any(word in str(found[0]) for word in WORDS)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp1251", "gbk", "shift-jis"])
@pytest.mark.parametrize("name", [name for name in READERS if name != "lists of images"])
def test_other_encodings_are_refused_with_the_line(tmp_path, name, encoding):
    """Names of files are bytes: lists of them are the one text that may hold any."""
    file, form, read = READERS[name]
    word = {"cp1251": "собака", "gbk": "猫和狗", "shift-jis": "猫と犬"}.get(encoding, "Bär")
    text = form.format("a dog", word)
    (tmp_path / file).write_bytes(text.encode(encoding))
    line = text[: text.index(word)].count("\n") + 1
    with pytest.raises(VlclsError, match=rf"{re.escape(file)}.*, line {line}: not UTF-8 text"):
        read(tmp_path / file)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
@pytest.mark.parametrize("name", READERS)
def test_no_pipe_is_waited_for(tmp_path, name, kind):
    file, _, read = READERS[name]
    (os.mkfifo if kind == "pipe" else os.mkdir)(tmp_path / file)
    if name == "class names of shards":
        assert read(tmp_path / file) is None
    elif name == "lists of images" and kind == "pipe":
        assert read(tmp_path / file) == [str(tmp_path / file)]  # an image that cannot be read
    else:
        with pytest.raises(VlclsError):
            read(tmp_path / file)


@pytest.mark.parametrize("name", ["labels", "class names of shards", "captions", "vocabulary", "templates"])
def test_lines_end_at_line_ends_only(tmp_path, name):
    file, form, read = READERS[name]
    odd = "red\u2028panda\x0bof\x85zoo"
    (tmp_path / file).write_text(form.format(odd, "cat"), encoding="utf-8")
    assert len(read(tmp_path / file)) == 2
