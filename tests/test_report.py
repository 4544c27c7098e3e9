"""The report: valid, self-contained, escaped, with the figures of results.json and no more."""

import html
import io
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import html5lib
import numpy as np
import pytest
from evaluation_runs import CLASSES, METHODS, SMALL, WHOLE, Shape, multi_label_cell, write_run
from markdown_it import MarkdownIt
from PIL import Image

from vlcls.errors import EvaluationError, MissingExtraError
from vlcls.evaluation.report.blocks import Column, Section, Table, markdown
from vlcls.evaluation.report.figures import Dots, dot_chart
from vlcls.evaluation.report.pages import write_report
from vlcls.evaluation.report.run_files import read_predictions

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "$x^2_{$ & \\frac",
    "a|b `c` *d* [e](http://f)",
    "\x00\x1b[31m\udcff\ufffe",
    "</svg></style></title><b id=x>",
    "名前 🐕 \u202egnp",
)


class Elements(HTMLParser):
    """Every start tag with its attributes, and all text by the element that it is in."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def written(folder, shape=SMALL, image_of=None, **changes):
    results = write_run(folder, shape, **changes)
    page = write_report(results, folder, image_of).read_text(encoding="utf-8")
    return results, page, (folder / "report.md").read_text(encoding="utf-8")


def picture(name, image):
    return Image.fromarray(np.full((300, 200, 4), 90, dtype=np.uint8))


def check(page):
    """Valid HTML5 in which every id is there once and every reference leads to one, that loads nothing."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    parser.parse(page)
    found = Elements(page)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {
        tag for tag, _ in found.tags
    }
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in found.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "action", "xlink:href", "data", "poster"):
                inside = value[0] == "#" and value[1:] in ids
                assert inside or value.startswith("data:image/jpeg;base64,")
            if tag != "a":
                assert all(ref in ids for ref in re.findall(r"url\(#([^)]*)\)", value or ""))
            assert "http:" not in (value or "") or name in ("alt", "aria-label")
    style = re.search("<style>(.*?)</style>", page, re.DOTALL)[1]
    assert "url(" not in style and "@import" not in style and page.count("<style") == 1
    assert found.all("meta")[1]["content"].startswith("default-src 'none'; img-src data:")
    for svg in found.all("svg"):
        assert svg["role"] == "img" and len(svg["aria-label"]) > 20
    for image in found.all("img"):
        assert image["alt"]
    return found


def headings(page):
    return re.findall("<h2>(.*?)</h2>", page)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    shape = replace(WHOLE, sets={"photo": (42, 0), "sketch": (42, 1)})
    return written(tmp_path_factory.mktemp("whole"), shape, picture)


def test_the_page_is_valid_and_loads_nothing(whole):
    found = check(whole[1])
    assert len(found.all("svg")) > 30 and len(found.all("img")) > 10


def test_every_section_is_there_and_linked(whole):
    titles = headings(whole[1])
    assert titles == [
        "The answer", "Accuracy", "Is the gain real?", "Under distribution shift", "Worst group",
        "Worst confusions", "Are confidences honest?", "Corrupted images", "Right for the right reasons?",
        "What was run",
    ]  # fmt: skip
    links = [each["href"] for each in Elements(whole[1]).all("a")]
    assert len(links) == len(titles)


def test_the_figures_of_the_results_are_in_both_files(whole):
    results, page, text = whole
    # Markdown is read back by a parser; the page by its texts.
    told = MarkdownIt("commonmark").enable("table").render(text)
    for cell in results["cells"]:
        top1 = cell["metrics"]["top1"]
        shown = f"{100 * top1['value']:.1f} [{100 * top1['low']:.1f}, {100 * top1['high']:.1f}]"
        assert shown in page and shown in told
        assert f"{cell['method']}" in told
    for gain in results["gains"]:
        assert gain["sentence"] in page and gain["sentence"] in told
        assert f">{gain['reason']}</span>" in page
        adjusted = gain["comparisons"]["one prompt"]["adjusted"]
        assert f"p = {adjusted:.2g}" in told
    for shift in results["shifts"]:
        assert f"{100 * shift['drop']['absolute']:.1f}".replace("-", "\N{MINUS SIGN}") in page
    assert told.count("<table>") == len(re.findall(r"^\| --", text, re.MULTILINE)) > 10
    assert results["sets"]["photo"]["content_sha256"][:16] in page
    assert results["encoders"]["conse"]["fingerprint"] in page and "torch 2.9.0" in page


