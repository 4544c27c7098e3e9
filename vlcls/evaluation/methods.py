"""Methods by name, as `vlcls evaluate --methods` knows them: "ensemble", "autoclip:beta=0.7", ...

A method makes a classifier from class names. To add one, add an entry to `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlcls.descriptors import DescriptorSet, descriptor_names, read_descriptors
from vlcls.errors import DescriptorError, EvaluationError
from vlcls.evaluation.verdicts import Reference
from vlcls.labels import Labels
from vlcls.prompts import (
    PromptSet,
    join_prompts,
    prompts_from_descriptors,
    prompts_from_random,
    prompts_from_templates,
    waffle_and_descriptors,
)
from vlcls.prompts.waffle import DEFAULT_COUNT, random_descriptions, scrambled, swapped
from vlcls.specs import as_number, as_truth, parse_spec

if TYPE_CHECKING:
    from torch import Tensor

    from vlcls.classifiers import PromptClassifier
    from vlcls.encoders import Encoder

#: Repetitions of a method with random texts, as in the WaffleCLIP paper.
SEEDS = 7
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
    """

    about: str
    prompts: Callable[[Context, Options, int], PromptSet]
    options: frozenset[str] = frozenset()
    fixed: Options = field(default_factory=dict)
    random: bool = False
    reference: Reference | None = None
    finds_names: bool = False


@dataclass(frozen=True)
class Method:
    """A method with its options.

    Attributes:
        spec: As it was typed, which is also its name in reports.
        kind: Key of `KINDS`.
        options: Those typed, and those that its kind stands for.
        seeds: One run each.
        control: Run only to judge the others by.
    """

    spec: str
    kind: str
    options: Options
    seeds: tuple[int, ...] = (0,)
    control: bool = False

    @property
    def reference(self) -> Reference | None:
        """The reference it is for verdicts: that of its kind, if it has no options but seeds."""
        known = KINDS[self.kind]
        typed = {key for key in self.options if key not in known.fixed} - {"seeds"}
        return None if typed else known.reference

    @property
    def about(self) -> str:
        return KINDS[self.kind].about

    @property
    def finds_names(self) -> bool:
        return KINDS[self.kind].finds_names

    def prompts(self, context: Context, seed: int) -> PromptSet:
        """Its texts.

        Raises:
            VlclsError: They cannot be made for these classes (no descriptors, say).
        """
        return KINDS[self.kind].prompts(context, self.options, seed)

    def classifier(
        self, prompts: PromptSet, encoder: Encoder, images: Tensor, cache: bool | str | Path = True
    ) -> PromptClassifier:
        """The classifier of some of its prompts.

        Args:
            prompts: From `prompts`.
            encoder: Any encoder.
            images: Tensor[N, D], the unit embeddings that it will be judged on. Only ZPE looks at them.
            cache: Keep text embeddings on disk.
        """
        from vlcls.classifiers.prompt import classifier_from_prompts
        from vlcls.classifiers.weighting import Weighting
        from vlcls.classifiers.zpe import weigh_templates

        options, name = self.options, self.options.get("weighting")
        weighting, aggregate = None, options.get("aggregate")
        if name == "zpe":
            aggregate = aggregate or "mean-similarity"
        elif name is not None:
            beta = as_number(options["beta"], "beta") if "beta" in options else Weighting.beta
            scaled = as_truth(options.get("scaled", "false"), "scaled")
            weighting = Weighting(name, beta, scaled)  # type: ignore[arg-type]  # it checks its name
        made = classifier_from_prompts(
            prompts, encoder, aggregate=aggregate, weighting=weighting, cache=cache
        )
        if name != "zpe":
            return made
        return weigh_templates(
            made, images, temperature=as_number(options.get("temperature", "1"), "temperature")
        )


# ---- the prompts of each kind --------------------------------------------------------------------------


def _templates(context: Context, options: Options) -> str | Sequence[str]:
    return options.get("templates") or context.templates or DEFAULT_ENSEMBLE


