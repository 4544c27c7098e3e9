"""`vlcls names base-to-novel`."""

from __future__ import annotations

from typing import Annotated

import typer

from vlcls.cli.command import command
from vlcls.cli.learning import (
    LabelledOptions,
    TrainingOptions,
    Validation,
    epochs_bar,
    starting_point,
)
from vlcls.cli.names_table import write_transfer
from vlcls.cli.options import Cache, ClassOptions, ModelOptions, embedded_images
from vlcls.cli.progress import is_main_process, status


@command()
def base_to_novel(
    context: typer.Context,
    classes: Annotated[ClassOptions, ("labels", "labels_file", "templates", "articles", "clean_names")],
    data: LabelledOptions,
    model: ModelOptions,
    *,
    validation: Validation = None,
    training: Annotated[
        TrainingOptions, ("vectors", "epochs", "learning_rate", "penalty", "patience", "seed")
    ],
    shots: Annotated[int, typer.Option(min=1, help="Images a base class to learn from.")] = 4,
    cache: Cache = True,
) -> None:
    """Learn half of the names (the seed says which) and test on both halves, beside the plain names.

    [bold]Example[/]

      vlcls names base-to-novel photos/ --encoder conse --shots 8
    """
    with status("loading torch"):
        from vlcls.learning import Training
        from vlcls.learning.transfer import base_to_novel as evaluate

    before, images = starting_point(context, None, classes, model, data, cache)
    embedded = embedded_images(images, before, cache)
    with epochs_bar(training.epochs) as progress:
        result = evaluate(
            before, embedded, settings=Training(**vars(training)), shots=shots, validation=validation,
            cache=cache, progress=progress,
        )  # fmt: skip
    if is_main_process():
        write_transfer(result)
