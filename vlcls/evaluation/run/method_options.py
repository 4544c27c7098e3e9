"""The options of methods, checked as soon as they are typed: what means nothing stops before any work."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from vlcls.classifiers.scorers import SCORERS
from vlcls.classifiers.weighting import WEIGHTINGS, check_pair
from vlcls.descriptors import read_descriptors
from vlcls.errors import EvaluationError, VlclsError
from vlcls.files.named import is_built_in
from vlcls.prompts.phrasing import check_phrasing
from vlcls.prompts.templates import load_templates
from vlcls.specs import as_number, as_truth

#: Runs of a method with random texts; descriptors of one.
MOST_SEEDS, MOST_COUNT = 1000, 10_000

Check = Callable[[str], object]


def _number(text: str, what: str, low: float, high: float, *, whole: bool = False) -> float:
    """A number from `low` to `high`; above 0 where `low` is 0 and `high` infinite."""
    value = as_number(text, what)
    above = low == 0 and high == math.inf
    if not math.isfinite(value) or not low <= value <= high or (above and not value):
        wanted = "above 0" if above else f"from {low:g} to {high:g}"
        raise EvaluationError(f"{what} must be {'a whole number ' if whole else ''}{wanted}, not {text}")
    if whole and value != int(value):
        raise EvaluationError(f"{what} must be a whole number, not {text}")
    return value


def _learned(folder: str) -> None:
    from vlcls.classifiers.loading import load

    load(folder)


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


#: By name: an option means the same for every method that has it.
CHECKS: Mapping[str, Check] = {
    "aggregate": SCORERS.find,
    "weighting": WEIGHTINGS.find,
    "beta": lambda text: _number(text, "beta", 0, 1),
    "scaled": lambda text: as_truth(text, "scaled"),
    "temperature": lambda text: _number(text, "temperature", 0, math.inf),
    "seeds": lambda text: _number(text, "seeds", 1, MOST_SEEDS, whole=True),
    "templates": load_templates,
    "template": load_templates,
    "articles": lambda text: as_truth(text, "articles"),
    "phrasing": check_phrasing,
    "file": lambda text: None,  # of a style that depends on the method: see `check_options`
    "count": lambda text: _number(text, "count", 1, MOST_COUNT, whole=True),
    "concept": lambda text: None,  # any words
    "descriptors": lambda text: as_truth(text, "descriptors"),
    "published": lambda text: as_truth(text, "published"),
    "from": _learned,
    "captions": _captions,
    "alpha": lambda text: _number(text, "alpha", 0, 1),
    "tau": lambda text: _number(text, "tau", 0, math.inf),
    "retrieved": lambda text: _number(text, "retrieved", 1, MOST_COUNT, whole=True),
    "hint": lambda text: None,  # any words
}


def check_options(spec: str, kind: str, options: Mapping[str, str], fixed: Mapping[str, str]) -> None:
    """Check every option of a method: its value, that it has an effect, and that none is missing.

    Args:
        spec: The method as it was typed, for errors.
        kind: Its name.
        options: What was typed.
        fixed: Options that the name stands for.

    Raises:
        EvaluationError: Names the method, the option and what it may be.
    """
    try:
        for name, value in options.items():
            CHECKS[name](value)
        if "file" in options:
            read_descriptors(options["file"], style="sentences" if kind == "cupl" else None)
        _check_weighting({**fixed, **options})
        if kind == "waffle":
            _check_waffle(options)
        if kind == "learned-names" and "from" not in options:
            raise EvaluationError("from=DIR is expected, a folder that `vlcls learn-names` wrote")
    except VlclsError as error:
        raise EvaluationError(f"method {spec!r}: {error}") from error


def _check_waffle(options: Mapping[str, str]) -> None:
    mixed, published = (as_truth(options.get(name, "false"), name) for name in ("descriptors", "published"))
    if "templates" in options and mixed:
        raise EvaluationError("templates has no effect with descriptors")
    if "file" in options and not (mixed or published):
        raise EvaluationError("file has no effect without descriptors or published")


def _check_weighting(options: Mapping[str, str]) -> None:
    rule = WEIGHTINGS.find(options["weighting"]) if "weighting" in options else None
    for option in ("beta", "scaled", "temperature"):
        if option in options and (rule is None or option not in rule.options):
            without = "without a weighting" if rule is None else f"with weighting={rule.name}"
            raise EvaluationError(f"{option} has no effect {without}")
    if "aggregate" in options:
        check_pair(options["aggregate"], rule)
