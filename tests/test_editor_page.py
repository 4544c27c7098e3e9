"""The editor in a real browser: the whole story, two tabs, hostile names, and what the server refuses."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("gradio", reason="the editor's page needs the extra `app`")
from editor_world import BLAMED, ColourEncoder, descriptors, make_images, make_material, served
from fault_server import FaultServer, chat

import vlcls
from vlcls.app.more import AskedModel
from vlcls.app.session import without
from vlcls.app.workbench import Workbench
from vlcls.descriptors import read_descriptors
from vlcls.evaluation.run.api import evaluate
from vlcls.labels import Labels

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, headless. Playwright's event loop must not outlive this file: others start one of theirs."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    make_images(tmp_path / "images")
    opened = Workbench(make_material(tmp_path, ColourEncoder()), tmp_path / "session", cache=False)
    yield opened
    opened.close()


class Watched:
    """A page, and all that went wrong in it."""

    def __init__(self, browser: Any, url: str, viewport: dict[str, int] = DESKTOP) -> None:
        self.page = browser.new_page(viewport=viewport)
        self.page.set_default_timeout(15_000)
        self.troubles: list[str] = []
        self.page.on("request", lambda r: self._asked(r.url, url))
        self.page.on("response", lambda r: r.status < 400 or self.troubles.append(f"{r.status} {r.url}"))
        self.page.on("pageerror", lambda error: self.troubles.append(f"error {error}"))
        self.page.on("dialog", lambda dialog: (self.troubles.append("dialog"), dialog.dismiss()))
        self.page.on("console", lambda m: m.type != "error" or self.troubles.append(m.text))
        self.page.goto(url)
        self.page.wait_for_selector("#vx-accuracy")

    def _asked(self, asked: str, url: str) -> None:
        if not asked.startswith((url, "data:", "blob:")):
            self.troubles.append(f"elsewhere: {asked}")

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def until(self, selector: str, text: str) -> None:
        self.page.locator(selector).filter(has_text=text).first.wait_for()

    def tab(self, name: str, marker: str) -> None:
        tab = self.page.get_by_role("tab", name=name, exact=True)
        if not tab.is_visible():  # narrow pages have a menu for the others
            self.page.locator(".overflow-menu > button").click()
            tab = self.page.locator(".overflow-dropdown button").filter(has_text=name)
        tab.click()
        self.page.wait_for_selector(marker)


def test_the_whole_story(browser: Any, bench: Workbench, tmp_path: Path):
    with served(bench) as url:
        watched = Watched(browser, url)
        page = watched.page
        assert watched.text("#vx-accuracy") == "50.0 %"
        # A confused pair, and one of its images.
        watched.until("[data-do=pair]", "gull → crab")
        page.locator("[data-do=pair]").filter(has_text="gull → crab").click()
        watched.until("h3", "gull taken for crab: 4 images")
        page.locator(".vx-thumb").nth(1).click()
        watched.until("h3", "wrong: it is gull")
        page.wait_for_function("document.querySelector('.vx-image figure img').naturalWidth > 100")
        assert "leads gull by" in watched.text(".vx-evidence")
        bars = page.locator(".vx-bar").all_inner_texts()
        assert any(BLAMED in bar and "−" in bar for bar in bars)
        # The descriptor to blame goes: everything is right.
        page.locator(".vx-bar").filter(has_text=BLAMED).locator("[data-do=delete]").click()
        watched.until("#vx-accuracy", "100.0 %")
        assert "8 ↑" in watched.text("#vx-top") and "0 ↓" in watched.text("#vx-top")
        page.wait_for_function("/^[0-9]+$/.test(document.querySelector('#vx-answered').textContent)")
        assert int(watched.text("#vx-answered")) < 5000
        page.click("[data-do=undo]")
        watched.until("#vx-accuracy", "50.0 %")
        page.click("[data-do=redo]")
        watched.until("#vx-accuracy", "100.0 %")
        # Its table, with flips below, and an edit by typing.
        page.locator(".vx-evidence [data-do=open-class]").first.click()
        watched.until("h4", "Turned right: 8")
        page.fill("[name=new]", "a red beak")
        page.press("[name=new]", "Enter")
        watched.until(".vx-step", '"a red beak" added')
        page.wait_for_function("document.querySelector('[name=new]').value === ''")
        page.wait_for_selector("[name=text-1]")
        page.fill("[name=text-0]", "a bright red body")
        page.fill("[name=weight-1]", "0.5")
        page.click("[data-do=apply]")
        watched.until(".vx-step", "is now")
        # Bars of class "gull": what the audit found arrives by itself.
        page.wait_for_function("document.querySelector('[data-audit=\"0\"]').textContent.length > 0")
        # What was typed and not applied does not follow to another class.
        page.fill("[name=text-0]", "a typing error")
        page.select_option("select[data-do=class]", "1")
        page.wait_for_function("document.querySelector('[name=text-0]').value === 'a green body'")
        watched.tab("Held-out", "[data-do=look]")
        assert "Asked 0 times so far" in watched.text("#vx-held-out")
        page.click("[data-do=look]")
        watched.until("#vx-held-out", "Asked once so far")
        assert "+50.0 points" in watched.text("#vx-held-out")
        watched.tab("History", "[data-do=export]")
        page.fill("[name=snapshot]", "good")
        page.click("[data-do=snapshot]")
        watched.until(".vx-message", "Kept as 'good'")
        page.fill("[name=name]", "../../birds")
        page.fill("[name=note]", "the sea is no part of a gull")
        page.click("[data-do=export]")
        page.wait_for_selector("#vx-exported")
        assert watched.troubles == []
        page.close()
    exported = tmp_path / "session" / "exports" / "birds.json"
    assert read_descriptors(exported).texts(0) == ["a bright red body", "a red beak"]
    told = read_descriptors(exported).sources["vlcls edit"]
    assert told["note"] == "the sea is no part of a gull" and told["looks at held-out images"] == "1"
    assert told["accuracy on shown images"].endswith("now, of 16")
    # The exported file through `vlcls evaluate`: the page's accuracy on shown and held-out images.
    results = evaluate(
        tmp_path / "images", "descriptors", ColourEncoder(), tmp_path / "run", descriptors=exported,
        controls=False, cache=False,
    )  # fmt: skip
    (cell,) = results["cells"]
    look, total = bench.seen.session.looks[0], bench.seen.comparison.total
    assert total is not None
    assert cell["metrics"]["top1"]["value"] == (total.after + look.after) / (total.count + look.images) == 1.0


def test_bias_is_found_and_left_out(browser: Any, tmp_path: Path):
    make_images(tmp_path / "images", each=20)
    bench = Workbench(make_material(tmp_path, ColourEncoder()), tmp_path / "session", cache=False)
    try:
        with served(bench) as url:
            watched = Watched(browser, url)
            watched.tab("Bias", "[data-do=bias]")
            watched.page.click("[data-do=bias]")
            watched.until("h3", "Descriptors that depend on a group")
            row = watched.page.locator("#vx-bias tr").filter(has_text=BLAMED)
            row.locator("[data-do=delete]").first.click()
            watched.until("#vx-accuracy", "100.0 %")
            watched.until("#vx-bias", "have changed since")
            assert watched.troubles == []
            watched.page.close()
    finally:
        bench.close()


def test_two_tabs_do_not_write_over_each_other(browser: Any, bench: Workbench):
    with served(bench) as url:
        one, two = Watched(browser, url), Watched(browser, url)
        for watched in (one, two):
            watched.page.locator("[data-do=open-class]").first.wait_for()
            watched.page.locator("tr").filter(has_text="gull").locator("[data-do=open-class]").click()
            watched.page.wait_for_selector("[name=text-1]")
        one.page.locator("[data-do=delete]").nth(1).click()
        one.until("#vx-accuracy", "100.0 %")
        two.page.locator("[data-do=delete]").nth(0).click()
        two.until(".vx-message.failed", "changed in another tab meanwhile")
        assert bench.seen.session.descriptors.texts(0) == ["a red body"]
        # It sees the session as it is now, and goes on from there.
        two.until("#vx-accuracy", "100.0 %")
        assert two.page.locator("[data-do=delete]").count() == 1
        two.page.fill("[name=new]", "a red beak")
        two.page.click("[data-do=add]")
        two.until(".vx-step", "added")
        assert bench.seen.session.descriptors.texts(0) == ["a red body", "a red beak"]
        assert one.troubles == two.troubles == []
        one.page.close(), two.page.close()


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Any, bench: Workbench):
    with served(bench) as url:
        watched = Watched(browser, url, PHONE)

        def fits() -> bool:
            return bool(watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

        watched.until("[data-do=pair]", "gull → crab")
        assert fits()
        watched.page.locator("[data-do=pair]").first.click()
        watched.page.wait_for_selector(".vx-image img")
        assert fits()
        watched.page.locator(".vx-evidence [data-do=open-class]").first.click()
        watched.page.wait_for_selector("[data-do=apply]")
        assert fits()
        watched.tab("History", "[data-do=export]")
        assert fits()
        assert watched.troubles == []
        watched.page.close()


def test_on_a_phone_every_tab_and_the_change_can_be_seen(browser: Any, bench: Workbench):
    bench.edit(0, lambda known: without(known, 0, 1), "gull: sea deleted")
    with served(bench) as url:
        watched = Watched(browser, url, PHONE)
        for name in ("Overview", "Images", "Descriptors", "Bias", "History", "Held-out"):
            tab = watched.page.get_by_role("tab", name=name, exact=True)
            tab.wait_for()
            box = tab.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"], name

        def change_is_seen(panel: str) -> None:
            cells = watched.page.locator(f"{panel} td .better:visible, {panel} td b.better:visible")
            assert cells.count() >= 4
            for box in (each.bounding_box() for each in cells.all()):
                assert box["x"] + box["width"] <= PHONE["width"] - 8

        watched.until("#vx-overview td", "+50.0")
        change_is_seen("#vx-overview")
        watched.tab("Descriptors", "[data-do=apply]")
        watched.until("#vx-descriptors td", "+50.0")
        change_is_seen("#vx-descriptors")
        assert watched.troubles == []
        watched.page.close()


def test_the_head_says_what_is_looked_at(browser: Any, bench: Workbench):
    with served(bench) as url:
        watched = Watched(browser, url)
        assert watched.text(".vx-about").split("  ")[0].startswith("data set images")
        assert watched.text("#vx-data") == "images" and watched.text("#vx-encoder") == "colours"
        said = watched.text(".vx-about")
        assert f"vlcls edit {vlcls.__version__}" in said and "16 images shown, 16 held out" in said
        # The tab of images starts with the worst pair, and every class can be chosen there.
        watched.tab("Images", ".vx-image img")
        assert watched.text("#vx-images h3").startswith("gull taken for crab: 4 images")
        assert watched.page.locator("#vx-images .vx-thumb.chosen").count() == 1
        watched.page.select_option("select[data-do=class-chosen]", label="crab")
        watched.until("#vx-images h3", "crab: 8 images")
        assert watched.troubles == []
        watched.page.close()


HOSTILE = (
    '<img src=x onerror="alert(1)"><script>alert(2)</script>',
    "${alert(3)} {{constructor.constructor('alert(4)')()}} 🦀 ‮../..\\" + "x" * 200,
)


def test_hostile_names_do_no_harm(browser: Any, tmp_path: Path):
    make_images(tmp_path / "images", ("gull", "crab"))
    odd = "\"><svg onload=alert(5)> ${alert(6)} 'é🐦.png"
    shutil.copy(tmp_path / "images/sand/gull/00.png", tmp_path / "images/sand/gull" / odd)
    (tmp_path / "images/sea").rename(tmp_path / "images/<b onmouseover=alert(7)>sea")
    labels = Labels(HOSTILE, ("gull", "crab"))
    known = descriptors(labels)
    wild = [*known.descriptors[0], *(type(known.descriptors[0][0])(t) for t in (*HOSTILE, "y" * 10_000))]
    opened = Workbench(
        make_material(tmp_path, ColourEncoder(), known.replaced(0, wild)), tmp_path / "session", cache=False
    )
    with served(opened) as url:
        watched = Watched(browser, url)
        page = watched.page
        page.locator("[data-do=class-images]").first.click()
        page.wait_for_selector(".vx-image img")
        page.locator(".vx-thumb").first.click()
        page.locator(".vx-evidence [data-do=open-class]").first.click()
        page.wait_for_selector("[data-do=apply]")
        page.select_option("select[data-do=class]", "0")
        page.wait_for_selector("[name=text-4]")
        assert page.input_value("[name=text-2]") == HOSTILE[0]
        assert page.input_value("[name=text-4]") == "y" * 10_000
        page.fill("[name=new]", "</textarea>" + HOSTILE[0] + "\\u0000/../../x")
        page.click("[data-do=add]")
        watched.until(".vx-step", "added")
        watched.tab("History", "[data-do=export]")
        page.fill("[name=snapshot]", HOSTILE[0])
        page.click("[data-do=snapshot]")
        watched.until(".vx-message", "Kept as")
        page.fill("[name=name]", "../" * 30 + HOSTILE[0])
        page.fill("[name=note]", HOSTILE[1])
        page.click("[data-do=export]")
        page.wait_for_selector("#vx-exported")
        for tab, marker in (("Overview", "[data-do=pair]"), ("Held-out", "[data-do=look]")):
            watched.tab(tab, marker)
        assert page.locator("img[src=x], script:has-text('alert'), svg[onload], b[onmouseover]").count() == 0
        assert watched.troubles == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.close()
    opened.close()
    (file,) = (tmp_path / "session" / "exports").iterdir()
    assert len(file.name) < 100 and read_descriptors(file).texts(0)[2] == HOSTILE[0]
    assert {path.name for path in tmp_path.iterdir()} == {"images", "birds.json", "session"}
    # And the session is the same when it is opened again.
    again = Workbench(opened.material, tmp_path / "session", cache=False)
    assert again.seen.session == opened.seen.session and HOSTILE[0] in again.seen.session.snapshots
    again.close()


# ---- the server, without a browser -------------------------------------------------------------------------


def get(url: str, path: str, method: str = "GET", body: str | None = None, **headers: str) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    status = connection.getresponse().status
    connection.close()
    return status


def test_the_server_gives_out_nothing_but_the_page_and_its_images(bench: Workbench, tmp_path: Path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    session = tmp_path / "session" / "session.json"
    with served(bench) as url:
        assert (
            get(url, "/") == get(url, "/config") == get(url, "/thumbnail/0") == get(url, "/picture/31") == 200
        )
        for path in (
            f"/gradio_api/file={secret}", f"/gradio_api/file={session}", f"/file={secret}", "/thumbnail/32",
            "/picture/-1", "/thumbnail/..%2f..%2fetc%2fpasswd", "/assets/../../../../etc/passwd",
            "/static/%2e%2e/%2e%2e/secret.txt", "/gradio_api/proxy=http://127.0.0.1/", "/docs",
            "/openapi.json", "/gradio_api/queue/data", "/gradio_api/info", "/monitoring",
            "/gradio_api/upload_progress", "/gradio_api/app_id",
        ):  # fmt: skip
            assert get(url, path) in (404, 422), path
        assert get(url, "/gradio_api/upload", "POST", "x") == 404
        # Another site, and another name for this machine.
        assert get(url, "/", Host="evil.example") == 404
        assert get(url, "/config", Host="localhost:1") == 200
        join = {"data": [None], "fn_index": 0, "session_hash": "x"}
        sent = json.dumps(join)
        assert get(url, "/gradio_api/run/predict", "POST", sent, Origin="http://evil.example") == 404
    assert not [
        path
        for path in tmp_path.iterdir()
        if path.name not in ("images", "birds.json", "session", "secret.txt")
    ]


def test_the_page_names_no_other_place(bench: Workbench):
    import urllib.request

    with served(bench) as url:
        for path in ("", "theme.css", "config"):
            content = urllib.request.urlopen(url + path).read().decode()
            for elsewhere in (
                "googleapis",
                "gstatic",
                "cdn",
                "unpkg",
                "https://huggingface.co",
                "iframe-resizer",
            ):
                if path != "" or elsewhere in ("googleapis", "gstatic"):
                    assert elsewhere not in content, (path, elsewhere)


def test_a_language_model_is_asked_for_more(browser: Any, bench: Workbench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    answer = chat('{"descriptors": ["a red beak", "a red body", "thin legs"]}')
    with (
        FaultServer(lambda body, number: answer).running() as server,
        served(bench, asking=AskedModel("m", server.url)) as url,
    ):
        watched = Watched(browser, url)
        watched.page.locator("tr").filter(has_text="gull").locator("[data-do=open-class]").click()
        watched.page.click("[data-do=more]")
        watched.until(".vx-message", "wrote 2 more")
        texts = bench.seen.session.descriptors.texts(0)
        assert texts == ["a red body", BLAMED, "a red beak", "thin legs"]
        assert bench.seen.session.descriptors.sources["llm"]["model"] == "m"
        assert watched.troubles == []
        watched.page.close()
