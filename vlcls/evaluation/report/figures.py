"""The figures of a report, as SVG elements. Colours are told apart by colour-blind readers, and every series
has a marker of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlcls.evaluation.metrics.calibration import Bin
from vlcls.evaluation.metrics.intervals import proportion
from vlcls.evaluation.report.blocks import clean
from vlcls.evaluation.report.inline_svg import FAINT, INK, SERIES, drawing, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = ("o", "s", "^", "D", "v", "P")
_WIDTH, _ROW = 4.3, 0.29
#: Letters of a name at the side of a figure, and of one with a line for itself.
_LONGEST, _LONGEST_LINE = 24, 46
#: How an axis writes per cent.
_PERCENT = "{x:.0f} %"
#: A figure with its 95 % interval as in results.json: {"value", "low", "high"}.
EstimateJson = Mapping[str, float]


@dataclass(frozen=True)
class Dots:
    """A row of a dot chart: a name and one estimate or none for each series."""

    name: str
    estimates: Sequence[EstimateJson | None]


def dot_chart(rows: Sequence[Dots], series: Sequence[str], label: str, identifier: str) -> str:
    """Parts of 1 with their intervals, one row a name, one colour and marker a series.

    Args:
        rows: From the top.
        series: Names of the estimates in each row; shown if there are several.
        label, identifier: See `inline_svg`.
    """
    with drawing():
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        legend = _ROW * len(series) if len(series) > 1 else 0
        step = _ROW * max(1.0, 0.55 * len(series))
        figure = Figure(figsize=(_WIDTH, step * len(rows) + legend + 0.55), layout="constrained")
        axes = figure.add_subplot()
        for index, name in enumerate(series):
            offset = (index - (len(series) - 1) / 2) * 0.8 / len(series)
            _dots(axes, rows, index, offset, _short(name, _LONGEST_LINE))
        _named_rows(axes, [row.name for row in rows])
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(_PERCENT)
        axes.set_xlim(*_limits([e for row in rows for e in row.estimates if e is not None]))
        if len(series) > 1:
            figure.legend(loc="outside lower left", ncols=1, fontsize=9)
        return inline_svg(figure, label, identifier)


def _dots(axes: Axes, rows: Sequence[Dots], index: int, offset: float, name: str) -> None:
    found = [(row + offset, each.estimates[index]) for row, each in enumerate(rows)]
    points = [(y, estimate) for y, estimate in found if estimate is not None]
    colour = SERIES[index % len(SERIES)]
    lows, highs = ([100 * estimate[end] for _, estimate in points] for end in ("low", "high"))
    axes.hlines([y for y, _ in points], lows, highs, color=colour, linewidth=1.6)
    axes.plot(
        [100 * estimate["value"] for _, estimate in points],
        [y for y, _ in points],
        linestyle="none", marker=_MARKERS[index % len(_MARKERS)], markersize=6, color=colour, label=name,
    )  # fmt: skip


def _named_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _limits(estimates: Sequence[EstimateJson]) -> tuple[float, float]:
    """In per cent, with some room, and not beyond 0 and 100."""
    low = min((100 * each["low"] for each in estimates), default=0.0)
    high = max((100 * each["high"] for each in estimates), default=100.0)
    room = max(2.0, 0.06 * (high - low))
    return max(-1.0, low - room), min(101.0, high + room)


def scatter(
    points: Sequence[tuple[float, float, float, int]], series: Sequence[str], ends: tuple[str, str],
    label: str, identifier: str,
) -> str:  # fmt: skip
    """Effective robustness: accuracies under a shift over those before it, on logit axes.

    Args:
        points: (before, after, expected, series): parts of 1; a line goes from what is expected to `after`.
        series: Names of encoders.
        ends: What was before and after.
        label, identifier: See `inline_svg`.
    """
    with drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(_WIDTH, 3.7 + _ROW * (len(series) > 1) * len(series)), layout="constrained")
        axes = figure.add_subplot()
        clipped = [(*(min(max(value, 0.002), 0.998) for value in p[:3]), int(p[3])) for p in points]
        line = sorted((before, expected) for before, _, expected, _ in clipped)
        axes.plot(*zip(*line, strict=True), color=INK, linewidth=1.2, label="expected from the fit set")
        shown = [value for point in clipped for value in point[:3]]
        low, high = _logit_room(min(shown)), _logit_room(max(shown), up=True)
        axes.plot([low, high], [low, high], color=INK, linewidth=0.8, linestyle=(0, (4, 3)), label="no drop")
        for index, name in enumerate(series):
            own = [point[:3] for point in clipped if point[3] == index]
            for before, after, expected in own:
                axes.plot([before] * 2, [expected, after], color=SERIES[index % len(SERIES)], linewidth=1)
            axes.plot(
                [p[0] for p in own], [p[1] for p in own], linestyle="none", markersize=6,
                label=_short(name, _LONGEST_LINE),
                marker=_MARKERS[index % len(_MARKERS)], color=SERIES[index % len(SERIES)],
            )  # fmt: skip
        _logit_axes(axes, low, high)
        axes.set_xlabel(_short(ends[0], _LONGEST_LINE))
        axes.set_ylabel(_short(ends[1], _LONGEST_LINE))
        figure.legend(loc="outside lower left", ncols=1, fontsize=9)
        return inline_svg(figure, label, identifier)


def _logit_room(value: float, up: bool = False) -> float:
    moved = math.log(value / (1 - value)) + (0.35 if up else -0.35)
    return 1 / (1 + math.exp(-moved))


def _logit_axes(axes: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    ticks = [
        tick for tick in (0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.99) if low < tick < high
    ]
    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        getattr(axes, f"set_{name}scale")("logit")
        axis.set_ticks(ticks)
        axis.set_major_formatter(FuncFormatter(lambda value, _: _PERCENT.format(x=100 * value)))
        axis.set_minor_locator(NullLocator())
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.grid()
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def reliability_diagram(bins: Sequence[Bin], label: str, identifier: str) -> str:
    """Accuracy over confidence, with Wilson intervals; below it how many images are in each bin."""
    with drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(2.7, 3.0))
        axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        # All are alike, and a layout found anew for each takes longer than all the rest.
        figure.subplots_adjust(left=0.22, right=0.95, top=0.97, bottom=0.15, hspace=0.12)
        axes.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        _bins(axes, bins)
        axes.set(xlim=(0, 100), ylim=(-2, 102), xticks=(0, 50, 100), yticks=(0, 50, 100))
        axes.yaxis.set_major_formatter(_PERCENT)
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel("right")
        counts.bar(
            [100 * each.low for each in bins], [each.count for each in bins], align="edge", color=FAINT,
            width=[100 * (each.high - each.low) for each in bins],
        )  # fmt: skip
        counts.set_yticks([max(each.count for each in bins)])
        counts.tick_params(axis="y", labelsize=8)
        counts.set_xlabel("confidence")
        counts.xaxis.set_major_formatter(_PERCENT)
        for each in (axes, counts):
            each.spines[["top", "right"]].set_visible(False)
        axes.grid()
        return inline_svg(figure, label, identifier)


def _bins(axes: Axes, bins: Sequence[Bin]) -> None:
    full = [each for each in bins if each.count and each.accuracy is not None]
    found = [proportion(round((each.accuracy or 0) * each.count), each.count) for each in full]
    parts = [estimate for estimate in found if estimate is not None]
    across = [100 * (each.confidence or 0) for each in full]
    lows, values, highs = ([100 * getattr(e, name) for e in parts] for name in ("low", "value", "high"))
    axes.vlines(across, lows, highs, color=SERIES[0], linewidth=1.2)
    axes.plot(across, values, linestyle="none", marker="o", markersize=5, color=SERIES[0], clip_on=False)


def stacked_bars(
    rows: Sequence[tuple[str, Sequence[float]]], parts: Sequence[str], label: str, identifier: str
) -> str:
    """Parts of 1 that make a whole, one bar a row."""
    with drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(_WIDTH, 0.45 * len(rows) + 0.6 + 0.22 * len(parts)), layout="constrained")
        axes = figure.add_subplot()
        for index, part in enumerate(parts):
            lefts = [100 * sum(values[:index]) for _, values in rows]
            widths = [100 * values[index] for _, values in rows]
            axes.barh(range(len(rows)), widths, 0.62, lefts, color=SERIES[index], label=part)
            for row, (left, width) in enumerate(zip(lefts, widths, strict=True)):
                if width >= 7:
                    axes.text(
                        left + width / 2, row, f"{width:.0f}", ha="center", va="center", fontsize=9,
                        fontweight="bold", color="#000000",
                    )  # fmt: skip
        _named_rows(axes, [name for name, _ in rows])
        axes.set(xlim=(0, 100), xticks=(0, 50, 100))
        axes.xaxis.set_major_formatter(_PERCENT)
        figure.legend(loc="outside lower left", ncols=1, fontsize=9)
        return inline_svg(figure, label, identifier)


def _short(name: str, longest: int = _LONGEST) -> str:
    """On one line, and not wider than the figure: without its middle, since both ends may tell it apart."""
    line = " ".join(clean(name).split())
    if len(line) <= longest:
        return line
    half = longest // 2
    return f"{line[:half]}…{line[half - longest + 1 :]}"
