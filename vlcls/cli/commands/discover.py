"""`vlcls discover`: names for images without a list of names."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from vlcls.cli.command import command
from vlcls.cli.commands.captions.databases import TrustIndex, opened_database
from vlcls.cli.commands.classify import SOME_IMAGES_FAILED
from vlcls.cli.options import (
    CLASSES,
    OUTPUT,
    BatchSize,
    Cache,
    Device,
    EncoderSpec,
    FormatOption,
    Output,
    PrecisionOption,
    ReducedDecode,
    Workers,
    found_sources,
)
from vlcls.cli.output import Format, chosen_format, file_to_write, json_text, opened, score_bar, write_tables
from vlcls.cli.progress import bar, is_main_process
from vlcls.cli.terminal import say, say_not_read
from vlcls.files.terminal import csv_cells

if TYPE_CHECKING:
    from vlcls.classifiers.vocabulary_free import Naming, NamingMethod
    from vlcls.classifiers.wide_names import NameSpread

_CAPTION_WIDTH = 70
#: The table leaves out what would read "0%".
_SHOWN = 0.005


class NamingChoice(str, Enum):
    cased = "cased"
    caption = "caption"
    wordnet = "wordnet"


@command()
def discover(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...", help="Files, folders, globs, a .txt list, or - (paths on stdin)."
        ),
    ],
    captions: Annotated[
        str,
        typer.Option(
            "--captions",
            "-c",
            metavar="DB",
            rich_help_panel=CLASSES,
            help='Where names come from: a folder from `vlcls captions build`, or "wordnet".',
        ),
    ] = "wordnet",
    method: Annotated[
        NamingChoice,
        typer.Option(
            rich_help_panel=CLASSES,
            help="cased; or, to compare, the closest caption, or the closest of all WordNet names.",
        ),
    ] = NamingChoice.cased,
    alpha: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Weight of the image; the captions have the rest.", rich_help_panel=CLASSES
        ),
    ] = 0.7,
    retrieve: Annotated[int, typer.Option(min=1, help="Captions an image.", rich_help_panel=CLASSES)] = 10,
    hint: Annotated[
        str | None,
        typer.Option(
            help='What all images show: "animal". Captions near it are taken.', rich_help_panel=CLASSES
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            rich_help_panel=CLASSES,
            help='Names that alone may be found: "dog,cat", or a file with one a line.',
        ),
    ] = None,
    block: Annotated[
        str | None,
        typer.Option(metavar="WORDS", help="Names that are never found, likewise.", rich_help_panel=CLASSES),
    ] = None,
    nouns: Annotated[
        bool,
        typer.Option(
            "--nouns/--all-words",
            help="Only nouns are names; or adjectives and participles too, as in the paper.",
            rich_help_panel=CLASSES,
        ),
    ] = True,
    tagger: Annotated[
        str, typer.Option(help="Finds nouns: hanta, or spacy:MODEL.", rich_help_panel=CLASSES)
    ] = "hanta",
    encoder: EncoderSpec = None,
    device: Device = None,
    precision: PrecisionOption = None,
    top_k: Annotated[
        int, typer.Option("--top-k", "-k", min=1, help="Names to report an image.", rich_help_panel=OUTPUT)
    ] = 5,
    summary: Annotated[
        bool,
        typer.Option(
            "--summary", help="The vocabulary of all images, in place of each.", rich_help_panel=OUTPUT
        ),
    ] = False,
    save_labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=OUTPUT,
            help="Write the vocabulary as a list for `vlcls classify --labels-file`.",
            callback=file_to_write,
        ),
    ] = None,
    at_least: Annotated[
        int,
        typer.Option(min=1, help="Images that a name of the vocabulary must have.", rich_help_panel=OUTPUT),
    ] = 1,
    format: FormatOption = None,
    output: Output = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
    cache: Cache = True,
    reduced_decode: ReducedDecode = True,
    trust_index: TrustIndex = False,
) -> None:
    """Name what images show, without a list of names (CaSED).

    [bold]Examples[/]

      vlcls discover photos/ --encoder conse                        [dim]# no download, no network[/]
      vlcls discover photos/ --captions coco/ --format jsonl
      vlcls discover photos/ --summary --save-labels names.txt
      vlcls classify photos/ --labels-file names.txt
      vlcls discover photos/ --hint animal --block "breed,mammal"

    Captions near each image are looked up in a database; their words are the candidates, and the image and
    the captions choose among them. An image whose captions leave no word is named "object", and marked.
    """
    kind = chosen_format(format, output, Format.table)
    sources = found_sources(images)
    naming = _method(
        method, captions, top_k, cache, (encoder, device, precision), trust_index,
        alpha=alpha, retrieved=retrieve, hint=hint, only=_words(only), blocked=_words(block) or (),
        nouns=nouns, tagger=tagger,
    )  # fmt: skip
    from vlcls.classifiers.cased import Cased
    from vlcls.classifiers.vocabulary_free import discover as run
    from vlcls.classifiers.wide_names import Watched

    watched = Watched(naming)
    try:
        with bar("naming", len(sources)) as progress:
            found = run(
                sources, watched,
                cache=cache, batch_size=batch_size, workers=workers, reduced_decode=reduced_decode,
                progress=progress,
            )  # fmt: skip
            _write(found, top_k, summary, save_labels, at_least, kind, output, watched.spread)
    finally:
        if isinstance(naming, Cased):
            naming.close()


def _method(
    method: NamingChoice,
    captions: str,
    top_k: int,
    cache: bool,
    model: tuple[Any, Any, Any],
    trust_index: bool,
    **cased: Any,
) -> NamingMethod:
    from vlcls.cli.commands.captions.databases import loaded_encoder

    if method is NamingChoice.wordnet:
        encoder = loaded_encoder(*model)
        from vlcls.classifiers.base import open_store
        from vlcls.classifiers.vocabulary_free import FixedVocabulary
        from vlcls.retrieval.builtin import wordnet_words

        words = wordnet_words()
        with bar("embedding names, once", len(words)) as progress:
            return FixedVocabulary(words, encoder, top_k=top_k, store=open_store(cache), progress=progress)
    database, encoder = opened_database(captions, *model, cache, trust_index)
    from vlcls.classifiers.candidates import load_tagger
    from vlcls.classifiers.cased import Cased
    from vlcls.classifiers.vocabulary_free import ClosestCaption

    if method is NamingChoice.caption:
        return ClosestCaption(database, encoder, retrieved=cased["retrieved"])
    return Cased(database, encoder, cache=cache, **{**cased, "tagger": load_tagger(cased["tagger"])})


def _words(given: str | None) -> Sequence[str] | None:
    """Names typed with commas between them, or the path of a file with one a line."""
    from vlcls.labels import parse_labels, read_labels

    if given is None:
        return None
    path = Path(given)
    written_as_path = path.suffix or path.name != given  # a name is not the file of that name
    return (read_labels(given) if written_as_path and path.is_file() else parse_labels(given)).names


def _write(
    namings: Iterable[Naming], top_k: int, summary: bool, save_labels: Path | None, at_least: int,
    format: Format, output: Path | None, spread: NameSpread,
) -> None:  # fmt: skip
    from vlcls.classifiers.vocabulary_free import vocabulary_of

    seen: list[Naming] = []

    def watched() -> Iterator[Naming]:
        for naming in namings:
            seen.append(replace(naming, candidates=naming.candidates[:1], captions=()))
            yield naming

    if not is_main_process():
        for _ in watched():
            pass
        return
    with opened(output) as stream:
        if summary:
            for _ in watched():
                pass
            _write_summary(vocabulary_of(seen, at_least), len(seen), format, stream)
        else:
            _WRITERS[format](watched(), stream, top_k)
    names = vocabulary_of(seen, at_least)
    if save_labels is not None:
        with opened(save_labels) as stream:
            stream.write("".join(f"{name}\n" for name in names))
        say(f"{save_labels}: {len(names)} names", err=True)
    for wide in spread.wide():
        say(f"warning: {wide}", err=True)
    _tell_of_failures(seen)


def _tell_of_failures(seen: Sequence[Naming]) -> None:
    fallbacks = sum(naming.fallback for naming in seen)
    if fallbacks:
        say(f"{fallbacks} images have no name: their captions left no word", err=True)
    failed = [naming for naming in seen if naming.error is not None]
    for naming in failed[:20]:
        say_not_read(naming.error)
    if failed:
        say(f"{len(failed)} images could not be read; all others were named", err=True)
        if os.environ.get("WORLD_SIZE", "1") == "1":  # a launcher fails on any code but 0
            raise typer.Exit(SOME_IMAGES_FAILED)


def _write_jsonl(namings: Iterable[Naming], stream: TextIO, top_k: int) -> None:
    for naming in namings:
        row = {
            "image": naming.image,
            "label": naming.label,
            "id": naming.candidates[0].id if naming.candidates else None,
            "score": naming.score,
            "top_k": [{"label": p.label, "id": p.id, "score": p.score} for p in naming.candidates[:top_k]],
            "candidates": [p.label for p in naming.candidates],
            "captions": [{"caption": c.text, "similarity": c.similarity} for c in naming.captions],
            "fallback": naming.fallback,
            "error": naming.error,
        }
        stream.write(json_text(row) + "\n")
        stream.flush()


def _write_csv(namings: Iterable[Naming], stream: TextIO, top_k: int) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    others = [f"{field}_{rank}" for rank in range(2, top_k + 1) for field in ("label", "score")]
    writer.writerow(["image", "label", "score", "fallback", "error", "candidates", "caption", *others])
    for naming in namings:
        score = "" if naming.score is None else f"{naming.score:.6f}"
        rest = [cell for p in naming.candidates[1:top_k] for cell in (p.label, f"{p.score:.6f}")]
        names = " ".join(p.label for p in naming.candidates)
        caption = naming.captions[0].text if naming.captions else ""
        head = [naming.image, naming.label or "", score, str(naming.fallback).lower(), naming.error or ""]
        writer.writerow(csv_cells([*head, names, caption, *rest]))


def _write_table(namings: Iterable[Naming], stream: TextIO, top_k: int) -> None:
    from rich.text import Text

    def row(naming: Naming) -> tuple[Any, ...]:
        if naming.error is not None:
            return Text(naming.image), Text("not read", "red"), "", "", Text("see below", "dim"), ""
        first, *others = naming.candidates
        name = (
            Text("object (no word found)", "yellow") if naming.fallback else Text(first.label, "bold green")
        )
        also = ", ".join(f"{p.label} {p.score:.0%}" for p in others[: top_k - 1] if p.score >= _SHOWN)
        caption = naming.captions[0].text if naming.captions else ""
        short = caption if len(caption) <= _CAPTION_WIDTH else caption[: _CAPTION_WIDTH - 3] + "..."
        return (
            Text(naming.image),
            name,
            f"{first.score:.1%}",
            score_bar(first.score),
            Text(also, "dim"),
            Text(short),
        )

    titles = ("image", "name", "score", "", "also", "closest caption")
    write_tables((row(naming) for naming in namings), titles, stream)


_WRITERS = {Format.jsonl: _write_jsonl, Format.csv: _write_csv, Format.table: _write_table}


def _write_summary(names: dict[str, int], images: int, format: Format, stream: TextIO) -> None:
    if format is Format.jsonl:
        stream.writelines(json_text({"label": name, "images": count}) + "\n" for name, count in names.items())
    elif format is Format.csv:
        csv.writer(stream, lineterminator="\n").writerows(
            map(csv_cells, [("label", "images"), *names.items()])
        )
    else:
        bars = [(name, f"{count:,}", score_bar(count / max(1, images))) for name, count in names.items()]
        write_tables(iter(bars), ("name", "images", ""), stream)
