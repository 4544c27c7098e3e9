"""`vlcls cache info`."""

from __future__ import annotations

from rich.filesize import decimal

from vlcls.cli.command import command
from vlcls.cli.console import Console, titled
from vlcls.cli.terminal import say


@command()
def info() -> None:
    """Show where the store is and what is in it."""
    from vlcls.store import EmbeddingStore

    store = EmbeddingStore()
    partitions = store.info()
    say(f"{store.root}: {decimal(sum(part.bytes for part in partitions))}")
    if not partitions:
        return
    table = titled("encoder", "precision", "kind", "embeddings", "size", right=("embeddings", "size"))
    for part in partitions:
        table.add_row(part.spec, part.precision, part.kind, f"{part.embeddings:,}", decimal(part.bytes))
    Console().print(table)
