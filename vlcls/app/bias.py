"""What is wrong with the descriptors in force, on the images shown: suggestions, reliance, failure modes."""

from __future__ import annotations

from vlcls.app.markup import button, points, row, section, table, text, thumbnail
from vlcls.app.view import View
from vlcls.app.workbench import Workbench
from vlcls.bias import BiasReport
from vlcls.bias.summary import conclusion, empty_searches

#: Rows of each list.
_MOST = 12


def bias(bench: Workbench, view: View) -> str:
    """The search and what it found."""
    searched = bench.searched
    again = button("bias", "Search again" if searched else "Search", slow=1)
    about = (
        '<p class="vx-note">Looks at the images shown, never at those held out: which descriptor costs the '
        "worst group, which depend on a group, where a class fails. What is listed is beyond chance (5 % for "
        f"all of it). It takes some seconds.</p>{again}"
    )
    if searched is None:
        return section("Find what is wrong", about)
    known, report = searched
    old = known != bench.seen.session.descriptors
    note = '<p class="vx-note">Of descriptors that have changed since: search again.</p>' if old else ""
    labels = bench.seen.session.start.labels.reported
    note += f'<p id="vx-conclusion"><b>{text(conclusion(report, labels), 600)}</b></p>'
    if report.empty:
        note += '<p class="vx-note" id="vx-nothing">Nothing was found: small sets hide a lot.</p>'
    note += "".join(f'<p class="vx-note vx-empty">{text(each, 600)}</p>' for each in empty_searches(report))
    parts = (_suggestions(bench, report), _reliance(bench, report), _failures(bench, report))
    return section("Find what is wrong", about, note) + "".join(parts)


def _suggestions(bench: Workbench, report: BiasReport) -> str:
    rows = []
    for each in report.suggestions[:_MOST]:
        change = each.predicted.change
        rows.append(
            row(
                text(each.label), text(each.text), f"{text(each.column)}: {text(each.group)}",
                f"{points(change.value)} ({points(change.low)} to {points(change.high)})",
                _leave_out(bench, each.index, each.text),
            )
        )  # fmt: skip
    if not rows:
        return ""
    head = ("class", "descriptor", "costs most", "worst group, points", "")
    note = (
        '<p class="vx-note">The effect is on the images it was found on, and flatters: '
        "look at those held out after.</p>"
    )
    return section("Suggestions", table(head, rows, kind="vx-words"), note)


def _leave_out(bench: Workbench, index: int, descriptor: str) -> str:
    """A button that deletes a descriptor, if it is still there."""
    texts = bench.seen.session.descriptors.texts(index)
    if descriptor not in texts:
        return "gone"
    return button("delete", "leave it out", kind="vx-small", index=index, place=texts.index(descriptor))


def _reliance(bench: Workbench, report: BiasReport) -> str:
    ordered = sorted(report.reliance.found, key=lambda each: (not each.context, -abs(each.effect)))
    rows = [
        row(
            text(each.label), text(each.text), f"{text(each.column)}: {text(each.group)}",
            f"{each.effect:+.1f}".replace("-", "−"),
            each.follows,
            f"{without.gained} right, {without.lost} wrong",
            button("open-class", "edit", kind="vx-small", index=each.index)
            # Of one that belongs to its class, or that nothing is better without, there is nothing to gain.
            + (_leave_out(bench, each.index, each.text) if each.context and without.net > 0 else ""),
        )
        for each, without in ((each, report.left_out[each.index, each.text]) for each in ordered[:_MOST])
    ]  # fmt: skip
    if not rows:
        return ""
    head = ("class", "descriptor", "group", "standard deviations", "follows", "left out, images turn", "")
    return section("Descriptors that depend on a group", table(head, rows, kind="vx-words vx-reliance"))


def _failures(bench: Workbench, report: BiasReport) -> str:
    names = bench.seen.session.start.labels.reported
    shown, parts = bench.material.shown, []
    for head, *others in report.folds[:_MOST]:
        mode, pictures = report.failures.modes[head], []
        for place in mode.examples:
            image = int(shown.rows[place])
            pictures.append(thumbnail(image, place, "", name=bench.material.names[image]))
        strip = f'<div class="vx-gallery vx-strip">{"".join(pictures)}</div>'
        taken = f"; {mode.mistaken(names)}" if mode.taken_for else ""
        said = f"<p>{text(mode.sentence(names[mode.index]) + taken, 600)}</p>"
        if others:
            also = "; ".join(report.failures.modes[place].shown for place in others)
            said += f'<p class="vx-note">The same images, in other words: {text(also, 600)}</p>'
        parts.append(said + strip)
    return section("Failure modes", *parts) if parts else ""