def test_the_answer_comes_first(whole):
    """Of each set and encoder the best method that is no control, its accuracy and its verdict."""
    results, page, text = whole
    first = page[page.index('<section id="answer">') : page.index('<section id="accuracy">')]
    told = text[text.index("## The answer") : text.index("## Accuracy")]
    for name in results["sets"]:
        for encoder in results["encoders"]:
            cells = [c for c in results["cells"] if (c["set"], c["encoder"]) == (name, encoder)]
            own = [c for c in cells if not results["methods"][c["method"]]["control"]]
            best = max(own, key=lambda cell: cell["metrics"]["top1"]["value"])
            shown = f"{100 * best['metrics']['top1']['value']:.1f} %"
            (card,) = re.findall(
                rf'<p class="place">{re.escape(f"{name}, {encoder}")}</p>.*?</li>', first, re.S
            )
            assert f"<b>{shown}</b> <span>{best['method']}</span>" in card and shown in told
            assert f"the best of {len(own)} methods" in card
            for gain in results["gains"]:
                if [gain[p] for p in ("set", "encoder", "method")] == [name, encoder, best["method"]]:
                    assert f">{gain['reason']}</span>" in card and gain["sentence"] in card
                    assert gain["sentence"] in html.unescape(MarkdownIt().render(told))
    assert page.index("<h2>The answer") < page.index("<h2>Accuracy") < page.index("<h2>What was run")
    # The sets, the encoders and the program are named above all.
    head = page[page.index("<header>") : page.index("</header>")]
    assert all(name in head for name in (*results["sets"], *results["encoders"], "vlcls 0.1.0"))


def test_what_a_reader_must_know_stands_with_the_answer(tmp_path):
    failed = [
        {"set": "photo", "encoder": "conse", "method": name, "error": f"no <{name}>"}
        for name in ("name", "random")
    ]
    results = write_run(tmp_path, SMALL, failed=failed, limit=40)
    results["methods"]["random"] = results["methods"]["name"] | {"control": True}
    results["cells"][0]["left_out"] = 12
    page = write_report(results, tmp_path).read_text()
    check(page)
    first = page[page.index('<section id="answer">') : page.index('<section id="accuracy">')]
    assert "trained on 12 images of photo: they are left out for it" in first
    assert "no &lt;name&gt;" in first and "no &lt;random&gt;" not in first  # a control was not asked for
    assert "At most 40 images of each set were taken" in first


def test_sections_without_data_are_left_out(tmp_path):
    empty = {"gains": [], "shifts": [], "corruptions": [], "rationales": []}
    results = write_run(tmp_path, SMALL, **empty)
    for cell in results["cells"]:
        cell["groups"] = {}
    page = write_report(results, tmp_path).read_text()
    check(page)
    assert headings(page) == [
        "The answer", "Accuracy", "Worst confusions", "Are confidences honest?", "What was run",
    ]  # fmt: skip
    assert not Elements(page).all("img")


def test_unreadable_images_and_problems_are_listed(tmp_path):
    results = write_run(tmp_path, SMALL)
    bad = [{"image": f"bad{n}.jpg", "error": "broken <b>"} for n in range(60)]
    results["sets"]["photo"] |= {"unreadable": bad, "problems": ["'n01440764' looks like an id."]}
    page = write_report(results, tmp_path).read_text()
    check(page)
    assert headings(page)[-3:-1] == ["Images that could not be read", "Problems with class names"]
    assert "60 images could not be read and are left out. There are problems with class names" in page
    assert "60 images could not be read" in page and "10 more are in unreadable.jsonl" in page
    assert "bad49.jpg" in page and "bad50.jpg" not in page and "looks like an id" in page


