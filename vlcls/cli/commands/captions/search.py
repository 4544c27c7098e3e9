"""`vlcls captions search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vlcls.cli.captions import Database, TrustIndex, opened_database
from vlcls.cli.command import command
from vlcls.cli.options import Cache, ModelOptions, of_output
from vlcls.cli.output import json_text
from vlcls.cli.terminal import say

if TYPE_CHECKING:
    from vlcls.encoders import Encoder


@command()
def search(
    database: Database,
    model: ModelOptions,
    query: Annotated[str | None, typer.Argument(help="A text to search with.")] = None,
    image: Annotated[Path | None, typer.Option(help="An image to search with, instead.")] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Captions to show.")] = 10,
    format: Annotated[
        Literal["table", "jsonl"], of_output("--format", "-f", help="How to write them.")
    ] = "table",
    cache: Cache = True,
    trust_index: TrustIndex = False,
) -> None:
    """Show the captions nearest to an image or a text.

    [bold]Examples[/]

      vlcls captions search coco/ --image photo.jpg
      vlcls captions search wordnet "a striped animal" --encoder conse
    """
    if (query is None) == (image is None):
        raise typer.BadParameter("give a text, or --image FILE (not both)")
    opened, loaded = opened_database(database, model, cache, trust_index)
    vector = _vector(str(query), loaded, cache) if image is None else _image_vector(image, loaded, cache)
    found = opened.search(vector, top_k)
    for row, similarity in zip(found.rows[0].tolist(), found.similarities[0].tolist(), strict=True):
        if row < 0:
            continue
        if format == "jsonl":
            say(json_text({"caption": opened.captions[row], "similarity": similarity, "row": row}))
        else:
            say(f"{similarity:.3f}  {opened.captions[row]}")


def _vector(query: str, encoder: Encoder, cache: bool) -> Any:
    from vlcls.classifiers.base import open_store
    from vlcls.embeddings import embed_texts

    return embed_texts([query], encoder, store=open_store(cache)).cpu().numpy()


def _image_vector(image: Path, encoder: Encoder, cache: bool) -> Any:
    from vlcls.classifiers.base import open_store
    from vlcls.embeddings import embed_images
    from vlcls.errors import ImageError
    from vlcls.image_sources import find_images

    batch = next(embed_images(find_images([image])[:1], encoder, store=open_store(cache)))
    if batch.errors:
        raise ImageError(batch.errors[0])
    return batch.embeddings.cpu().numpy()
