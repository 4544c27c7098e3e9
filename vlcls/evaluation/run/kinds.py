"""The kinds of methods there are, and the texts that each makes of class names.

To add one, add an entry to `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlcls.classifiers.fitted import Fitted
from vlcls.classifiers.weighting import WEIGHTINGS
from vlcls.descriptors import DescriptorSet, descriptor_names, read_descriptors
from vlcls.errors import DescriptorError, EvaluationError
from vlcls.evaluation.metrics.verdicts import Reference
from vlcls.labels import Labels, clean_name
from vlcls.prompts import (
    PromptSet,
    join_prompts,
    prompts_from_descriptors,
    prompts_from_random,
    prompts_from_templates,
    waffle_and_descriptors,
)
from vlcls.prompts.learned import with_new_classes
from vlcls.prompts.waffle import (
    DEFAULT_COUNT,
    alphabet_of,
    random_descriptions,
    raw_names,
    scrambled,
    swapped,
    waffle_sizes,
)
from vlcls.specs import as_number, as_truth

DEFAULT_ENSEMBLE = "openai-imagenet"


@dataclass(frozen=True)
class Context:
    """What methods know of a data set.

    Attributes:
        labels: Its classes.
        templates: Its own prompt templates, if it brings some.
        descriptors: The user's descriptor file or set.
        sentences: The user's file of sentences (CuPL).
    """

    labels: Labels
    templates: Sequence[str] | None = None
    descriptors: DescriptorSet | str | Path | None = None
    sentences: DescriptorSet | str | Path | None = None


Options = Mapping[str, str]


def _weights_fitted(options: Options) -> Fitted:
    name = options.get("weighting")
    return Fitted(judged=name is not None and WEIGHTINGS.find(name).learn is not None)


@dataclass(frozen=True)
class Kind:
    """A method, before options.

    Attributes:
        about: One sentence for `--help` and reports.
        prompts: Its texts for a data set and a seed.
        options: Options of its own.
        fixed: Options that it stands for ("autoclip" is "ensemble" with a weighting).
        random: Its texts depend on the seed.
        reference: What verdicts take it for, if it is run as a control.
        finds_names: It gets no class names and finds its own: it has no prompts. See `naming`.
        fitted: What it was fitted on, for kinds that learn from labels or from the judged images.
    """

    about: str
    prompts: Callable[[Context, Options, int], PromptSet]
    options: frozenset[str] = frozenset()
    fixed: Options = field(default_factory=dict)
    random: bool = False
    reference: Reference | None = None
    finds_names: bool = False
    fitted: Callable[[Options], Fitted] = _weights_fitted


# ---- the prompts of each kind --------------------------------------------------------------------------


def _ensemble(context: Context, options: Options, seed: int) -> PromptSet:
    """A data set's own templates are published with it, and like all published ones are left as they are."""
    own = None if "templates" in options else context.templates
    articles = as_truth(options["articles"], "articles") if "articles" in options else False if own else None
    templates = own or options.get("templates", DEFAULT_ENSEMBLE)
    return prompts_from_templates(context.labels, templates, articles=articles)


def _one(template: str) -> Callable[[Context, Options, int], PromptSet]:
    return lambda context, options, seed: prompts_from_templates(
        context.labels, options.get("template", template)
    )


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
        "count": int(as_number(options.get("count", str(DEFAULT_COUNT)), "count")),
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


def _learned(context: Context, options: Options, seed: int) -> PromptSet:
    """Learned names for the classes that have some, plain names in the same templates for all others."""
    from vlcls.classifiers.loading import load

    known = load(options["from"]).prompts
    places = {clean_name(name).casefold(): place for place, name in enumerate(known.labels.names)}
    places |= {identifier: place for place, identifier in enumerate(known.labels.ids)}
    labels = context.labels
    found = [
        places.get(identifier, places.get(clean_name(name).casefold()))
        for identifier, name in zip(labels.ids, labels.names, strict=True)
    ]
    new = {labels.ids[row]: labels.names[row] for row, place in enumerate(found) if place is None}
    if len(new) == len(labels):
        raise EvaluationError(f"{options['from']} has learned none of these classes")
    if new:
        known = with_new_classes(known, new)
        added = iter(range(len(known.labels) - len(new), len(known.labels)))
        found = [next(added) if place is None else place for place in found]
    made = (
        replace(prompt, class_index=row)
        for row, place in enumerate(found)
        if place is not None
        for prompt in known.of_class(place)
    )
    return PromptSet(labels, tuple(made))


