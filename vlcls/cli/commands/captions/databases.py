"""`vlcls captions build|info|search`: databases of captions for `vlcls discover`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlcls.cli.command import command
from vlcls.cli.options import OUTPUT, Cache, Device, EncoderSpec, Precision, PrecisionOption
from vlcls.cli.output import folder_to_write, json_text
from vlcls.cli.progress import bar, is_main_process, status
from vlcls.cli.terminal import say

if TYPE_CHECKING:
    from vlcls.encoders import Encoder
    from vlcls.retrieval import CaptionDatabase


Database = Annotated[
    str,
    typer.Argument(metavar="DB", help='A folder from `captions build`, one of clip-retrieval, or "wordnet".'),
]
TrustIndex = Annotated[
    bool,
    typer.Option(
        "--trust-index",
        help="Open an index of clip-retrieval, or of an earlier vlcls, as it is: a damaged one is fatal.",
    ),
]


class Dtype(str, Enum):
    float16 = "float16"
    float32 = "float32"


class CaptionFormat(str, Enum):
    table = "table"
    jsonl = "jsonl"


@command()
def build(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Captions: .txt, .jsonl, .csv, .tsv, .parquet, a folder of these, or hf:DATASET[:CONFIG].",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DB", help="Folder to write, or to add to.", callback=folder_to_write
        ),
    ],
    column: Annotated[
        str | None, typer.Option(help="Column with the captions.", show_default="caption, text, ...")
    ] = None,
    split: Annotated[str, typer.Option(help="Of a data set.")] = "train",
    dtype: Annotated[Dtype, typer.Option(help="What embeddings are kept as.")] = Dtype.float16,
    index: Annotated[
        str | None,
        typer.Option(
            metavar="FACTORY",
            show_default="exact below 100,000 captions, inverted lists above",
            help='A FAISS index: "Flat", "IVF4096,SQfp16", "HNSW32,SQfp16", "IVF4096,PQ64", ...',
        ),
    ] = None,
    encoder: EncoderSpec = None,
    device: Device = None,
    precision: PrecisionOption = None,
) -> None:
    """Embed captions and index them.

    [bold]Examples[/]

      vlcls captions build captions.jsonl -o coco/ --encoder conse
      vlcls captions build hf:ORG/DATASET -o cc3m/ --column caption
      accelerate launch -m vlcls captions build captions/ -o large/

    Captions that are there already, or twice, are embedded once. An interrupted build goes on where it was
    when the same command is run again; another source is added to what is there.
    """
    with status("loading torch"):
        from vlcls.retrieval import build_captions, read_captions
        from vlcls.retrieval.build import check_database_folder
    if is_main_process():  # now, not when a model is loaded
        check_database_folder(output)
    loaded = loaded_encoder(encoder, device, precision)
    with bar("embedding captions", None) as progress:
        report = build_captions(
            read_captions(source, column, split), output, loaded,
            dtype=dtype.value, index=index, progress=progress,
        )  # fmt: skip
    if not is_main_process() or report.index is None:
        return
    if report.removed:
        say(f"{report.removed:,} captions that were there twice were taken out", err=True)
    left_out = (
        f"{report.repeated:,} repeated and {report.empty:,} empty ones left out, {report.cut:,} cut short"
    )
    say(f"{output}: {report.total:,} captions, {report.added:,} of them new; {left_out}", err=True)
    say(f"index {_index_line(report.index)}", err=True)


@command()
def info(database: Database, trust_index: TrustIndex = False) -> None:
    """Show what a database holds, without loading an encoder."""
    from rich.filesize import decimal

    from vlcls.files.named import is_built_in
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
        say(f"index {_index_line(found.info.index)}")
    for row in sorted({0, len(captions) // 2, len(captions) - 1}):
        say(f"  {row:>9,}  {captions[row]}")


@command()
def search(
    database: Database,
    query: Annotated[str | None, typer.Argument(help="A text to search with.")] = None,
    image: Annotated[Path | None, typer.Option(help="An image to search with, instead.")] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Captions to show.")] = 10,
    format: Annotated[
        CaptionFormat, typer.Option("--format", "-f", help="How to write them.", rich_help_panel=OUTPUT)
    ] = CaptionFormat.table,
    encoder: EncoderSpec = None,
    device: Device = None,
    precision: PrecisionOption = None,
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
    opened, loaded = opened_database(database, encoder, device, precision, cache, trust_index)
    from vlcls.classifiers.base import open_store
    from vlcls.embeddings import embed_texts

    store = open_store(cache)
    if image is not None:
        vector = _image_vector(image, loaded, cache)
    else:
        vector = embed_texts([str(query)], loaded, store=store).cpu().numpy()
    found = opened.search(vector, top_k)
    for row, similarity in zip(found.rows[0].tolist(), found.similarities[0].tolist(), strict=True):
        if row < 0:
            continue
        if format is CaptionFormat.jsonl:
            line = {"caption": opened.captions[row], "similarity": similarity, "row": row}
            say(json_text(line))
        else:
            say(f"{similarity:.3f}  {opened.captions[row]}")


def loaded_encoder(spec: str | None, device: str | None, precision: Precision | None) -> Encoder:
    """The encoder that the options name."""
    with status("loading torch"):
        from vlcls.classifiers.prompt import DEFAULT_ENCODER
        from vlcls.encoders import load_encoder
    with status(f"loading {spec or DEFAULT_ENCODER}"):
        return load_encoder(spec or DEFAULT_ENCODER, device, precision.value if precision else None)


def opened_database(
    database: str,
    encoder: str | None,
    device: str | None,
    precision: Precision | None,
    cache: bool,
    trust_index: bool = False,
) -> tuple[CaptionDatabase, Encoder]:
    """A database with the encoder that the options name, or else the one that it was built with."""
    with status("loading torch"):
        from vlcls.classifiers.base import open_store
        from vlcls.retrieval.builtin import NAME, wordnet_texts
        from vlcls.retrieval.opening import encoder_of, open_captions
    if encoder is None and (own := encoder_of(database)) is not None:
        from vlcls.encoders import load_named_encoder

        with status(f"loading {own}"):
            loaded = load_named_encoder(own, database, device, precision.value if precision else None)
    else:
        loaded = loaded_encoder(encoder, device, precision)
    if database != NAME:
        return open_captions(database, loaded, trust_index=trust_index), loaded
    with bar("embedding captions, once", len(wordnet_texts())) as progress:
        return open_captions(database, loaded, store=open_store(cache), progress=progress), loaded


def _image_vector(image: Path, encoder: Encoder, cache: bool) -> Any:
    from vlcls.classifiers.base import open_store
    from vlcls.embeddings import embed_images
    from vlcls.errors import ImageError
    from vlcls.image_sources import find_images

    batch = next(embed_images(find_images([image])[:1], encoder, store=open_store(cache)))
    if batch.errors:
        raise ImageError(batch.errors[0])
    return batch.embeddings.cpu().numpy()


def _index_line(index: Any) -> str:
    if index.effort is None and index.recall == 1:
        return f"{index.factory}, exact"
    effort = "" if index.effort is None else f", nprobe or efSearch {index.effort}"
    return f"{index.factory}{effort}, recall@10 {index.recall:.3f} measured with captions as queries"
