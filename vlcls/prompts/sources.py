"""Prompt sources: where the texts of classes come from, one entry each.

To add one, write what makes its texts and register it. It is a method of `vlcls evaluate` from then on, with
its options, and its prompts go wherever prompts go, to classifiers and explanations:

    def loud(context: Context, options: Options, seed: int) -> PromptSet:
        labels = context.labels
        louder = Labels(tuple(name.upper() for name in labels.names), labels.ids)
        return PromptSet(labels, prompts_from_templates(louder, options.get("template", "photo")).prompts)

    SOURCES.register(PromptSource("loud", "Names in capitals.", loud, {"template": load_templates}))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlcls.descriptors import DescriptorSet, descriptor_names, read_descriptors
from vlcls.errors import DescriptorError, TemplateError
from vlcls.labels import Labels
from vlcls.prompts.base import PromptSet
from vlcls.prompts.combine import join_prompts
from vlcls.prompts.descriptors import prompts_from_descriptors
from vlcls.prompts.phrasing import check_phrasing
from vlcls.prompts.templates import load_templates, prompts_from_templates
from vlcls.prompts.waffle import (
    DEFAULT_COUNT,
    alphabet_of,
    prompts_from_random,
    random_descriptions,
    raw_names,
    scrambled,
    swapped,
    waffle_and_descriptors,
    waffle_sizes,
)
from vlcls.registry import Registry
from vlcls.specs import as_truth, number_within

DEFAULT_ENSEMBLE = "openai-imagenet"
#: Descriptors of a class that are drawn.
MOST_COUNT = 10_000


@dataclass(frozen=True)
class Context:
    """What sources know of the classes, and what a user or a data set brings along.

    Attributes:
        labels: The classes.
        templates: Their data set's own prompt templates, if it brings some.
        descriptors: The user's descriptor file or set.
        sentences: The user's file of sentences (CuPL).
    """

    labels: Labels
    templates: Sequence[str] | None = None
    descriptors: DescriptorSet | str | Path | None = None
    sentences: DescriptorSet | str | Path | None = None


Options = Mapping[str, str]
#: What an option may be: raises `VlclsError` for a value that means nothing.
Check = Callable[[str], object]


@dataclass(frozen=True)
class PromptSource:
    """A way to make texts of class names.

    Attributes:
        name: What people type.
        about: One sentence for `--help` and reports.
        make: The texts of a context's classes, for options and a seed.
        options: Those that it has, and the check of each.
        check: What is wrong with options together; raises `VlclsError`.
        random: Its texts depend on the seed.
        described: They are made of descriptors.
    """

    name: str
    about: str
    make: Callable[[Context, Options, int], PromptSet]
    options: Mapping[str, Check] = field(default_factory=dict)
    check: Callable[[Options], None] = lambda options: None
    random: bool = False
    described: bool = False


SOURCES = Registry(PromptSource, "prompt source", TemplateError)


def _one(context: Context, options: Options, seed: int) -> PromptSet:
    return prompts_from_templates(context.labels, options.get("template", "photo"))


def _ensemble(context: Context, options: Options, seed: int) -> PromptSet:
    """A data set's own templates are published with it, and like all published ones are left as they are."""
    own = None if "templates" in options else context.templates
    articles = as_truth(options["articles"], "articles") if "articles" in options else False if own else None
    templates = own or options.get("templates", DEFAULT_ENSEMBLE)
    return prompts_from_templates(context.labels, templates, articles=articles)


def described(context: Context, options: Options) -> DescriptorSet:
    """The descriptors of a data set's classes: the option `file`, the user's, or a built-in set that fits.

    Raises:
        DescriptorError: There are none.
    """
    given = options.get("file") or context.descriptors
    if given is not None:
        known = given if isinstance(given, DescriptorSet) else read_descriptors(given)
        return known.for_labels(context.labels)
    for name in descriptor_names():
        try:
            return read_descriptors(name).for_labels(context.labels)
        except DescriptorError:
            continue
    raise DescriptorError(
        "there are no descriptors for these classes: give --descriptors FILE, which `vlcls describe` writes"
    )


