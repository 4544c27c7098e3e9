"""The page: Gradio carries requests and tabs; what is in the tabs is made by the other files here.

A tab of the page is one entry in `panels`. An action comes from a button with `data-do` in a panel
(`page.js` sends it), goes through `vlcls.app.actions.act`, and draws the head and the tab that is shown.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from vlcls.app.actions import Request, act
from vlcls.app.bias import bias
from vlcls.app.history import held_out, history
from vlcls.app.image import images
from vlcls.app.more import AskedModel
from vlcls.app.overview import head, overview
from vlcls.app.table import descriptors, verdicts
from vlcls.app.view import View, with_images
from vlcls.app.workbench import Workbench
from vlcls.errors import MissingExtraError

try:
    import gradio as gr  # here, not where it is used: it looks at the annotations of what it calls
except ImportError as error:
    raise MissingExtraError("the editor", "app") from error

Draw = Callable[[Workbench, View], str]

#: Browser tabs that are remembered; one that was forgotten starts with the overview again.
_MOST_TABS = 256


@dataclass
class _Tab:
    """A browser tab: what it sees, and a lock, so that it does one thing after another."""

    view: View
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Panel:
    """A tab of the page: its id, its title, and what draws it."""

    id: str
    title: str
    draw: Draw


def panels(asking: AskedModel | None) -> tuple[Panel, ...]:
    """The tabs, from left to right."""
    return (
        Panel("overview", "Overview", overview),
        Panel("images", "Images", images),
        Panel("descriptors", "Descriptors", lambda b, v: descriptors(b, v, can_ask=asking is not None)),
        Panel("bias", "Bias", bias),
        Panel("history", "History", history),
        Panel("held-out", "Held-out", held_out),
    )


def build_page(bench: Workbench, asking: AskedModel | None = None) -> gr.Blocks:
    """The page of a session."""
    page = _Page(bench, asking)
    script = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")
    with gr.Blocks(title="vlcls edit", analytics_enabled=False, fill_width=True) as blocks:

        def html(name: str) -> gr.HTML:
            return gr.HTML("", elem_id=name, js_on_load=script, apply_default_css=False)

        top = html("vx-top")
        with gr.Tabs(selected="overview", elem_id="vx-tabs") as tabs:
            shown, selected = [], []
            for panel in page.panels:
                with gr.Tab(panel.title, id=panel.id) as tab:
                    shown.append(html(f"vx-{panel.id}"))
                selected.append(tab)
        audit = html("vx-verdicts")
        outputs = [tabs, top, *shown]
        # Without Gradio's queue: its stream of answers loses one that is asked for while the stream closes.
        plain: dict[str, Any] = {
            "queue": False, "show_progress": "hidden", "api_visibility": "private", "trigger_mode": "multiple"
        }  # fmt: skip
        for source in (top, *shown):
            source.click(page.acted, None, outputs, **plain).then(page.verdicts, None, audit, **plain)
        for panel, tab in zip(page.panels, selected, strict=True):
            tab.select(page.selecting(panel.id), None, outputs, **plain).then(
                page.verdicts, None, audit, **plain
            )
        blocks.load(page.opened, None, outputs, **plain)
    return blocks


class _Page:
    """What Gradio calls; each but `verdicts` gives what is drawn: tabs, head, and every panel."""

    def __init__(self, bench: Workbench, asking: AskedModel | None) -> None:
        self.bench, self.asking, self.panels = bench, asking, panels(asking)
        self._lock = threading.Lock()
        self._answers = count(1)
        #: What each browser tab sees, the last used one last.
        self._views: OrderedDict[str, _Tab] = OrderedDict()

    def opened(self, request: gr.Request) -> list[Any]:
        tab = self._tab(request)
        with tab.lock:
            tab.view = View(self.bench.seen.session.revision)
            return self._drawn(tab.view)

    def acted(self, request: gr.Request, event: gr.EventData) -> list[Any]:
        data = event._data if isinstance(event._data, dict) else {}
        tab = self._tab(request)
        with tab.lock:  # two quick presses are one after the other, not two tabs
            tab.view = act(Request(self.bench, tab.view, data, self.asking))
            return self._drawn(tab.view)

    def selecting(self, chosen: str) -> Callable[[gr.Request], list[Any]]:
        def selected(request: gr.Request) -> list[Any]:
            tab = self._tab(request)
            with tab.lock:
                # What another browser tab did is seen now, and may be changed from here.
                revision = self.bench.seen.session.revision
                if tab.view.tab == chosen and tab.view.revision == revision:
                    # An action chose it and has drawn it: whatever was typed since must stay.
                    return [gr.skip() for _ in range(2 + len(self.panels))]
                tab.view = replace(
                    tab.view, tab=chosen, revision=revision, message="", failed=False, exported=None
                )
                if chosen == "images":
                    tab.view = with_images(tab.view, self.bench.seen, self.bench.material.shown)
                return self._drawn(tab.view)

        return selected

    def verdicts(self, request: gr.Request) -> str:
        view = self._tab(request).view
        return verdicts(self.bench, view) if view.tab == "descriptors" else ""

    def _tab(self, request: gr.Request) -> _Tab:
        key = str(request.session_hash)
        with self._lock:
            found = self._views.setdefault(key, _Tab(View(self.bench.seen.session.revision)))
            self._views.move_to_end(key)
            if len(self._views) > _MOST_TABS:
                self._views.popitem(last=False)
            return found

    def _drawn(self, view: View) -> list[Any]:
        """Only the head and the tab that is shown: the others are drawn when they are."""
        bodies = [
            panel.draw(self.bench, view) if panel.id == view.tab else gr.skip() for panel in self.panels
        ]
        # Never twice the same: the script of the page waits for it.
        top = f'<div data-answer="{next(self._answers)}">{head(self.bench, view)}</div>'
        return [gr.Tabs(selected=view.tab), top, *bodies]
