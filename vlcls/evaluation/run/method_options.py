"""The options of methods, checked as soon as they are typed: what means nothing stops before any work."""

from __future__ import annotations

import math
from collections.abc import Mapping

from vlcls.classifiers.scorers import SCORERS
from vlcls.classifiers.weighting import WEIGHTINGS, check_pair
from vlcls.errors import EvaluationError, VlclsError
from vlcls.evaluation.run.kinds import MethodKind, NameFinder
from vlcls.prompts.sources import Check, Options
from vlcls.specs import as_truth, number_within

#: Runs of a method with random texts.
MOST_SEEDS = 1000


#: Options of every method that has prompts.
COMMON: Mapping[str, Check] = {
    "aggregate": SCORERS.find,
    "weighting": WEIGHTINGS.find,
    "beta": lambda text: number_within(text, "beta", 0, 1),
    "scaled": lambda text: as_truth(text, "scaled"),
    "temperature": lambda text: number_within(text, "temperature", 0, math.inf),
    "seeds": lambda text: number_within(text, "seeds", 1, MOST_SEEDS, whole=True),
}


def check_options(spec: str, kind: MethodKind, options: Options) -> None:
    """Check every option of a method: its value, that it has an effect, and that none is missing.

    Args:
        spec: The method as it was typed, for errors.
        kind: What it is a case of.
        options: What was typed.

    Raises:
        EvaluationError: Names the method, the option and what it may be.
    """
    checks = options_of(kind)
    if unknown := set(options) - set(checks):
        known = ", ".join(sorted(checks)) or "none"
        raise EvaluationError(f"method {spec!r}: no option {min(unknown)!r}; there are {known}")
    if again := set(options) & set(kind.fixed):
        raise EvaluationError(
            f"method {spec!r}: {min(again)!r} is what {kind.name} is about; take another method"
        )
    try:
        for name, value in options.items():
            checks[name](value)
        _check_weighting({**kind.fixed, **options})
        kind.source.check(options)
    except VlclsError as error:
        raise EvaluationError(f"method {spec!r}: {error}") from error


def options_of(kind: MethodKind) -> Mapping[str, Check]:
    """Its own options, and those that every method with prompts has."""
    own = kind.source.options
    return own if isinstance(kind.source, NameFinder) else {**own, **COMMON}


def _check_weighting(options: Mapping[str, str]) -> None:
    rule = WEIGHTINGS.find(options["weighting"]) if "weighting" in options else None
    for option in ("beta", "scaled", "temperature"):
        if option in options and (rule is None or option not in rule.options):
            without = "without a weighting" if rule is None else f"with weighting={rule.name}"
            raise EvaluationError(f"{option} has no effect {without}")
    if "aggregate" in options:
        check_pair(options["aggregate"], rule)