def test_hostile_names_are_shown_and_never_obeyed(tmp_path):
    shape = Shape(
        {HOSTILE[1]: (28, 0.5), HOSTILE[2]: (28, 1.5)},
        {HOSTILE[0]: ("one prompt", False, 1, 1.5), HOSTILE[3]: (None, True, 1, 1.5)},
        (HOSTILE[5], HOSTILE[6]),
        HOSTILE,
        prefix=HOSTILE[1] + "\x07",
    )
    results = write_run(tmp_path, shape)
    results["sets"][HOSTILE[1]] |= {
        "unreadable": [{"image": HOSTILE[4], "error": HOSTILE[0]}],
        "problems": list(HOSTILE),
        "source": {"path": HOSTILE[0]},
    }
    results["versions"][HOSTILE[0]] = HOSTILE[1]
    page = write_report(results, tmp_path, picture).read_text(encoding="utf-8")
    found = check(page)
    everything = "".join(found.text)
    for name in (HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[3], HOSTILE[5], HOSTILE[6]):
        assert name in everything
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", page)
    assert all(image["src"].startswith("data:") for image in found.all("img")) and found.all("img")
    # In Markdown nothing of it is markup, either: as rendered, there is no element of theirs.
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    rendered = MarkdownIt("commonmark").enable("table").render(text)
    tags = {tag for tag, _ in Elements(rendered).tags}
    assert tags <= {"h1", "h2", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
    assert HOSTILE[3] in "".join(Elements(rendered).text)


def test_markdown_cells_stay_in_their_row():
    table = Table("t", [Column("a"), Column("b", True)], [["x|y\nz", "\\|"], ["<b>", "&amp;"]])
    rendered = (
        MarkdownIt("commonmark").enable("table").render(markdown([Section("s", "S", "", [table])], "T", "a"))
    )
    assert re.findall("<t[dh][^>]*>(.*?)</t[dh]>", rendered) == [
        "a", "b", "x|y z", "\\|", "&lt;b&gt;", "&amp;amp;"
    ]  # fmt: skip


def test_worst_pairs_are_counted_from_the_predictions_of_the_best_method(tmp_path):
    asked = []

    def image_of(name, image):
        asked.append((name, image))
        return picture(name, image) if len(asked) % 2 else None

    results, page, text = written(tmp_path, SMALL, image_of)
    cell = max(results["cells"], key=lambda c: c["metrics"]["top1"]["value"])
    found = read_predictions(tmp_path, cell)
    wrong = {}
    for truth, given in zip(found.truth.tolist(), found.predicted[0].tolist(), strict=True):
        if truth != given:
            wrong[truth, given] = wrong.get((truth, given), 0) + 1
    worst = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:5]
    section = page[page.index('id="mistakes"') :]
    told = re.findall(r"<b>(\w+)</b> taken for <b>(\w+)</b> <span[^>]*>(\d+) of (\d+)", section)
    assert told == [
        (CLASSES[t], CLASSES[g], str(count), str(int((found.truth == t).sum()))) for (t, g), count in worst
    ]
    assert {name for name, _ in asked} == {"photo"} and {image for _, image in asked} <= set(found.images)
    assert len(Elements(page).all("img")) == (len(asked) + 1) // 2
    shown = re.findall(r'<span class="name" title="([^"]*)">([^<]*)</span>', section)
    assert [title for title, _ in shown] == [image for _, image in asked]
    assert all(title == f"photo/{short}" for title, short in shown)
    assert f"| {CLASSES[worst[0][0][0]]} | {CLASSES[worst[0][0][1]]} | {worst[0][1]} |" in text


def test_thumbnails_are_small_pictures(tmp_path):
    import base64

    _, page, _ = written(tmp_path, SMALL, picture)
    for image in Elements(page).all("img"):
        opened = Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2])))
        assert opened.format == "JPEG" and max(opened.size) == 176 and opened.size[0] < opened.size[1]


