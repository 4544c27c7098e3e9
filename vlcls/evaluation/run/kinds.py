"""The methods that an evaluation knows, one entry each.

To add one that is a prompt source with options of its own, or judged in a way of its own, register it. (A
prompt source is a method by itself; see `vlcls.prompts.sources`.)

    METHODS.register(MethodKind("sketches", SOURCES["ensemble"], "Drawings.", {"templates": "sketches.txt"}))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vlcls.classifiers.base import open_store
from vlcls.classifiers.fitted import Fitted
from vlcls.classifiers.weighting import WEIGHTINGS
from vlcls.errors import EvaluationError
from vlcls.evaluation.metrics.verdicts import Reference
from vlcls.files.named import is_built_in
from vlcls.labels import clean_name
from vlcls.prompts import PromptSet
from vlcls.prompts.learned import with_new_classes
from vlcls.prompts.sources import MOST_COUNT, SOURCES, Check, Context, Options, PromptSource
from vlcls.registry import Registry
from vlcls.specs import as_number, number_within

if TYPE_CHECKING:
    from vlcls.classifiers import PromptClassifier
    from vlcls.classifiers.vocabulary_free import NamingMethod
    from vlcls.encoders import Encoder
    from vlcls.retrieval.database import CaptionDatabase


@dataclass(frozen=True)
class NameFinder:
    """What gets no class names and finds names for images by itself: it has no prompts.

    Attributes:
        about: One sentence for `--help` and reports.
        find: Options, an encoder and a place for embeddings (True, False or a folder) to what names images.
        options: Those that it has, and the check of each.
        check: What is wrong with options together; raises `VlclsError`.
    """

    about: str
    find: Callable[[Options, Encoder, bool | str | Path], NamingMethod]
    options: Mapping[str, Check] = field(default_factory=dict)
    check: Callable[[Options], None] = lambda options: None
    random: ClassVar[bool] = False
    described: ClassVar[bool] = False


def _weights_fitted(options: Options) -> Fitted:
    name = options.get("weighting")
    return Fitted(judged=name is not None and WEIGHTINGS.find(name).learn is not None)


@dataclass(frozen=True)
class MethodKind:
    """A method, before options.

    Attributes:
        name: What people type.
        source: Of its prompts; or what finds names instead.
        title: One sentence for `--help` and reports, in place of the source's.
        fixed: Options that it stands for ("autoclip" is "ensemble" with a weighting).
        reference: What verdicts take it for, if it is run as a control.
        fitted: What it was fitted on, for kinds that learn from labels or from the judged images.
    """

    name: str
    source: PromptSource | NameFinder
    title: str = ""
    fixed: Options = field(default_factory=dict)
    reference: Reference | None = None
    fitted: Callable[[Options], Fitted] = _weights_fitted

    @property
    def about(self) -> str:
        return self.title or self.source.about


METHODS = Registry(MethodKind, "method", EvaluationError, "vlcls.methods")


def method_kinds() -> dict[str, MethodKind]:
    """All by name: those that are registered, and one for every other prompt source."""
    plain = {name: MethodKind(name, source) for name, source in SOURCES.items() if name not in METHODS}
    return {**METHODS, **plain}


# ---- learned names -------------------------------------------------------------------------------------


def _saved(folder: str) -> PromptClassifier:
    from vlcls.classifiers.loading import load

    return load(folder)


def _check_learned(options: Options) -> None:
    if "from" not in options:
        raise EvaluationError("from=DIR is expected, a folder that `vlcls learn-names` wrote")


def _learned(context: Context, options: Options, seed: int) -> PromptSet:
    """Learned names for the classes that have some, plain names in the same templates for all others."""
    known = _saved(options["from"]).prompts
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


# ---- methods that find names ---------------------------------------------------------------------------


def _captions(name: str) -> None:
    from vlcls.retrieval import builtin, clip_retrieval
    from vlcls.retrieval.database import CONFIG

    folder = Path(name).expanduser()
    files = (folder / CONFIG, folder / clip_retrieval.INDEX)
    if not is_built_in(name, (builtin.NAME,), "caption database") and not any(
        path.exists() for path in files
    ):
        raise EvaluationError(
            f"{folder} holds no caption database: make one with `vlcls captions build`, or use "
            f"{builtin.NAME!r}"
        )


def _numbers(options: Options) -> dict[str, Any]:
    found: dict[str, Any] = {
        key: as_number(options[key], key) for key in ("alpha", "tau", "retrieved") if key in options
    }
    return {**found, "retrieved": int(found.get("retrieved", 10))}


def _database(options: Options, encoder: Encoder, cache: bool | str | Path) -> CaptionDatabase:
    from vlcls.retrieval.opening import open_captions

    return open_captions(options.get("captions", "wordnet"), encoder, store=open_store(cache))


def _cased(options: Options, encoder: Encoder, cache: bool | str | Path) -> NamingMethod:
    from vlcls.classifiers.cased import Cased

    database = _database(options, encoder, cache)
    return Cased(database, encoder, hint=options.get("hint"), cache=cache, **_numbers(options))


def _closest_caption(options: Options, encoder: Encoder, cache: bool | str | Path) -> NamingMethod:
    from vlcls.classifiers.vocabulary_free import ClosestCaption

    return ClosestCaption(_database(options, encoder, cache), encoder, **_numbers(options))


def _wordnet_names(options: Options, encoder: Encoder, cache: bool | str | Path) -> NamingMethod:
    from vlcls.classifiers.vocabulary_free import FixedVocabulary
    from vlcls.retrieval.builtin import wordnet_words

    return FixedVocabulary(wordnet_words(), encoder, store=open_store(cache))


# ---- the methods ---------------------------------------------------------------------------------------

_ENSEMBLE = SOURCES["ensemble"]
_RETRIEVED: Mapping[str, Check] = {
    "captions": _captions,
    "retrieved": lambda text: number_within(text, "retrieved", 1, MOST_COUNT, whole=True),
}

for _kind in (
    MethodKind("name", SOURCES["photo"], "The class name alone.", {"template": "{}"}),
    MethodKind("photo", SOURCES["photo"], reference="one prompt"),
    MethodKind("ensemble", _ENSEMBLE, reference="template ensemble"),
    MethodKind("max", _ENSEMBLE, "The best of these templates for each image.", {"aggregate": "max"}),
    MethodKind(
        "autoclip", _ENSEMBLE, "These templates, weighed for each image (beta=0.85, scaled).",
        {"weighting": "autoclip"},
    ),
    MethodKind(
        "softmax", _ENSEMBLE, "AutoCLIP's baseline: templates weighed by their mean cosine.",
        {"weighting": "softmax"},
    ),
    MethodKind(
        "zpe", _ENSEMBLE,
        "These templates, weighed for all images by unlabelled ones: those evaluated (temperature=1).",
        {"weighting": "zpe"},
    ),
    MethodKind("descriptors", SOURCES["descriptors"]),
    MethodKind("cupl", SOURCES["cupl"]),
    MethodKind("waffle", SOURCES["waffle"], reference="WaffleCLIP"),
    MethodKind(
        "random-descriptors", SOURCES["random-descriptors"], reference="shared random descriptors"
    ),
    MethodKind("swapped", SOURCES["swapped"], reference="swapped descriptors"),
    MethodKind("scrambled", SOURCES["scrambled"]),
    MethodKind(
        "learned-names",
        PromptSource(
            "learned-names",
            "Class names learned from other images (from=DIR, which vlcls learn-names wrote).",
            _learned, {"from": _saved}, _check_learned,
        ),
        fitted=lambda options: _saved(options["from"]).fitted,
    ),
    MethodKind(
        "cased",
        NameFinder(
            "No class names: words of retrieved captions (captions=wordnet, alpha=0.7, tau=, retrieved=, "
            "hint=).",
            _cased,
            {
                **_RETRIEVED,
                "alpha": lambda text: number_within(text, "alpha", 0, 1),
                "tau": lambda text: number_within(text, "tau", 0, math.inf),
                "hint": str,  # any words
            },
        ),
    ),
    MethodKind(
        "closest-caption",
        NameFinder(
            "No class names: the closest caption itself (captions=wordnet).", _closest_caption, _RETRIEVED
        ),
    ),
    MethodKind(
        "wordnet-names", NameFinder("No class names: the nearest of WordNet's.", _wordnet_names)
    ),
):  # fmt: skip
    METHODS.register(_kind)
