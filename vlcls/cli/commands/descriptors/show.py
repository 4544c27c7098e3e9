"""`vlcls descriptors show`."""

from __future__ import annotations

from typing import Annotated

import typer

from vlcls.cli.command import command
from vlcls.cli.descriptor_files import DescriptorFile
from vlcls.cli.terminal import say, styled


@command()
def show(
    file: DescriptorFile,
    classes: Annotated[list[str] | None, typer.Argument(metavar="[CLASS...]", help="Only these.")] = None,
) -> None:
    """Print descriptors, and where each came from."""
    from vlcls.descriptors import read_descriptors

    found = read_descriptors(file)
    places = [found.find(name) for name in classes] if classes else range(len(found.labels))
    for index in places:
        say(styled(found.labels.reported[index], bold=True))
        for each in found.descriptors[index]:
            notes = [each.source, *(["edited"] if each.edited else [])]
            notes += [f"weight {each.weight:g}"] if each.weight != 1 else []
            say(f"  {each.text}", styled(f"  ({', '.join(notes)})", dim=True))
        if not found.descriptors[index]:
            say(styled("  (none)", dim=True))
    if not classes:
        for name, about in found.sources.items():
            notes = [f"{key} {value}" for key, value in about.items()]
            say(styled(f"{name}: {', '.join(notes)}", dim=True))
