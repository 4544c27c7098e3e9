"""The head of the page and the overview: how good the classifier is, where it is not, what changed."""

from __future__ import annotations

from collections.abc import Sequence

from vlcls import __version__
from vlcls.app.markup import (
    accuracy_bar,
    between,
    button,
    percent,
    points,
    row,
    section,
    table,
    text,
    thumbnail,
    tone,
)
from vlcls.app.view import PartChange, View, class_changes, group_changes, pairs, total_change
from vlcls.app.workbench import Seen, Workbench
from vlcls.editing import PartCounts

#: Flips of one direction that are shown.
_FLIPS = 12
#: Classes or groups in a table; the others unfold: a page of a thousand is no overview.
_PARTS = 60


def head(bench: Workbench, view: View) -> str:
    """Accuracy against the start, flips, undo and redo, and what the last action took."""
    seen, shown = bench.seen, bench.material.shown
    total, session = seen.comparison.total, seen.session
    assert total is not None
    change = total_change(seen, shown)
    steps = (
        f"change {session.place} of {len(session.steps) - 1}" if len(session.steps) > 1 else "no changes yet"
    )
    said = text(session.steps[session.place].said) if session.place else ""
    cards = [
        _card(
            "Accuracy, images shown",
            f'<b id="vx-accuracy">{percent(total.after, total.count)}</b>',
            f"{between(total.after, total.count)}; at the start {percent(total.before, total.count)}",
        ),
        _card(
            "Change",
            f'<b class="{tone(change.value)}" id="vx-change">{points(change.value)}</b>',
            f"{points(change.low)} to {points(change.high)} points; p = {seen.comparison.p_value:.2g}",
        ),
        _flip_card(seen),
        *(_worst_card(seen, column) for column in seen.comparison.groups),
    ]
    tools = button("undo", "↶ Undo", off=not session.can_undo) + button(
        "redo", "↷ Redo", off=not session.can_redo
    )
    message = (
        f'<p class="vx-message {"failed" if view.failed else ""}" role="status">{text(view.message, 600)}</p>'
        if view.message
        else ""
    )
    return (
        f'<div class="vx-head">{_about(bench)}<div class="vx-cards">{"".join(cards)}</div>'
        f'<div class="vx-tools">{tools}<span class="vx-step"><b>{steps}</b> {said}</span>'
        f'<span class="vx-time">scored in <b id="vx-scored">{1000 * seen.seconds:.0f}</b> ms, '
        f'{seen.encoded} new texts; answered in <b id="vx-answered">–</b> ms</span></div>{message}</div>'
    )


def _about(bench: Workbench) -> str:
    """What is looked at, through what, by what."""
    material, info = bench.material, bench.material.start.encoder_info
    held = f", {len(material.held):,} held out" if len(material.held) else ""
    encoder = text(info.spec if info else "", 80)
    return (
        f'<p class="vx-about"><span>data set <b id="vx-data">{text(material.name, 80)}</b></span> '
        f"<span>{len(material.shown):,} images shown{held}</span> "
        f'<span>encoder <b id="vx-encoder">{encoder}</b></span> <span>vlcls edit {__version__}</span></p>'
    )


def _card(title: str, figure: str, note: str) -> str:
    return f'<div class="vx-card"><span>{title}</span>{figure}<small>{note}</small></div>'


def _flip_card(seen: Seen) -> str:
    directions = [flip.direction for flip in seen.comparison.flips]
    right, wrong = directions.count("wrong to right"), directions.count("right to wrong")
    figure = f'<b><i class="better">{right} ↑</i> <i class="worse">{wrong} ↓</i></b>'
    return _card(
        "Turned right, turned wrong", figure, f"{len(directions) - right - wrong} from wrong to wrong"
    )


def _worst_card(seen: Seen, column: str) -> str:
    was, is_now = seen.comparison.worst(column)
    total = seen.comparison.total
    assert total is not None
    gap = total.after / total.count - is_now.after / is_now.count
    note = f"{text(is_now.name, 30)}; gap to all {points(gap)}; at the start {percent(was.before, was.count)}"
    return _card(f"Worst {text(column, 24)}", f"<b>{percent(is_now.after, is_now.count)}</b>", note)


