"""Methods by name: what people type, the texts that come of it, and the controls that are added."""

from __future__ import annotations

import pytest
import torch

import vlcls
from vlcls.descriptors import Descriptor, DescriptorSet
from vlcls.errors import DescriptorError, EvaluationError
from vlcls.evaluation.metrics.verdicts import SEEDS_ASKED
from vlcls.evaluation.run.kinds import NameFinder, method_kinds
from vlcls.evaluation.run.method_options import options_of
from vlcls.evaluation.run.methods import parse_method, parse_methods, prompts_hash, with_controls
from vlcls.labels import as_labels
from vlcls.prompts.sources import Context

LABELS = as_labels(["hen", "owl", "fox"])
DESCRIBED = DescriptorSet(
    LABELS,
    tuple(
        tuple(map(Descriptor, own)) for own in (["a comb", "two legs"], ["big eyes"], ["red fur", "a tail"])
    ),
)
SENTENCES = DescriptorSet(
    LABELS, tuple((Descriptor(f"A {name} in a field."),) for name in LABELS.names), style="sentences"
)
CONTEXT = Context(LABELS, descriptors=DESCRIBED, sentences=SENTENCES)


@pytest.mark.parametrize(
    ("typed", "specs"),
    [
        ("photo", ["photo"]),
        ("photo, ensemble", ["photo", "ensemble"]),
        ("photo,autoclip:beta=0.7,scaled,waffle", ["photo", "autoclip:beta=0.7,scaled", "waffle"]),
        ("waffle:count=5,descriptors,swapped", ["waffle:count=5,descriptors", "swapped"]),
        (["photo", "descriptors:templates=simple,phrasing=dclip"],
         ["photo", "descriptors:templates=simple,phrasing=dclip"]),
        ("photo,photo", ["photo"]),
    ],
)  # fmt: skip
def test_what_people_type(typed: str | list[str], specs: list[str]):
    found = [method.spec for method in parse_methods(typed)]
    if "descriptors,swapped" in str(typed):  # a method's name behind a comma begins a method
        assert found == ["waffle:count=5", "descriptors", "swapped"]
    else:
        assert found == specs


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "no methods"),
        ("foto", "no method 'foto'"),
        ("photo:beta", "beta must be a number"),
        ("waffle:color=red", "no option 'color'"),
        ("autoclip:weighting=zpe", "'weighting' is what autoclip is about"),
        ("waffle:seeds=0", "whole number"),
        ("waffle:seeds=1.5", "whole number"),
        ("cased:aggregate=max", "no option 'aggregate'"),
    ],
)
def test_what_people_mistype(typed: str, message: str):
    with pytest.raises(EvaluationError, match=message):
        parse_methods(typed)


#: Values that no option of the name may have; None where any words will do.
WRONG = {
    "aggregate": ["x", "mean"], "weighting": ["x", "zpe2"], "beta": ["x", "nan", "-0.1", "1.1", "inf"],
    "scaled": ["maybe"], "temperature": ["x", "0", "-1", "nan", "inf"],
    "seeds": ["x", "0", "1.5", "-1", "nan", "1e9"], "templates": ["no-such-set", "/no/such/file"],
    "template": ["no-such-set"], "articles": ["maybe"], "phrasing": ["x"], "file": ["/no/such/file.json"],
    "count": ["x", "0", "2.5", "nan", "1e9"], "concept": None, "descriptors": ["maybe"],
    "published": ["maybe"],
    "from": ["/no/such/folder"], "captions": ["/no/such/folder"], "alpha": ["x", "-1", "2", "nan"],
    "tau": ["x", "0", "-1", "nan", "inf"], "retrieved": ["x", "0", "1.5", "nan"], "hint": None,
}  # fmt: skip


@pytest.mark.parametrize("name", method_kinds())
def test_every_option_of_every_method_is_checked_when_it_is_typed(name: str):
    kind = method_kinds()[name]
    for option in options_of(kind):
        assert option in WRONG, f"say what {option} may not be"
        for value in WRONG[option] or ():
            with pytest.raises(EvaluationError) as caught:
                parse_method(f"{name}:{option}={value}")
            assert f"{name}:{option}={value}" in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("photo:beta=0.5", "beta has no effect without a weighting"),
        ("photo:scaled", "scaled has no effect without a weighting"),
        ("photo:temperature=2", "temperature has no effect without a weighting"),
        ("zpe:beta=0.5", "beta has no effect with weighting=zpe"),
        ("autoclip:temperature=2", "temperature has no effect with weighting=autoclip"),
        ("softmax:scaled", "scaled has no effect with weighting=softmax"),
        ("autoclip:aggregate=max", "weighted mean of similarities, not a max"),
        ("waffle:file=pacs", "file has no effect without descriptors or published"),
        ("waffle:descriptors,templates=simple", "templates has no effect with descriptors"),
        ("learned-names", "from=DIR is expected"),
    ],
)
def test_options_without_an_effect_are_refused(typed: str, message: str):
    with pytest.raises(EvaluationError, match=message):
        parse_method(typed)


