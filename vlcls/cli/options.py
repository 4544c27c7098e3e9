"""Options that several commands take, each declared once, and what a command makes of them.

A command has a parameter of one of these types for all of its options, `Annotated[TheType, ("one", "other")]`
for some (see `vlcls.cli.command`), and passes it on whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vlcls.classifiers.scorers import SCORERS
from vlcls.classifiers.weighting import WEIGHTINGS, check_pair
from vlcls.cli.command import with_parts
from vlcls.cli.output import Format, file_to_write, folder_to_write
from vlcls.cli.progress import bar, status
from vlcls.labels import Labels, parse_labels, read_labels
from vlcls.specs import parse_spec

if TYPE_CHECKING:
    from vlcls.classifiers import PromptClassifier
    from vlcls.classifiers.weighting import Rule
    from vlcls.descriptors import DescriptorSet
    from vlcls.encoders import Encoder
    from vlcls.image_sources import ImageSource
    from vlcls.labelled import LabelledEmbeddings, LabelledImages

#: `typer.Option` in the panels of --help that several commands have.
of_classes = partial(typer.Option, rich_help_panel="Classes")
of_model = partial(typer.Option, rich_help_panel="Model")
of_data = partial(typer.Option, rich_help_panel="Data")
of_output = partial(typer.Option, rich_help_panel="Output")
of_speed = partial(typer.Option, rich_help_panel="Speed and memory")

Cache = Annotated[bool, of_speed(help="Keep embeddings on disk, so that nothing is encoded twice.")]
Output = Annotated[
    Path | None,
    of_output(
        "--output", "-o", show_default="standard output", help="File to write.", callback=file_to_write
    ),
]


def format_option(help: str = "How to write it.", usual: str = "table") -> Any:
    """--format for commands whose `chosen_format` goes by the name of --output."""
    said = f"what the name of --output says, else {usual}"
    return of_output("--format", "-f", help=help, show_default=said)


FormatOption = Annotated[Format | None, format_option("How to write results.")]
#: What `found_sources` finds.
images_argument = typer.Argument(
    metavar="IMAGES...",
    help='Files, folders, globs ("**/*.jpg"), a .txt list, or - for paths on standard input.',
)
Images = Annotated[list[str], images_argument]
OutputFolder = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", help="Folder to write.", callback=folder_to_write),
]


@dataclass(frozen=True)
class ClassOptions:
    """What the classes are called, and the texts that are made of them."""

    labels: Annotated[str | None, of_classes("--labels", "-l", help='Class names: "cat,dog,red panda".')] = (
        None
    )
    labels_file: Annotated[
        Path | None,
        of_classes(help="Class names from a file: one a line (or id, tab, name), CSV, JSON or YAML."),
    ] = None
    templates: Annotated[
        str | None,
        of_classes(
            "--templates", "-t", show_default="photo",
            help='Prompt templates: a set from `vlcls templates`, a file, or one: "a sketch of a {}."',
        ),
    ] = None  # fmt: skip
    descriptors: Annotated[
        str | None,
        of_classes(
            "--descriptors", "-d", metavar="FILE",
            help="What each class looks like: a file from `vlcls describe`, or a built-in set. "
            "Without labels, its classes are the labels.",
        ),
    ] = None  # fmt: skip
    phrasing: Annotated[
        str | None,
        of_classes(
            show_default="grammatical",
            help="How a descriptor follows a name: grammatical, dclip, append, alone.",
        ),
    ] = None
    aggregate: Annotated[
        str | None,
        of_classes(
            show_default="mean-similarity for descriptors, mean-embedding else",
            help=with_parts("How prompts make a class's score.", SCORERS),
        ),
    ] = None
    weighting: Annotated[
        str | None,
        of_classes(
            show_default="all prompts alike",
            help=with_parts("What is weighed, and how; options as in autoclip:beta=0.7.", WEIGHTINGS),
        ),
    ] = None
    unlabelled: Annotated[
        str | None,
        of_classes(
            metavar="FOLDER", help="Images without labels from which weights for all images are learned."
        ),
    ] = None
    articles: Annotated[
        bool | None,
        of_classes(
            "--articles/--no-articles", show_default="but in published sets",
            help='Write "an" before names that need it.',
        ),
    ] = None  # fmt: skip
    clean_names: Annotated[bool, of_classes(help="Tidy names: underscores to spaces.")] = True

    @property
    def named(self) -> bool:
        """Whether class names are given."""
        return bool(self.labels or self.labels_file)


@dataclass(frozen=True)
class ModelOptions:
    encoder: Annotated[
        str | None,
        of_model(
            "--encoder", "-e", envvar="VLCLS_ENCODER", show_default="open_clip:ViT-B-32/laion2b_s34b_b79k",
            help="The model; `vlcls encoders` lists them.",
        ),
    ] = None  # fmt: skip
    device: Annotated[str | None, of_model(help="cpu, cuda, cuda:1, mps.", show_default="best")] = None
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"] | None,
        of_model(show_default="fp32 on a CPU, bf16 or fp16 on a GPU", help="Autocast type of the encoder."),
    ] = None

    def load(self) -> Encoder:
        with status("loading torch"):
            from vlcls.classifiers.prompt import DEFAULT_ENCODER
            from vlcls.encoders import load_encoder
        spec = self.encoder or DEFAULT_ENCODER
        with status(f"loading {spec}"):
            return load_encoder(spec, self.device, self.precision)

    def typed(self, context: typer.Context) -> str | None:
        """An encoder for a saved classifier only if it was typed: a saved one names its own."""
        source = context.get_parameter_source("encoder")
        return self.encoder if source is not None and source.name == "COMMANDLINE" else None


@dataclass(frozen=True)
class DataOptions:
    """Which images of a data set, as arguments of `vlcls.evaluation.data.open_set`."""

    split: Annotated[str | None, of_data(help="Of a data set.")] = None
    config: Annotated[str | None, of_data(help="Of a data set.")] = None
    revision: Annotated[str | None, of_data(help="On the Hub.")] = None
    image_column: Annotated[str | None, of_data(show_default="guessed", help="Name of a column.")] = None
    label_column: Annotated[str | None, of_data(show_default="guessed", help="Name of a column.")] = None


@dataclass(frozen=True)
class SpeedOptions:
    """Arguments of the functions that embed images."""

    batch_size: Annotated[
        int | None, of_speed(min=1, show_default="16 on a CPU, 256 else", help="Images a pass.")
    ] = None
    workers: Annotated[
        int | None, of_speed(min=1, show_default="one a processor, 8 at most", help="Reading threads.")
    ] = None
    cache: Cache = True
    reduced_decode: Annotated[bool, of_speed(help="Decode large JPEGs at reduced size.")] = True


def found_labels(given: ClassOptions) -> Labels:
    text, file = given.labels, given.labels_file
    if (text is None) == (file is None):
        raise typer.BadParameter('give class names: --labels "cat,dog" or --labels-file FILE (not both)')
    if text is None:
        return read_labels(Path(str(file)), clean=given.clean_names)
    if Path(text).suffix and len(text) < 256 and Path(text).is_file():
        raise typer.BadParameter(f"{text} is a file: --labels-file {text} reads the class names in it")
    return parse_labels(text, clean=given.clean_names)


def found_sources(
    images: Sequence[str], find: Callable[[Sequence[str]], list[ImageSource]] | None = None
) -> list[ImageSource]:
    """The images to classify. In a launch the main process finds them for all: it has standard input.

    Args:
        images: What was typed.
        find: In place of `vlcls.image_sources.find_images`.
    """
    if find is None:
        from vlcls.image_sources import find_images

        find = find_images
    if "RANK" not in os.environ:  # and nothing heavy is imported
        return find(images)
    from vlcls.encoders.placement import found_by_main

    return found_by_main(partial(find, images))


def built(
    classes: ClassOptions, model: ModelOptions, cache: bool = True, *,
    labels: Labels | None = None, descriptors: DescriptorSet | None = None,
    images: Sequence[ImageSource] | None = None,
) -> PromptClassifier:  # fmt: skip
    """The classifier that options describe.

    Args:
        labels, descriptors: In place of those that options name.
        images: What weights for all images are learned from if --unlabelled names nothing.
    """
    rule, given = _weighting(classes, images)
    with status("loading torch"):
        from vlcls.classifiers.prompt import classifier_from_prompts, usual_aggregate
        from vlcls.prompts import class_prompts

    described = classes.descriptors if descriptors is None else descriptors
    if labels is None and (described is None or classes.named):
        labels = found_labels(classes)
    prompts = class_prompts(
        labels, classes.templates, described,
        phrasing=classes.phrasing, articles=classes.articles, clean_names=classes.clean_names,
    )  # fmt: skip
    loaded = model.load()
    with bar("embedding texts", len(set(prompts.texts))) as progress:
        ready = classifier_from_prompts(
            prompts, loaded, aggregate=classes.aggregate or usual_aggregate(prompts, rule is not None),
            weighting=None if rule is None or rule.learn else classes.weighting, cache=cache,
            progress=progress,
        )  # fmt: skip
    if rule is None or rule.learn is None:
        return ready
    sources = found_sources([classes.unlabelled]) if classes.unlabelled else images or ()
    with bar("embedding images", len(sources)) as progress:
        return rule.learn(ready, sources, **rule.numbers(given), cache=cache, progress=progress)


def _weighting(
    classes: ClassOptions, images: Sequence[ImageSource] | None
) -> tuple[Rule | None, dict[str, str]]:
    """What was asked for, and its options, before anything heavy is imported."""
    name, given = parse_spec(classes.weighting or "")
    rule = WEIGHTINGS.find(name) if name else None
    learns = rule is not None and rule.learn is not None
    if classes.unlabelled is not None and not learns:
        those = " or ".join(each.name for each in WEIGHTINGS.values() if each.learn)
        raise typer.BadParameter(f"--unlabelled goes with --weighting {those}")
    if rule and learns:
        if classes.unlabelled is None and images is None:
            raise typer.BadParameter(f"--weighting {name} learns from images: give --unlabelled FOLDER")
        if unknown := set(given) - rule.options:
            known = " and ".join(sorted(rule.options))
            raise typer.BadParameter(f"{name} has no option {min(unknown)!r}; there is {known}")
    if classes.aggregate is not None:
        check_pair(classes.aggregate, rule)
    return rule, given


def saved(context: typer.Context, folder: Path, model: ModelOptions) -> PromptClassifier:
    with status(f"loading {folder}"):
        from vlcls.classifiers import load

        return load(str(folder), model.typed(context), device=model.device, precision=model.precision)


def saved_or_built(
    context: typer.Context, folder: Path | None, classes: ClassOptions, model: ModelOptions, cache: bool,
    images: Sequence[ImageSource] | None = None,
) -> PromptClassifier:  # fmt: skip
    if folder is None:
        return built(classes, model, cache, images=images)
    refuse_beside_saved(classes)
    return saved(context, folder, model)


def refuse_beside_saved(classes: ClassOptions) -> None:
    if any(value for name, value in vars(classes).items() if name not in ("articles", "clean_names")):
        raise typer.BadParameter("--classifier brings its own labels and prompts: leave the others out")


def embedded_images(images: LabelledImages, classifier: PromptClassifier, cache: bool) -> LabelledEmbeddings:
    from vlcls.classifiers.base import open_store
    from vlcls.labelled import embed_labelled

    with bar("embedding images", len(images)) as progress:
        return embed_labelled(images, classifier.encoder, store=open_store(cache), progress=progress)
