"""The descriptors of one class, to be changed, each with what is known against it."""

from __future__ import annotations

from html import escape

from vlcls.app.markup import button, plain, text, whole
from vlcls.app.overview import effect
from vlcls.app.view import View
from vlcls.app.workbench import Workbench
from vlcls.descriptors import HAND, Descriptor, DescriptorSet, check_descriptors
from vlcls.explain.audit import PieceAudit
from vlcls.files.json_text import to_json

#: Findings of a check that are about one descriptor, as marks.
_MARKS = {"duplicate": "there twice", "own name": "own name", "not visual": "not visual", "cut": "too long"}


def descriptors(bench: Workbench, view: View, *, can_ask: bool) -> str:
    """The table of a class, and below it what all changes did."""
    known = bench.seen.session.descriptors
    options = "".join(
        f'<option value="{place}"{" selected" if place == view.index else ""}>{text(name, 80)}</option>'
        for place, name in enumerate(known.labels.reported)
    )
    own, was = known.descriptors[view.index], bench.seen.session.start.descriptors[view.index]
    rows = "".join(
        _row(view.index, place, each, marks) for place, (each, marks) in enumerate(_marked(bench, view))
    )
    ask = button("more", "Ask the language model for more", index=view.index, slow=1) if can_ask else ""
    count = f"{len(own)} {known.style}" if own else "none: the class is scored by its bare name"
    return (
        '<div class="vx-form" data-collect><div class="vx-tools"><label>Class '
        f'<select data-do="class">{options}</select></label><span class="vx-note">{count}</span>'
        f"{button('class-images', 'its images', kind='vx-small', index=view.index)}</div>"
        f'<div class="vx-rows">{rows}</div>'
        '<div class="vx-row vx-new"><input type="text" name="new" value="" placeholder="a new descriptor" '
        f'aria-label="a new descriptor">{button("add", "Add", index=view.index)}</div>'
        f'<div class="vx-tools">{button("apply", "Apply changes", kind="vx-primary", index=view.index)}'
        f"{button('reset', 'Reset the class', off=own == was, index=view.index)}{ask}</div></div>"
        f"{effect(bench)}"
    )


def _row(index: int, place: int, each: Descriptor, marks: list[str]) -> str:
    lint = "".join(f'<span class="vx-mark">{mark}</span>' for mark in marks)
    source = "by hand" if each.source == HAND else text(each.source, 30)
    edited = ", edited" if each.edited else ""
    return (
        f'<div class="vx-row"><input type="text" name="text-{place}" value="{whole(each.text)}" '
        f'aria-label="descriptor"><input type="number" name="weight-{place}" '
        f'value="{plain(each.weight)}" min="0" step="any" aria-label="weight">'
        f"{button('delete', 'Delete', kind='vx-small vx-delete', index=index, place=place)}"
        f'<span class="vx-marks"><span class="vx-audit" data-audit="{place}"></span>{lint}'
        f"<small>{source}{edited}</small></span></div>"
    )


def _marked(bench: Workbench, view: View) -> list[tuple[Descriptor, list[str]]]:
    """Each descriptor of the class with its marks."""
    known, encoder = bench.seen.session.descriptors, bench.material.start.encoder
    labels = known.labels.some([view.index])
    own = known.descriptors[view.index]
    problems = check_descriptors(DescriptorSet(labels, (own,), known.style), encoder=encoder)
    return [
        (each, [_MARKS[p.kind] for p in problems if p.kind in _MARKS and p.descriptor == each.text])
        for each in own
    ]


def verdicts(bench: Workbench, view: View) -> str:
    """What the audit says of each descriptor of the class: for the script of the page, which fills it in.

    Apart from the table because it looks at every descriptor and image: nobody should wait for it.
    """
    pieces = {piece.text: piece for piece in bench.audit().pieces if piece.index == view.index}
    said = [_verdict(pieces.get(each)) for each in bench.seen.session.descriptors.texts(view.index)]
    return f'<span data-verdicts="{escape(to_json(said))}"></span>'


def _verdict(piece: PieceAudit | None) -> tuple[str, str]:
    """The mark, and why."""
    if piece is None or piece.without is None:
        return "", ""
    found = piece.without
    why = (
        f"left out, {found.gained} images turn right and {found.lost} wrong "
        f"(p = {found.adjusted:.2g}, corrected for all descriptors)"
    )
    if piece.verdict == "unclear" and found.gained > found.lost:
        return "may hurt", why
    return ("" if piece.verdict == "unclear" else piece.verdict), why