def test_a_weighting_that_does_not_fit_is_refused_before_any_image_is_read(clip, tmp_path):
    folder = tmp_path / "data" / "fox"
    folder.mkdir(parents=True)
    (folder / "a.png").write_text("never read")
    with pytest.raises(EvaluationError, match=r"descriptors:weighting=autoclip.*templates that all classes"):
        vlcls.evaluate(
            tmp_path / "data", "descriptors:weighting=autoclip", clip, tmp_path / "run",
            descriptors=DescriptorSet(as_labels(["fox"]), ((Descriptor("big eyes"),),)),
        )  # fmt: skip
    for option in ("descriptors", "sentences"):
        with pytest.raises(DescriptorError, match="nowhere"):
            vlcls.evaluate(tmp_path / "data", "photo", clip, tmp_path / "run", **{option: "/nowhere.json"})


def test_every_kind_has_prompts_for_every_class():
    for name, kind in method_kinds().items():
        if name == "learned-names":
            with pytest.raises(EvaluationError, match="from=DIR"):
                parse_method(name)
            continue
        method = parse_method(name)
        if isinstance(kind.source, NameFinder):
            with pytest.raises(EvaluationError, match="no prompts"):
                method.prompts(CONTEXT, 0)
            continue
        assert len(method.seeds) == (SEEDS_ASKED if kind.source.random else 1) and method.about.endswith(
            (".", ").")
        )
        prompts = method.prompts(CONTEXT, 0)
        assert set(prompts.class_indices) == {0, 1, 2}
        again, other = method.prompts(CONTEXT, 0), method.prompts(CONTEXT, 1)
        assert again == prompts and (other != prompts) == kind.source.random, name
        assert (prompts_hash([prompts]) == prompts_hash([other])) != kind.source.random


def test_the_texts_of_some():
    def texts(spec: str) -> list[str]:
        return parse_method(spec).prompts(CONTEXT, 0).texts

    assert texts("name") == ["hen", "owl", "fox"]
    assert texts("photo") == ["a photo of a hen.", "a photo of an owl.", "a photo of a fox."]
    assert texts("photo:template=a sketch of a {}.")[0] == "a sketch of a hen."
    assert texts("cupl")[1] == "A owl in a field."
    assert texts("descriptors")[2] == "owl, which has big eyes"
    assert texts("descriptors:phrasing=dclip")[0] == "hen, which is a comb"
    assert len(texts("ensemble")) == 240 and len(texts("ensemble:templates=simple")) == 21
    assert len(texts("waffle:count=3")) == 18
    own = Context(LABELS, templates=["a toy {}."])
    assert parse_method("autoclip").prompts(own, 0).texts == ["a toy hen.", "a toy owl.", "a toy fox."]


def test_descriptors_come_from_the_user_or_from_a_built_in_set():
    pets = Context(as_labels(["Dog", "elephant"]))
    assert "dog" in parse_method("descriptors").prompts(pets, 0).texts[0].casefold()
    with pytest.raises(DescriptorError, match="vlcls describe"):
        parse_method("descriptors").prompts(Context(LABELS), 0)
    with pytest.raises(DescriptorError, match="--style sentences"):
        parse_method("cupl").prompts(Context(LABELS), 0)


