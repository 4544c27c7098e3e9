"""Learned names, doubted labels and base-to-novel figures as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from rich.table import Table
from rich.text import Text

from vlcls.cli.console import Console, page, titled

if TYPE_CHECKING:
    from vlcls.cli.names_labels import Judged
    from vlcls.explain import NameReading, NameSuggestion
    from vlcls.learning.transfer import Accuracies, BaseToNovel


def write_table(
    readings: Sequence[NameReading],
    suggested: Mapping[int, Sequence[NameSuggestion]],
    found: Judged | None,
    most: int,
    stream: TextIO,
) -> None:
    """Names first, then those that strayed, suggestions, and labels to look at."""
    console = page(stream, 160)
    console.print(_names(readings))
    console.print(
        "moved: distance from the original, in its lengths. rank: of the original among the words nearest to "
        "it now.\nown name: cosine of the learned name's text embedding with the plain name's.",
        style="dim",
    )
    strayed = [reading for reading in readings if reading.strayed]
    console.print()
    if strayed:
        console.print("nearer to another class's name than to their own:", style="bold")
        for each in strayed:
            said = f"  {each.label}: {each.nearest_label} {each.nearest_cosine:.3f}, own {each.own:.3f}"
            console.print(said, markup=False)
    else:
        console.print("every learned name is nearer to its own class's name than to any other's")
    if suggested:
        console.print("\nreal names nearest to what was learned:", style="bold")
        for reading in readings:
            names = ", ".join(f"{s.name} {s.cosine:.3f}" for s in suggested.get(reading.index, ()))
            console.print(f"  {reading.label}: {names}", markup=False, soft_wrap=True)
    if found is not None:
        _write_doubts(console, found, most)


def _names(readings: Sequence[NameReading]) -> Table:
    table = titled("class", "token", "nearest words now", "moved", "rank", "own name", right=(3, 4, 5))
    for reading in readings:
        for place, vector in enumerate(reading.vectors):
            words = ", ".join(f"{each.word} {each.cosine:.2f}" for each in vector.nearest)
            first = place == 0
            table.add_row(
                Text(reading.label if first else "", "bold green"),
                Text(vector.original),
                Text(words),
                f"{vector.moved:.2f}",
                str(vector.rank),
                f"{reading.own:.3f}" if first else "",
            )
    return table


def _write_doubts(console: Console, found: Judged, most: int) -> None:
    console.print()
    doubted, shown = found.doubts, found.doubts[:most]
    said = f"{len(doubted)} of {found.judged} are doubted" if doubted else "none is doubted"
    console.print(f"labels: {said}", style="bold")
    console.print(f"judged: {found.said}", style="dim", soft_wrap=True)
    if not shown:
        return
    table = titled("image", "labelled", "looks like", "score", right=("score",))
    for doubt in shown:
        table.add_row(Text(doubt.image), Text(doubt.label), Text(doubt.predicted), f"{doubt.score:.2f}")
    console.print(table)
    if len(doubted) > len(shown):
        console.print(f"... and {len(doubted) - len(shown)} more (--doubts, or --format jsonl)")
    console.print(f"score: {found.score}.", style="dim")


def write_transfer(result: BaseToNovel) -> None:
    """Base, novel and harmonic mean, plain and learned names, among each half and among all classes."""
    console = page()
    labels = result.learning.classifier.labels.reported
    for title, indices in (("base, learned", result.base), ("novel, plain", result.novel)):
        said = f"{title}: {', '.join(labels[index] for index in indices)}"
        console.print(said, markup=False, soft_wrap=True)
    table = titled("accuracy", "base", "novel", "harmonic mean", right=(1, 2, 3))
    rows: dict[str, Accuracies] = {
        "plain names, among their half": result.before,
        "learned names, among their half": result.learned,
        "plain names, among all classes": result.before_all,
        "learned names, among all classes": result.learned_all,
    }
    for title, each in rows.items():
        table.add_row(title, *(f"{figure:.1%}" for figure in (each.base, each.novel, each.harmonic)))
    console.print(table)
