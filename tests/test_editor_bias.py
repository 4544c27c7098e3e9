"""The editor's search for bias and its heat maps: from the request to what is drawn."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from editor_world import BLAMED, ColourEncoder, make_images, make_material
from PIL import Image
from planted import DESCRIPTOR, planted_set

from vlcls.app.actions import Request, act
from vlcls.app.bias import _reliance, _suggestions, bias
from vlcls.app.image import images
from vlcls.app.view import View
from vlcls.app.workbench import Workbench
from vlcls.bias import find_bias
from vlcls.bias.report import Turned
from vlcls.encoders import Encoder


def opened(folder: Path, encoder: Encoder, each: int) -> Iterator[Workbench]:
    make_images(folder / "images", each=each)
    bench = Workbench(make_material(folder, encoder), folder / "session", cache=False)
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """80 images, half of them shown: enough to be sure."""
    yield from opened(tmp_path_factory.mktemp("birds"), ColourEncoder(), 20)


def pressed(bench: Workbench, view: View, **data: Any) -> View:
    found = act(Request(bench, view, {key: str(value) for key, value in data.items()}))
    assert not found.failed, found.message
    return found


def test_the_descriptor_to_blame_is_found_and_left_out(birds: Workbench):
    view = View(birds.seen.session.revision)
    assert 'data-do="bias"' in bias(birds, view) and BLAMED not in bias(birds, view)
    view = pressed(birds, view, do="bias")
    assert view.tab == "bias" and birds.searched is not None
    drawn = bias(birds, view)
    found = {each.text: each for each in birds.searched[1].reliance.found}
    assert found[BLAMED].context and "Descriptors that depend on a group" in drawn
    # Both groups suffer alike here, so that none is the worst because of it: no suggestion.
    assert not birds.searched[1].suggestions and "Suggestions" not in drawn
    # As the command says it: what each follows. Only what is better left out can be.
    rows = re.findall("<tr>(.*?)</tr>", drawn)
    for each in found.values():
        (row,) = (row for row in rows if f"<td>{each.text}</td>" in row and f"<td>{each.label}</td>" in row)
        without = birds.searched[1].left_out[each.index, each.text]
        assert f"<td>{each.follows}</td>" in row
        assert ('data-do="delete"' in row) == (each.context and without.gained > without.lost)
        assert f"<td>{without.gained} right, {without.lost} wrong</td>" in row
    assert 'id="vx-conclusion"' in drawn and f"“{BLAMED}” of gull follows the group" in drawn
    assert "No failure mode" in drawn or "taken for crab" in drawn
    button = re.search(rf'{BLAMED}</td>.*?data-do="delete" data-index="(\d)" data-place="(\d)"', drawn)
    assert button is not None
    view = pressed(birds, view, do="delete", index=button[1], place=button[2])
    total = birds.seen.comparison.total
    assert total is not None and total.after == total.count > total.before
    assert "have changed since" in bias(birds, view)
    pressed(birds, view, do="bias")
    assert BLAMED not in {each.text for each in birds.searched[1].reliance.found}


def test_nothing_useless_is_offered(birds: Workbench):
    """A descriptor that belongs to its class, and one that nothing is better without."""
    made = planted_set(0)
    report = find_bias(made.classifier, made.images)
    first = report.reliance.found[0]
    known = birds.seen.session.descriptors
    here = replace(first, index=0, label="gull", text=known.texts(0)[0])
    for to_class, gained, offered in ((0.0, 3, True), (9.0, 3, False), (0.0, 1, False), (0.0, 0, False)):
        each = replace(here, to_class=to_class)
        some = replace(
            report,
            reliance=replace(report.reliance, found=(each,)),
            left_out={(0, each.text): Turned(gained, 1)},
        )
        drawn = _reliance(birds, some)
        assert ("leave it out" in drawn) == offered and f"<td>{each.follows}</td>" in drawn


def test_suggestions_can_be_pressed(birds: Workbench):
    made = planted_set(0)
    report = find_bias(made.classifier, made.images)
    assert report.suggestions[0].text == DESCRIPTOR
    drawn = _suggestions(birds, report)
    assert DESCRIPTOR in drawn and "gone" in drawn  # it is no descriptor of these birds


def test_only_the_images_shown_are_looked_at(birds: Workbench):
    pressed(birds, View(birds.seen.session.revision), do="bias")
    assert birds.searched is not None
    report = birds.searched[1]
    assert len(report.split.held_out) == 0 and len(report.names) == len(birds.material.shown)


def test_an_encoder_without_heat_maps_says_so(birds: Workbench):
    view = pressed(birds, View(birds.seen.session.revision), do="image", place=0)
    assert 'data-do="heat"' in images(birds, view)
    found = act(Request(birds, view, {"do": "heat", "index": "0", "place": "0"}))
    assert found.failed and "colours" in found.message and found.heat is None


def test_a_heat_map_lies_beside_the_image(clip: Encoder, tmp_path: Path):
    for bench in opened(tmp_path, clip, 3):
        view = pressed(bench, View(0), do="image", place=0)
        assert "vx-heat" not in images(bench, view)
        view = pressed(bench, view, do="heat", index=1, place=0)
        assert view.heat == (1, "a green body")
        drawn = images(bench, view)
        assert "where it matched “a green body”" in drawn
        source = re.search(r'src="data:image/png;base64,([^"]+)"', drawn)
        assert source is not None
        picture = Image.open(io.BytesIO(base64.b64decode(source[1])))
        assert picture.size == (320, 320) and len(picture.getcolors(320 * 320)) > 10
        # Another image, or a descriptor that is gone, has no map.
        assert "vx-heat" not in images(bench, pressed(bench, view, do="image", place=1))
        gone = pressed(bench, view, do="delete", index=1, place=0)
        assert "vx-heat" not in images(bench, gone)
