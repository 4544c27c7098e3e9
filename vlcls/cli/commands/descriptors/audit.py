"""`vlcls descriptors audit`."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.text import Text

from vlcls.cli.command import command
from vlcls.cli.console import page, titled
from vlcls.cli.options import (
    Cache,
    ClassOptions,
    FormatOption,
    ModelOptions,
    Output,
    built,
    embedded_images,
    of_output,
)
from vlcls.cli.output import chosen_format, json_text, leave, opened
from vlcls.cli.progress import bar, is_main_process
from vlcls.files.terminal import csv_cells

if TYPE_CHECKING:
    from vlcls.explain import Audit, PieceAudit

_COLOURS = {"helps": "green", "hurts": "bold red", "never matters": "dim"}


@dataclass(frozen=True)
class AuditOptions:
    images: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Labelled images: FOLDER/CLASS/ or FOLDER/GROUP/CLASS/.")
    ]
    alpha: Annotated[float, of_output(min=0, max=1, help="False discovery rate of the verdicts.")] = 0.05
    top: Annotated[int, of_output(min=1, help="Rows from each end of the table.")] = 20
    format: FormatOption = None
    output: Output = None


@command()
def audit(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file of descriptors, or a built-in set.")],
    classes: Annotated[
        ClassOptions,
        ("labels", "labels_file", "templates", "phrasing", "aggregate", "articles", "clean_names"),
    ],
    model: ModelOptions,
    own: AuditOptions,
    cache: Cache = True,
) -> None:
    """Say which descriptors help, hurt or never matter, over images whose classes are known.

    Each descriptor in turn is left out, and every image is predicted again. "helps" and "hurts" are beyond
    chance (exact McNemar test, Benjamini-Hochberg); "unclear" ones changed some predictions, but too few
    to tell; "never matters": not one prediction changes without it.

    [bold]Examples[/]

      vlcls descriptors audit descriptors.json --images photos/ --encoder conse
      vlcls descriptors audit pacs --images pacs/ --format csv -o audit.csv
    """
    from vlcls.explain import audit_descriptors
    from vlcls.labelled import labelled_folder

    kind = chosen_format(own.format, own.output)
    ready = built(replace(classes, descriptors=file), model, cache)
    labelled = labelled_folder(own.images, ready.labels)
    embedded = embedded_images(labelled, ready, cache)
    with bar("leaving out", len(embedded)) as progress:
        result = audit_descriptors(
            ready, embedded.embeddings, embedded.class_indices, alpha=own.alpha, progress=progress
        )
    if is_main_process():
        with opened(own.output) as stream:
            _write(result, stream, kind, own.top, ready.labels.ids)
        leave(embedded.errors.values())


def _write(result: Audit, stream: TextIO, format: str, top: int, ids: Sequence[str]) -> None:
    pieces = sorted(result.pieces, key=_effect, reverse=True)
    if format == "table":
        write_table(result, pieces, stream, top)
        return
    rows = [_flat(piece, ids[piece.index]) for piece in pieces]
    if format == "jsonl":
        stream.writelines(json_text(row) + "\n" for row in rows)
        return
    csv.writer(stream, lineterminator="\n").writerows(
        map(csv_cells, [rows[0], *(row.values() for row in rows)])
    )


def _effect(piece: PieceAudit) -> tuple[int, float]:
    """By the right predictions that it adds, and among equals by its part in the lead."""
    added = piece.without.lost - piece.without.gained if piece.without else 0
    return added, piece.right or 0.0


def _flat(piece: PieceAudit, identifier: str) -> dict[str, Any]:
    from vlcls.explain import LeftOut

    own = {key: value for key, value in vars(piece).items() if key != "without"}
    row = {"label": own.pop("label"), "id": identifier, **own}
    names = [field.name for field in fields(LeftOut)]
    left_out = {name: getattr(piece.without, name, None) for name in names}
    left_out["accuracy_without"] = left_out.pop("accuracy")
    return {key: round(v, 6) if isinstance(v, float) else v for key, v in (row | left_out).items()}


def write_table(result: Audit, pieces: Sequence[PieceAudit], stream: TextIO, top: int) -> None:
    """For people: the most helpful first, the most harmful last."""
    console = page(stream, 160)
    counts = Counter(piece.verdict for piece in pieces)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    console.print(
        f"{result.images} images, accuracy {result.accuracy:.1%}; {len(pieces)} descriptors: {verdicts}\n"
    )
    table = titled(
        "class", "descriptor", "verdict", "accuracy without", "lost", "gained", "p", "part if right",
        "if wrong", "inside", "outside", right=range(3, 11),
    )  # fmt: skip
    middle = len(pieces) - 2 * top
    for place, piece in enumerate(pieces):
        if middle > 1 and top <= place < top + middle:
            if place == top:
                table.add_row("...", Text(f"{middle} between (--top, or --format csv)", "dim"))
            continue
        verdict = Text(piece.verdict, _COLOURS.get(piece.verdict, ""))
        table.add_row(Text(piece.label), Text(piece.text), verdict, *_numbers(piece, result.accuracy))
    console.print(table)
    console.print(
        "\naccuracy without: change in points if it is left out. lost, gained: images right only with it, "
        "only without it.\np: adjusted. part: in the lead of the true class. inside, outside: mean "
        "similarity to images of its class, to others.",
        style="dim",
    )


def _numbers(piece: PieceAudit, accuracy: float) -> list[str]:
    without = piece.without
    tested = ["", "", "", ""]
    if without is not None:
        change = f"{100 * (without.accuracy - accuracy):+.1f}" if without.lost != without.gained else "0"
        tested = [change, str(without.lost), str(without.gained), f"{without.adjusted:.2g}"]
    means = [
        "" if mean is None else f"{mean:{sign}.3f}"
        for mean, sign in ((piece.right, "+"), (piece.wrong, "+"), (piece.inside, ""), (piece.outside, ""))
    ]
    return tested + means
