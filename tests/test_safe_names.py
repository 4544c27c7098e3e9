"""Folders of labels have names that every system allows, and no two labels share one."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vlcls.results.safe_names import LONGEST, NONE, UNREADABLE, compared, folder_name

HOSTILE = [
    "a/b", "a\\b", "..", ".", "", " ", "CON", "nul.txt", "Com1", "con .x", "dog.", "dog ", " dog", "x" * 300,
    "🐕", "🐕" * 100, "👨‍👩‍👧", "é" * 200, "a:b", "a*b", "a\tb", "a\nb", "\x1b[31m", "\u202egpj.exe",
    "\u200d", "-rf", "~", ".hidden", "none of these", "None of these", "unreadable", "vlcls-sorted.jsonl",
    "a\0b", "\ud800", "../../etc/passwd", "/etc", "C:", "LPT¹", "dog ~12345678",
]  # fmt: skip
#: Characters that names of folders are broken with.
texts = st.text(
    st.one_of(st.sampled_from("aA. /\\~-:\0\u0301eéÉıIßſ\u200d\ufe0f"), st.characters()), max_size=12
)


def named(labels: list[str]) -> dict[str, str]:
    taken = {compared(NONE), compared(UNREADABLE), compared("vlcls-sorted.jsonl")}
    names = {}
    for label in labels:
        names[label] = folder_name(label, taken)
        taken.add(compared(names[label]))
    return names


def is_safe(name: str) -> bool:
    device = re.fullmatch(r"(?i)(con|prn|aux|nul|(com|lpt)[0-9¹²³])(\..*)?", name, re.S)
    return (
        name not in ("", ".", "..")
        and not re.search(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f]', name)
        and name[0] not in " .-~"
        and name[-1] not in " ."
        and device is None
        and len(name.encode()) <= 255  # fails on halves of characters, too
    )


@given(st.lists(texts, max_size=8, unique=True))
@example(HOSTILE)
@example(
    [
        "dog",
        "Dog",
        "DOG",
        "dog ",
        "dög",
        unicodedata.normalize("NFD", "dög"),
        "ﬁn",
        "fin",
        "straße",
        "STRASSE",
    ]
)
def test_any_labels_have_safe_names_of_their_own(labels: list[str]) -> None:
    names = named(labels)
    assert all(map(is_safe, names.values())), names
    for form in ("NFC", "NFD", "NFKC"):
        for case in (str.lower, str.upper, str.casefold):
            seen = {case(unicodedata.normalize(form, name)) for name in names.values()}
            assert len(seen) == len(labels)
    assert not {"none of these", "unreadable", "vlcls-sorted.jsonl"} & {
        name.lower() for name in names.values()
    }


@given(st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ,()&'é犬]{0,20}[a-z]", fullmatch=True), max_size=5))
def test_a_safe_label_is_its_own_folder(labels: list[str]) -> None:
    for label in labels:
        if label.lower() not in ("con", "prn", "aux", "nul"):
            assert folder_name(label, ()) == unicodedata.normalize("NFC", label)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("a/b", r"a_b ~[0-9a-f]{8}"), ("..", r"__ ~[0-9a-f]{8}"), ("CON", r"_CON ~[0-9a-f]{8}"),
        ("🐕", "🐕"), ("red panda", "red panda"), ("犬", "犬"), ("", r"_ ~[0-9a-f]{8}"),
        ("none of these", r"none of these ~[0-9a-f]{8}"), ("dog.", r"dog_ ~[0-9a-f]{8}"),
    ],
)  # fmt: skip
def test_names_stay_readable(label: str, name: str) -> None:
    assert re.fullmatch(name, named([label])[label])


def test_a_long_label_keeps_its_beginning() -> None:
    name = folder_name("x" * 300, ())
    assert name.startswith("x" * LONGEST + " ~") and len(name) == LONGEST + 10
    assert len(folder_name("🐕" * 100, ()).encode()) <= LONGEST + 10


def test_the_name_of_a_label_is_the_same_every_time_and_another_if_it_is_taken() -> None:
    assert folder_name("a/b", ()) == folder_name("a/b", ()) != folder_name("a:b", ())
    first = folder_name("a/b", ())
    assert folder_name("a/b", {compared(first)}).startswith(first)
    assert folder_name("Dog", {compared("dog")}) != "Dog"
