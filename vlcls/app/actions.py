"""What can be done on the page, by name: each takes what a browser tab sees and gives what it sees next.

Requests hold places and typed words, never HTML, and anybody may send them: every number is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vlcls.app import session as sessions
from vlcls.app.more import AskedModel, more
from vlcls.app.session import Row, Session
from vlcls.app.view import Pick, View, picked_class, picked_group, picked_pair
from vlcls.app.workbench import Workbench, now
from vlcls.descriptors import DescriptorSet
from vlcls.descriptors.edits import add
from vlcls.errors import SessionError, VlclsError
from vlcls.explain.heatmaps import usable_method
from vlcls.files.text import read_text

#: Letters of a descriptor that the list of changes repeats.
_MOST_SAID = 80


@dataclass(frozen=True)
class Request:
    """One press of a button.

    Attributes:
        bench: The session.
        view: What the tab saw.
        data: What came with it.
        asking: How to ask a language model; None if there is none.
    """

    bench: Workbench
    view: View
    data: Mapping[str, Any]
    asking: AskedModel | None = None

    def number(self, key: str, below: int) -> int:
        """A place that came with the request.

        Raises:
            SessionError: It is none, or not below `below`.
        """
        given = str(self.data.get(key, ""))
        if not (given.isascii() and given.isdigit() and len(given) < 10 and int(given) < below):
            raise SessionError(f"there is no {key} {given[:20]!r} here: load the page again")
        return int(given)

    def typed(self, key: str) -> str:
        """What stands in a field."""
        fields = self.data.get("fields")
        return str(fields.get(key, "")) if isinstance(fields, Mapping) else ""

    @property
    def descriptors(self) -> DescriptorSet:
        return self.bench.seen.session.descriptors

    def class_index(self, key: str = "index") -> int:
        return self.number(key, len(self.descriptors.labels))


def act(request: Request) -> View:
    """Do what a request asks for. What is refused is said in the view, and changes nothing."""
    view = replace(request.view, message="", failed=False, exported=None)
    try:
        action = ACTIONS.get(str(request.data.get("do")))
        if action is None:
            raise SessionError("the page asks for something that there is not: load it again")
        view = action(replace(request, view=view))
    except VlclsError as error:
        view = replace(view, message=str(error), failed=True)
    return replace(view, revision=request.bench.seen.session.revision)


# ---- looking -----------------------------------------------------------------------------------------------


def _pick(view: View, pick: Pick) -> View:
    return replace(view, tab="images", pick=pick, image=pick.places[0] if pick.places else None, heat=None)


def _pair(request: Request) -> View:
    truth, given = request.class_index("truth"), request.class_index("given")
    shown = request.bench.material.shown
    return _pick(request.view, picked_pair(request.bench.seen, shown, truth, given))


def _group(request: Request) -> View:
    shown = request.bench.material.shown
    column = request.number("column", len(shown.groups))
    groups = request.bench.seen.comparison.groups[list(shown.groups)[column]]
    value = request.number("value", len(groups))
    return _pick(request.view, picked_group(request.bench.seen, shown, column, value))


def _class_images(request: Request, key: str = "index") -> View:
    shown = request.bench.material.shown
    return _pick(request.view, picked_class(request.bench.seen, shown, request.class_index(key)))


def _image(request: Request) -> View:
    place = request.number("place", len(request.bench.material.shown))
    return replace(request.view, tab="images", image=place, heat=None)


def _heat(request: Request) -> View:
    """Where the image matched a descriptor."""
    index = request.class_index()
    place = request.number("place", len(request.descriptors.descriptors[index]))
    usable_method(request.bench.seen.now.classifier.encoder)  # refuses where there is none
    return replace(request.view, heat=(index, request.descriptors.descriptors[index][place].text))


def _bias(request: Request) -> View:
    request.bench.search()
    return replace(request.view, tab="bias")


def _open_class(request: Request) -> View:
    return replace(request.view, tab="descriptors", index=request.class_index())


def _choose_class(request: Request) -> View:
    return replace(request.view, index=request.class_index("value"))


def _against(request: Request) -> View:
    names = ["", *request.bench.seen.session.snapshots]
    return replace(request.view, against=names[request.number("value", len(names))])


# ---- changing ----------------------------------------------------------------------------------------------


def _rows(request: Request, index: int) -> list[Row]:
    """The rows of the table whose words or weight are other than in the session."""
    changed = []
    for place, each in enumerate(request.descriptors.descriptors[index]):
        text, weight = request.typed(f"text-{place}"), request.typed(f"weight-{place}")
        try:
            row = Row(place, text if text.strip() or weight else each.text, float(weight or each.weight))
        except ValueError:
            raise SessionError(f"{weight[:20]!r} is no weight: give a number, 0 or more") from None
        if (row.text.strip(), row.weight) != (each.text.strip(), each.weight):
            changed.append(row)
    return changed


def _said(descriptors: DescriptorSet, index: int, what: str) -> str:
    return f"{descriptors.labels.reported[index][:_MOST_SAID]}: {what}"


def _quoted(text: str) -> str:
    return f'"{text if len(text) <= _MOST_SAID else text[:_MOST_SAID] + "…"}"'


def _changes_of(request: Request, index: int, rows: list[Row]) -> list[str]:
    own = request.descriptors.descriptors[index]
    said = []
    for row in rows:
        old = own[row.place]
        if row.text.strip() != old.text.strip():
            said.append(f"{_quoted(old.text)} is now {_quoted(row.text.strip())}")
        if row.weight != old.weight:
            said.append(f"{_quoted(row.text.strip())} weighs {row.weight:g}")
    return said


def _edit(
    request: Request, index: int, last: Callable[[DescriptorSet], DescriptorSet], said: list[str]
) -> View:
    """What was typed into the table, and then one change more: all in one step."""
    rows = _rows(request, index)
    said = [*_changes_of(request, index, rows), *said]
    request.bench.edit(
        request.view.revision,
        lambda known: last(sessions.rewritten(known, index, rows)),
        _said(request.descriptors, index, "; ".join(said) or "nothing"),
    )
    return replace(request.view, index=index)


def _apply(request: Request) -> View:
    index, new = request.class_index(), request.typed("new")
    if new.strip():
        return _add(request)
    return _edit(request, index, lambda known: known, [])


def _add(request: Request) -> View:
    index, new = request.class_index(), request.typed("new").strip()
    name = request.descriptors.labels.ids[index]
    return _edit(request, index, lambda known: add(known, name, [new]), [f"{_quoted(new)} added"])


def _delete(request: Request) -> View:
    sessions.check_revision(request.bench.seen.session, request.view.revision)
    index = request.class_index()
    place = request.number("place", len(request.descriptors.descriptors[index]))
    gone = request.descriptors.descriptors[index][place].text
    return _edit(
        request, index, lambda known: sessions.without(known, index, place), [f"{_quoted(gone)} deleted"]
    )


def _reset(request: Request) -> View:
    index = request.class_index()
    start = request.bench.seen.session.start.descriptors[index]
    request.bench.edit(
        request.view.revision,
        lambda known: known.replaced(index, start),
        _said(request.descriptors, index, "as at the start"),
    )
    return request.view


def _more(request: Request) -> View:
    """Ask first, change then: others may work meanwhile, and then the answer is refused."""
    if request.asking is None:
        raise SessionError("no language model is configured: give --model, and --base-url or OPENAI_API_KEY")
    index, revision = request.class_index(), request.view.revision
    sessions.check_revision(request.bench.seen.session, revision)
    known = request.descriptors
    larger = more(known, index, request.asking)
    count = len(larger.descriptors[index]) - len(known.descriptors[index])
    if not count:
        return replace(request.view, message="The language model had nothing new to say.")
    request.bench.edit(
        revision, lambda _: larger, _said(known, index, f"{count} added by {request.asking.model}")
    )
    return replace(request.view, message=f"The language model wrote {count} more.")


def _moved(request: Request, move: Callable[[Session], Session]) -> View:
    request.bench.change(request.view.revision, move)
    return request.view


def _snapshot(request: Request) -> View:
    name = request.typed("snapshot")
    request.bench.change(request.view.revision, lambda session: sessions.named(session, name))
    return replace(request.view, message=f"Kept as {' '.join(name.split())!r}.")


def _restore(request: Request) -> View:
    sessions.check_revision(request.bench.seen.session, request.view.revision)
    names = list(request.bench.seen.session.snapshots)
    name = names[request.number("number", len(names))]
    request.bench.change(request.view.revision, lambda session: sessions.restored(session, name, now()))
    return replace(request.view, message=f"Back to {name!r}.")


def _look(request: Request) -> View:
    request.bench.look(request.view.revision)
    return request.view


def _export(request: Request) -> View:
    sessions.check_revision(request.bench.seen.session, request.view.revision)
    path = request.bench.export(request.typed("name"), request.typed("note"))
    return replace(request.view, exported=(str(path), read_text(path, SessionError)))


ACTIONS: Mapping[str, Callable[[Request], View]] = {
    "pair": _pair,
    "group": _group,
    "class-images": _class_images,
    "class-chosen": partial(_class_images, key="value"),
    "image": _image,
    "heat": _heat,
    "bias": _bias,
    "open-class": _open_class,
    "class": _choose_class,
    "against": _against,
    "apply": _apply,
    "add": _add,
    "delete": _delete,
    "reset": _reset,
    "more": _more,
    "undo": partial(_moved, move=sessions.undone),
    "redo": partial(_moved, move=sessions.redone),
    "snapshot": _snapshot,
    "restore": _restore,
    "look": _look,
    "export": _export,
}
