"""`vlcls classify`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlcls.cli.command import command
from vlcls.cli.options import (
    ClassOptions,
    FormatOption,
    ModelOptions,
    Output,
    SpeedOptions,
    found_labels,
    images_argument,
    of_classes,
    of_output,
    saved_or_built,
)
from vlcls.cli.output import chosen_format, leave_run, opened, write_csv, write_jsonl, write_table
from vlcls.cli.progress import bar, is_main_process
from vlcls.cli.sorting import SortOptions

if TYPE_CHECKING:
    from vlcls.classifiers import Classification
    from vlcls.labels import Labels

_own = partial(typer.Option, rich_help_panel="Your own embeddings")


@dataclass(frozen=True)
class OwnEmbeddings:
    embeddings: Annotated[
        Path | None, _own(help="Image embeddings [N, D]: .npy, .npz, .parquet, or a clip-retrieval folder.")
    ] = None
    text_embeddings: Annotated[
        Path | None, _own(help="Text embeddings, one row a label, in the same formats.")
    ] = None
    logit_scale: Annotated[float, _own(help="Factor from cosine to logit.")] = 100.0

    def classified(self, labels: Labels, top_k: int) -> Iterator[Classification]:
        if self.embeddings is None or self.text_embeddings is None:
            raise typer.BadParameter("--embeddings and --text-embeddings go together")
        from vlcls.classifiers import classifier_from_embeddings
        from vlcls.embedding_files import read_embeddings

        given, texts = (
            read_embeddings(self.embeddings, "image"),
            read_embeddings(self.text_embeddings, "text"),
        )
        ready = classifier_from_embeddings(labels, texts.rows, self.logit_scale)
        for name, result in zip(given.names, ready.iter_predict(given.rows, top_k), strict=True):
            yield replace(result, image=name)


@dataclass(frozen=True)
class ClassifyOptions:
    images: Annotated[list[str] | None, images_argument] = None
    classifier: Annotated[
        Path | None,
        of_classes(metavar="DIR", help="A classifier saved by `vlcls build`, in place of labels."),
    ] = None
    top_k: Annotated[int, of_output("--top-k", "-k", min=1, help="Classes to report an image.")] = 5
    format: FormatOption = None
    output: Output = None


@command()
def classify(
    context: typer.Context, classes: ClassOptions, model: ModelOptions, own: ClassifyOptions,
    speed: SpeedOptions, given: OwnEmbeddings, sort: SortOptions,
) -> None:  # fmt: skip
    """Classify images by names you type.

    [bold]Examples[/]

      vlcls classify photos/ --labels "cat,dog,red panda"
      vlcls classify "**/*.jpg" --labels-file classes.txt -o result.csv
      find . -name "*.png" -print0 | vlcls classify - --labels "chart,photo" --format jsonl
      vlcls classify photos/ --classifier saved/
      vlcls classify photos/ --labels "cat,dog" --sort-into sorted/
      vlcls classify --embeddings img.npy --text-embeddings txt.npy --labels-file classes.txt
      accelerate launch -m vlcls classify photos/ --labels "cat,dog" --format jsonl

    Images that cannot be read are listed at the end, and the exit code is then 3; all others are
    classified. Embeddings are kept on disk: a second run, or another list of labels, encodes nothing again.
    """
    kind = chosen_format(own.format, own.output)
    if given.embeddings is not None or given.text_embeddings is not None:
        if own.images or own.classifier or sort.sort_into:
            raise typer.BadParameter("--embeddings stands in place of images and of a saved classifier")
        known = found_labels(classes)
        write(given.classified(known, own.top_k), kind, own.output, min(own.top_k, len(known)))
        return
    if not own.images:
        raise typer.BadParameter("give images: files, folders, globs, or - for standard input")
    sorting = sort.started(context, own.images)
    sources = sorting.sources
    ready = saved_or_built(context, own.classifier, classes, model, speed.cache, sources)
    with bar("classifying", len(sources)) as progress:
        results = ready.iter_predict(sources, own.top_k, progress=progress, **vars(speed))
        write(sorting.placed(results), kind, own.output, min(own.top_k, len(ready.labels)))


def write(results: Iterable[Classification], format: str, output: Path | None, columns: int) -> None:
    """Write results as they come; then list the images that failed and leave with the code that says so."""
    failed: list[str | None] = []

    def watched() -> Iterator[Classification]:
        for result in results:
            if result.error is not None:
                failed.append(result.error)
            yield result

    if not is_main_process():
        for _ in watched():
            pass
        return
    with opened(output) as stream:
        if format == "jsonl":
            write_jsonl(watched(), stream)
        elif format == "csv":
            write_csv(watched(), stream, columns)
        else:
            write_table(watched(), stream)
    leave_run(failed, "classified")
