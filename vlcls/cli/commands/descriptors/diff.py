"""`vlcls descriptors diff`."""

from __future__ import annotations

from typing import Annotated

import typer

from vlcls.cli.command import command
from vlcls.cli.evidence import EvidenceOptions, show_effect
from vlcls.cli.terminal import say, styled


@command()
def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="A file or built-in set.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="A file or built-in set.")],
    evidence: EvidenceOptions,
) -> None:
    """Say what differs between two sets; with --images, what that does to predictions.

    [bold]Examples[/]

      vlcls descriptors diff old.json new.json
      vlcls descriptors diff old.json new.json --images photos/ --encoder conse
    """
    from vlcls.descriptors import diff_descriptors, read_descriptors

    old, new = read_descriptors(before), read_descriptors(after)
    marks = {"class added": "+", "class removed": "-", "added": "+", "removed": "-", "reweighted": "~"}
    for change in diff_descriptors(old, new):
        text = change.text or "(the class)"
        weights = f"  weight {change.weights[0]:g} -> {change.weights[1]:g}" if change.weights else ""
        colour = {"+": "green", "-": "red", "~": "yellow"}[marks[change.kind]]
        say(styled(f"{marks[change.kind]} {change.class_name}: {text}{weights}", fg=colour))
    if evidence.images is not None:
        show_effect(old, new.for_labels(old.labels), evidence.images, evidence)
