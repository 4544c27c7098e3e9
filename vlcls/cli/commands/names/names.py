"""`vlcls names`: read what was learned, add classes, evaluate base to novel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlcls.cli.command import command
from vlcls.cli.commands.classify import SOME_IMAGES_FAILED
from vlcls.cli.learning import (
    IMAGE_COLUMN,
    LABEL_COLUMN,
    Dataset,
    Epochs,
    ImageColumn,
    LabelColumn,
    LearningRate,
    Patience,
    Penalty,
    Seed,
    SplitName,
    Validation,
    Vectors,
    VectorsChoice,
    embedded_images,
    epochs_bar,
    found_images,
    known_labels,
    starting_point,
    typed_encoder,
)
from vlcls.cli.names_labels import Judge, Judged, judged_labels
from vlcls.cli.options import (
    OUTPUT,
    Articles,
    Cache,
    CleanNames,
    Device,
    EncoderSpec,
    LabelsFile,
    LabelsText,
    Output,
    OutputFolder,
    PrecisionOption,
    Templates,
    found_labels,
    saved,
)
from vlcls.cli.output import Format, chosen_format, file_to_write, json_text, opened
from vlcls.cli.progress import bar, is_main_process, status
from vlcls.cli.terminal import say, say_not_read
from vlcls.files.terminal import printable

if TYPE_CHECKING:
    from vlcls.explain import NameReading, NameSuggestion
    from vlcls.labels import Labels


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder of `vlcls learn-names`.")]


@command()
def inspect(
    context: typer.Context,
    folder: Folder,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", show_default="the images it was made with",
            help="Labelled images whose labels to check: FOLDER/CLASS/.",
        ),
    ] = None,
    judge: Annotated[
        Judge | None,
        typer.Option(
            show_default="names for --images that they did not learn from, else out-of-fold",
            help="What judges labels: for each image a probe that learned from the others; or the learned "
            "names, of images that they did not learn from.",
        ),
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Names to suggest from, one a line; or `wordnet`: its 21,844 nouns."
        ),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", min=1, help="Words and suggestions a name.", rich_help_panel=OUTPUT)
    ] = 5,
    doubts: Annotated[
        int, typer.Option(min=0, help="Doubted labels to list and draw.", rich_help_panel=OUTPUT)
    ] = 20,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw the images with doubted labels: .png or .pdf.", rich_help_panel=OUTPUT,
            callback=file_to_write,
        ),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option(
            "--format", "-f", rich_help_panel=OUTPUT, help="table, or jsonl: one object a name and a label.",
            show_default="what the name of --output says, else table",
        ),
    ] = None,
    output: Output = None,
    encoder: EncoderSpec = None,
    device: Device = None,
    precision: PrecisionOption = None,
    cache: Cache = True,
) -> None:  # fmt: skip
    """Say what the learned names have become, and which labels they doubt.

    For each name: the nearest whole words of the text tower's vocabulary to each of its vectors, how far each
    has moved, and the rank that its original word has now. Names that are nearer to another class's name.
    Images whose label the other images do not bear out: likely label errors. No image is judged by what has
    learned from it.

    [bold]Examples[/]

      vlcls names inspect names/
      vlcls names inspect names/ --sheet doubts.png --candidates wordnet
      vlcls names inspect names/ --images more-photos/ -f jsonl -o names.jsonl
    """
    kind = chosen_format(format, output, Format.table)
    if kind is Format.csv:
        raise typer.BadParameter("names and labels do not fit into one table: take jsonl")
    ready = saved(folder, typed_encoder(context, encoder), device, precision)
    with status("reading names"):
        from vlcls.explain import read_names, save_sheet, suggest_names

    readings = read_names(ready, words=top)
    found = judged_labels(folder, images, ready, judge, cache)
    suggested: dict[int, tuple[NameSuggestion, ...]] = {}
    if candidates is not None:
        names = _candidates(candidates)
        with bar("embedding candidates", len(names)) as progress:
            suggested = suggest_names(ready, names, count=top, cache=cache, progress=progress)
    if not is_main_process():
        return
    with opened(output) as stream:
        if kind is Format.jsonl:
            _write_jsonl(readings, suggested, found, ready.labels, stream)
        else:
            from vlcls.cli.names_table import write_table

            write_table(readings, suggested, found, doubts, stream)
    shown = found.doubts[:doubts] if found is not None else ()
    if sheet is not None and shown:
        save_sheet(shown, [each.image for each in shown], sheet)
    if sheet is not None:
        say(str(sheet) if shown else f"{sheet} is not drawn: no label is doubted", err=True)
    for message in found.errors if found is not None else ():
        say_not_read(printable(message, lines=True))
    if found is not None and found.errors:
        raise typer.Exit(SOME_IMAGES_FAILED)


@command()
def add(
    context: typer.Context,
    folder: Folder,
    output: OutputFolder,
    labels: LabelsText = None,
    labels_file: LabelsFile = None,
    articles: Articles = None,
    clean_names: CleanNames = True,
    encoder: EncoderSpec = None,
    device: Device = None,
    precision: PrecisionOption = None,
    cache: Cache = True,
) -> None:
    """Add classes by plain name to a classifier; the learned names stay as they are, to the last bit.

    New names are put into the templates as the others were: with "an" where it belongs, or letter for letter.

    [bold]Example[/]

      vlcls names add names/ --labels "okapi,zebra" -o more/
    """
    new = found_labels(labels, labels_file, clean_names)
    ready = saved(folder, typed_encoder(context, encoder), device, precision)
    from vlcls.prompts import with_new_classes

    with status("embedding texts"):
        more = ready.with_prompts(with_new_classes(ready.prompts, new, articles=articles), cache=cache)
    if is_main_process():
        more.save_pretrained(output)
        say(f"{output}: {len(more.labels)} classes, {len(new)} of them new", err=True)


@command("base-to-novel")
def base_to_novel(
    dataset: Dataset,
    labels: LabelsText = None,
    labels_file: LabelsFile = None,
    templates: Templates = None,
    articles: Articles = None,
    clean_names: CleanNames = True,
    split: SplitName = "train",
    image_column: ImageColumn = IMAGE_COLUMN,
    label_column: LabelColumn = LABEL_COLUMN,
    encoder: EncoderSpec = None,
    device: Device = None,
    precision: PrecisionOption = None,
    shots: Annotated[int, typer.Option(min=1, help="Images a base class to learn from.")] = 4,
    validation: Validation = None,
    vectors: Vectors = VectorsChoice.tokens,
    epochs: Epochs = 50,
    learning_rate: LearningRate = 0.1,
    penalty: Penalty = 1.0,
    patience: Patience = 10,
    seed: Seed = 0,
    cache: Cache = True,
) -> None:  # fmt: skip
    """Learn half of the names (the seed says which) and test on both halves, beside the plain names.

    [bold]Example[/]

      vlcls names base-to-novel photos/ --encoder conse --shots 8
    """
    with status("loading torch"):
        from vlcls.learning import Training
        from vlcls.learning.transfer import base_to_novel as evaluate

    images = found_images(
        dataset, known_labels(None, labels, labels_file, clean_names), split, image_column, label_column
    )
    before = starting_point(
        labels, labels_file, images.labels, templates, None, None, None, None, articles, clean_names,
        encoder, device, precision, cache,
    )  # fmt: skip
    embedded = embedded_images(images, before, cache)
    settings = Training(
        vectors.value, epochs, learning_rate=learning_rate, penalty=penalty, patience=patience, seed=seed
    )
    with epochs_bar(epochs) as progress:
        result = evaluate(
            before, embedded, settings=settings, shots=shots, validation=validation, cache=cache,
            progress=progress,
        )  # fmt: skip
    if is_main_process():
        from vlcls.cli.names_table import write_transfer

        write_transfer(result)


def _candidates(given: str) -> list[str]:
    from vlcls.explain import wordnet_names
    from vlcls.files.named import is_built_in

    if is_built_in(given, ("wordnet",), "list of names"):
        return wordnet_names()
    from vlcls.labels import read_labels

    return list(read_labels(Path(given)).names)


def _write_jsonl(
    readings: Sequence[NameReading],
    suggested: dict[int, tuple[NameSuggestion, ...]],
    found: Judged | None,
    labels: Labels,
    stream: Any,
) -> None:
    from dataclasses import asdict

    ids = dict(zip(labels.reported, labels.ids, strict=True))
    for reading in readings:
        names = [vars(each) for each in suggested.get(reading.index, ())]
        own = {"kind": "name", "label": reading.label, "id": labels.ids[reading.index]}
        row = {**own, **asdict(reading), "strayed": reading.strayed, "suggestions": names}
        stream.write(json_text(row) + "\n")
    if found is None:
        return
    for doubt in found.doubts:
        both = {"label_id": ids[doubt.label], "predicted_id": ids[doubt.predicted]}
        stream.write(json_text({"kind": "label", **vars(doubt), **both}) + "\n")
    about = {"kind": "judged", "by": found.by.value, "judged": found.judged, "not_judged": found.left}
    stream.write(json_text(about) + "\n")
