"""`vlcls descriptors list`."""

from __future__ import annotations

from vlcls.cli.command import command
from vlcls.cli.terminal import say


@command("list")
def list_sets() -> None:
    """List the built-in sets."""
    from vlcls.descriptors import descriptor_names, read_descriptors

    for name in descriptor_names():
        found = read_descriptors(name)
        say(f"{name}: {len(found.labels)} classes, {len(found)} {found.style}")
