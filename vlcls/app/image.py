"""The images that were picked, and one of them in full: what spoke for its class, and what for the others."""

from __future__ import annotations

from vlcls.app.heat import heat_figure
from vlcls.app.markup import button, section, text, thumbnail
from vlcls.app.view import View, pairs
from vlcls.app.workbench import Workbench
from vlcls.explain import Contribution, Evidence, Explanation, lead

#: Pictures in the gallery.
_MOST = 60
#: Descriptors of a class that are drawn.
_BARS = 12


def images(bench: Workbench, view: View) -> str:
    """What to look at, the gallery below it, and the image below that."""
    if view.pick is None and view.image is None:
        return '<p class="vx-note">No image is shown: all are held out.</p>'
    return (
        _choice(bench)
        + _gallery(bench, view)
        + (_image(bench, view, view.image) if view.image is not None else "")
    )


def _choice(bench: Workbench) -> str:
    """Every class, and the pairs that are confused most."""
    names = bench.seen.session.start.labels.reported
    worst = "".join(
        button("pair", f"{text(names[truth], 40)} → {text(names[given], 40)}: {count}", kind="vx-small",
               truth=truth, given=given)
        for truth, given, count in pairs(bench.seen, bench.material.shown)
    )  # fmt: skip
    options = "".join(
        f'<option value="{place}">{text(name, 80)}</option>' for place, name in enumerate(names)
    )
    return (
        '<div class="vx-form"><div class="vx-tools"><label>Images of class <select data-do="class-chosen">'
        f'<option value="" selected>…</option>{options}</select></label>{worst}</div></div>'
    )


def _gallery(bench: Workbench, view: View) -> str:
    if view.pick is None:
        return ""
    predicted, shown = bench.seen.now.predicted.tolist(), bench.material.shown
    names = bench.seen.session.start.labels.reported
    pictures = []
    for place in view.pick.places[:_MOST]:
        right = predicted[place] == int(shown.truth[place])
        image = int(shown.rows[place])
        kind = f"{'right' if right else 'wrong'} {'chosen' if place == view.image else ''}"
        caption = f"{'✓' if right else '✗'} {text(names[predicted[place]], 30)}"
        pictures.append(thumbnail(image, place, caption, name=bench.material.names[image], kind=kind))
    count = len(view.pick.places)
    few = f", the first {_MOST} are shown" if count > _MOST else ""
    return section(
        f"{text(view.pick.title)}: {count} {'image' if count == 1 else 'images'}{few}",
        f'<div class="vx-gallery vx-strip">{"".join(pictures)}</div>',
    )


def _image(bench: Workbench, view: View, place: int) -> str:
    shown, material = bench.material.shown, bench.material
    image, truth = int(shown.rows[place]), int(shown.truth[place])
    found = bench.explain(place)
    right = found.predicted.index == truth
    name = bench.seen.session.start.labels.reported[truth]
    verdict = (
        '<span class="better">right</span>'
        if right
        else f'<span class="worse">wrong: it is {text(name)}</span>'
    )
    groups = "; ".join(f"{text(column)}: {text(values[place])}" for column, values in shown.groups.items())
    figure = (
        f'<figure><img src="picture/{image}" alt="{text(material.names[image], 60)}">'
        f"<figcaption>{text(material.names[image])}{f'<br>{groups}' if groups else ''}</figcaption></figure>"
    )
    if view.heat is not None and view.heat[1] in bench.seen.session.descriptors.texts(view.heat[0]):
        figure = f"<div>{figure}{heat_figure(bench, place, *view.heat)}</div>"
    widest = max((abs(c.margin) for some in found.classes for c in some.contributions), default=0.0)
    bars = "".join(_bars(bench, each, truth, found, widest) for each in found.classes)
    return (
        f'<section class="vx-section vx-image"><h3>{text(found.predicted.label)} '
        f"{100 * found.predicted.probability:.1f} % – {verdict}</h3>"
        f'<p class="vx-note">{text(found.rationale, 400)}</p>'
        f'<div class="vx-sides">{figure}<div class="vx-evidence">{bars}{_lead(found)}</div></div></section>'
    )


def _bars(bench: Workbench, evidence: Evidence, truth: int, found: Explanation, widest: float) -> str:
    """A class's descriptors: how much each had in its lead, which is what moves a prediction."""
    role = "predicted" if evidence is found.predicted else "runner-up" if evidence is found.runner_up else ""
    role += (" and " if role else "") + "true class" if evidence.index == truth else ""
    chosen = sorted(evidence.contributions, key=lambda each: -abs(each.margin))[:_BARS]
    texts = bench.seen.session.descriptors.texts(evidence.index)
    lines = "".join(
        _bar(each, widest, evidence.index, texts) for each in sorted(chosen, key=lambda c: -c.margin)
    )
    left = len(evidence.contributions) - len(chosen)
    more = f'<p class="vx-note">and {left} with less to say</p>' if left else ""
    opener = button("open-class", "edit its descriptors", kind="vx-small", index=evidence.index)
    return (
        f"<h4>{text(evidence.label)} {100 * evidence.probability:.1f} % <small>{role}</small> {opener}</h4>"
        f'<div class="vx-bars">{lines}</div>{more}'
    )


def _bar(each: Contribution, widest: float, index: int, texts: list[str]) -> str:
    width = 100 * abs(each.margin) / widest if widest else 0
    side = "for" if each.margin >= 0 else "against"
    number = f"{each.margin:+.4f}".replace("-", "−")
    buttons = (
        button("heat", "where", kind="vx-small", index=index, place=texts.index(each.text))
        + button("delete", "✕", kind="vx-small vx-delete", index=index, place=texts.index(each.text))
        if each.text in texts
        else ""
    )
    title = f"similarity {each.similarity:.4f}, share of the class's score {each.share:.4f}"
    return (
        f'<div class="vx-bar" title="{title}"><span>{text(each.text)}</span>'
        f'<i class="{side}"><u style="width:{width:.1f}%"></u></i><em>{number}</em><b>{buttons}</b></div>'
    )


def _lead(found: Explanation) -> str:
    """What separated the two best classes."""
    if found.runner_up is None:
        return ""
    apart = lead(found.predicted, found.runner_up)
    own = sum(part for index, _, part in apart.parts if index == found.predicted.index)
    other = apart.difference - own - apart.agreement
    parts = f"{own:+.4f} from its own descriptors, {other:+.4f} from those of the other"
    if abs(apart.agreement) >= 5e-5:
        parts += f", {apart.agreement:+.4f} because prompts of one agree more than those of the other"
    plain = f"leads {found.runner_up.label} by {apart.difference:.4f}: {parts}".replace("-0.", "−0.")
    return (
        f'<p class="vx-note"><b>{text(found.predicted.label)}</b> {text(plain, 400)}. A bar is a '
        "descriptor's part in its class's lead over any other: what it has above the image's average "
        "similarity.</p>"
    )
