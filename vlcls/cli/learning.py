"""What `vlcls learn-names` and `vlcls names base-to-novel` take alike: labelled images and how to learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlcls.cli.options import CLASSES, SPEED, Precision, built, found_labels
from vlcls.cli.progress import bar, status
from vlcls.errors import ImageError, VlclsWarning, library

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlcls.classifiers import PromptClassifier
    from vlcls.labelled import LabelledEmbeddings, LabelledImages
    from vlcls.labels import Labels
    from vlcls.learning import Epoch

LEARNING = "Learning"
#: Of data sets of the Hub and saved ones; in tables, other usual names are found, too.
IMAGE_COLUMN, LABEL_COLUMN = "image", "label"


class VectorsChoice(str, Enum):
    tokens = "tokens"
    one = "one"


class ScheduleChoice(str, Enum):
    cosine = "cosine"
    linear = "linear"
    constant = "constant"


def _learning(*names: str, **options: Any) -> Any:
    return typer.Option(*names, rich_help_panel=LEARNING, **options)


Dataset = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="Labelled images: FOLDER/CLASS/ (or FOLDER/GROUP/CLASS/), a CSV, JSON Lines or Parquet file, "
        "webdataset shards, a folder of `Dataset.save_to_disk`, or a data set of the Hub, ORG/NAME.",
    ),
]
SplitName = Annotated[
    str, typer.Option("--split", help="Of a data set: which part.", rich_help_panel=CLASSES)
]
ImageColumn = Annotated[str, typer.Option(help="Of a data set.", rich_help_panel=CLASSES)]
LabelColumn = Annotated[str, typer.Option(help="Of a data set.", rich_help_panel=CLASSES)]
Start = Annotated[
    Path | None,
    typer.Option(
        "--classifier", metavar="DIR", rich_help_panel=CLASSES,
        help="Start from a saved classifier (learned names too) in place of labels.",
    ),
]  # fmt: skip
Vectors = Annotated[VectorsChoice, _learning(help="Vectors a class: one for each token of its name, or one.")]
Epochs = Annotated[int, _learning(min=1, help="At most.")]
LearningRate = Annotated[float, _learning(help="In units of the size of the names' token embeddings.")]
ScheduleOption = Annotated[ScheduleChoice, _learning(help="How the learning rate falls.")]
Warmup = Annotated[float, _learning(min=0, max=0.99, help="Share of the steps in which it rises.")]
Penalty = Annotated[float, _learning(min=0, help="On the squared distance from the plain names.")]
Validation = Annotated[
    float | None,
    _learning(
        min=0, max=0.9, show_default="0.2; 0 with --shots",
        help="Share of each class's images that tell when to stop.",
    ),
]  # fmt: skip
Patience = Annotated[int, _learning(min=1, help="Epochs without a gain before it stops.")]
Seed = Annotated[int, _learning(help="Of the choice and order of images.")]
ImagesPerStep = Annotated[
    int, typer.Option("--batch-size", min=1, help="Images a step.", rich_help_panel=SPEED)
]
TokensAtOnce = Annotated[
    int,
    typer.Option(min=1, help="Tokens whose activations are in memory at once.", rich_help_panel=SPEED),
]
Checkpointing = Annotated[
    bool,
    typer.Option("--gradient-checkpointing", help="Less memory, a third more time.", rich_help_panel=SPEED),
]


def starting_point(
    labels: str | None, labels_file: Path | None, own: Labels, templates: str | None,
    descriptors: str | None, phrasing: str | None, aggregate: str | None, weighting: str | None,
    articles: bool | None, clean: bool, encoder: str | None, device: str | None, precision: Precision | None,
    cache: bool,
) -> PromptClassifier:  # fmt: skip
    """The classifier whose names are to be learned; the images' own classes where no labels are given."""
    if labels or labels_file or descriptors:
        return built(
            labels, labels_file, templates, descriptors, phrasing, aggregate, articles, clean, encoder,
            device, precision, cache, weighting,
        )  # fmt: skip
    if phrasing:
        raise typer.BadParameter("--phrasing is about descriptors, and there are none")
    from vlcls.classifiers.prompt import DEFAULT_ENCODER, build_classifier

    with status("embedding texts"):
        return build_classifier(
            own, encoder or DEFAULT_ENCODER, templates, aggregate=aggregate,
            weighting=weighting, articles=articles, device=device,
            precision=precision.value if precision else None, cache=cache,
        )  # fmt: skip


def typed_encoder(context: typer.Context, encoder: str | None) -> str | None:
    """An encoder for a saved classifier only if it was typed: a saved one names its own."""
    source = context.get_parameter_source("encoder")
    return encoder if source is not None and source.name == "COMMANDLINE" else None


def found_images(
    dataset: str, labels: Labels | None, split: str, image_column: str, label_column: str
) -> LabelledImages:
    """The labelled images that DATASET means: read as `vlcls evaluate` reads them."""
    from vlcls.evaluation.data import labelled_images, open_set
    from vlcls.evaluation.data.layouts import layout_of
    from vlcls.labelled import labelled_dataset, labelled_folder

    path = Path(dataset).expanduser()
    layout = layout_of(path) if path.is_dir() else None
    if layout is not None and layout.kind == "class":
        for sentence in layout.problems:
            warnings.warn(sentence, VlclsWarning, stacklevel=2)
        return labelled_folder(path, labels)
    if not path.exists() and (dataset.count("/") > 1 or dataset.startswith((".", "/", "~"))):
        return labelled_folder(path, labels)  # which says that there is no such folder
    with status(f"loading {dataset}"):
        if path.exists() and (layout is None or layout.kind != "saved"):
            return labelled_images(
                open_set(
                    dataset, labels=labels, split=None if path.is_file() else split,
                    image_column=None if image_column == IMAGE_COLUMN else image_column,
                    label_column=None if label_column == LABEL_COLUMN else label_column,
                )
            )  # fmt: skip
        rows = _dataset(dataset, path if layout is not None else None, split)
    return labelled_dataset(rows, labels, image_column=image_column, label_column=label_column)


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


def known_labels(
    classifier: PromptClassifier | None, labels: str | None, labels_file: Path | None, clean: bool
) -> Labels | None:
    if classifier is not None:
        return classifier.labels
    return found_labels(labels, labels_file, clean) if labels or labels_file else None


def embedded_images(images: LabelledImages, classifier: PromptClassifier, cache: bool) -> LabelledEmbeddings:
    from vlcls.classifiers.base import open_store
    from vlcls.labelled import embed_labelled

    with bar("embedding images", len(images)) as progress:
        return embed_labelled(images, classifier.encoder, store=open_store(cache), progress=progress)


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
