"""`vlcls captions info`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.filesize import decimal

from vlcls.cli.captions import Database, TrustIndex, index_line
from vlcls.cli.command import command
from vlcls.cli.terminal import say
from vlcls.files.named import is_built_in


@command()
def info(database: Database, trust_index: TrustIndex = False) -> None:
    """Show what a database holds, without loading an encoder."""
    from vlcls.retrieval.builtin import NAME, wordnet_texts
    from vlcls.retrieval.database import open_database

    if is_built_in(database, (NAME,), "caption database"):
        texts = wordnet_texts()
        say(f"{NAME}: {len(texts):,} names and glosses of WordNet, embedded with any encoder on first use")
        captions: Any = texts
    else:
        folder = Path(database)
        found = open_database(folder, trust_index=trust_index)
        captions = found.captions
        size = decimal(sum(path.stat().st_size for path in folder.iterdir()))
        say(f"{folder}: {len(found):,} captions, {size}")
        say(f"encoder {found.info.encoder}, fingerprint {found.info.fingerprint[:12]}")
        say(f"embeddings {found.info.dtype} of {found.info.dimension} dimensions")
        say(f"index {index_line(found.info.index)}")
    for row in sorted({0, len(captions) // 2, len(captions) - 1}):
        say(f"  {row:>9,}  {captions[row]}")
