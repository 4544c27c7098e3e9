"""What was done so far: changes, snapshots, differences, the export; and the held-out images."""

from __future__ import annotations

import base64

import numpy as np

from vlcls.app.markup import between, button, percent, points, row, section, table, text, tone, whole
from vlcls.app.session import Look
from vlcls.app.view import View
from vlcls.app.workbench import Workbench
from vlcls.descriptors import diff_descriptors
from vlcls.evaluation.metrics.significance import compare_right

_MARKS = {"added": "+", "removed": "−", "reweighted": "~"}
#: Changes and differences that are listed.
_MOST = 200


def history(bench: Workbench, view: View) -> str:
    """Changes, snapshots, differences and the export."""
    parts = (_steps(bench), _snapshots(bench), _difference(bench, view), _export(bench, view))
    return f'<div class="vx-columns">{"".join(parts)}</div>'


def _steps(bench: Workbench) -> str:
    session = bench.seen.session
    lines = "".join(
        f'<li class="{"now" if place == session.place else "undone" if place > session.place else ""}">'
        f"{text(step.said)} <small>{text(step.at[:16].replace('T', ' '))}</small></li>"
        for place, step in list(enumerate(session.steps))[-_MOST:]
    )
    return section("Changes", f'<ol class="vx-steps" start="0">{lines}</ol>')


def _snapshots(bench: Workbench) -> str:
    names = list(bench.seen.session.snapshots)
    rows = [
        row(text(name), button("restore", "go back to it", kind="vx-small", number=number))
        for number, name in enumerate(names)
    ]
    form = (
        '<div class="vx-row" data-collect><input type="text" name="snapshot" value="" placeholder="name" '
        'aria-label="name of the snapshot" maxlength="200">'
        f"{button('snapshot', 'Keep the descriptors of now')}</div>"
    )
    return section("Snapshots", form, table(("", ""), rows) if rows else "")


def _difference(bench: Workbench, view: View) -> str:
    session = bench.seen.session
    names = ["", *session.snapshots]
    options = "".join(
        f'<option value="{number}"{" selected" if name == view.against else ""}>'
        f"{text(name, 80) if number else 'the start'}</option>"
        for number, name in enumerate(names)
    )
    before = session.snapshots.get(view.against, session.start)
    changes = diff_descriptors(before, session.descriptors)
    lines = "".join(
        f'<li class="{change.kind}">{_MARKS[change.kind]} <b>{text(change.class_name, 60)}</b>: '
        f"{text(change.text)}"
        f"{f' (weight {change.weights[0]:g} → {change.weights[1]:g})' if change.weights else ''}</li>"
        for change in changes[:_MOST]
    )
    more = f'<p class="vx-note">and {len(changes) - _MOST} more</p>' if len(changes) > _MOST else ""
    empty = '<p class="vx-note">Nothing is different.</p>'
    chosen = f'<label>Now, against <select data-do="against">{options}</select></label>'
    return section("Differences", chosen, f'<ul class="vx-diff">{lines}</ul>' if lines else empty, more)


def _export(bench: Workbench, view: View) -> str:
    form = (
        '<div class="vx-form" data-collect>'
        '<input type="text" name="name" value="edited" aria-label="file name">'
        '<textarea name="note" rows="2" placeholder="a note: what was changed, and why" aria-label="note">'
        "</textarea>"
        f"{button('export', 'Export the descriptors', kind='vx-primary')}</div>"
    )
    done = ""
    if view.exported is not None:
        name, content = view.exported
        own = whole(name.rpartition("/")[2])
        data = base64.b64encode(content.encode("utf-8", "replace")).decode()
        done = (
            f'<p id="vx-exported">Written to <code>{text(name, 400)}</code>. '
            f'<a download="{own}" href="data:application/json;base64,{data}">Download</a></p>'
        )
    return section("Export", form, done)


def held_out(bench: Workbench, view: View) -> str:
    """Accuracy on held-out images: only what was asked for, and how often it was."""
    session, count = bench.seen.session, len(bench.material.held)
    asked = len(session.looks)
    times = "once" if asked == 1 else f"{asked} times"
    said = (
        f"<p>{count} images, chosen by chance before the first edit ({text(bench.material.split)}), are in "
        "no other figure of this page. They tell what an edit is worth on images that it was not made for, "
        "as long as they are seldom asked: whoever edits until they agree has fitted them too. "
        f"<b>Asked {times} so far.</b></p>"
    )
    if not count:
        return (
            '<p class="vx-note">This session holds no images out (--held-out 0): nothing here can confirm an '
            "edit.</p>"
        )
    ask = button("look", f"Look at the held-out images (look {asked + 1})", kind="vx-primary")
    looks = "".join(_look(number, look) for number, look in reversed(list(enumerate(session.looks, 1))))
    return section("Held-out images", said, ask, looks)


def _look(number: int, look: Look) -> str:
    before = np.zeros(look.images, dtype=np.bool_)
    before[: look.before] = True
    after = before.copy()
    after[: look.lost] = False
    after[look.before : look.before + look.gained] = True
    change = compare_right(after[None], before[None])
    parts = [("all", look.images, look.before, look.after)]
    for column, groups in look.groups.items():
        parts += [(f"{text(column, 40)}: {text(each[0], 60)}", *each[1:]) for each in groups]
    rows = [
        row(name, str(count), *(f"{percent(each, count)} ({between(each, count)})" for each in (was, now)))
        for name, count, was, now in parts
    ]
    found = change.difference
    return (
        f'<h4>{number}. look, {text(look.at[:16].replace("T", " "))}: <b class="{tone(found.value)}">'
        f"{points(found.value)} points</b> ({points(found.low)} to {points(found.high)}), "
        f"p = {change.p_value:.2g}; {look.gained} turned right, {look.lost} wrong</h4>"
        + table(("", "images", "at the start", "then"), rows)
    )