def overview(bench: Workbench, view: View) -> str:
    """Groups, confused pairs, classes: each row opens its images."""
    seen, material = bench.seen, bench.material
    labels = seen.session.start.labels.reported
    parts = [_pairs(bench)]
    for place, (column, groups) in enumerate(seen.comparison.groups.items()):
        rows = [
            _part(part, button("group", text(part.name), kind="vx-link", column=place, value=number))
            for number, part in enumerate(groups)
        ]
        parts.append(section(f"By {text(column)}", _unfolding(_HEAD, rows, "groups", "vx-parts")))
    order = {name: index for index, name in enumerate(labels)}
    worst = sorted(seen.comparison.classes, key=lambda part: part.after / part.count)
    rows = [
        _part(
            part,
            button("class-images", text(part.name), kind="vx-link", index=order[part.name])
            + button("open-class", "descriptors", kind="vx-small", index=order[part.name]),
        )
        for part in worst
    ]
    parts.append(section("By class, the worst first", _unfolding(_HEAD, rows, "classes", "vx-parts")))
    unread = f" {material.unread} images could not be read and are left out." if material.unread else ""
    few = (
        f'<p class="vx-note">{text(material.name)}: {len(material.shown)} images are shown, '
        f"{len(material.held)} are held out and in none of these figures.{unread}</p>"
    )
    return few + f'<div class="vx-columns">{"".join(parts)}</div>'


_HEAD = ("", "images", "right now", "", "start", "change")


def _part(part: PartCounts, name: str) -> str:
    return row(
        name,
        str(part.count),
        percent(part.after, part.count),
        accuracy_bar(part.after, part.count),
        percent(part.before, part.count),
        f'<span class="{tone(part.change)}">{points(part.change)}</span>' if part.change else "",
    )


def _unfolding(head: Sequence[str], rows: Sequence[str], what: str, kind: str) -> str:
    """A table of the first rows, and one of the others that unfolds: all of them can be reached."""
    first, others = rows[:_PARTS], rows[_PARTS:]
    more = (
        f"<details><summary>and {len(others)} more {what}</summary>{table(head, others, kind=kind)}</details>"
        if others
        else ""
    )
    return table(head, first, kind=kind) + more


def _pairs(bench: Workbench) -> str:
    seen = bench.seen
    names = seen.session.start.labels.reported
    counts = dict(zip(names, bench.material.shown.truth.bincount(minlength=len(names)).tolist(), strict=True))
    rows = [
        row(
            button(
                "pair", f"{text(names[truth], 60)} → {text(names[given], 60)}", kind="vx-link",
                truth=truth, given=given,
            ),
            f"{count} of {counts[names[truth]]}",
        )
        for truth, given, count in pairs(seen, bench.material.shown)
    ]  # fmt: skip
    empty = '<p class="vx-note">No image shown is predicted wrongly.</p>'
    return section(
        "Most confused: true → predicted", table(("", "images"), rows, kind="vx-pairs") if rows else empty
    )


def effect(bench: Workbench) -> str:
    """What changed since the start: flips with their pictures, classes and groups with intervals."""
    seen, shown = bench.seen, bench.material.shown
    if not seen.comparison.flips:
        return section("Since the start", '<p class="vx-note">No prediction is other than at the start.</p>')
    places = {int(row_): place for place, row_ in enumerate(shown.rows.tolist())}
    parts = []
    for title, direction in (
        ("Turned right", "wrong to right"),
        ("Turned wrong", "right to wrong"),
        ("From one wrong class to another", "wrong to wrong"),
    ):
        flips = [flip for flip in seen.comparison.flips if flip.direction == direction]
        pictures = "".join(
            thumbnail(
                int(flip.name), places[int(flip.name)],
                f"{text(flip.before, 30)} → <b>{text(flip.after, 30)}</b>",
                name=bench.material.names[int(flip.name)],
            )
            for flip in flips[:_FLIPS]
        )  # fmt: skip
        if flips:
            more = f" (the first {_FLIPS} are shown)" if len(flips) > _FLIPS else ""
            parts.append(f'<h4>{title}: {len(flips)}{more}</h4><div class="vx-gallery">{pictures}</div>')
    tables = [_changes("class", class_changes(seen, shown))]
    tables += [_changes(column, group_changes(seen, shown, column)) for column in shown.groups]
    return section("Since the start", *parts, f'<div class="vx-columns">{"".join(tables)}</div>')


def _changes(title: str, changes: Sequence[PartChange]) -> str:
    rows = [
        row(
            text(part.name),
            str(part.count),
            percent(part.before, part.count),
            percent(part.after, part.count),
            f'<b class="{tone(part.change.value)}">{points(part.change.value)}</b> '
            f"({points(part.change.low)} to {points(part.change.high)})",
        )
        for part in changes
    ]
    head = (text(title), "images", "start", "now", "change (95 %)")
    return section(
        f"Changed by {text(title)}", _unfolding(head, rows, "that changed", "vx-changes") if rows else ""
    )
