"""Methods by name, as `vlcls evaluate --methods` knows them: "ensemble", "autoclip:beta=0.7", ..."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlcls.classifiers.fitted import Fitted
from vlcls.errors import EvaluationError
from vlcls.evaluation.metrics.verdicts import SEEDS_ASKED, Reference
from vlcls.evaluation.run.kinds import METHODS, MethodKind, NameFinder, method_kinds
from vlcls.evaluation.run.method_options import check_options
from vlcls.prompts import PromptSet
from vlcls.prompts.sources import Context, Options
from vlcls.specs import parse_spec

if TYPE_CHECKING:
    from torch import Tensor

    from vlcls.classifiers import PromptClassifier
    from vlcls.encoders import Encoder


@dataclass(frozen=True)
class Method:
    """A method with its options.

    Attributes:
        spec: As it was typed, which is also its name in reports.
        kind: What it is a case of.
        options: Those typed, and those that its kind stands for.
        seeds: One run each.
        control: Run only to judge the others by.
    """

    spec: str
    kind: MethodKind
    options: Options
    seeds: tuple[int, ...] = (0,)
    control: bool = False

    @property
    def reference(self) -> Reference | None:
        """The reference it is for verdicts: that of its kind, if it has no options but seeds."""
        typed = {key for key in self.options if key not in self.kind.fixed} - {"seeds"}
        return None if typed else self.kind.reference

    @property
    def about(self) -> str:
        return self.kind.about

    @cached_property
    def fitted(self) -> Fitted:
        """Which images it has seen before it is judged: labelled ones, or the judged ones themselves.

        Raises:
            VlclsError: A folder that cannot be read.
        """
        return self.kind.fitted(self.options)

    @property
    def finds_names(self) -> bool:
        return isinstance(self.kind.source, NameFinder)

    def prompts(self, context: Context, seed: int) -> PromptSet:
        """Its texts.

        Raises:
            VlclsError: They cannot be made for these classes (no descriptors, say).
        """
        source = self.kind.source
        if isinstance(source, NameFinder):
            raise EvaluationError("a method that finds names has no prompts")
        return source.make(context, self.options, seed)

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
        from vlcls.classifiers.prompt import classifier_from_prompts, usual_aggregate
        from vlcls.classifiers.weighting import WEIGHTINGS, Weighting

        options = self.options
        rule = WEIGHTINGS.find(options["weighting"]) if "weighting" in options else None
        made = classifier_from_prompts(
            prompts, encoder,
            aggregate=options.get("aggregate") or usual_aggregate(prompts, rule is not None),
            weighting=Weighting.of(rule.name, options) if rule and rule.learn is None else None,
            cache=cache,
        )  # fmt: skip
        if rule is not None and rule.learn is not None:
            made = rule.learn(made, images, **rule.numbers(options))
        return made


# ---- what people type ----------------------------------------------------------------------------------


def parse_methods(text: str | Sequence[str]) -> list[Method]:
    """ "photo,autoclip:beta=0.7,scaled,waffle" or a list of such texts; each method once.

    A comma ends a method only if a method's name follows.

    Raises:
        EvaluationError: No such method or option, or none at all.
    """
    known, specs = method_kinds(), list[str]()
    for part in [text] if isinstance(text, str) else list(text):
        for piece in filter(None, (each.strip() for each in part.split(","))):
            name = piece.partition(":")[0].strip()
            follows = "=" in piece.partition(":")[0] or (name not in known and ":" not in piece)
            if specs and follows and ":" in specs[-1]:
                specs[-1] += f",{piece}"
            else:
                specs.append(piece)
    if not specs:
        raise EvaluationError(f"no methods: choose from {', '.join(known)}")
    return [parse_method(spec) for spec in dict.fromkeys(specs)]


def parse_method(spec: str, *, control: bool = False) -> Method:
    """One method, as it is typed.

    Raises:
        EvaluationError: No such method or option, a value that means nothing, or a file that cannot be read.
    """
    name, options = parse_spec(spec)
    kind = method_kinds().get(name) or METHODS.find(name)
    check_options(spec, kind, options)
    seeds = float(options.get("seeds", SEEDS_ASKED if kind.source.random else 1))
    return Method(spec, kind, {**kind.fixed, **options}, tuple(range(int(seeds))), control)


def with_controls(methods: Sequence[Method]) -> list[Method]:
    """The methods, and behind them the references that verdicts need and that are not among them.

    Those about descriptors only if a method uses descriptors.
    """
    if all(method.finds_names for method in methods):
        return list(methods)
    uses = any(method.kind.source.described or "descriptors" in method.options for method in methods)
    have = {method.reference for method in methods}
    result: list[Method] = list(methods)
    for name, kind in METHODS.items():
        if kind.reference is None or kind.reference in have or (kind.source.described and not uses):
            continue
        result.append(parse_method(name, control=True))
    return result


def prompts_hash(sets: Sequence[PromptSet]) -> str:
    """A hash of texts, classes and weights: two cells with the same one said the same."""
    plain: list[Any] = [[list(each.labels.ids), each.to_json()] for each in sets]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
