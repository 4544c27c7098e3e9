"""Templates and prompts: built-in sets, articles, files, order, and the prompt set itself."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import inflect
import pytest
from hypothesis import given
from hypothesis import strategies as st
from open_clip import zero_shot_metadata

import vlcls
from vlcls import articles as module
from vlcls.descriptors import Descriptor, DescriptorSet
from vlcls.errors import TemplateError
from vlcls.labels import as_labels
from vlcls.prompts import (
    Kind,
    Prompt,
    PromptSet,
    class_prompts,
    fill_template,
    load_templates,
    prompts_folder,
    prompts_from_descriptors,
    prompts_from_templates,
    template_names,
)
from vlcls.prompts.templates import published_names

OPEN_CLIP = {
    "simple": zero_shot_metadata.SIMPLE_IMAGENET_TEMPLATES,
    "openai-imagenet": zero_shot_metadata.OPENAI_IMAGENET_TEMPLATES,
}


def texts(names: list[str], templates: object, **options: bool) -> list[str]:
    return prompts_from_templates(as_labels(names), templates, **options).texts  # type: ignore[arg-type]


# ---- built-in sets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count"), [("name", 1), ("photo", 1), ("simple", 7), ("openai-imagenet", 80)]
)
def test_sizes_of_the_built_in_sets(name: str, count: int):
    assert len(load_templates(name)) == count
    assert len(set(load_templates(name))) == count


def test_the_simplest_sets():
    assert texts(["cat"], "name") == ["cat"]
    assert texts(["cat"], "photo") == ["a photo of a cat."]
    assert prompts_from_templates(as_labels(["cat"])).texts == ["a photo of a cat."]


def test_the_seven_are_those_of_the_clip_notebook():
    assert set(load_templates("simple")) == {
        "itap of a {}.",
        "a bad photo of the {}.",
        "a origami {}.",
        "a photo of the large {}.",
        "a {} in a video game.",
        "art of the {}.",
        "a photo of the small {}.",
    }


#: CLIP's data/prompts.md, for the sets that open_clip does not carry.
IN_CLIPS_FILE = {
    "aircraft": ["a photo of a {}, a type of aircraft.", "a photo of the {}, a type of aircraft."],
    "birds": ["a photo of a {}, a type of bird."],
    "flowers": ["a photo of a {}, a type of flower."],
    "food": ["a photo of {}, a type of food."],
    "pets": ["a photo of a {}, a type of pet."],
    "satellite": [f"a centered satellite photo of {word}{{}}." for word in ("", "a ", "the ")],
}


@pytest.mark.parametrize("name", published_names())
def test_published_sets_are_used_letter_for_letter(name: str):
    classes = ["cat", "elephant", "hour", "apple", "hour glass", "{}", "100% {x}", "%s"]
    if name in OPEN_CLIP:
        expected = [function(label) for label in classes for function in OPEN_CLIP[name]]
    else:
        expected = [text.replace("{}", label) for label in classes for text in IN_CLIPS_FILE[name]]
    assert texts(classes, name) == texts(classes, name, articles=False) == expected


def test_every_built_in_set_is_published_or_ours():
    assert {*OPEN_CLIP, *IN_CLIPS_FILE} == set(published_names())
    assert set(template_names()) - set(published_names()) == {"name", "photo"}


@pytest.mark.parametrize("name", sorted({*published_names()} - {"food"}))
def test_articles_that_are_asked_for_change_nothing_but_the_article(name: str):
    with_article, without = texts(["elephant"], name, articles=True), texts(["elephant"], name)
    assert with_article != without
    assert [re.sub(r"\ban elephant", "a elephant", text) for text in with_article] == without


def test_an_stays_for_photo_and_for_what_a_user_writes(tmp_path: Path):
    (tmp_path / "simple").write_text("a {} of mine\n")
    given = (
        "photo",
        "a sketch of a {}.",
        load_templates("simple"),
        tmp_path / "simple",
        str(tmp_path / "simple"),
    )
    for templates in given:
        assert any("an elephant" in text for text in texts(["elephant"], templates))
        assert not any("an elephant" in text for text in texts(["elephant"], templates, articles=False))
    content = DescriptorSet(as_labels(["elephant"]), ((Descriptor("a trunk"),),))
    for templates, text in (
        ("pets", "a photo of a elephant, a type of pet, which has a trunk."),
        ("photo", "a photo of an elephant, which has a trunk."),
    ):
        assert prompts_from_descriptors(content, templates=templates).texts == [text]
        assert class_prompts(None, templates, content).texts == [text]


def test_every_set_that_is_listed_loads():
    names = template_names()
    assert {"name", "photo", *OPEN_CLIP} <= set(names)
    assert names == sorted(names)
    for name in names:
        assert all("{}" in template for template in load_templates(name))


def test_the_folder_is_that_of_the_checkout():
    checkout = Path(vlcls.__file__).parents[1] / "prompts"
    if checkout.is_dir():  # not so for an installed wheel
        assert prompts_folder() == checkout


def test_sets_are_found_from_any_folder(tmp_path: Path):
    code = "from vlcls.prompts import *; print(load_templates('photo'))"
    env_path = str(Path(vlcls.__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {env_path!r}); {code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "['a photo of a {}.']"


# ---- filling -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "article"),
    [
        ("elephant", "an"),
        ("cat", "a"),
        ("hour", "an"),
        ("university", "a"),
        ("MRI scan", "an"),
        ("European bison", "a"),
        ("8-ball", "an"),
        ("18-wheeler", "an"),
        ("éclair", "an"),
        ("one-armed bandit", "a"),
        ("umbrella", "an"),
        ("unicycle", "a"),
    ],
)
def test_articles_go_by_sound(name: str, article: str):
    assert fill_template("a photo of a {}.", name) == f"a photo of {article} {name}."
    assert fill_template("a photo of an {}.", name) == f"a photo of {article} {name}."
    assert fill_template("A {} here", name) == f"{article.capitalize()} {name} here"


def test_the_shortcut_agrees_with_inflect_on_every_name_of_imagenet_21k():
    import timm.data

    lemmas = Path(timm.data.__file__).parent / "_info" / "imagenet_synset_to_lemma.txt"
    lines = lemmas.read_text(encoding="utf-8").splitlines()
    names = {name.strip() for line in lines for name in line.split("\t")[-1].split(",")}
    engine = inflect.engine()
    decided = {"a": module._SURELY_A, "an": module._SURELY_AN}
    for article, pattern in decided.items():
        for name in filter(pattern.match, names):
            assert engine.a(name).startswith(f"{article} "), name
    assert sum(any(p.match(name) for p in decided.values()) for name in names) > 0.8 * len(names) > 20_000


def test_only_the_article_right_before_the_name_changes():
    assert fill_template("a drawing of the {} and a {}", "owl") == "a drawing of the owl and an owl"
    assert fill_template("a photo of a big {}", "owl") == "a photo of a big owl"
    assert fill_template("pizza {}", "owl") == "pizza owl"
    assert fill_template("a photo of a {}.", "owl", articles=False) == "a photo of a owl."


@given(st.text(min_size=1).filter(lambda name: bool(name.strip())))
def test_any_name_gets_one_of_the_two_articles(name: str):
    filled = fill_template("see a {}!", name)
    assert filled in (f"see a {name}!", f"see an {name}!")


@given(st.text())
def test_names_are_put_in_as_they_are(name: str):
    assert fill_template("<{}|{}>", name) == "<" + name + "|" + name + ">"


def test_braces_in_a_name_are_not_filled_again():
    assert texts(["{}", "a {c} b"], ["x {}", "the {}!"]) == ["x {}", "the {}!", "x a {c} b", "the a {c} b!"]


def test_clip_benchmark_spelling_of_the_slot():
    assert load_templates(["a photo of {c}.", "{c} {}"]) == ["a photo of {}.", "{} {}"]
    assert load_templates("a photo of {c}") == ["a photo of {}"]


# ---- templates given by the user -----------------------------------------------------------------------


def test_one_template_and_lists():
    assert texts(["cat"], "my {}") == ["my cat"]
    assert texts(["cat"], ["my {}", "{}"]) == ["my cat", "cat"]


def test_a_file_of_templates(tmp_path: Path):
    path = tmp_path / "mine.txt"
    path.write_text("\ufeff# comment\n\nan icon of {}\n{} drawn\n", encoding="utf-8")
    assert load_templates(path) == load_templates(str(path)) == ["an icon of {}", "{} drawn"]


def test_a_template_without_a_slot_names_file_line_and_template(tmp_path: Path):
    path = tmp_path / "mine.txt"
    path.write_text("# comment\na {}\n\nno slot here\n")
    with pytest.raises(TemplateError, match=r"mine\.txt.*\b4\b.*'no slot here'"):
        load_templates(path)
    with pytest.raises(TemplateError, match=r"\b2\b.*'no slot'"):
        load_templates(["a {}", "no slot"])


@pytest.mark.parametrize("templates", [[], [3], [None, "{}"], ["{0}"], "{x}"])
def test_unusable_templates(templates: object):
    with pytest.raises(TemplateError):
        load_templates(templates)  # type: ignore[arg-type]


def test_an_empty_file(tmp_path: Path):
    path = tmp_path / "empty.txt"
    path.write_text("# nothing\n")
    with pytest.raises(TemplateError, match=r"empty\.txt.*no templates"):
        load_templates(path)


@pytest.mark.parametrize("name", ["fotos", "../templates/photo", "templates/photo"])
def test_an_unknown_set_lists_the_known_ones(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TemplateError, match=r"openai-imagenet, .*photo, .*simple"):
        load_templates(name)


def test_a_file_that_is_not_text(tmp_path: Path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9 {}")
    with pytest.raises(TemplateError, match="latin"):
        load_templates(path)


# ---- the set -------------------------------------------------------------------------------------------


def test_prompts_come_class_by_class_with_their_template():
    labels = as_labels({"a": "owl", "b": "owl"})
    made = prompts_from_templates(labels, ["a {}", "{}", "the {}"])
    assert made.texts == ["an owl", "owl", "the owl"] * 2
    assert made.class_indices == [0, 0, 0, 1, 1, 1]
    assert [prompt.template for prompt in made] == [0, 1, 2, 0, 1, 2]
    assert [prompt.source for prompt in made.of_class(1)] == ["a {}", "{}", "the {}"]
    assert [prompt.kind for prompt in made.of_class(0)] == ["template", "name", "template"]
    assert {prompt.weight for prompt in made} == {1.0}
    assert len(made) == 6 and made.labels is labels


def test_a_class_without_a_prompt_is_named():
    labels = as_labels({"a": "cat", "b": "sunglasses", "c": "sunglasses"})
    prompts = (Prompt("x", 0, "name"), Prompt("y", 2, "name"))
    with pytest.raises(TemplateError, match=r"sunglasses \(b\).*no prompt"):
        PromptSet(labels, prompts)


@pytest.mark.parametrize("index", [-1, 2])
def test_a_prompt_of_no_class_is_named(index: int):
    prompts = (Prompt("x", 0, "name"), Prompt("y", 1, "name"), Prompt("zebra", index, "name"))
    with pytest.raises(TemplateError, match=f"'zebra' is for class {index} of 2"):
        PromptSet(as_labels(["cat", "dog"]), prompts)


PROMPTS = st.builds(
    Prompt,
    text=st.text(),
    class_index=st.integers(0, 2),
    kind=st.sampled_from(get_args(Kind)),
    source=st.text(),
    template=st.none() | st.integers(0, 100),
    weight=st.floats(0.01, 1e6),
)


@given(st.lists(PROMPTS))
def test_json_round_trip(prompts: list[Prompt]):
    everyone = [Prompt(f"class {index}", index, "name") for index in range(3)]
    before = PromptSet(as_labels(["a", "b", "c"]), (*everyone, *prompts))
    after = PromptSet.from_json(before.labels, json.loads(json.dumps(before.to_json())))
    assert after == before
    signs = [[math.copysign(1, prompt.weight) for prompt in made] for made in (before, after)]
    assert signs[0] == signs[1]  # == takes -0.0 for 0.0


def test_json_leaves_defaults_out():
    made = PromptSet(as_labels(["a"]), (Prompt("a", 0, "name"),))
    assert made.to_json() == [{"text": "a", "class_index": 0, "kind": "name"}]


def test_prompt_sets_cannot_be_changed():
    made = prompts_from_templates(as_labels(["a"]))
    with pytest.raises(AttributeError):
        made.prompts = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        made.prompts[0].text = "b"  # type: ignore[misc]
