"""The page: Gradio carries requests and tabs; what is in the tabs is made by the other files here.

A tab of the page is one entry in `PANELS`. An action comes from a button with `data-do` in a panel
(`page.js` sends it), goes through `vlcls.app.actions.act`, and draws the head and the tab that is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlcls.app.actions import Request, act
from vlcls.app.history import held_out, history
from vlcls.app.image import images
from vlcls.app.more import Asking
from vlcls.app.overview import head, overview
from vlcls.app.table import descriptors, verdicts
from vlcls.app.view import View
from vlcls.app.workbench import Workbench
from vlcls.errors import MissingExtraError

try:
    import gradio as gr  # here, not where it is used: it looks at the annotations of what it calls
except ImportError as error:
    raise MissingExtraError("the editor", "app") from error

Draw = Callable[[Workbench, View], str]


@dataclass(frozen=True)
class Panel:
    """A tab of the page: its id, its title, and what draws it."""

    id: str
    title: str
    draw: Draw


def panels(asking: Asking | None) -> tuple[Panel, ...]:
    """The tabs, from left to right."""
    return (
        Panel("overview", "Overview", overview),
        Panel("images", "Images", images),
        Panel("descriptors", "Descriptors", lambda b, v: descriptors(b, v, can_ask=asking is not None)),
        Panel("history", "History", history),
        Panel("held-out", "Held-out", held_out),
    )


def build_page(bench: Workbench, asking: Asking | None = None) -> gr.Blocks:
    """The page of a session."""
    page = _Page(bench, asking)
    script = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")
    with gr.Blocks(title="vlcls edit", analytics_enabled=False, fill_width=True) as blocks:
        view = gr.State(View(0))

        def html(name: str, **options: Any) -> Any:
            return gr.HTML("", elem_id=name, js_on_load=script, apply_default_css=False, **options)

        top = html("vx-top")
        with gr.Tabs(selected="overview", elem_id="vx-tabs") as tabs:
            shown, selected = [], []
            for panel in page.panels:
                with gr.Tab(panel.title, id=panel.id) as tab:
                    shown.append(html(f"vx-{panel.id}"))
                selected.append(tab)
        audit = html("vx-verdicts")
        outputs = [view, tabs, top, *shown]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        quick = {**quiet, "concurrency_id": "act", "concurrency_limit": 1, "trigger_mode": "multiple"}

        def acted(seen: View, event: gr.EventData) -> list[Any]:
            return page.acted(seen, event._data if isinstance(event._data, dict) else {})

        for source in (top, *shown):
            source.click(acted, view, outputs, **quick).then(page.verdicts, view, audit, **quiet)
            # Slow ones go beside the others, not before them.
            source.submit(acted, view, outputs, **quiet).then(page.verdicts, view, audit, **quiet)
        for panel, tab in zip(page.panels, selected, strict=True):
            tab.select(page.selecting(panel.id), view, outputs, **quick).then(
                page.verdicts, view, audit, **quiet
            )
        blocks.load(page.opened, None, outputs, **quick)
    return blocks


class _Page:
    """What Gradio calls; every method gives the outputs: view, tabs, head, and each panel."""

    def __init__(self, bench: Workbench, asking: Asking | None) -> None:
        self.bench, self.asking, self.panels = bench, asking, panels(asking)

    def opened(self) -> list[Any]:
        return self._drawn(View(self.bench.seen.session.revision))

    def acted(self, view: View, data: Mapping[str, Any]) -> list[Any]:
        return self._drawn(act(Request(self.bench, view, data, self.asking)))

    def selecting(self, tab: str) -> Callable[[View], list[Any]]:
        def selected(view: View) -> list[Any]:
            # What another tab of the browser did is seen now, and may be changed from here.
            revision = self.bench.seen.session.revision
            told = view if view.tab == tab else replace(view, message="", failed=False, exported=None)
            return self._drawn(replace(told, tab=tab, revision=revision))

        return selected

    def verdicts(self, view: View) -> str:
        return verdicts(self.bench, view) if view.tab == "descriptors" else ""

    def _drawn(self, view: View) -> list[Any]:
        """Only the head and the tab that is shown: the others are drawn when they are."""
        bodies = [
            panel.draw(self.bench, view) if panel.id == view.tab else gr.skip() for panel in self.panels
        ]
        return [view, gr.Tabs(selected=view.tab), head(self.bench, view), *bodies]
