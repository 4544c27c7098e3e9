"""What `vlcls bias` found, to read and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich.text import Text

from vlcls.cli.console import Console, page, titled
from vlcls.cli.output import json_text

if TYPE_CHECKING:
    from vlcls.bias import BiasReport, Effect, FailureMode, GroupAccuracy, HeldOut, ShapeDecisions, Suggestion
    from vlcls.labels import Labels

Shapes = Mapping[str, "tuple[ShapeDecisions, ...]"]
#: Rows of a table, and names of examples.
_ROWS, _EXAMPLES = 20, 3


def write_json(
    report: BiasReport, held: HeldOut | None, shapes: Shapes, name: str, classes: Labels, stream: TextIO
) -> None:
    """All that was found, and the ids of the classes; "held_out_figures" only if they were asked for."""
    from vlcls.bias.summary import report_to_json

    labels = classes.reported
    ids = [{"label": label, "id": own} for label, own in zip(labels, classes.ids, strict=True)]
    found: dict[str, Any] = {"set": name, "classes": ids, **report_to_json(report, labels)}
    if held is not None:
        found["held_out_figures"] = held.to_json(labels)
    if shapes:
        found["texture_or_shape"] = {
            part: [each.to_json() for each in decisions] for part, decisions in shapes.items()
        }
    stream.write(json_text(found, indent=1) + "\n")


def write_text(
    report: BiasReport, held: HeldOut | None, shapes: Shapes, name: str, classes: Labels, stream: TextIO
) -> None:
    """For people: suggestions first, then what they rest on."""
    from vlcls.bias.summary import conclusion, empty_searches

    labels = classes.reported
    console = page(stream, 160, markup=False, emoji=False, soft_wrap=True)
    console.print(
        f"{name}: {len(report.split.shown)} images shown, {len(report.split.held_out)} held out "
        f"(seed {report.split.seed})\n"
    )
    _accuracies(console, report.accuracies, None if held is None else held.accuracies)
    for part, decisions in shapes.items():
        _shapes(console, part, decisions)
    _suggestions(console, report.suggestions, None if held is None else held.effects)
    _reliance(console, report)
    _failures(console, report, held, labels)
    _mistakes(console, report, labels)
    if report.empty:
        console.print("Nothing was found: small sets hide a lot. What was tried:", style="bold")
    for each in empty_searches(report):
        console.print(_text(f"- {each}" if report.empty else each))
    if held is None:
        console.print("Figures of the images held out: --held-out", style="dim")
    console.print()
    console.print(_text(conclusion(report, labels), "bold"))


def _accuracies(
    console: Console, shown: Sequence[GroupAccuracy], held: Sequence[GroupAccuracy] | None
) -> None:
    known = {(each.column, each.group): each for each in held or ()}
    table = _table("group", "images", "accuracy", "95 % interval", *(["held out", ""] if held else []))
    for each in shown:
        title = f"{each.column}: {each.group}" if each.column else "all"
        figures = _figures(each)
        if held:
            other = known.get((each.column, each.group))
            figures += _figures(other)[1:] if other else ["", ""]
        table.add_row(_text(title), *figures)
    console.print(table)
    console.print()


def _figures(each: GroupAccuracy) -> list[str]:
    from vlcls.evaluation.metrics.intervals import proportion

    found = proportion(each.right, each.count)
    if found is None:
        return [str(each.count), "", ""]
    return [str(each.count), f"{found.value:.1%}", f"{found.low:.1%} to {found.high:.1%}"]


def _shapes(console: Console, part: str, decisions: Sequence[ShapeDecisions]) -> None:
    console.print(f"Texture or shape, images {part}", style="bold")
    table = _table(
        "shape", "images", "for shape", "for texture", "neither", "share of shape", "95 % interval"
    )
    for each in decisions:
        share = each.share
        ends = ["", ""] if share is None else [f"{share.value:.0%}", f"{share.low:.0%} to {share.high:.0%}"]
        counts = map(str, (each.images, each.shape, each.texture, each.neither))
        table.add_row(_text(each.name), *counts, *ends)
    console.print(table)
    console.print()


def _suggestions(
    console: Console, suggestions: Sequence[Suggestion], effects: Sequence[Effect] | None
) -> None:
    if not suggestions:
        return
    console.print(
        "Suggestions (--apply N -o NEW.json writes one; nothing is changed by itself)", style="bold"
    )
    for number, each in enumerate(suggestions, 1):
        what = f"leave out “{each.text}”"
        if each.replacement is not None:
            what = f"replace “{each.text}” by “{each.replacement}”"
        console.print(_text(f"{number}. {each.label}: {what}", "bold yellow"))
        console.print(_text(f"   predicted, on images it was chosen on: {_effect(each.predicted)}"))
        if effects is not None:
            measured = effects[number - 1]
            ends = f"{100 * measured.change.low:+.1f} to {100 * measured.change.high:+.1f}"
            console.print(_text(f"   measured, on images held out: {_effect(measured)} (95 %: {ends})"))
        console.print(_text(f"   costs {each.column}: {each.group} most (p = {each.adjusted:.2g})", "dim"))
    console.print()


def _effect(effect: Effect) -> str:
    before, after = effect.worst_before, effect.worst_after
    return (
        f"worst group {before.before / before.count:.1%} ({before.name}) to {after.after / after.count:.1%} "
        f"({after.name}), {100 * effect.change.value:+.1f} points"
    )


def _reliance(console: Console, report: BiasReport) -> None:
    found = report.reliance.found
    if not found:
        return
    console.print("Descriptors whose similarity depends on the group, within their class", style="bold")
    table = _table(
        "class", "descriptor", "group", "effect (sd)", "images", "p", "if left out", "follows",
        right=(3, 4, 5, 6),
    )  # fmt: skip
    # Both ends: what a group lacks, and what it has more of.
    rows = found if len(found) <= _ROWS else (*found[: _ROWS // 2], *found[-_ROWS // 2 :])
    for each in rows:
        without = report.left_out[each.index, each.text]
        table.add_row(
            _text(each.label), _text(each.text), _text(f"{each.column}: {each.group}"),
            f"{each.effect:+.2f}", str(each.count), f"{each.adjusted:.2g}",
            f"{without.gained} right, {without.lost} wrong",
            _text(each.follows, "bold yellow" if each.context else "dim"),
        )  # fmt: skip
    console.print(table)
    if len(rows) < len(found):
        console.print(f"{len(found) - len(rows)} between them (--format json has all)", style="dim")
    console.print()


def _failures(console: Console, report: BiasReport, held: HeldOut | None, labels: Sequence[str]) -> None:
    if not report.failures.modes:
        return
    console.print("Failure modes", style="bold")
    for head, *others in report.folds[:_ROWS]:
        _failure(console, report, held, head, labels)
        if others:
            also = "; ".join(report.failures.modes[place].shown for place in others[:_EXAMPLES])
            more = f" and {len(others) - _EXAMPLES} more" if len(others) > _EXAMPLES else ""
            console.print(_text(f"  the same images, in other words: {also}{more}"))
    if len(report.folds) > _ROWS:
        console.print(f"{len(report.folds) - _ROWS} more (--format json has all)", style="dim")
    console.print()


def _failure(
    console: Console, report: BiasReport, held: HeldOut | None, place: int, labels: Sequence[str]
) -> None:
    mode = report.failures.modes[place]
    console.print(_text(f"- {mode.sentence(labels[mode.index])}{_drop(mode)}"))
    if mode.taken_for:
        console.print(_text(f"  {mode.mistaken(labels)}"))
    examples = ", ".join(report.names[row] for row in mode.examples[:_EXAMPLES])
    console.print(_text(f"  {examples}", "dim"))
    if held is not None:
        other = held.failures[place]
        taken = f"; {other.mistaken(labels)}" if other.taken_for else ""
        console.print(_text(f"  held out: {other.sentence(labels[mode.index])}{_drop(other)}{taken}"))


def _mistakes(console: Console, report: BiasReport, labels: Sequence[str]) -> None:
    if not report.mistakes:
        return
    console.print("Most frequent mistakes", style="bold")
    for own, given, count, images in report.mistakes:
        console.print(_text(f"- {labels[own]} taken for {labels[given]}: {count} of {images} images"))
    console.print()


def _drop(mode: FailureMode) -> str:
    if mode.drop is None:
        return ""
    ends = f"{100 * mode.drop.low:.0f} to {100 * mode.drop.high:.0f}"
    return f": {100 * mode.drop.value:.0f} points less ({ends}), p = {mode.adjusted:.2g}"


def _table(*titles: str, right: Sequence[int] | None = None) -> Any:
    return titled(*titles, right=range(1, len(titles)) if right is None else right)


def _text(value: Any, style: str = "") -> Any:
    """Never markup: descriptors and names of files may hold brackets and control characters."""
    return Text("".join(each if each.isprintable() else "�" for each in str(value)), style)
