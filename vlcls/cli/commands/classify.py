"""`vlcls classify`, `vlcls build`, `vlcls demo`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from vlcls.cli.command import command
from vlcls.cli.options import (
    CLASSES,
    OUTPUT,
    OWN,
    AggregateOption,
    Articles,
    BatchSize,
    Cache,
    CleanNames,
    Descriptors,
    Device,
    EncoderSpec,
    FormatOption,
    LabelsFile,
    LabelsText,
    Output,
    OutputFolder,
    PhrasingOption,
    PrecisionOption,
    ReducedDecode,
    Templates,
    Unlabelled,
    WeightingOption,
    Workers,
    built,
    found_labels,
    found_sources,
    saved,
)
from vlcls.cli.output import Format, chosen_format, opened, write_csv, write_jsonl, write_table
from vlcls.cli.progress import bar, is_main_process
from vlcls.cli.terminal import say, say_not_read

if TYPE_CHECKING:
    from vlcls.classifiers import Classification, PromptClassifier
    from vlcls.image_sources import ImageSource
    from vlcls.labels import Labels

#: Exit code of a run that finished although some images could not be read.
SOME_IMAGES_FAILED = 3


@command()
def classify(
    context: typer.Context,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGES...",
            help='Files, folders, globs ("**/*.jpg"), a .txt list, or - for paths on standard input.',
        ),
    ] = None,
    labels: LabelsText = None,
    labels_file: LabelsFile = None,
    templates: Templates = None,
    descriptors: Descriptors = None,
    phrasing: PhrasingOption = None,
    aggregate: AggregateOption = None,
    weighting: WeightingOption = None,
    unlabelled: Unlabelled = None,
    articles: Articles = None,
    clean_names: CleanNames = True,
    classifier: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A classifier saved by `vlcls build`, in place of labels.",
            rich_help_panel=CLASSES,
        ),
    ] = None,
    encoder: EncoderSpec = None,
    device: Device = None,
    precision: PrecisionOption = None,
    top_k: Annotated[
        int, typer.Option("--top-k", "-k", min=1, help="Classes to report an image.", rich_help_panel=OUTPUT)
    ] = 5,
    format: FormatOption = None,
    output: Output = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
    cache: Cache = True,
    reduced_decode: ReducedDecode = True,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            help="Image embeddings [N, D]: .npy, .npz, .parquet, or a clip-retrieval folder.",
            rich_help_panel=OWN,
        ),
    ] = None,
    text_embeddings: Annotated[
        Path | None,
        typer.Option(help="Text embeddings, one row a label, in the same formats.", rich_help_panel=OWN),
    ] = None,
    logit_scale: Annotated[
        float, typer.Option(help="Factor from cosine to logit.", rich_help_panel=OWN)
    ] = 100.0,
) -> None:
    """Classify images by names you type.

    [bold]Examples[/]

      vlcls classify photos/ --labels "cat,dog,red panda"
      vlcls classify "**/*.jpg" --labels-file classes.txt -o result.csv
      find . -name "*.png" -print0 | vlcls classify - --labels "chart,photo" --format jsonl
      vlcls classify photos/ --classifier saved/
      vlcls classify --embeddings img.npy --text-embeddings txt.npy --labels-file classes.txt
      accelerate launch -m vlcls classify photos/ --labels "cat,dog" --format jsonl

    Images that cannot be read are listed at the end, and the exit code is then 3; all others are
    classified. Embeddings are kept on disk: a second run, or another list of labels, encodes nothing again.
    """
    kind = chosen_format(format, output, Format.table)
    if embeddings is not None or text_embeddings is not None:
        if images or classifier:
            raise typer.BadParameter("--embeddings stands in place of images and of a saved classifier")
        known = found_labels(labels, labels_file, clean_names)
        results = _from_embeddings(embeddings, text_embeddings, known, logit_scale, top_k)
        _write(results, kind, output, min(top_k, len(known)))
        return
    if not images:
        raise typer.BadParameter("give images: files, folders, globs, or - for standard input")
    sources = found_sources(images)
    if classifier is not None:
        if (
            labels
            or labels_file
            or templates
            or descriptors
            or phrasing
            or aggregate
            or weighting
            or unlabelled
        ):
            raise typer.BadParameter("--classifier brings its own labels and prompts: leave the others out")
        typed = context.get_parameter_source("encoder")
        named = encoder if typed is not None and typed.name == "COMMANDLINE" else None
        ready = saved(classifier, named, device, precision)
    else:
        ready = built(
            labels, labels_file, templates, descriptors, phrasing, aggregate, articles, clean_names,
            encoder, device, precision, cache, weighting, unlabelled or sources,
        )  # fmt: skip
    _predict(
        ready, sources, kind, output, top_k,
        cache=cache, batch_size=batch_size, workers=workers, reduced_decode=reduced_decode,
    )  # fmt: skip


@command()
def build(
    output: OutputFolder,
    labels: LabelsText = None,
    labels_file: LabelsFile = None,
    templates: Templates = None,
    descriptors: Descriptors = None,
    phrasing: PhrasingOption = None,
    aggregate: AggregateOption = None,
    weighting: WeightingOption = None,
    unlabelled: Unlabelled = None,
    articles: Articles = None,
    clean_names: CleanNames = True,
    encoder: EncoderSpec = None,
    device: Device = None,
    precision: PrecisionOption = None,
    cache: Cache = True,
) -> None:
    """Build a classifier once and save it: JSON and safetensors, no text is encoded again.

    [bold]Examples[/]

      vlcls build --labels "cat,dog" --templates simple -o pets/
      vlcls classify photos/ --classifier pets/
    """
    ready = built(
        labels, labels_file, templates, descriptors, phrasing, aggregate, articles, clean_names,
        encoder, device, precision, cache, weighting, unlabelled,
    )  # fmt: skip
    if is_main_process():
        ready.save_pretrained(output)
        say(f"{output}: {len(ready.labels)} classes, {len(ready.prompts)} prompts", err=True)


@command()
def demo() -> None:
    """Classify some real photographs that come with scikit-image, offline."""
    from vlcls.demo import DEMO_LABELS, demo_photos

    photos = demo_photos()
    say(f"Labels, as you could type them: {', '.join(DEMO_LABELS)}\n")
    ready = built(",".join(DEMO_LABELS), encoder="conse")
    _predict(ready, photos, Format.table, None, 2)
    say(
        "\nNobody trained a classifier on these labels: it was made from the names alone.\n\nNext, try:\n"
        '  vlcls classify YOUR_PHOTOS/ --labels "cat,dog,something else" --encoder conse\n'
        '  vlcls classify YOUR_PHOTOS/ --labels "cat,dog,something else"    # a real CLIP, downloaded once\n'
        "  vlcls encoders                                                   # what else there is"
    )


def _from_embeddings(
    images: Path | None, texts: Path | None, labels: Labels, logit_scale: float, top_k: int
) -> Iterator[Classification]:
    if images is None or texts is None:
        raise typer.BadParameter("--embeddings and --text-embeddings go together")
    from dataclasses import replace

    from vlcls.classifiers import classifier_from_embeddings
    from vlcls.embedding_files import read_embeddings

    given = read_embeddings(images, "image")
    ready = classifier_from_embeddings(labels, read_embeddings(texts, "text").rows, logit_scale)
    for name, result in zip(given.names, ready.iter_predict(given.rows, top_k), strict=True):
        yield replace(result, image=name)


def _predict(
    ready: PromptClassifier,
    sources: list[ImageSource],
    format: Format,
    output: Path | None,
    top_k: int,
    **options: Any,
) -> None:
    with bar("classifying", len(sources)) as progress:
        results = ready.iter_predict(sources, top_k, progress=progress, **options)
        _write(results, format, output, min(top_k, len(ready.labels)))


T = TypeVar("T")


def _write(results: Iterable[Classification], format: Format, output: Path | None, columns: int) -> None:
    """Write results as they come; then list the images that failed and leave with the code that says so."""
    failed: list[Classification] = []

    def watched() -> Iterator[Classification]:
        for result in results:
            if result.error is not None:
                failed.append(result)
            yield result

    if not is_main_process():
        for _ in watched():
            pass
        return
    with opened(output) as stream:
        if format is Format.jsonl:
            write_jsonl(watched(), stream)
        elif format is Format.csv:
            write_csv(watched(), stream, columns)
        else:
            write_table(watched(), stream)
    for result in failed[:20]:
        say_not_read(result.error)
    if len(failed) > 20:
        say(f"... and {len(failed) - 20} more (--format jsonl lists every one)", err=True)
    if failed:
        say(f"{len(failed)} images could not be read; all others were classified", err=True)
        if os.environ.get("WORLD_SIZE", "1") == "1":  # a launcher fails on any code but 0
            raise typer.Exit(SOME_IMAGES_FAILED)
