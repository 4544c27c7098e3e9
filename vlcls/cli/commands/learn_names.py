"""`vlcls learn-names`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlcls.cli.command import command
from vlcls.cli.commands.classify import SOME_IMAGES_FAILED
from vlcls.cli.learning import (
    IMAGE_COLUMN,
    LABEL_COLUMN,
    Checkpointing,
    Dataset,
    Epochs,
    ImageColumn,
    ImagesPerStep,
    LabelColumn,
    LearningRate,
    Patience,
    Penalty,
    ScheduleChoice,
    ScheduleOption,
    Seed,
    SplitName,
    Start,
    TokensAtOnce,
    Validation,
    Vectors,
    VectorsChoice,
    Warmup,
    embedded_images,
    epochs_bar,
    found_images,
    known_labels,
    starting_point,
    typed_encoder,
)
from vlcls.cli.options import (
    AggregateOption,
    Articles,
    Cache,
    CleanNames,
    Descriptors,
    Device,
    EncoderSpec,
    LabelsFile,
    LabelsText,
    OutputFolder,
    PhrasingOption,
    PrecisionOption,
    Templates,
    WeightingOption,
    saved,
)
from vlcls.cli.progress import is_main_process, status
from vlcls.cli.terminal import say_not_read

if TYPE_CHECKING:
    from vlcls.learning import NameLearning


@command()
def learn_names(
    context: typer.Context,
    dataset: Dataset,
    output: OutputFolder,
    labels: LabelsText = None,
    labels_file: LabelsFile = None,
    templates: Templates = None,
    descriptors: Descriptors = None,
    phrasing: PhrasingOption = None,
    aggregate: AggregateOption = None,
    weighting: WeightingOption = None,
    articles: Articles = None,
    clean_names: CleanNames = True,
    classifier: Start = None,
    split: SplitName = "train",
    image_column: ImageColumn = IMAGE_COLUMN,
    label_column: LabelColumn = LABEL_COLUMN,
    encoder: EncoderSpec = None,
    device: Device = None,
    precision: PrecisionOption = None,
    shots: Annotated[
        str | None,
        typer.Option(
            show_default="all images", rich_help_panel="Learning",
            help="Images a class to learn from; several numbers, 1,2,4, learn once for each.",
        ),
    ] = None,
    validation: Validation = None,
    vectors: Vectors = VectorsChoice.tokens,
    epochs: Epochs = 50,
    learning_rate: LearningRate = 0.1,
    schedule: ScheduleOption = ScheduleChoice.cosine,
    warmup: Warmup = 0.0,
    penalty: Penalty = 1.0,
    patience: Patience = 10,
    seed: Seed = 0,
    batch_size: ImagesPerStep = 1024,
    tokens_at_once: TokensAtOnce = 2048,
    gradient_checkpointing: Checkpointing = False,
    cache: Cache = True,
) -> None:  # fmt: skip
    """Learn the names of classes from labelled images; everything else stays as it is.

    Each name becomes vectors in place of its words, in the templates it was in. Classes without images keep
    their names, and more can be added later (`vlcls names add`). The folder holds a classifier for `vlcls
    classify --classifier`, and training.json, which says what was done. A killed run goes on from its last
    epoch if the same command is given again.

    [bold]Examples[/]

      vlcls learn-names photos/ --encoder conse -o names/
      vlcls learn-names photos/ --labels-file classes.txt --templates simple --shots 4 -o names/
      vlcls learn-names photos/ --shots 1,2,4,8,16 -o names/       [dim]# one folder for each[/]
      vlcls names inspect names/
      vlcls classify new/ --classifier names/
      accelerate launch -m vlcls learn-names photos/ -o names/
    """
    numbers = _shots(shots)
    with status("loading torch"):
        from vlcls.learning import Training, learn_from_embeddings

    settings = Training(
        vectors.value, epochs, batch_size, learning_rate, schedule.value, warmup, penalty, patience, seed,
        tokens_at_once, gradient_checkpointing,
    )  # fmt: skip
    start = None
    if classifier is not None:
        if labels or labels_file or templates or descriptors or phrasing or aggregate or weighting:
            raise typer.BadParameter("--classifier brings its own labels and prompts: leave the others out")
        start = saved(classifier, typed_encoder(context, encoder), device, precision)
    images = found_images(
        dataset, known_labels(start, labels, labels_file, clean_names), split, image_column, label_column
    )
    before = start or starting_point(
        labels, labels_file, images.labels, templates, descriptors, phrasing, aggregate, weighting, articles,
        clean_names, encoder, device, precision, cache,
    )  # fmt: skip
    embedded = embedded_images(images, before, cache)
    results: dict[int | None, NameLearning] = {}
    for number in numbers:
        folder = output if len(numbers) == 1 else output / f"{number}-shot"
        with epochs_bar(epochs) as progress:
            results[number] = learn_from_embeddings(
                before, embedded, settings=settings, shots=number, validation=validation, folder=folder,
                cache=cache, progress=progress,
            )  # fmt: skip
        if is_main_process():
            results[number].save(folder)
    if is_main_process():
        _print(results, output)
    for message in embedded.errors.values():
        say_not_read(message)
    if embedded.errors:
        raise typer.Exit(SOME_IMAGES_FAILED)


def _shots(text: str | None) -> list[int | None]:
    if text is None:
        return [None]
    try:
        numbers: list[int | None] = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or any(number is None or number < 1 for number in numbers):
        raise typer.BadParameter(f"--shots is a number of 1 or more, or several (1,2,4), not {text!r}")
    return list(dict.fromkeys(numbers))


def _print(results: dict[int | None, NameLearning], output: Path) -> None:
    from rich.table import Table

    from vlcls.cli.console import Console

    terminal = Console()
    console = Console(highlight=False, width=None if terminal.is_terminal else 120)
    for number, result in results.items():
        parts = {name: rows for name, rows in vars(result.split).items() if len(rows)}
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("accuracy", "images", "plain names", "learned names"):
            table.add_column(column, justify="left" if column == "accuracy" else "right")
        for name, rows in parts.items():
            figures = (result.accuracy(each, rows) or 0 for each in (result.before, result.classifier))
            title = name.replace("_", " ").replace("train", "learned from")
            table.add_row(title, str(len(rows)), *(f"{figure:.1%}" for figure in figures))
        said = "all images" if number is None else f"{number} shot{'s' if number > 1 else ''}"
        console.print(
            f"{said}: {len(result.learned)} of {len(result.classifier.labels)} names learned, epoch "
            f"{result.best_epoch} of {len(result.history)} taken, "
            f"peak memory {result.peak_memory / 2**30:.2f} GiB",
            soft_wrap=True,
        )
        console.print(table)
        console.print()
    first = output if len(results) == 1 else output / f"{next(iter(results))}-shot"
    console.print(f"{output} written; next: vlcls names inspect {first}", markup=False, soft_wrap=True)
