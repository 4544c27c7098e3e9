"""Why is a method better: because of what its texts say, or because it has many of them?

A gain over one prompt proves nothing about the texts: ensembles of random words gain as well (Roth et al.,
"Waffling around for Performance", ICCV 2023). So every method is held against controls whose texts say
nothing about the class, on the same images:

1. It is *worse* if it is significantly below one prompt.
2. There is *no evidence* if it is not significantly above one prompt.
3. It is better because of *what the text says* if it is significantly above every control that was run, the
   template ensemble among them, and at least one of these has random or swapped texts.
4. It is better because of *ensembling alone* if it is not above some control, and the best of these controls
   has at least half of its gain over one prompt.
5. The reason is *open* if no control with random or swapped texts was run, or if one is not significantly
   below the method but has less than half of its gain.
6. A method that was *trained on labelled images*, or fitted on the very images it is judged on, gets that as
   the reason of any gain: none of its controls has seen as much. See `vlcls.classifiers.fitted`.

"Significantly" is by the Holm-corrected p value over the whole table. Only 3 claims that the texts matter,
and as it needs several significant differences at once, it is claimed falsely less often than each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vlcls.classifiers.fitted import Fitted
from vlcls.errors import EvaluationError
from vlcls.evaluation.metrics.significance import SAMPLES, Difference, compare_right, holm_corrected, right_of

Reference = Literal["one prompt", "template ensemble", "WaffleCLIP", "shared random descriptors",
                    "swapped descriptors"]  # fmt: skip
#: Of methods that were fitted, `Fitted.reason`: "trained on 24 labelled images".
Reason = Literal["what the text says", "ensembling alone", "open", "no evidence", "worse"] | str

ONE_PROMPT: Reference = "one prompt"
#: Whose texts say nothing of the class. The template ensemble is one, but says nothing about descriptors.
RANDOM_CONTROLS: tuple[Reference, ...] = ("WaffleCLIP", "shared random descriptors", "swapped descriptors")
CONTROLS: tuple[Reference, ...] = ("template ensemble", *RANDOM_CONTROLS)
#: What the WaffleCLIP paper takes, and `vlcls evaluate` if nothing is said.
SEEDS_ASKED = 7
#: A control explains a gain if it has at least this part of it.
_EXPLAINS = 0.5


@dataclass(frozen=True)
class Verdict:
    """What the comparisons of one method say.

    Attributes:
        reason: See the rules above.
        sentence: The same for people, with the figures that decided it.
        comparisons: With every reference that was run, Holm-corrected.
        few_draws: Which large differences count for nothing since random texts were drawn a few times only;
            empty if none.
    """

    reason: Reason
    sentence: str
    comparisons: Mapping[str, Difference]
    few_draws: str = ""

    def to_json(self) -> dict[str, Any]:
        plain = {name: each.to_json() for name, each in self.comparisons.items()}
        return vars(self) | {"comparisons": plain}


def judge_gains(
    methods: Mapping[str, Any],
    references: Mapping[Reference, Any],
    truth: Any,
    *,
    alpha: float = 0.05,
    seed: int = 0,
    samples: int = SAMPLES,
    fitted: Mapping[str, Fitted] | None = None,
) -> dict[str, Verdict]:
    """Compare every method with every reference on the same images, and say why it is better or not.

    Args:
        methods: Predicted classes of each method by name: [N], or [S, N] for S seeds.
        references: The same of the references that were run; "one prompt" must be among them. Run random
            ones with several seeds (the WaffleCLIP paper takes 7): with one seed nobody can tell luck with
            words from merit, and the sentence says so.
        truth: [N].
        alpha: Chance of any false positive in the table.
        seed, samples: Of the resampling.
        fitted: What methods were fitted on, by name; predict only images that they have not seen.

    Raises:
        EvaluationError: No "one prompt", an unknown reference, or predictions for other images.
    """
    unknown = [name for name in references if name not in (ONE_PROMPT, *CONTROLS)]
    if unknown:
        known = ", ".join(map(repr, (ONE_PROMPT, *CONTROLS)))
        raise EvaluationError(f"{unknown[0]!r} is no reference; there are {known}")
    if ONE_PROMPT not in references:
        raise EvaluationError("a gain is over one prompt: run it on the same images as a reference")
    others = {name: right_of(predicted, truth) for name, predicted in references.items()}
    table = {}
    for method, predicted in methods.items():
        right = right_of(predicted, truth)
        table[method] = {
            str(name): compare_right(right, other, seed=seed, samples=samples)
            for name, other in others.items()
        }
    seen = fitted or {}
    return {
        method: verdict(row, alpha, seen.get(method)) for method, row in holm_corrected(table, alpha).items()
    }


def verdict(
    comparisons: Mapping[str, Difference], alpha: float = 0.05, fitted: Fitted | None = None
) -> Verdict:
    """The verdict on one method from its comparisons with references, already Holm-corrected.

    Args:
        comparisons: By reference.
        alpha: What "significantly" means.
        fitted: What the method was fitted on.

    Raises:
        EvaluationError: No comparison with "one prompt".
    """
    if ONE_PROMPT not in comparisons:
        raise EvaluationError("a gain is over one prompt: compare with it")
    over = comparisons[ONE_PROMPT]
    luck = _few_draws(comparisons, alpha)
    if over.adjusted > alpha or not over.difference.value:
        said = f"No evidence of a difference from one prompt ({_figures(over)})."
        return Verdict("no evidence", said, comparisons, luck)
    if over.difference.value < 0:
        return Verdict("worse", f"Worse than one prompt ({_figures(over)}).", comparisons, luck)
    reason, why = _why(comparisons, alpha)
    if fitted is not None and fitted.reason is not None:
        reason, why = fitted.reason, _why_fitted(fitted)
    return Verdict(reason, f"{why} Over one prompt: {_figures(over)}.", comparisons, luck)


def _why_fitted(fitted: Fitted) -> str:
    said = f"Better, and {fitted.reason}: none of the others is, so nothing here says that it is the text."
    if fitted.unknown or not fitted.recorded:
        said += " Which images these were is not known: some may be among those judged."
    return said


def _why(comparisons: Mapping[str, Difference], alpha: float) -> tuple[Reason, str]:
    """The reason of a significant gain over one prompt, in words."""
    run = [name for name in CONTROLS if name in comparisons]
    random = [name for name in RANDOM_CONTROLS if name in comparisons]
    gain = comparisons[ONE_PROMPT].difference.value
    unbeaten = [name for name in run if not _beats(comparisons[name], alpha)]
    if unbeaten:
        best = min(unbeaten, key=lambda name: comparisons[name].difference.value)
        share = (gain - comparisons[best].difference.value) / gain
        against = f"{best}: {_figures(comparisons[best])}"
        if share >= _EXPLAINS:
            return "ensembling alone", (
                f"Better because of ensembling alone: {best}, which says nothing about the classes, has "
                f"{'all' if share >= 1 else f'{share:.0%}'} of the gain ({against})."
            )
        return "open", (
            f"Better, but why is open: not significantly better than {best}, which has only {share:.0%} of "
            f"the gain ({against}). More images would tell."
        )
    if not random:
        return "open", (
            "Better, but why is open: no control with random or swapped texts was run"
            + (", only the template ensemble." if run else ".")
        )
    missing = [name for name in RANDOM_CONTROLS if name not in random]
    said = f"Better because of what the text says: also better than {_listed(run)}"
    said += f" ({_listed(missing)} not run)" if missing else ""
    # Swapping is random, too; a method with seeds of its own has a variance of its own.
    once = [name for name in random if comparisons[name].reference_seeds == 1]
    said += f". One seed only of {_listed(once)}: luck with random texts is not excluded" if once else ""
    return "what the text says", said + "."


def _beats(comparison: Difference, alpha: float) -> bool:
    return comparison.difference.value > 0 and comparison.adjusted <= alpha


def _figures(comparison: Difference) -> str:
    """With the interval that goes with the p value: both are of the whole table."""
    found = comparison.simultaneous
    return (
        f"{100 * found.value:+.2f} points, interval {100 * found.low:+.2f} to {100 * found.high:+.2f}, "
        f"p = {comparison.adjusted:.2g}, both after Holm"
    )


def _few_draws(comparisons: Mapping[str, Difference], alpha: float) -> str:
    """Why a large difference may count for nothing: few draws of random texts tell no luck from merit."""
    said = [
        f"{name} ({100 * each.difference.value:+.2f} points, p = {each.adjusted:.2g}; "
        f"{max(each.seeds, each.reference_seeds)} draws, standard deviation {100 * each.between_seeds:.1f})"
        for name, each in comparisons.items()
        if each.between_seeds is not None and each.few_draws(alpha)
    ]
    if not said:
        return ""
    return (
        f"Images alone would tell it from {'; from '.join(said)}. But other draws of random texts may do as "
        f"well: seeds={3 * SEEDS_ASKED} would tell more."
    )


def _listed(names: list[Reference]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
