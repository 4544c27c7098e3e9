"""What is wrong with the descriptors in force, on the images shown: suggestions, reliance, failure modes."""

from __future__ import annotations

from vlcls.app.markup import button, points, row, section, table, text, thumbnail
from vlcls.app.view import View
from vlcls.app.workbench import Workbench
from vlcls.bias import BiasReport

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
    if report.empty:
        note += '<p class="vx-note" id="vx-nothing">Nothing was found.</p>'
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
            "follows the group" if each.context else "",
            button("open-class", "edit", kind="vx-small", index=each.index)
            + _leave_out(bench, each.index, each.text),
        )
        for each in ordered[:_MOST]
    ]  # fmt: skip
    if not rows:
        return ""
    head = ("class", "descriptor", "group", "standard deviations", "", "")
    return section("Descriptors that depend on a group", table(head, rows, kind="vx-words"))


def _failures(bench: Workbench, report: BiasReport) -> str:
    names = bench.seen.session.start.labels.reported
    shown, parts = bench.material.shown, []
    for mode in report.failures.modes[:_MOST]:
        pictures = []
        for place in mode.examples:
            image = int(shown.rows[place])
            pictures.append(thumbnail(image, place, "", name=bench.material.names[image]))
        strip = f'<div class="vx-gallery vx-strip">{"".join(pictures)}</div>'
        parts.append(f"<p>{text(mode.sentence(names[mode.index]), 300)}</p>{strip}")
    return section("Failure modes", *parts) if parts else ""
