"""Descriptor sets in memory: finding classes, matching labels, edits, differences, checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlcls.descriptors import Descriptor, DescriptorSet, check_descriptors, diff_descriptors, edits
from vlcls.encoders import Encoder
from vlcls.errors import DescriptorError
from vlcls.labels import Labels, as_labels


def made(content: dict[str, list[str]], ids: list[str] | None = None, **options) -> DescriptorSet:
    labels = Labels(tuple(content), tuple(ids or content))
    own = tuple(tuple(Descriptor(text) for text in texts) for texts in content.values())
    return DescriptorSet(labels, own, **options)


TIGER = made(
    {"tiger": ["black stripes", "long whiskers"], "red panda": ["a ringed tail"]}, ["t1", "red panda"]
)
TWICE = DescriptorSet(
    Labels(("sunglasses", "sunglasses", "cat"), ("n1", "n2", "cat")),
    tuple((Descriptor(text),) for text in ("dark lenses", "tinted lenses", "whiskers")),
)


@pytest.mark.parametrize("name", ["tiger", "t1", "Tiger", "TIGER"])
def test_a_class_by_any_of_its_names(name: str):
    assert TIGER.find(name) == 0
    assert TIGER.find("red_panda") == 1


def test_classes_that_cannot_be_found():
    with pytest.raises(DescriptorError, match=r"no class 'tigre'; did you mean 'tiger'\?"):
        TIGER.find("tigre")
    with pytest.raises(DescriptorError, match=r"'sunglasses' is there 2 times.*n1, n2"):
        TWICE.find("sunglasses")
    assert TWICE.find("n2") == 1 and TWICE.find("sunglasses (n2)") == 1


def test_the_labels_decide_which_classes_and_in_what_order():
    found = TIGER.for_labels(as_labels(["Red_Panda", "tiger"]))
    assert found.labels.names == ("Red Panda", "tiger")
    assert [found.texts(0), found.texts(1)] == [["a ringed tail"], ["black stripes", "long whiskers"]]
    with pytest.raises(
        DescriptorError, match=r"no descriptors for 2 of 3 classes: 'tigers', 'zebra'; did you"
    ):
        TIGER.for_labels(as_labels(["tigers", "zebra", "tiger"]))


def test_two_classes_of_one_name_keep_their_own():
    by_id = TWICE.for_labels(as_labels({"n2": "sunglasses", "n1": "sunglasses"}))
    assert [by_id.texts(0), by_id.texts(1)] == [["tinted lenses"], ["dark lenses"]]
    by_order = TWICE.for_labels(as_labels({"a": "sunglasses", "b": "sunglasses"}))
    assert [by_order.texts(0), by_order.texts(1)] == [["dark lenses"], ["tinted lenses"]]
    shared = made({"sunglasses": ["dark lenses"]}).for_labels(
        as_labels({"a": "sunglasses", "b": "sunglasses"})
    )
    assert [shared.texts(0), shared.texts(1)] == [["dark lenses"], ["dark lenses"]]


def test_edits():
    more = edits.add(TIGER, "tiger", ["white belly"])
    assert more.texts(0) == ["black stripes", "long whiskers", "white belly"] and len(TIGER) == 3
    assert more.descriptors[0][2].source == "hand"
    new = edits.add(TIGER, "fox", ["red fur"], new_class=True)
    assert new.labels.names[2] == "fox" and new.texts(2) == ["red fur"]
    assert edits.remove(TIGER, "tiger", ["black stripes"]).texts(0) == ["long whiskers"]
    assert edits.remove(TIGER, "t1").labels.names == ("red panda",)
    other = edits.replace_text(TIGER, "tiger", "black stripes", "dark stripes")
    assert other.descriptors[0][0] == Descriptor("dark stripes", edited=True)
    assert edits.reweight(TIGER, "tiger", "black stripes", 0).descriptors[0][0].weight == 0
    renamed = edits.rename(edits.rename(TIGER, "tiger", "big cat"), "red panda", "panda")
    assert renamed.labels == Labels(("big cat", "panda"), ("t1", "panda"))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda: edits.add(TIGER, "tigre", ["x"]), r"no class 'tigre'; did you mean 'tiger'"),
        (lambda: edits.add(TIGER, "tiger", ["black stripes"]), "'tiger' has 'black stripes' already"),
        (lambda: edits.add(TIGER, "tiger", [" "]), "blank"),
        (lambda: edits.add(TIGER, "tiger", ["x"], new_class=True), "a class 'tiger' already"),
        (lambda: edits.remove(TIGER, "tiger", ["black stripe"]), r"did you mean 'black stripes'\?"),
        (lambda: edits.remove(made({"a": []}), "a"), "only class"),
        (lambda: edits.replace_text(TIGER, "tiger", "black stripes", "long whiskers"), "already"),
        (lambda: edits.replace_text(TIGER, "tiger", "black stripes", ""), "blank"),
        (lambda: edits.reweight(TIGER, "tiger", "black stripes", -1), "weight -1"),
        (lambda: edits.reweight(TIGER, "tiger", "black stripes", float("nan")), "weight nan"),
        (lambda: edits.rename(TIGER, "red panda", "t1"), "'t1' already"),
        (lambda: edits.rename(TIGER, "tiger", " "), "blank"),
    ],
)
def test_edits_that_cannot_be(edit, message: str):
    with pytest.raises(DescriptorError, match=message):
        edit()


def test_what_differs():
    after = edits.add(
        edits.remove(edits.reweight(TIGER, "tiger", "long whiskers", 2), "red panda"), "tiger", ["fangs"]
    )
    after = edits.replace_text(after, "tiger", "black stripes", "stripes")
    after = edits.add(after, "fox", ["red fur"], new_class=True)
    found = [(c.kind, c.class_name, c.text, c.weights) for c in diff_descriptors(TIGER, after)]
    assert found == [
        ("class removed", "red panda", "", None),
        ("removed", "tiger", "black stripes", None),
        ("added", "tiger", "stripes", None),
        ("reweighted", "tiger", "long whiskers", (1, 2)),
        ("added", "tiger", "fangs", None),
        ("class added", "fox", "", None),
        ("added", "fox", "red fur", None),
    ]
    assert diff_descriptors(after, after) == ()


PROBLEMS = """{
  "tiger": [
    "black stripes",
    "Black  stripes.",
    "",
    "a tiger's tail",
    "a loud roar"
  ],
  "corn_field": [],
  "lion": ["a mane"],
  "puma": ["a mane"],
  "lion": ["a tail"]
}"""


def test_every_problem_has_its_class_and_line(tmp_path: Path):
    path = tmp_path / "set.json"
    path.write_text(PROBLEMS)
    found = check_descriptors(path, as_labels(["tiger", "corn field", "lion", "zebra"]))
    assert [(p.kind, p.severity, p.class_name, p.descriptor, p.line) for p in found] == [
        ("duplicate", "warning", "tiger", "Black  stripes.", 4),
        ("blank", "error", "tiger", "", 5),
        ("own name", "warning", "tiger", "a tiger's tail", 6),
        ("not visual", "warning", "tiger", "a loud roar", 7),
        ("no descriptors", "error", "corn field", "", 9),
        ("shared list", "warning", "puma", "", 11),
        ("unknown class", "error", "puma", "", 11),
        ("repeated class", "error", "lion", "", 12),
        ("missing class", "error", "zebra", "", None),
    ]


def test_prompts_longer_than_the_context(clip: Encoder):
    long = " ".join(["very"] * clip.context_length) + " long"
    (problem,) = check_descriptors(made({"tiger": ["black stripes", long]}), encoder=clip)
    assert (problem.kind, problem.descriptor, problem.line) == ("cut", long, None)
    assert str(clip.context_length) in problem.message


def test_a_sentence_may_name_its_class_and_a_sound_set_has_no_problems():
    assert check_descriptors(made({"tiger": ["A tiger has stripes."]}, style="sentences")) == []
    assert check_descriptors(TIGER) == []
    assert [p.kind for p in check_descriptors(made({"dish": ["a dishwasher", "two dishes"]}))] == ["own name"]
