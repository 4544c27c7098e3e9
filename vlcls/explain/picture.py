"""An explanation as a picture: the image beside what spoke for its class and for the runner-up."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from vlcls.errors import VlclsError, library
from vlcls.files.writing import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from vlcls.explain.contributions import Explanation
    from vlcls.explain.evidence import Contribution, Evidence
    from vlcls.explain.overlay import Overlay

#: Blue and vermilion of Okabe & Ito's palette, which colour-blind readers tell apart; one a class.
_COLOURS = ("#0072B2", "#D55E00")
#: Kinds of file, and what keeps each the same from run to run.
_DATELESS: dict[str, dict[str, Any]] = {
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None, "ModDate": None},
}
_WIDTH, _LOWEST, _LINE, _CHARACTERS = 9.0, 3.2, 0.19, 34
_MOST_PIXELS = 900


def check_picture_path(path: Path) -> None:
    """Before any work is done for a picture.

    Raises:
        VlclsError: Another kind of file than can be drawn.
    """
    if path.suffix.lower() not in _DATELESS:
        raise VlclsError(f"{path}: pictures are written as {', '.join(_DATELESS)}")


def save_picture(
    explanation: Explanation,
    image: Any,
    path: str | Path,
    *,
    against: Evidence | None = None,
    top: int = 8,
    overlay: Overlay | None = None,
) -> Path:
    """Draw the image beside bars of the two classes' descriptors.

    A bar goes from the image's average similarity to the descriptor's; the number beside it is the part that
    it had in the lead over any other class. Descriptors that had none are pale.

    Args:
        explanation: Of an image that could be read.
        image: The image itself: a path, a PIL image, bytes, an array.
        path: .png, .svg or .pdf.
        against: The other class; the runner-up unless given.
        top: At most so many descriptors a class, those with the largest parts.
        overlay: A heat map, drawn below the image.

    Raises:
        MissingExtraError: Matplotlib is not installed.
        ImageError: The image cannot be read.
        VlclsError: Another kind of file, or it cannot be written.
    """
    path = Path(path).expanduser()
    check_picture_path(path)
    rc_context = library("matplotlib", "a picture of an explanation", "plots").rc_context
    second = against or explanation.runner_up
    shown = [explanation.predicted, *([second] if second else [])]
    with rc_context({"svg.hashsalt": "vlcls", "svg.fonttype": "none", "pdf.fonttype": 42}):
        figure = _figure(explanation, shown, _opened(image), top, overlay)
        return written_figure(figure, path, 200)


def written_figure(figure: Any, path: Path, dpi: int) -> Path:
    """A file of a figure, the same from run to run."""
    drawn, kind = io.BytesIO(), path.suffix.lower()
    figure.savefig(drawn, format=kind[1:], dpi=dpi, metadata=_DATELESS[kind])
    return write_atomically(path, drawn.getvalue())


def _opened(image: Any) -> Any:
    from vlcls.images import opened_image

    opened = opened_image(image, _MOST_PIXELS)
    opened.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    return opened


def _figure(
    explanation: Explanation,
    shown: Sequence[Evidence],
    image: Any,
    top: int,
    overlay: Overlay | None = None,
) -> Any:
    from matplotlib.figure import Figure

    chosen = [sorted(each.contributions, key=lambda c: -abs(c.margin))[:top] for each in shown]
    rows = [[wrap(c.text, _CHARACTERS) or [""] for c in some] for some in chosen]
    lines = [sum(map(len, some)) + 0.6 * len(some) + 2 for some in rows]
    title = "\n".join(wrap(explanation.rationale, 88))
    height = max(_LOWEST if overlay is None else 2 * _LOWEST, _LINE * (sum(lines) + 5 + title.count("\n")))
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold", parse_math=False)
    grid = figure.add_gridspec(len(shown), 2, width_ratios=(1, 1.55), height_ratios=lines)
    tall = [image.height / image.width, *([] if overlay is None else [_aspect(overlay)])]
    column = grid[:, 0].subgridspec(len(tall), 1, height_ratios=tall)
    photo = figure.add_subplot(column[0])
    photo.imshow(image)
    photo.set_axis_off()
    photo.set_anchor("N")
    if overlay is not None:
        _heat(figure.add_subplot(column[1]), overlay)
    axes: list[Any] = []
    for place, (evidence, some) in enumerate(zip(shown, chosen, strict=True)):
        axes.append(figure.add_subplot(grid[place, 1], sharex=axes[0] if axes else None))
        # The order of effect, which the eye can follow down the bars, not that of its size.
        _bars(
            axes[-1], evidence, sorted(some, key=lambda c: -c.margin), explanation.baseline, _COLOURS[place]
        )
    axes[0].tick_params(labelbottom=len(axes) == 1)
    axes[-1].set_xlabel(
        "similarity to the image\n(dashed: its average; numbers: part in the score)", fontsize=9
    )
    _make_room(axes[0], [c.similarity for some in chosen for c in some], explanation.baseline)
    return figure


def _aspect(overlay: Overlay) -> float:
    return overlay.seen.shape[0] / overlay.seen.shape[1]


def _heat(axes: Axes, overlay: Overlay) -> None:
    # In grey: the colours are the map's alone.
    axes.imshow(overlay.seen.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    axes.imshow(overlay.heat.numpy(), cmap="inferno", vmin=0, vmax=1, alpha=0.55)
    title = wrap(f"where it matched “{overlay.text}”", _CHARACTERS)
    axes.set_title("\n".join(title), fontsize=9, parse_math=False)
    axes.set_axis_off()
    axes.set_anchor("N")


def _bars(axes: Axes, evidence: Evidence, some: Sequence[Contribution], baseline: float, colour: str) -> None:
    texts = ["\n".join(wrap(each.text, _CHARACTERS)) for each in some]
    heights = [text.count("\n") + 1.6 for text in texts]
    ends = [sum(heights[: row + 1]) for row in range(len(heights))]
    middles = [end - height / 2 for end, height in zip(ends, heights, strict=True)]
    widths = [each.similarity - baseline for each in some]
    bars = axes.barh(middles, widths, height=1.0, left=baseline, color=colour)
    for bar, each, middle in zip(bars, some, middles, strict=True):
        bar.set_alpha(1.0 if each.margin else 0.25)
        right = each.similarity >= baseline
        axes.annotate(
            f"{each.margin:+.3f}".replace("-", "−") if abs(each.margin) >= 5e-4 else "0",
            (each.similarity, middle),
            xytext=(4 if right else -4, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=8,
        )
    axes.axvline(baseline, color="black", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_yticks(middles, texts, fontsize=9, parse_math=False)
    axes.set_ylim(sum(heights) + 0.3, -0.3)
    left_out = len(evidence.contributions) - len(some)
    more = f"  (and {left_out} more)" if left_out else ""
    axes.set_title(
        "\n".join(wrap(f"{evidence.label}  {evidence.probability:.1%}{more}", 46)),
        loc="left", fontsize=10.5, fontweight="bold", color=colour, parse_math=False,
    )  # fmt: skip
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _make_room(axes: Axes, similarities: Sequence[float], baseline: float) -> None:
    """Room for the numbers at both ends of the bars."""
    low, high = min(*similarities, baseline), max(*similarities, baseline)
    room = 0.2 * (high - low or 0.1)
    axes.set_xlim(low - room * (low < baseline) - 0.01 * room, high + room)