def _descriptors(context: Context, options: Options, seed: int) -> PromptSet:
    return _phrased(described(context, options), options)


def _phrased(known: DescriptorSet, options: Options) -> PromptSet:
    return prompts_from_descriptors(
        known, phrasing=options.get("phrasing", "grammatical"), templates=options.get("templates")
    )


def _control(change: Callable[[DescriptorSet, int], DescriptorSet]) -> Callable[..., PromptSet]:
    return lambda context, options, seed: _phrased(change(described(context, options), seed), options)


def _sentences(context: Context, options: Options, seed: int) -> PromptSet:
    given = options.get("file") or context.sentences
    if given is None:
        raise DescriptorError(
            "there are no sentences for these classes: give --sentences FILE, which "
            "`vlcls describe --style sentences` writes"
        )
    known = given if isinstance(given, DescriptorSet) else read_descriptors(given, style="sentences")
    return prompts_from_descriptors(known.for_labels(context.labels), templates=options.get("templates"))


def _waffle(context: Context, options: Options, seed: int) -> PromptSet:
    given: dict[str, Any] = {
        "count": int(_count(options.get("count", str(DEFAULT_COUNT)))),
        "concept": options.get("concept", ""), "seed": seed,
    }  # fmt: skip
    if as_truth(options.get("published", "false"), "published"):
        given["sizes"] = waffle_sizes(raw_names(context.labels))
        given["alphabet"] = alphabet_of(described(context, options))
    if as_truth(options.get("descriptors", "false"), "descriptors"):
        return waffle_and_descriptors(described(context, options), **given)
    made = prompts_from_random(context.labels, **given)
    if "templates" in options:
        made = join_prompts(prompts_from_templates(context.labels, options["templates"]), made)
    return made


def _check_waffle(options: Options) -> None:
    mixed, published = (as_truth(options.get(name, "false"), name) for name in ("descriptors", "published"))
    if "templates" in options and mixed:
        raise TemplateError("templates has no effect with descriptors")
    if "file" in options and not (mixed or published):
        raise TemplateError("file has no effect without descriptors or published")


def _count(text: str) -> float:
    return number_within(text, "count", 1, MOST_COUNT, whole=True)


_PHRASED: Mapping[str, Check] = {
    "file": read_descriptors, "phrasing": check_phrasing, "templates": load_templates
}  # fmt: skip

for _source in (
    PromptSource(
        "photo", '"a photo of a {}.", or another single prompt (template=...).', _one,
        {"template": load_templates},
    ),
    PromptSource(
        "ensemble",
        "The mean embedding of the data set's own templates, or of CLIP's 80, letter for letter "
        "(templates=, articles=).",
        _ensemble, {"templates": load_templates, "articles": lambda text: as_truth(text, "articles")},
    ),
    PromptSource(
        "descriptors", "What each class looks like (file=, phrasing=grammatical, templates=).",
        _descriptors, _PHRASED, described=True,
    ),
    PromptSource(
        "cupl", "Full sentences about each class (file=, templates=).", _sentences,
        {"file": lambda name: read_descriptors(name, style="sentences"), "templates": load_templates},
    ),
    PromptSource(
        "waffle",
        "Random words and characters (count=15, concept=, templates=; descriptors mixes in real ones; "
        "published takes the authors' sizes and alphabet).",
        _waffle,
        {
            "count": _count,
            "concept": str,  # any words
            "templates": load_templates,
            "descriptors": lambda text: as_truth(text, "descriptors"),
            "file": read_descriptors,
            "published": lambda text: as_truth(text, "published"),
        },
        _check_waffle, random=True,
    ),
    PromptSource(
        "random-descriptors", "Control: descriptors of any classes, the same for all.",
        _control(lambda known, seed: random_descriptions(known, seed, shared=True)), _PHRASED,
        random=True, described=True,
    ),
    PromptSource(
        "swapped", "Control: every class with another class's descriptors.", _control(swapped), _PHRASED,
        random=True, described=True,
    ),
    PromptSource(
        "scrambled", "Control: each class's own words in other orders.", _control(scrambled), _PHRASED,
        random=True, described=True,
    ),
):  # fmt: skip
    SOURCES.register(_source)