def test_controls_are_what_verdicts_need():
    def specs(typed: str) -> list[tuple[str, bool]]:
        return [(method.spec, method.control) for method in with_controls(parse_methods(typed))]

    assert specs("ensemble") == [("ensemble", False), ("photo", True), ("waffle", True)]
    assert specs("photo,descriptors") == [
        ("photo", False), ("descriptors", False), ("ensemble", True), ("waffle", True),
        ("random-descriptors", True), ("swapped", True),
    ]  # fmt: skip
    # Another template is another method, not the reference.
    assert ("photo", True) in specs("photo:template=a sketch of a {}.")
    assert parse_method("waffle:seeds=3").reference == "WaffleCLIP"
    assert parse_method("waffle:concept=bird").reference is None


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("photo", {"templates": "photo"}),
        ("ensemble", {"templates": "openai-imagenet"}),
        ("max", {"templates": "openai-imagenet", "aggregate": "max"}),
        ("autoclip:beta=0.5", {"templates": "openai-imagenet", "weighting": "autoclip:beta=0.5"}),
        ("softmax", {"templates": "openai-imagenet", "weighting": "softmax"}),
        ("descriptors", {"descriptors": DESCRIBED}),
        ("descriptors:aggregate=max", {"descriptors": DESCRIBED, "aggregate": "max"}),
        ("descriptors:weighting=autoclip-within-class",
         {"descriptors": DESCRIBED, "weighting": "autoclip-within-class"}),
        ("descriptors:templates=simple,weighting=autoclip",
         {"descriptors": DESCRIBED, "templates": "simple", "weighting": "autoclip"}),
    ],
)  # fmt: skip
def test_a_method_is_the_classifier_of_its_options(spec: str, options: dict, clip):
    images = torch.nn.functional.normalize(
        torch.randn(9, clip.embedding_dim, generator=torch.Generator().manual_seed(0)), dim=1
    )
    method = parse_method(spec)
    made = method.classifier(method.prompts(CONTEXT, 0), clip, images)
    expected = vlcls.build_classifier(LABELS, clip, **options)
    assert torch.equal(made.scores(images), expected.scores(images))


def test_zpe_learns_from_the_images_that_are_judged(clip):
    images = torch.nn.functional.normalize(torch.randn(9, clip.embedding_dim), dim=1)
    method = parse_method("zpe:templates=simple,temperature=5")
    made = method.classifier(method.prompts(CONTEXT, 0), clip, images)
    plain = vlcls.build_classifier(LABELS, clip, "simple", aggregate="mean-similarity")
    expected = vlcls.weigh_templates(plain, images, temperature=5)
    assert torch.allclose(made.scores(images), expected.scores(images), atol=1e-5)


@pytest.mark.parametrize("kind", ["ensemble", "max", "autoclip", "softmax", "zpe"])
def test_a_data_sets_own_templates_are_used_letter_for_letter(kind):
    own = Context(LABELS, ("a photo of a {}.", "my {}"))  # hen, owl, fox
    for spec, context, text in (
        (kind, own, "a photo of a owl."),
        (f"{kind}:articles=yes", own, "a photo of an owl."),
        (f"{kind}:templates=photo", own, "a photo of an owl."),
        (f"{kind}:templates=simple", own, "a owl in a video game."),
        (f"{kind}:templates=simple,articles=yes", own, "an owl in a video game."),
        (kind, CONTEXT, "a painting of a owl."),
        (f"{kind}:templates=photo,articles=no", CONTEXT, "a photo of a owl."),
    ):
        assert text in [p.text for p in parse_method(spec).prompts(context, 0).of_class(1)], spec


def test_learned_names_beside_plain_ones(clip, tmp_path):
    from vlcls.classifiers.prompt import classifier_from_prompts
    from vlcls.prompts import prompts_from_templates, with_learned_names
    from vlcls.prompts.base import LearnedName

    plain = prompts_from_templates(as_labels(["Fox", "hen"]), "simple")
    name = LearnedName("Fox", clip.embed_tokens(torch.tensor([[400]]))[0] + 0.1, clip.fingerprint)
    saved = classifier_from_prompts(with_learned_names(plain, {0: name}), clip, cache=False)
    saved.save_pretrained(tmp_path / "saved")
    method = parse_method(f"learned-names:from={tmp_path / 'saved'}")
    prompts = method.prompts(CONTEXT, 0)  # hen, owl, fox: owl is new
    assert [len(prompts.of_class(index)) for index in range(3)] == [7, 7, 7]
    assert all(prompt.learned == name for prompt in prompts.of_class(2))
    assert prompts.of_class(1)[2].text == prompts_from_templates(LABELS, "simple").of_class(1)[2].text
    made = method.classifier(prompts, clip, torch.zeros(0, clip.embedding_dim), cache=False)
    assert torch.allclose(made.zero_shot_weights[2], saved.zero_shot_weights[0], atol=1e-6)
    assert torch.allclose(made.zero_shot_weights[0], saved.zero_shot_weights[1], atol=1e-6)
    with pytest.raises(EvaluationError, match="none of these classes"):
        method.prompts(Context(as_labels(["x", "y"])), 0)
