"""Small pieces of HTML. Whatever comes from data goes through `text`: nothing else may put it into a page."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from vlcls.binomial import interval

#: Characters of a name that a page shows; all of them are on disk.
MOST_SHOWN = 160


def text(value: object, most: int = MOST_SHOWN) -> str:
    """Anything, escaped, and shortened where it would fill the page."""
    # Halves of characters cannot be sent, and controls turn the writing around or hide it.
    plain = "".join(c if c.isprintable() else " " for c in str(value))
    return escape(plain if len(plain) <= most else plain[: most - 1] + "…")


def whole(value: object) -> str:
    """Anything, escaped, as the value of a field that people edit."""
    return escape(str(value).encode("utf-8", "replace").decode())


def percent(right: int, count: int) -> str:
    return f"{100 * right / count:.1f} %" if count else "–"


def between(right: int, count: int) -> str:
    """The interval of an accuracy."""
    low, high = interval(right, count)
    return f"{100 * low:.1f} to {100 * high:.1f}"


def points(change: float) -> str:
    """A change of accuracy, in points."""
    said = f"{100 * change:+.1f}".replace("-", "−")
    return "0.0" if said[1:] == "0.0" else said


def plain(number: float) -> str:
    """A number as people type it, which reads as the same number again."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


def tone(change: float) -> str:
    """The class of a change: better, worse, same."""
    return "better" if change > 0 else "worse" if change < 0 else "same"


def button(do: str, label: str, *, kind: str = "", off: bool = False, **data: int | str) -> str:
    """A button that asks the server to `do` something.

    Args:
        do: A key of `vlcls.app.actions.ACTIONS`.
        label: HTML.
        kind: CSS classes.
        off: Cannot be pressed now.
        data: Numbers or short texts that go with it.
    """
    more = "".join(f' data-{key}="{escape(str(value))}"' for key, value in data.items())
    disabled = " disabled" if off else ""
    return f'<button type="button" class="vx-button {kind}" data-do="{do}"{more}{disabled}>{label}</button>'


def table(head: Iterable[str], rows: Iterable[str], *, kind: str = "") -> str:
    """A table that scrolls by itself where it is too wide; cells are HTML."""
    cells = "".join(f"<th>{each}</th>" for each in head)
    return (
        f'<div class="vx-scroll"><table class="vx-table {kind}"><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(*cells: str) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def accuracy_bar(right: int, count: int) -> str:
    part = 100 * right / count if count else 0
    return f'<span class="vx-rate"><i style="width:{part:.1f}%"></i></span>'


def thumbnail(image: int, place: int, caption: str, *, name: str, kind: str = "") -> str:
    """A small picture to click; `caption` is HTML, `name` is data."""
    picture = f'<img src="thumbnail/{image}" alt="{text(name, 60)}" loading="lazy" width="112" height="112">'
    return button("image", f"{picture}<span>{caption}</span>", kind=f"vx-thumb {kind}", place=place)


def section(title: str, *parts: str) -> str:
    return f'<section class="vx-section"><h3>{title}</h3>{"".join(parts)}</section>'
