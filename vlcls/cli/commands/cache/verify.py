"""`vlcls cache verify`."""

from __future__ import annotations

import typer

from vlcls.cli.command import command
from vlcls.cli.terminal import say


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
