"""`vlcls learn-names`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlcls.cli.command import command
from vlcls.cli.console import page, titled
from vlcls.cli.learning import (
    LabelledOptions,
    TrainingOptions,
    Validation,
    epochs_bar,
    starting_point,
)
from vlcls.cli.options import (
    Cache,
    ClassOptions,
    ModelOptions,
    OutputFolder,
    embedded_images,
    of_classes,
)
from vlcls.cli.output import leave
from vlcls.cli.progress import is_main_process

if TYPE_CHECKING:
    from vlcls.learning import NameLearning

Start = Annotated[
    Path | None,
    of_classes(metavar="DIR", help="Start from a saved classifier (learned names too) in place of labels."),
]
Shots = Annotated[
    str | None,
    typer.Option(
        show_default="all images", rich_help_panel="Learning",
        help="Images a class to learn from; several numbers, 1,2,4, learn once for each.",
    ),
]  # fmt: skip
#: All but --unlabelled.
Classes = Annotated[
    ClassOptions,
    tuple(each.name for each in fields(ClassOptions) if each.name != "unlabelled"),
]


@command()
def learn_names(
    context: typer.Context, output: OutputFolder, classes: Classes, *, classifier: Start = None,
    data: LabelledOptions, model: ModelOptions, shots: Shots = None, validation: Validation = None,
    training: TrainingOptions, cache: Cache = True,
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
    from vlcls.learning import Training, learn_from_embeddings

    settings = Training(**vars(training))
    before, images = starting_point(context, classifier, classes, model, data, cache)
    embedded = embedded_images(images, before, cache)
    results: dict[int | None, NameLearning] = {}
    for number in numbers:
        folder = output if len(numbers) == 1 else output / f"{number}-shot"
        with epochs_bar(training.epochs) as progress:
            results[number] = learn_from_embeddings(
                before, embedded, settings=settings, shots=number, validation=validation, folder=folder,
                cache=cache, progress=progress,
            )  # fmt: skip
        if is_main_process():
            results[number].save(folder)
    if is_main_process():
        _print(results, output)
    leave(embedded.errors.values())


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
    console = page()
    for number, result in results.items():
        said = "all images" if number is None else f"{number} shot{'s' if number > 1 else ''}"
        console.print(
            f"{said}: {len(result.learned)} of {len(result.classifier.labels)} names learned, epoch "
            f"{result.best_epoch} of {len(result.history)} taken, "
            f"peak memory {result.peak_memory / 2**30:.2f} GiB",
            soft_wrap=True,
        )
        table = titled("accuracy", "images", "plain names", "learned names", right=(1, 2, 3))
        for name, rows in vars(result.split).items():
            if len(rows):
                figures = (result.accuracy(each, rows) or 0 for each in (result.before, result.classifier))
                title = name.replace("_", " ").replace("train", "learned from")
                table.add_row(title, str(len(rows)), *(f"{figure:.1%}" for figure in figures))
        console.print(table)
        console.print()
    first = output if len(results) == 1 else output / f"{next(iter(results))}-shot"
    console.print(f"{output} written; next: vlcls names inspect {first}", markup=False, soft_wrap=True)
