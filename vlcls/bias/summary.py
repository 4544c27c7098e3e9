"""A report as plain data and in plain sentences: what was searched in vain, and what it all comes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vlcls.bias.report import BiasReport, as_folded, mode_to_json
from vlcls.files.terminal import counted

#: Words that a sentence lists.
_WORDS = 12


def report_to_json(report: BiasReport, labels: Sequence[str]) -> dict[str, Any]:
    """Plain data; `labels` are the classifier's `labels.reported`."""
    modes = [mode_to_json(mode, labels, report.names) for mode in report.failures.modes]
    return {
        "shown": len(report.split.shown),
        "held_out": len(report.split.held_out),
        "seed": report.split.seed,
        "alpha": report.alpha,
        "accuracies": [each.to_json() for each in report.accuracies],
        "suggestions": [each.to_json() for each in report.suggestions],
        "reliance": {
            "tested": report.reliance.tested,
            "found": [
                each.to_json() | {"left_out": vars(report.left_out[each.index, each.text])}
                for each in report.reliance.found
            ],
        },
        "failure_modes": {
            "words": list(report.failures.words),
            "tried": list(report.failures.tried),
            "tested": report.failures.tested,
            "complete_to": report.failures.complete_to,
            "found": as_folded(modes, report.folds),
        },
        "mistakes": [
            {"class": labels[truth], "taken_for": labels[given], "images": count, "of": images}
            for truth, given, count, images in report.mistakes
        ],
        "empty_searches": empty_searches(report),
        "conclusion": conclusion(report, labels),
    }


def empty_searches(report: BiasReport) -> list[str]:
    """Of each search that found nothing: what was tried, or why nothing could be."""
    said = []
    if not report.suggestions:
        said.append(
            f"No suggestion: each of {report.removals} descriptors was left out in turn, and none costs the "
            "worst group more than the others beyond chance."
            if report.removals
            else "What to leave out was not looked for: that takes images of two groups, and classes of two "
            "descriptors or more."
        )
    if not report.reliance.found:
        tested = report.reliance.tested
        said.append(
            f"No descriptor depends on a group beyond chance: {tested} pairs of a descriptor and a group "
            "were compared."
            if tested
            else "Whether descriptors depend on groups was not looked for: no class has enough images inside "
            "and outside of a group."
        )
    if not report.failures.modes:
        said.append(_no_failure_modes(report))
    return said


def _no_failure_modes(report: BiasReport) -> str:
    found = report.failures
    if not found.words:
        return "Failure modes were not looked for: there are no words to describe them with, and no groups."
    if not found.tested:
        return (
            f"Failure modes were not found: none of {len(found.words)} words ({_listed(found.words)}) has "
            f"{found.least} images of a class with it and {found.least} without."
        )
    return (
        f"No failure mode: {found.tested} combinations of {len(found.tried)} words were tried "
        f"({_listed(found.tried)}), and none goes with more mistakes beyond chance."
    )


def conclusion(report: BiasReport, labels: Sequence[str]) -> str:
    """What it comes to, in one sentence; `labels` are the classifier's `labels.reported`."""
    return f"In short: {_about_words(report)}; {_about_mistakes(report, labels)}."


def _about_words(report: BiasReport) -> str:
    if report.suggestions:
        first = report.suggestions[0]
        change = 100 * first.predicted.change.value
        what = f"without “{first.text}” of {first.label}"
        if first.replacement is not None:
            what = f"with “{first.replacement}” for “{first.text}” of {first.label}"
        return f"{what} the worst group ({first.column}: {first.group}) gains {change:.1f} points"
    context = (
        (each, report.left_out[each.index, each.text]) for each in report.reliance.found if each.context
    )
    if helping := [(each, found) for each, found in context if found.net > 0]:
        best, found = max(helping, key=lambda pair: pair[1].net)
        return (
            f"“{best.text}” of {best.label} follows the group and not the class; without it {found.gained} "
            f"images turn right and {found.lost} wrong"
        )
    if report.removals:
        return "no single word helps by being left out"
    return "there were no groups to tell whether a word does harm"


def _about_mistakes(report: BiasReport, labels: Sequence[str]) -> str:
    if report.folds:
        mode = report.failures.modes[report.folds[0][0]]
        wrong = mode.count - mode.right
        if mode.taken_for:
            given, count = mode.taken_for[0]
            often = "is" if 2 * count > wrong else "is most often"
            return (
                f"{labels[mode.index]} with {mode.shown} {often} taken for {labels[given]} "
                f"({count} of {mode.count} images)"
            )
        return f"{labels[mode.index]} with {mode.shown} is often wrong ({wrong} of {mode.count} images)"
    if report.mistakes:
        own, given, count, images = report.mistakes[0]
        mistake = f"{labels[own]} taken for {labels[given]}"
        return f"the most frequent mistake is {mistake} ({count} of {images} images)"
    return "every image shown is right"


def _listed(words: Sequence[str]) -> str:
    return counted([f"“{word}”" for word in words], _WORDS)
