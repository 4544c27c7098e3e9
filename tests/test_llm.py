"""Questions, answers, the log: what happens around a language model, without one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlcls.encoders import Encoder
from vlcls.errors import LanguageModelError
from vlcls.labels import as_labels
from vlcls.llm.answers import MAX_CHARACTERS, AnswerError, parse_answer
from vlcls.llm.contrast import near_siblings, read_siblings
from vlcls.llm.log import AnswerLog, LoggedAnswer
from vlcls.llm.requests import Asking, asked_again, questions, request_key

CAT = ["whiskers", "pointed ears"]


@pytest.mark.parametrize(
    "text",
    [
        '{"class": "cat", "descriptors": ["whiskers", "pointed ears"]}',
        '{"class": "a Cat", "descriptors": ["whiskers", "pointed ears"]}',
        '["whiskers", "pointed ears"]',
        'Here you are:\n```json\n{"descriptors": ["whiskers", "pointed ears."]}\n```\nAnything else?',
        '{"features": ["whiskers", "pointed ears"]}',
        "- whiskers\n- pointed ears\n",
        "Sure! Here is the list:\n* **whiskers**\n* pointed ears",
        "1. whiskers\n2. pointed ears",
        "1) whiskers\n2) pointed ears;",
        "\u2022 whiskers\n\u2022 pointed ears\n\u2022 whiskers",
        '- "whiskers"\n-pointed ears',
    ],
)
def test_answers_in_every_form(text: str):
    assert parse_answer(text, "descriptors", "cat", ["dog"]) == CAT


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("Cats are nice.", "no list"),
        ('{"class": "cat", "descriptors": ["whiskers", "poin', "cut off"),
        ('{"class": "cat", "descriptors": "whiskers"}', "no list 'descriptors'"),
        ('{"class": "cat", "descriptors": [1, 2]}', "not a list of texts"),
        ('{"class": "cat", "descriptors": []}', "list was empty"),
        ('{"class": "dog", "descriptors": ["a wet nose"]}', "about 'dog'"),
        ("- a dog's wet nose\n- the dog's tail\n- paws", "about 'dog'"),
        ("- \n- ...\n", "no list|list was empty"),
        ("[" * 100_000, "cut off"),
    ],
)
def test_answers_that_cannot_be_used(text: str, reason: str):
    with pytest.raises(AnswerError, match=reason):
        parse_answer(text, "descriptors", "cat", ["dog"])


def test_sentences():
    text = "1. A cat has whiskers.\n2. Cats purr softly"
    assert parse_answer(text, "sentences", "cat") == ["A cat has whiskers.", "Cats purr softly."]
    assert parse_answer("A cat has fur.\nA cat has paws.", "sentences", "cat") == [
        "A cat has fur.",
        "A cat has paws.",
    ]


def test_two_megabytes_are_read_in_part():
    found = parse_answer("- soft fur\n" * 200_000, "descriptors", "cat")
    assert found == ["soft fur"]
    assert (
        len(parse_answer("\n".join(f"- part {n} of it" for n in range(200_000)), "descriptors", "cat"))
        < MAX_CHARACTERS
    )


@given(st.text(), st.sampled_from(["descriptors", "sentences"]))
def test_any_text_is_parsed_or_refused(text: str, style):
    try:
        found = parse_answer(text, style, "cat", ["dog", ""])
    except AnswerError:
        return
    assert found and all(phrase.strip() for phrase in found)
    assert "\n" not in "".join(found)


PHRASES = st.lists(st.from_regex(r"[a-z]{2,8}( [a-z]{2,8}){0,4}", fullmatch=True), min_size=1, unique=True)


@given(PHRASES, st.sampled_from(["- {}", "* {}", "3. {}", "\u2022 {}"]))
def test_written_lists_are_read_back(phrases: list[str], form: str):
    text = "\n".join(form.format(phrase) for phrase in phrases)
    assert parse_answer(text, "descriptors", "zebra") == phrases
    assert parse_answer(json.dumps(phrases), "descriptors", "zebra") == phrases


def test_questions_name_the_class_with_its_article():
    labels = as_labels(["elephant", "Golden Retriever"])
    first, second = questions(labels, hint="pets", per_class=6)
    assert "List 6 short phrases" in first.text and "an elephant (pets) looks" in first.text
    assert (second.class_index, second.count) == (1, 6)
    shots = questions(labels, instructions="two-shot")
    assert shots[1].text.endswith("A: A Golden Retriever can be recognised in a photo by:\n-")
    assert shots[0].text.count("\nQ: ") == 2
    five = questions(labels, "sentences", per_class=30)
    assert len(five) == 10 and {q.count for q in five} == {6}
    apart = questions(labels, siblings={1: ["wolf", "fox", "elk"]})
    assert len(apart) == 1 and "taken for a wolf, a fox or an elk." in apart[0].text


def test_own_instructions_and_their_errors(tmp_path: Path):
    own = tmp_path / "mine.j2"
    own.write_text("Say {{ count }} words on {{ name }}.")
    assert questions(as_labels(["cat"]), instructions=own)[0].text == "Say 8 words on cat."
    for text, message in (
        ("{{ colour }}", "mine.j2.*'colour' is undefined"),
        ("{{ name", "mine.j2, line 1"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "mine.j2.*unsafe"),
        ("", "empty"),
    ):
        own.write_text(text)
        with pytest.raises(LanguageModelError, match=message):
            questions(as_labels(["cat"]), instructions=own)
    with pytest.raises(
        LanguageModelError,
        match=r"instructions no-such: .*; built in are: contrast, descriptors, sentences, two",
    ):
        questions(as_labels(["cat"]), instructions="no-such")


def test_a_changed_prompt_says_what_was_wrong():
    text = asked_again("List parts.", "cat", "it was a refusal")
    assert text.startswith("List parts.\n\n") and "it was a refusal" in text and '"cat"' in text


def test_requests_are_equal_only_if_all_is():
    asking = Asking("m", "descriptors")
    assert request_key(asking.body("a")) == request_key(json.loads(json.dumps(asking.body("a"))))
    plain = replace(asking, structured=False)
    others = [Asking("n", "descriptors").body("a"), asking.body("b"), plain.body("a")]
    assert len({request_key(body) for body in (asking.body("a"), *others)}) == 4
    assert "response_format" not in plain.body("a")


def test_the_log_survives_a_torn_line(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    with AnswerLog(path) as log:
        log.add(LoggedAnswer(key="k1", answer="caf\u00e9", tokens=3))
        log.set(replace(Asking("m", "descriptors"), structured=False))
    with path.open("ab") as file:
        file.write(b'{"key": "k2", "answ')
    with AnswerLog(path) as again:
        found = again.get("k1")
        assert len(again) == 1 and found is not None and (found.answer, found.tokens) == ("caf\u00e9", 3)
        assert not again.settings.structured
        again.add(LoggedAnswer(key="k3", answer="x"))
    with AnswerLog(path) as again:
        assert len(again) == 2
    assert path.with_name("log.jsonl.bad").read_bytes() == b'{"key": "k2", "answ\n'


def test_siblings_from_pairs_and_files(tmp_path: Path):
    labels = as_labels(["cat", "lynx", "dog", "wolf"])
    assert read_siblings("cat/lynx, Dog/wolf", labels) == {0: ["lynx"], 1: ["cat"], 2: ["wolf"], 3: ["dog"]}
    rows = [
        {"true": "cat", "predicted": "dog", "count": 2},
        {"true": "cat", "predicted": "lynx", "count": 5},
        {"true": "dog", "predicted": "dog", "count": 90},
    ]
    path = tmp_path / "confusions.json"
    path.write_text(json.dumps({"confusions": rows}))
    assert read_siblings(str(path), labels) == {0: ["lynx", "dog"], 1: ["cat"], 2: ["cat"]}
    table = tmp_path / "confusions.csv"
    table.write_text("true,predicted,count\ncat,lynx,5\ncat,dog,2\n")
    assert read_siblings(str(table), labels, 1) == {0: ["lynx"], 1: ["cat"], 2: ["cat"]}
    for said, message in (
        ("cat", "pairs are expected"),
        ("cat/cow", "'cow' is not among"),
        ("cat/cat", "no two"),
    ):
        with pytest.raises(LanguageModelError, match=message):
            read_siblings(said, labels)
    long = ",".join(["cat/lynx"] * 1000)  # no name of a file is that long
    assert read_siblings(long, labels) == {0: ["lynx"], 1: ["cat"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.json", b"[1]"),
        ("c.json", b"{}"),
        ("c.json", b"[["),
        ("c.json", b'{"confusions": 3}'),
        ("c.json", b'[{"true": "cat"}]'),
        ("c.json", b'[{"true": "cat", "predicted": ["dog"]}]'),
        ("c.json", b'[{"true": "cat", "predicted": "dog", "count": "many"}]'),
        ("c.json", b'[{"true": "cat", "predicted": "dog", "count": -1}]'),
        ("c.json", b'[{"true": "cat", "predicted": "dog", "count": NaN}]'),
        ("c.json", b"[" * 50_000),
        ("c.csv", b"true,predicted,count\ncat,dog,many\n"),
        ("c.csv", b"true,predicted,count\ncat,dog,inf\n"),
        ("c.csv", b"a,b\ncat,dog\n"),
        ("c.csv", b'true,predicted\n"cat'),
        ("c.csv", b"true,predicted\n" + b"x" * 200_000),
        ("c.csv", b"\xff\x00\xfe"),
    ],
)
def test_confusions_that_are_none(name: str, content: bytes, tmp_path: Path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(LanguageModelError, match=r"c\.(?:json|csv)"):
        read_siblings(str(path), as_labels(["cat", "dog"]))
    wide = tmp_path / "wide.csv"
    wide.write_bytes("true,predicted\ncat,dog\n".encode("utf-16"))
    assert read_siblings(str(wide), as_labels(["cat", "dog"])) == {0: ["dog"], 1: ["cat"]}


def test_the_nearest_names():
    from vlcls import load_encoder

    labels = as_labels({"a": "cat", "b": "tomcat", "c": "truck", "d": "lorry", "e": "cat"})
    found = near_siblings(labels, load_encoder("conse", "cpu", "fp32"), 1)
    assert found[0] == found[4] == ["tomcat"] and found[2] == ["lorry"] and found[3] == ["truck"]


def test_near_siblings_of_any_encoder(clip: Encoder):
    found = near_siblings(as_labels(["cat", "dog"]), clip)
    assert found == {0: ["dog"], 1: ["cat"]}
