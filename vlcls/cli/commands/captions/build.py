"""`vlcls captions build`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vlcls.cli.captions import index_line
from vlcls.cli.command import command
from vlcls.cli.options import ModelOptions
from vlcls.cli.output import folder_to_write
from vlcls.cli.progress import bar, is_main_process, status
from vlcls.cli.terminal import say

if TYPE_CHECKING:
    from vlcls.retrieval.build import BuildReport


@dataclass(frozen=True)
class CaptionOptions:
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DB", help="Folder to write, or to add to.", callback=folder_to_write
        ),
    ]
    column: Annotated[
        str | None, typer.Option(help="Column with the captions.", show_default="caption, text, ...")
    ] = None
    split: Annotated[str, typer.Option(help="Of a data set.")] = "train"
    dtype: Annotated[Literal["float16", "float32"], typer.Option(help="What embeddings are kept as.")] = (
        "float16"
    )
    index: Annotated[
        str | None,
        typer.Option(
            metavar="FACTORY",
            show_default="exact below 100,000 captions, inverted lists above",
            help='A FAISS index: "Flat", "IVF4096,SQfp16", "HNSW32,SQfp16", "IVF4096,PQ64", ...',
        ),
    ] = None


@command()
def build(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Captions: .txt, .jsonl, .csv, .tsv, .parquet, a folder of these, or hf:DATASET[:CONFIG].",
        ),
    ],
    own: CaptionOptions,
    model: ModelOptions,
) -> None:
    """Embed captions and index them.

    [bold]Examples[/]

      vlcls captions build captions.jsonl -o coco/ --encoder conse
      vlcls captions build hf:ORG/DATASET -o cc3m/ --column caption
      accelerate launch -m vlcls captions build captions/ -o large/

    Captions that are there already, or twice, are embedded once. An interrupted build goes on where it was
    when the same command is run again; another source is added to what is there.
    """
    with status("loading torch"):
        from vlcls.retrieval import build_captions, read_captions
        from vlcls.retrieval.build import check_database_folder
    if is_main_process():  # now, not when a model is loaded
        check_database_folder(own.output)
    loaded = model.load()
    with bar("embedding captions", None) as progress:
        captions = read_captions(source, own.column, own.split)
        report = build_captions(
            captions, own.output, loaded, dtype=own.dtype, index=own.index, progress=progress
        )
    if is_main_process() and report.index is not None:
        _tell(report, own.output)


def _tell(report: BuildReport, output: Path) -> None:
    if report.removed:
        say(f"{report.removed:,} captions that were there twice were taken out", err=True)
    say(
        f"{output}: {report.total:,} captions, {report.added:,} of them new; {report.repeated:,} "
        f"repeated and {report.empty:,} empty ones left out, {report.cut:,} cut short",
        err=True,
    )
    say(f"index {index_line(report.index)}", err=True)