def _learned_on(options: Options) -> Fitted:
    from vlcls.classifiers.loading import load

    return load(options["from"]).fitted


def _no_prompts(context: Context, options: Options, seed: int) -> PromptSet:
    raise EvaluationError("a method that finds names has no prompts")


_TEMPLATES = frozenset({"templates", "articles"})
_PHRASED = frozenset({"file", "phrasing", "templates"})
#: Options of every method.
COMMON = frozenset({"aggregate", "weighting", "beta", "scaled", "temperature", "seeds"})

KINDS: dict[str, Kind] = {
    "name": Kind("The class name alone.", _one("{}")),
    "photo": Kind(
        '"a photo of a {}.", or another single prompt (template=...).',
        _one("photo"), frozenset({"template"}), reference="one prompt",
    ),
    "ensemble": Kind(
        "The mean embedding of the data set's own templates, or of CLIP's 80, letter for letter "
        "(templates=, articles=).",
        _ensemble, _TEMPLATES, reference="template ensemble",
    ),
    "max": Kind(
        "The best of these templates for each image.",
        _ensemble, _TEMPLATES, {"aggregate": "max"},
    ),
    "autoclip": Kind(
        "These templates, weighed for each image (beta=0.85, scaled).",
        _ensemble, _TEMPLATES, {"weighting": "autoclip"},
    ),
    "softmax": Kind(
        "AutoCLIP's baseline: templates weighed by their mean cosine.",
        _ensemble, _TEMPLATES, {"weighting": "softmax"},
    ),
    "zpe": Kind(
        "These templates, weighed for all images by unlabelled ones: those evaluated (temperature=1).",
        _ensemble, _TEMPLATES, {"weighting": "zpe"},
    ),
    "descriptors": Kind(
        "What each class looks like (file=, phrasing=grammatical, templates=).", _descriptors, _PHRASED
    ),
    "cupl": Kind(
        "Full sentences about each class (file=, templates=).", _sentences, frozenset({"file", "templates"})
    ),
    "waffle": Kind(
        "Random words and characters (count=15, concept=, templates=; descriptors mixes in real ones; "
        "published takes the authors' sizes and alphabet).",
        _waffle, frozenset({"count", "concept", "templates", "descriptors", "file", "published"}),
        random=True, reference="WaffleCLIP",
    ),
    "random-descriptors": Kind(
        "Control: descriptors of any classes, the same for all.",
        _control(lambda known, seed: random_descriptions(known, seed, shared=True)), _PHRASED, random=True,
        reference="shared random descriptors",
    ),
    "swapped": Kind(
        "Control: every class with another class's descriptors.",
        _control(swapped), _PHRASED, random=True, reference="swapped descriptors",
    ),
    "scrambled": Kind(
        "Control: each class's own words in other orders.", _control(scrambled), _PHRASED, random=True
    ),
    "learned-names": Kind(
        "Class names learned from other images (from=DIR, which vlcls learn-names wrote).",
        _learned, frozenset({"from"}), fitted=_learned_on,
    ),
    "cased": Kind(
        "No class names: words of retrieved captions (captions=wordnet, alpha=0.7, tau=, retrieved=, hint=).",
        _no_prompts, frozenset({"captions", "alpha", "tau", "retrieved", "hint"}), finds_names=True,
    ),
    "closest-caption": Kind(
        "No class names: the closest caption itself (captions=wordnet).",
        _no_prompts, frozenset({"captions", "retrieved"}), finds_names=True,
    ),
    "wordnet-names": Kind("No class names: the nearest of WordNet's.", _no_prompts, finds_names=True),
}  # fmt: skip
