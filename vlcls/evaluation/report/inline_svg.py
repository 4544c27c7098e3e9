"""Matplotlib figures as SVG elements inside a page: its fonts, its colours, nothing from elsewhere."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from vlcls.errors import library

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Colours to draw with, and what the page calls them: a style sheet can make them light or dark.
INK, FAINT = "#010101", "#020202"
SERIES = ("#030303", "#040404", "#050505", "#060606", "#070707", "#080808")
_CSS: Mapping[str, str] = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(SERIES)},
}
#: Pixels to a point at most: 1.33 is the size as drawn.
_LARGEST = 1.5
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vlcls",
    # A name with dollars is no formula.
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Within it figures are drawn for `inline_svg`.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    matplotlib = library("matplotlib", "figures of a report", "plots")
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # Letters that matplotlib's font lacks are in the reader's.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def inline_svg(figure: Figure, label: str, identifier: str) -> str:
    """An `svg` element that can stand in an HTML page.

    Args:
        figure: Drawn in `drawing`.
        label: What it shows, for those who cannot see it.
        identifier: Letters, digits and dashes, different for each figure of the page.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(drawn.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    width = float(root.get("viewBox", "0 0 0 0").split()[2])
    used = {ref for element in root.iter() for ref in _references(element)}
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = _attributes(element.attrib, used, identifier)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": label,
        "style": f"max-width: {_LARGEST * width:.0f}px",
    }
    # As HTML: elements without content have an end tag, and there are no names of namespaces.
    return ElementTree.tostring(root, encoding="unicode", method="html")


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _references(element: ElementTree.Element) -> Iterator[str]:
    """Ids that an element uses; matplotlib gives ids to all others, too."""
    for name, value in element.attrib.items():
        if _local(name) == "href":
            yield value.lstrip("#")
        elif value.startswith("url(#"):
            yield value[5:-1]


def _attributes(given: Mapping[str, str], used: set[str], identifier: str) -> dict[str, str]:
    kept = {}
    for long, value in given.items():
        name = _local(long)
        if name == "id":
            if value not in used:
                continue
            value = f"{identifier}-{value}"
        elif name == "href":
            value = f"#{identifier}-{value.lstrip('#')}"
        elif value.startswith("url(#"):
            value = f"url(#{identifier}-{value[5:]}"
        elif name == "style":
            value = _styled(value)
        kept[name] = value
    return kept


def _styled(style: str) -> str:
    """With the page's colours, and without matplotlib's fonts, which readers do not have."""
    for colour, name in _CSS.items():
        style = style.replace(colour, name)
    return "; ".join(part for part in style.split("; ") if not part.startswith("font-family"))
