"""`vlcls compare`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer
from rich.text import Text

from vlcls.cli.command import command
from vlcls.cli.console import Console, page, titled
from vlcls.cli.options import Output, format_option, of_output
from vlcls.cli.output import chosen_format, file_to_write, json_text, opened
from vlcls.cli.progress import status

if TYPE_CHECKING:
    from vlcls.evaluation.metrics.significance import Difference
    from vlcls.evaluation.report.comparison import CellChange, RunComparison

_COLOURS = {"gained": "green", "lost": "red", "still wrong": "dim"}


@dataclass(frozen=True)
class CompareOptions:
    flips: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write every flipped image here, as JSON Lines.", callback=file_to_write
        ),
    ] = None
    top: Annotated[int, of_output(min=0, help="Flipped images in the table.")] = 20
    format: Annotated[Literal["table", "json"] | None, format_option()] = None
    output: Output = None


@command()
def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="A folder that `vlcls evaluate` wrote.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Another, compared with the first.")],
    own: CompareOptions,
) -> None:
    """Say what changed between two evaluations, which images flipped, and whether it is significant.

    Cells (set, encoder, method) that both runs have are compared on the images that both have. p values are
    exact McNemar tests, or with several seeds tests that count the seeds in, Holm-corrected over all cells.

    [bold]Examples[/]

      vlcls compare runs/monday runs/tuesday
      vlcls compare runs/monday runs/tuesday --format json --flips flips.jsonl
    """
    kind = chosen_format(own.format, own.output, ("table", "json"))
    with status("comparing"):
        from vlcls.evaluation.report.comparison import compare_runs

        found = compare_runs(run_a, run_b)
    if own.flips is not None:
        with opened(own.flips) as stream:
            stream.writelines(json_text(vars(flip)) + "\n" for flip in found.flips)
    with opened(own.output) as stream:
        if kind == "json":
            stream.write(json_text(found.to_json(), indent=1) + "\n")
        else:
            _write_table(found, stream, own.top)


def _write_table(found: RunComparison, stream: TextIO, top: int) -> None:
    console = page(stream, 160)
    for note in found.notes:
        console.print(f"note: {note}", style="yellow", markup=False)
    _cells(console, found)
    _other_figures(console, found)
    for names, which in ((found.only_before, "first"), (found.only_after, "second")):
        if names:
            console.print(f"\nonly in the {which} run: {', '.join(names)}", style="dim", markup=False)
    _changes(console, found)
    _flips(console, found, top)


def _cells(console: Console, found: RunComparison) -> None:
    table = titled(
        "set", "encoder", "method", "before", "after", "change", "interval (Holm)", "images", "gained",
        "lost", "p (Holm)", "", right=range(3, 11),
    )  # fmt: skip
    changed = [cell for cell in found.cells if not cell.unchanged]
    for cell in changed:
        table.add_row(*map(_text, (cell.set, cell.encoder, cell.method)), *_figures(cell, found.alpha))
    if changed:
        console.print(table)
    if len(changed) < len(found.cells):
        console.print(
            f"{len(found.cells) - len(changed)} of {len(found.cells)} cells are the same: no image is given "
            "another class",
            style="dim",
        )


def _other_figures(console: Console, found: RunComparison) -> None:
    """Metrics that moved, each over all images of its run: green where that is better. There is no test."""
    from vlcls.evaluation.metrics.entries import METRICS
    from vlcls.evaluation.report.blocks import points

    moved = [
        {name: ends for name, ends in cell.figures.items() if name != cell.metric and ends[0] != ends[1]}
        for cell in found.cells
    ]
    shown = [
        metric for metric in METRICS.values() if metric.in_report and any(metric.name in m for m in moved)
    ]
    if not shown:
        return
    table = titled("set", "encoder", "method", *(metric.title for metric in shown))
    for cell, figures in zip(found.cells, moved, strict=True):
        row = [_text(part) for part in (cell.set, cell.encoder, cell.method)]
        for metric in shown:
            ends = figures.get(metric.name)
            said = " to ".join(points(end, metric.scale, metric.digits) for end in ends or ())
            better = ends is not None and (ends[1] > ends[0]) == (metric.better == "higher")
            row.append(_text(said, "green" if better else "red"))
        if figures:
            table.add_row(*row)
    console.print(table)


def _figures(cell: CellChange, alpha: float) -> list[Any]:
    ends = [f"{100 * cell.before:.2f}", f"{100 * cell.after:.2f}", f"{100 * (cell.after - cell.before):+.2f}"]
    if cell.difference is None:
        return [*ends, "", "", "", "", "", "no test"]
    apart = cell.difference.simultaneous
    significant = cell.difference.adjusted <= alpha
    word = ("better" if apart.value > 0 else "worse") if significant else "no evidence"
    colour = {"better": "bold green", "worse": "bold red"}.get(word, "dim")
    return [
        *ends,
        f"{100 * apart.low:+.2f} to {100 * apart.high:+.2f}",
        str(cell.images),
        *(f"{count:.3g}" for count in _gained_and_lost(cell, cell.difference)),
        f"{cell.difference.adjusted:.2g}",
        _text(word, colour),
    ]


def _gained_and_lost(cell: CellChange, difference: Difference) -> tuple[float, float]:
    """Images a seed: of the same seeds if both runs have any, else over all pairs of seeds."""
    if not cell.shared_seeds:
        return difference.gained, difference.lost
    return cell.counts["gained"] / cell.shared_seeds, cell.counts["lost"] / cell.shared_seeds


def _changes(console: Console, found: RunComparison) -> None:
    if not found.changes:
        console.print("\nnothing else differs: same encoders, prompts, data and versions", style="dim")
        return
    console.print()
    table = titled("what else differs", "before", "after")
    for change in found.changes:
        table.add_row(*map(_text, (change.what, change.before, change.after)))
    console.print(table)


def _flips(console: Console, found: RunComparison, top: int) -> None:
    count = sum(len(cell.flips) for cell in found.cells)
    if not count or not top:
        console.print(f"\n{count} images flipped", style="dim")
        return
    console.print()
    seeds = len({flip.seed for flip in found.flips}) > 1
    table = titled("image", "is", "before", "after", "", *(["seed"] if seeds else []), "where")
    for flip in islice(found.flips, top):
        table.add_row(
            *map(_text, (flip.image, flip.truth, flip.before, flip.after)),
            _text(flip.direction, _COLOURS[flip.direction]),
            *([str(flip.seed)] if seeds else []),
            _text(f"{flip.set} / {flip.encoder} / {flip.method}", "dim"),
        )
    console.print(table)
    if count > top:
        console.print(f"{count - top} more flips (--flips FILE writes all)", style="dim")


def _text(value: Any, style: str = "") -> Any:
    """Never markup: names of files may hold brackets."""
    return Text("none" if value is None else str(value), style)
