"""Descriptor files that commands read and write."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlcls.cli.output import opened
from vlcls.cli.terminal import say
from vlcls.files.terminal import printable_json

if TYPE_CHECKING:
    from vlcls.descriptors import DescriptorSet
    from vlcls.descriptors.parsing import FileFormat

DescriptorFile = Annotated[str, typer.Argument(metavar="FILE", help="A descriptor file, or a built-in set.")]


def write_set(descriptors: DescriptorSet, output: Path, format: FileFormat) -> None:
    from vlcls.descriptors.files import written

    text = written(descriptors, format)
    with opened(output) as stream:
        stream.write(printable_json(text) if str(output) == "-" else text)
    if str(output) != "-":
        sys.stdout.flush()
        say(f"{output}: {len(descriptors.labels)} classes, {len(descriptors)} {descriptors.style}", err=True)
