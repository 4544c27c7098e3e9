"""`vlcls discover`: names for images without a list of names."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

from rich.text import Text

from vlcls.cli.captions import TrustIndex, opened_database
from vlcls.cli.command import command
from vlcls.cli.options import (
    FormatOption,
    Images,
    ModelOptions,
    Output,
    SpeedOptions,
    found_sources,
    of_classes,
    of_output,
)
from vlcls.cli.output import (
    chosen_format,
    file_to_write,
    json_text,
    leave_run,
    opened,
    score_bar,
    write_tables,
)
from vlcls.cli.progress import bar, is_main_process
from vlcls.cli.terminal import say
from vlcls.files.terminal import csv_cells
from vlcls.labels import parse_labels, read_labels

if TYPE_CHECKING:
    from vlcls.classifiers.vocabulary_free import Naming, NamingMethod

_CAPTION_WIDTH = 70
#: The table leaves out what would read "0%".
_SHOWN = 0.005


@dataclass(frozen=True)
class NamingOptions:
    """Where names come from."""

    captions: Annotated[
        str,
        of_classes(
            "--captions", "-c", metavar="DB",
            help='Where names come from: a folder from `vlcls captions build`, or "wordnet".',
        ),
    ] = "wordnet"  # fmt: skip
    method: Annotated[
        Literal["cased", "caption", "wordnet"],
        of_classes(help="cased; or, to compare, the closest caption, or the closest of all WordNet names."),
    ] = "cased"
    alpha: Annotated[
        float, of_classes(min=0, max=1, help="Weight of the image; the captions have the rest.")
    ] = 0.7
    retrieve: Annotated[int, of_classes(min=1, help="Captions an image.")] = 10
    hint: Annotated[
        str | None, of_classes(help='What all images show: "animal". Captions near it are taken.')
    ] = None
    only: Annotated[
        str | None,
        of_classes(
            metavar="WORDS", help='Names that alone may be found: "dog,cat", or a file with one a line.'
        ),
    ] = None
    block: Annotated[
        str | None, of_classes(metavar="WORDS", help="Names that are never found, likewise.")
    ] = None
    nouns: Annotated[
        bool,
        of_classes(
            "--nouns/--all-words",
            help="Only nouns are names; or adjectives and participles too, as in the paper.",
        ),
    ] = True
    tagger: Annotated[str, of_classes(help="Finds nouns: hanta, or spacy:MODEL.")] = "hanta"


@dataclass(frozen=True)
class NamedOptions:
    """What is written of the names."""

    top_k: Annotated[int, of_output("--top-k", "-k", min=1, help="Names to report an image.")] = 5
    summary: Annotated[
        bool, of_output("--summary", help="The vocabulary of all images, in place of each.")
    ] = False
    save_labels: Annotated[
        Path | None,
        of_output(
            metavar="FILE", callback=file_to_write,
            help="Write the vocabulary as a list for `vlcls classify --labels-file`.",
        ),
    ] = None  # fmt: skip
    at_least: Annotated[int, of_output(min=1, help="Images that a name of the vocabulary must have.")] = 1
    format: FormatOption = None
    output: Output = None


@command()
def discover(
    images: Images,
    naming: NamingOptions,
    model: ModelOptions,
    wanted: NamedOptions,
    speed: SpeedOptions,
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
    kind = chosen_format(wanted.format, wanted.output)
    sources = found_sources(images)
    method = _method(naming, wanted.top_k, model, speed.cache, trust_index)
    from vlcls.classifiers.cased import Cased
    from vlcls.classifiers.vocabulary_free import discover as run
    from vlcls.classifiers.wide_names import Watched

    watched = Watched(method)
    try:
        with bar("naming", len(sources)) as progress:
            seen = _write(run(sources, watched, progress=progress, **vars(speed)), wanted, kind)
        if is_main_process():
            _tell(seen, wanted, watched.spread.wide())
    finally:
        if isinstance(method, Cased):
            method.close()


def _method(
    naming: NamingOptions, top_k: int, model: ModelOptions, cache: bool, trust_index: bool
) -> NamingMethod:
    if naming.method == "wordnet":
        encoder = model.load()
        from vlcls.classifiers.base import open_store
        from vlcls.classifiers.vocabulary_free import FixedVocabulary
        from vlcls.retrieval.builtin import wordnet_words

        words = wordnet_words()
        with bar("embedding names, once", len(words)) as progress:
            return FixedVocabulary(words, encoder, top_k=top_k, store=open_store(cache), progress=progress)
    only, blocked = _words(naming.only), _words(naming.block) or ()
    database, encoder = opened_database(naming.captions, model, cache, trust_index)
    from vlcls.classifiers.candidates import load_tagger
    from vlcls.classifiers.cased import Cased
    from vlcls.classifiers.vocabulary_free import ClosestCaption

    if naming.method == "caption":
        return ClosestCaption(database, encoder, retrieved=naming.retrieve)
    return Cased(
        database, encoder, cache=cache, alpha=naming.alpha, retrieved=naming.retrieve, hint=naming.hint,
        only=only, blocked=blocked, nouns=naming.nouns, tagger=load_tagger(naming.tagger),
    )  # fmt: skip


def _words(given: str | None) -> Sequence[str] | None:
    """Names typed with commas between them, or the path of a file with one a line."""
    if given is None:
        return None
    path = Path(given)
    written_as_path = path.suffix or path.name != given  # a name is not the file of that name
    return (read_labels(given) if written_as_path and path.is_file() else parse_labels(given)).names


def _write(namings: Iterable[Naming], wanted: NamedOptions, format: str) -> list[Naming]:
    """Write names as they come, or what came of all; returns what a vocabulary is made of."""
    from vlcls.classifiers.vocabulary_free import vocabulary_of

    seen: list[Naming] = []

    def watched() -> Iterator[Naming]:
        for naming in namings:
            seen.append(replace(naming, candidates=naming.candidates[:1], captions=()))
            yield naming

    if wanted.summary or not is_main_process():
        for _ in watched():
            pass
    if is_main_process():
        with opened(wanted.output) as stream:
            if wanted.summary:
                _write_summary(vocabulary_of(seen, wanted.at_least), len(seen), format, stream)
            else:
                _WRITERS[format](watched(), stream, wanted.top_k)
    return seen


def _tell(seen: Sequence[Naming], wanted: NamedOptions, wide: Iterable[object]) -> None:
    from vlcls.classifiers.vocabulary_free import vocabulary_of

    names = vocabulary_of(seen, wanted.at_least)
    if wanted.save_labels is not None:
        with opened(wanted.save_labels) as stream:
            stream.write("".join(f"{name}\n" for name in names))
        say(f"{wanted.save_labels}: {len(names)} names", err=True)
    for each in wide:
        say(f"warning: {each}", err=True)
    fallbacks = sum(naming.fallback for naming in seen)
    if fallbacks:
        say(f"{fallbacks} images have no name: their captions left no word", err=True)
    leave_run([naming.error for naming in seen if naming.error is not None], "named")


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
        score = f"{first.score:.1%}", score_bar(first.score)
        return Text(naming.image), name, *score, Text(also, "dim"), Text(short)

    titles = ("image", "name", "score", "", "also", "closest caption")
    write_tables((row(naming) for naming in namings), titles, stream)


_WRITERS = {"jsonl": _write_jsonl, "csv": _write_csv, "table": _write_table}


def _write_summary(names: dict[str, int], images: int, format: str, stream: TextIO) -> None:
    if format == "jsonl":
        stream.writelines(json_text({"label": name, "images": count}) + "\n" for name, count in names.items())
    elif format == "csv":
        csv.writer(stream, lineterminator="\n").writerows(
            map(csv_cells, [("label", "images"), *names.items()])
        )
    else:
        bars = [(name, f"{count:,}", score_bar(count / max(1, images))) for name, count in names.items()]
        write_tables(iter(bars), ("name", "images", ""), stream)
