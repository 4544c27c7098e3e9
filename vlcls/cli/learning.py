"""What `vlcls learn-names` and `vlcls names` take alike: labelled images and how to learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vlcls.cli.options import (
    ClassOptions,
    ModelOptions,
    built,
    found_labels,
    of_classes,
    of_speed,
    refuse_beside_saved,
    saved,
)
from vlcls.cli.progress import bar, status
from vlcls.errors import ImageError, VlclsWarning, library

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlcls.classifiers import PromptClassifier
    from vlcls.labelled import LabelledImages
    from vlcls.labels import Labels
    from vlcls.learning import Epoch

#: Of data sets of the Hub and saved ones; in tables, other usual names are found, too.
IMAGE_COLUMN, LABEL_COLUMN = "image", "label"
_of_learning = partial(typer.Option, rich_help_panel="Learning")


@dataclass(frozen=True)
class LabelledOptions:
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="Labelled images: FOLDER/CLASS/ (or FOLDER/GROUP/CLASS/), a CSV, JSON Lines or Parquet "
            "file, webdataset shards, a folder of `Dataset.save_to_disk`, or a data set of the Hub, "
            "ORG/NAME.",
        ),
    ]
    split: Annotated[str, of_classes(help="Of a data set: which part.")] = "train"
    image_column: Annotated[str, of_classes(help="Of a data set.")] = IMAGE_COLUMN
    label_column: Annotated[str, of_classes(help="Of a data set.")] = LABEL_COLUMN


NamesFolder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder of `vlcls learn-names`.")]
Validation = Annotated[
    float | None,
    _of_learning(
        min=0, max=0.9, show_default="0.2; 0 with --shots",
        help="Share of each class's images that tell when to stop.",
    ),
]  # fmt: skip


@dataclass(frozen=True)
class TrainingOptions:
    """Arguments of `vlcls.learning.Training`."""

    vectors: Annotated[
        Literal["tokens", "one"],
        _of_learning(help="Vectors a class: one for each token of its name, or one."),
    ] = "tokens"
    epochs: Annotated[int, _of_learning(min=1, help="At most.")] = 50
    learning_rate: Annotated[
        float, _of_learning(help="In units of the size of the names' token embeddings.")
    ] = 0.1
    schedule: Annotated[
        Literal["cosine", "linear", "constant"], _of_learning(help="How the learning rate falls.")
    ] = "cosine"
    warmup: Annotated[float, _of_learning(min=0, max=0.99, help="Share of the steps in which it rises.")] = (
        0.0
    )
    penalty: Annotated[float, _of_learning(min=0, help="On the squared distance from the plain names.")] = 1.0
    patience: Annotated[int, _of_learning(min=1, help="Epochs without a gain before it stops.")] = 10
    seed: Annotated[int, _of_learning(help="Of the choice and order of images.")] = 0
    batch_size: Annotated[int, of_speed(min=1, help="Images a step.")] = 1024
    tokens_at_once: Annotated[
        int, of_speed(min=1, help="Tokens whose activations are in memory at once.")
    ] = 2048
    gradient_checkpointing: Annotated[
        bool, of_speed("--gradient-checkpointing", help="Less memory, a third more time.")
    ] = False


def starting_point(
    context: typer.Context, folder: Path | None, classes: ClassOptions, model: ModelOptions,
    data: LabelledOptions, cache: bool,
) -> tuple[PromptClassifier, LabelledImages]:  # fmt: skip
    """The classifier whose names are to be learned, of the images' own classes where none are given."""
    if folder is not None:
        refuse_beside_saved(classes)
        start = saved(context, folder, model)
        return start, found_images(data, start.labels)
    images = found_images(data, found_labels(classes) if classes.named else None)
    if classes.named or classes.descriptors:
        return built(classes, model, cache), images
    if classes.phrasing:
        raise typer.BadParameter("--phrasing is about descriptors, and there are none")
    return built(classes, model, cache, labels=images.labels), images


def found_images(given: LabelledOptions, labels: Labels | None) -> LabelledImages:
    """The labelled images that DATASET means: read as `vlcls evaluate` reads them."""
    from vlcls.evaluation.data import labelled_images, open_set
    from vlcls.evaluation.data.layouts import layout_of
    from vlcls.labelled import labelled_dataset, labelled_folder

    dataset, path = given.dataset, Path(given.dataset).expanduser()
    layout = layout_of(path) if path.is_dir() else None
    if layout is not None and layout.kind == "class":
        for sentence in layout.problems:
            warnings.warn(sentence, VlclsWarning, stacklevel=2)
        return labelled_folder(path, labels)
    if not path.exists() and (dataset.count("/") > 1 or dataset.startswith((".", "/", "~"))):
        return labelled_folder(path, labels)  # which says that there is no such folder
    image, label = given.image_column, given.label_column
    with status(f"loading {dataset}"):
        if path.exists() and (layout is None or layout.kind != "saved"):
            return labelled_images(
                open_set(
                    dataset, labels=labels, split=None if path.is_file() else given.split,
                    image_column=None if image == IMAGE_COLUMN else image,
                    label_column=None if label == LABEL_COLUMN else label,
                )
            )  # fmt: skip
        rows = _dataset(dataset, path if layout is not None else None, given.split)
    return labelled_dataset(rows, labels, image_column=image, label_column=label)


def _dataset(name: str, path: Path | None, split: str) -> Any:
    datasets = library("datasets", "a data set", "datasets")
    try:
        if path is None:
            return datasets.load_dataset(name, split=split)
        found = datasets.load_from_disk(str(path))
        return found[split] if isinstance(found, datasets.DatasetDict) else found
    except Exception as error:  # whatever the library makes of a name
        reason = " ".join(str(error).split())
        raise ImageError(f"{name} is neither a folder nor a data set that can be loaded: {reason}") from error


@contextmanager
def epochs_bar(total: int) -> Iterator[Callable[[Epoch], None]]:
    """A bar whose title is the last epoch's loss and validation accuracy."""
    with bar("learning names", total) as advance:

        def tell(epoch: Epoch) -> None:
            said = f"learning names: loss {epoch.loss:.4f}"
            if epoch.validation_accuracy is not None:
                said += f", validation accuracy {epoch.validation_accuracy:.1%}"
            advance(1, said)

        yield tell