def test_controls_are_marked_and_their_mistakes_are_not_shown(tmp_path):
    shape = replace(SMALL, methods={"name": METHODS["name"], "best": ("WaffleCLIP", True, 2, 9.0)})
    _, page, _ = written(tmp_path, shape)
    assert "best (control)" in page and "photo: name" in page and "photo: best" not in page


def test_a_multi_label_set(tmp_path):
    cell = multi_label_cell()
    _, page, text = written(tmp_path, SMALL, cells=[cell], gains=[], shifts=[])
    check(page)
    value = f"{100 * cell['metrics']['mean_average_precision']['value']:.1f}"
    assert "mean average precision" in page and value in text
    assert "Are confidences honest?" not in page and "Worst confusions" not in page


@pytest.mark.parametrize("classes", [1, 2, 400])
def test_any_number_of_classes(tmp_path, classes):
    names = tuple(f"class {index}" for index in range(classes))
    shape = Shape({"photo": (30, 0)}, {"name": METHODS["name"]}, ("conse",), names)
    _, page, _ = written(tmp_path, shape)
    check(page)
    assert (">top-5</th>" in page) == (classes > 5)


def test_a_run_without_cells(tmp_path):
    _, page, _ = written(tmp_path, SMALL, cells=[], gains=[], shifts=[], corruptions=[], rationales=[])
    check(page)
    assert headings(page) == ["What was run"]


def test_what_is_not_drawn_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("vlcls.evaluation.report.mistakes.MOST_FIGURES", 2)
    _, page, _ = written(tmp_path, SMALL)
    assert "1 more are not drawn" in page
    assert page.count('aria-label="Reliability of') == 2


def test_missing_predictions_are_named(tmp_path):
    results = write_run(tmp_path, SMALL)
    (tmp_path / results["cells"][1]["predictions"]).unlink()
    with pytest.raises(EvaluationError, match=results["cells"][1]["predictions"]):
        write_report(results, tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_the_same_results_give_the_same_bytes(tmp_path):
    results, page, text = written(tmp_path, SMALL, picture)
    again = json.loads(json.dumps(results))
    assert write_report(again, tmp_path, picture).read_text() == page
    assert (tmp_path / "report.md").read_text() == text


def test_a_dot_chart_puts_estimates_where_they_belong():
    rows = [Dots("first", [{"value": 0.25, "low": 0.2, "high": 0.3}]), Dots("second", [None]),
            Dots("third", [{"value": 0.75, "low": 0.5, "high": 0.9}])]  # fmt: skip
    svg = dot_chart(rows, ["one"], "A chart of three rows", "chart")
    uses, texts = re.findall(r"<use ([^>]*)>", svg), re.findall(r"<text [^>]*>(.*?)</text>", svg)
    assert {"first", "second", "third", "20 %", "80 %"} <= set(texts)
    assert [text for text in texts if text in ("first", "second", "third")] == ["first", "second", "third"]

    def places(colour):
        found = (dict(re.findall(r'(\w+)="([^"]*)"', use)) for use in uses if colour in use)
        return [(float(use["x"]), float(use["y"])) for use in found]

    (x1, y1), (x2, y2) = places("var(--series-0)")
    assert y1 < y2
    # Ticks are 20 % apart, and the marks 50 %.
    drawn = places("currentColor")
    ticks = sorted({x for x, y in drawn if y == max(y for _, y in drawn)})
    assert x2 - x1 == pytest.approx(2.5 * (ticks[1] - ticks[0]), rel=1e-3)


@pytest.mark.parametrize(
    ("module", "extra"), [("matplotlib", "plots"), ("jinja2", "evaluation"), ("pyarrow", "parquet")]
)
def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch, module, extra):
    results = write_run(tmp_path, SMALL)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=re.escape(f"vlcls[{extra}]")):
        write_report(results, tmp_path)
    assert not (tmp_path / "report.md").exists()