def _ensemble(context: Context, options: Options, seed: int) -> PromptSet:
    articles = as_truth(options.get("articles", "true"), "articles")
    return prompts_from_templates(context.labels, _templates(context, options), articles=articles)


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
    count = int(as_number(options.get("count", str(DEFAULT_COUNT)), "count"))
    concept = options.get("concept", "")
    if as_truth(options.get("descriptors", "false"), "descriptors"):
        return waffle_and_descriptors(described(context, options), count=count, seed=seed, concept=concept)
    made = prompts_from_random(context.labels, count=count, seed=seed, concept=concept)
    if "templates" in options:
        made = join_prompts(prompts_from_templates(context.labels, options["templates"]), made)
    return made


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
        "The mean embedding of the data set's own templates, or of CLIP's 80 (templates=, articles=no).",
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
        "Random words and characters (count=15, concept=, templates=; descriptors mixes in real ones).",
        _waffle, frozenset({"count", "concept", "templates", "descriptors", "file"}), random=True,
        reference="WaffleCLIP",
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


# ---- what people type ----------------------------------------------------------------------------------


def parse_methods(text: str | Sequence[str]) -> list[Method]:
    """ "photo,autoclip:beta=0.7,scaled,waffle" or a list of such texts; each method once.

    A comma ends a method only if a method's name follows.

    Raises:
        EvaluationError: No such method or option, or none at all.
    """
    specs: list[str] = []
    for part in [text] if isinstance(text, str) else list(text):
        for piece in filter(None, (each.strip() for each in part.split(","))):
            name = piece.partition(":")[0].strip()
            follows = "=" in piece.partition(":")[0] or (name not in KINDS and ":" not in piece)
            if specs and follows and ":" in specs[-1]:
                specs[-1] += f",{piece}"
            else:
                specs.append(piece)
    if not specs:
        raise EvaluationError(f"no methods: choose from {', '.join(KINDS)}")
    return [parse_method(spec) for spec in dict.fromkeys(specs)]


def parse_method(spec: str, *, control: bool = False) -> Method:
    """One method, as it is typed."""
    name, options = parse_spec(spec)
    if name not in KINDS:
        raise EvaluationError(f"no method {name!r}: choose from {', '.join(KINDS)}")
    kind = KINDS[name]
    allowed = kind.options if kind.finds_names else kind.options | COMMON
    if unknown := set(options) - allowed:
        known = ", ".join(sorted(allowed)) or "none"
        raise EvaluationError(f"method {spec!r}: no option {min(unknown)!r}; there are {known}")
    if again := set(options) & set(kind.fixed):
        raise EvaluationError(f"method {spec!r}: {min(again)!r} is what {name} is about; take another method")
    seeds = as_number(options.get("seeds", str(SEEDS if kind.random else 1)), "seeds")
    if seeds < 1 or seeds != int(seeds):
        raise EvaluationError(f"method {spec!r}: seeds is a whole number from 1")
    return Method(spec, name, {**kind.fixed, **options}, tuple(range(int(seeds))), control)


def with_controls(methods: Sequence[Method]) -> list[Method]:
    """The methods, and behind them the references that verdicts need and that are not among them.

    Those about descriptors only if a method uses descriptors.
    """
    if all(method.finds_names for method in methods):
        return list(methods)
    about = {"descriptors", "random-descriptors", "swapped", "scrambled"}
    uses = any(method.kind in about or "descriptors" in method.options for method in methods)
    have = {method.reference for method in methods}
    result: list[Method] = list(methods)
    for name, kind in KINDS.items():
        if kind.reference is None or kind.reference in have or (name in about and not uses):
            continue
        result.append(parse_method(name, control=True))
    return result


def prompts_hash(sets: Sequence[PromptSet]) -> str:
    """A hash of texts, classes and weights: two cells with the same one said the same."""
    import hashlib
    import json

    plain: list[Any] = [[list(each.labels.ids), each.to_json()] for each in sets]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
