"""`vlcls descriptors convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from vlcls.cli.command import command
from vlcls.cli.descriptor_files import DescriptorFile, write_set
from vlcls.cli.output import file_to_write


@command()
def convert(
    file: DescriptorFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write; - to print.", callback=file_to_write)
    ],
    to: Annotated[
        Literal["vlcls", "plain"],
        typer.Option(help="vlcls: with provenance and weights. plain: class to texts."),
    ] = "vlcls",
) -> None:
    """Write a set in another format.

    [bold]Examples[/]

      vlcls descriptors convert published.json -o mine.json
      vlcls descriptors convert pacs -o - --to plain
    """
    from vlcls.descriptors import read_descriptors

    write_set(read_descriptors(file), output, to)
