"""`vlcls cache info|clear|verify`: the embedding store."""

from __future__ import annotations

from typing import Annotated

import typer

from vlcls.cli.command import command
from vlcls.cli.terminal import say

#: Files named one by one.
_MOST = 20


@command()
def info() -> None:
    """Show where the store is and what is in it."""
    from rich.filesize import decimal
    from rich.table import Table

    from vlcls.cli.console import Console
    from vlcls.store import EmbeddingStore

    store = EmbeddingStore()
    partitions = store.info()
    say(f"{store.root}: {decimal(sum(part.bytes for part in partitions))}")
    if not partitions:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("encoder", "precision", "kind", "embeddings", "size"):
        table.add_column(
            title, overflow="fold", justify="right" if title in ("embeddings", "size") else "left"
        )
    for part in partitions:
        table.add_row(part.spec, part.precision, part.kind, f"{part.embeddings:,}", decimal(part.bytes))
    Console().print(table)


@command()
def verify() -> None:
    """Read everything in the store; delete files that are damaged, or hold another encoder's embeddings.

    Exit code 1 if there were any.
    """
    from vlcls.store import EmbeddingStore

    found = EmbeddingStore().verify()
    for each in found.bad:
        say(f"{'deleted' if each.deleted else 'not used'}: {each.path}: {each.reason}")
    if found.unlabelled:
        say(
            f"{found.unlabelled} files of an older version do not say which encoder they are of: each is "
            "used once one of its embeddings was compared with the encoder's own"
        )
    say(f"{len(found.bad)} damaged files" if found.bad else "all files are whole")
    raise typer.Exit(int(bool(found.bad)))


@command()
def clear(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete all stored embeddings, and nothing that vlcls did not write.

    Exit code 1 if some could not be deleted.
    """
    from rich.filesize import decimal

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
