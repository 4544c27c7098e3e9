"""`vlcls cache info|clear|verify`: the embedding store."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    help="""The store of embeddings on disk: what was encoded once is not encoded again.

It lives in the user's cache folder, or in the folder that the variable VLCLS_CACHE names.""",
)


@app.command()
def info() -> None:
    """Show where the store is and what is in it."""
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    from vlcls.store import EmbeddingStore

    store = EmbeddingStore()
    partitions = store.info()
    typer.echo(f"{store.root}: {decimal(sum(part.bytes for part in partitions))}")
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


@app.command()
def verify() -> None:
    """Read everything in the store; delete files that are damaged. Exit code 1 if there were any."""
    from vlcls.store import EmbeddingStore

    damaged = EmbeddingStore().verify()
    for path in damaged:
        typer.echo(f"damaged, deleted: {path}")
    typer.echo(f"{len(damaged)} damaged files" if damaged else "all files are whole")
    raise typer.Exit(int(bool(damaged)))


@app.command()
def clear(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete all stored embeddings."""
    from rich.filesize import decimal

    from vlcls.store import EmbeddingStore

    store = EmbeddingStore()
    if not yes:
        typer.confirm(f"delete everything in {store.root}?", abort=True)
    typer.echo(f"{decimal(store.clear())} freed")
