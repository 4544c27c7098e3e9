"""`vlcls cache clear`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.filesize import decimal

from vlcls.cli.command import command
from vlcls.cli.terminal import say

#: Files named one by one.
_MOST = 20


@command()
def clear(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete all stored embeddings, and nothing that vlcls did not write.

    Exit code 1 if some could not be deleted.
    """
    from vlcls.store import EmbeddingStore

    store = EmbeddingStore()
    if not yes:
        typer.confirm(f"delete all embeddings in {store.root}?", abort=True)
    done = store.clear()
    for path, reason in done.failed[:_MOST]:
        say(f"not deleted: {path}: {reason}", err=True)
    for path in done.foreign[:_MOST]:
        say(f"left alone, not written by vlcls: {path}", err=True)
    more = max(0, len(done.failed) - _MOST) + max(0, len(done.foreign) - _MOST)
    if more:
        say(f"and {more} more", err=True)
    say(f"{done.files} files deleted, {decimal(done.bytes)} freed")
    raise typer.Exit(int(bool(done.failed)))
