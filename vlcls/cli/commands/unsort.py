"""`vlcls unsort`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlcls.cli.command import command
from vlcls.cli.output import SOME_IMAGES_FAILED
from vlcls.cli.sorting import say_left
from vlcls.cli.terminal import say


@command()
def unsort(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What images were sorted into.")],
    was: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Where DIR lay when images were moved into it, if it lies elsewhere now.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Put back what `vlcls classify --sort-into DIR` did.

    Moved images return to their own places, copies and links are deleted, and so are the folders that were
    made for them and DIR itself if they are empty then. What you changed, moved or added in DIR since is left
    and named; the exit code is then 3. Nothing is overwritten, and the same command goes on after a kill.

    [bold]Examples[/]

      vlcls unsort sorted/
    """
    from vlcls.results.unsorting import unsort as put_back

    done = put_back(folder, was)
    said = [f"{done.restored:,} moved back"] * bool(done.restored)
    said += [f"{done.removed:,} copies and links deleted"] * bool(done.removed)
    say(f"{folder}: {', '.join(said) or 'nothing to put back'}", err=True)
    say_left(done.left, "left as they are")
    if done.kept:
        say("once their own places are free, the same command puts the moved ones back", err=True)
    if done.left:
        raise typer.Exit(SOME_IMAGES_FAILED)
