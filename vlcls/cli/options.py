"""What several commands take alike: options, and what they make of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlcls.classifiers.scorers import SCORERS
from vlcls.classifiers.weighting import WEIGHTINGS, check_pair
from vlcls.cli.command import with_parts
from vlcls.cli.output import Format, file_to_write, folder_to_write
from vlcls.cli.progress import bar, status

if TYPE_CHECKING:
    from vlcls.classifiers import PromptClassifier
    from vlcls.classifiers.weighting import Rule
    from vlcls.descriptors import DescriptorSet
    from vlcls.image_sources import ImageSource
    from vlcls.labels import Labels


class Precision(str, Enum):
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


#: Panels of --help.
CLASSES, MODEL, OUTPUT, SPEED, OWN = (
    "Classes",
    "Model",
    "Output",
    "Speed and memory",
    "Your own embeddings",
)


LabelsText = Annotated[
    str | None,
    typer.Option("--labels", "-l", help='Class names: "cat,dog,red panda".', rich_help_panel=CLASSES),
]
LabelsFile = Annotated[
    Path | None,
    typer.Option(
        help="Class names from a file: one a line (or id, tab, name), CSV, JSON or YAML.",
        rich_help_panel=CLASSES,
    ),
]
Templates = Annotated[
    str | None,
    typer.Option(
        "--templates", "-t", rich_help_panel=CLASSES, show_default="photo",
        help='Prompt templates: a set from `vlcls templates`, a file, or one: "a sketch of a {}."',
    ),
]  # fmt: skip
Descriptors = Annotated[
    str | None,
    typer.Option(
        "--descriptors", "-d", metavar="FILE", rich_help_panel=CLASSES,
        help="What each class looks like: a file from `vlcls describe`, or a built-in set. "
        "Without labels, its classes are the labels.",
    ),
]  # fmt: skip
PhrasingOption = Annotated[
    str | None,
    typer.Option(
        "--phrasing", rich_help_panel=CLASSES, show_default="grammatical",
        help="How a descriptor follows a name: grammatical, dclip, append, alone.",
    ),
]  # fmt: skip
AggregateOption = Annotated[
    str | None,
    typer.Option(
        "--aggregate", rich_help_panel=CLASSES,
        show_default="mean-similarity for descriptors, mean-embedding else",
        help=with_parts("How prompts make a class's score.", SCORERS),
    ),
]  # fmt: skip
WeightingOption = Annotated[
    str | None,
    typer.Option(
        "--weighting", rich_help_panel=CLASSES, show_default="all prompts alike",
        help=with_parts("What is weighed, and how; options as in autoclip:beta=0.7.", WEIGHTINGS),
    ),
]  # fmt: skip
Unlabelled = Annotated[
    str | None,
    typer.Option(
        "--unlabelled", metavar="FOLDER", rich_help_panel=CLASSES,
        help="Images without labels from which weights for all images are learned.",
    ),
]  # fmt: skip
Articles = Annotated[
    bool | None,
    typer.Option(
        "--articles/--no-articles", rich_help_panel=CLASSES, show_default="but in published sets",
        help='Write "an" before names that need it.',
    ),
]  # fmt: skip
CleanNames = Annotated[bool, typer.Option(help="Tidy names: underscores to spaces.", rich_help_panel=CLASSES)]
EncoderSpec = Annotated[
    str | None,
    typer.Option(
        "--encoder", "-e", envvar="VLCLS_ENCODER", rich_help_panel=MODEL,
        show_default="open_clip:ViT-B-32/laion2b_s34b_b79k", help="The model; `vlcls encoders` lists them.",
    ),
]  # fmt: skip
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps.", show_default="best", rich_help_panel=MODEL)
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(
        "--precision",
        show_default="fp32 on a CPU, bf16 or fp16 on a GPU",
        rich_help_panel=MODEL,
        help="Autocast type of the encoder.",
    ),
]
Cache = Annotated[
    bool,
    typer.Option(help="Keep embeddings on disk, so that nothing is encoded twice.", rich_help_panel=SPEED),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", show_default="standard output", help="File to write.", rich_help_panel=OUTPUT,
        callback=file_to_write,
    ),
]  # fmt: skip
FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format", "-f", rich_help_panel=OUTPUT, help="How to write results.",
        show_default="what the name of --output says, else table",
    ),
]  # fmt: skip
OutputFolder = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", help="Folder to write.", callback=folder_to_write),
]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, show_default="16 on a CPU, 256 else", help="Images a pass.", rich_help_panel=SPEED),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, show_default="one a processor, 8 at most", help="Reading threads.", rich_help_panel=SPEED
    ),
]
ReducedDecode = Annotated[
    bool, typer.Option(help="Decode large JPEGs at reduced size.", rich_help_panel=SPEED)
]


def found_labels(text: str | None, file: Path | None, clean: bool) -> Labels:
    from vlcls.labels import parse_labels, read_labels

    if (text is None) == (file is None):
        raise typer.BadParameter('give class names: --labels "cat,dog" or --labels-file FILE (not both)')
    if text is None:
        return read_labels(Path(str(file)), clean=clean)
    if Path(text).suffix and len(text) < 256 and Path(text).is_file():
        raise typer.BadParameter(f"{text} is a file: --labels-file {text} reads the class names in it")
    return parse_labels(text, clean=clean)


def found_sources(images: Sequence[str]) -> list[ImageSource]:
    """The images to classify. In a launch the main process finds them for all: it has standard input."""
    from vlcls.image_sources import find_images

    if "RANK" not in os.environ:  # and nothing heavy is imported
        return find_images(images)
    from vlcls.encoders.placement import found_by_main

    return found_by_main(lambda: find_images(images))


def built(
    labels: str | None = None, labels_file: Path | None = None, templates: str | None = None,
    descriptors: DescriptorSet | str | None = None, phrasing: str | None = None, aggregate: str | None = None,
    articles: bool | None = None, clean_names: bool = True, encoder: str | None = None,
    device: str | None = None, precision: Precision | None = None, cache: bool = True,
    weighting: str | None = None, unlabelled: Sequence[ImageSource] | str | None = None,
) -> PromptClassifier:  # fmt: skip
    """The classifier that the options of `classify` and `build` describe."""
    rule, given = _weighting(aggregate, weighting, unlabelled)
    with status("loading torch"):
        from vlcls.classifiers.prompt import DEFAULT_ENCODER, classifier_from_prompts, usual_aggregate
        from vlcls.encoders import load_encoder
        from vlcls.prompts import class_prompts

    classes = None
    if descriptors is None or labels or labels_file:
        classes = found_labels(labels, labels_file, clean_names)
    prompts = class_prompts(
        classes, templates, descriptors, phrasing=phrasing, articles=articles, clean_names=clean_names
    )
    spec = encoder or DEFAULT_ENCODER
    with status(f"loading {spec}"):
        loaded = load_encoder(spec, device, precision.value if precision else None)
    with bar("embedding texts", len(set(prompts.texts))) as progress:
        ready = classifier_from_prompts(
            prompts, loaded, aggregate=aggregate or usual_aggregate(prompts, rule is not None),
            weighting=None if rule is None or rule.learn else weighting, cache=cache, progress=progress,
        )  # fmt: skip
    if rule is None or rule.learn is None or unlabelled is None:
        return ready
    sources = found_sources([unlabelled]) if isinstance(unlabelled, str) else unlabelled
    with bar("embedding images", len(sources)) as progress:
        ready = rule.learn(ready, sources, **rule.numbers(given), cache=cache, progress=progress)
    return ready


def _weighting(
    aggregate: str | None, weighting: str | None, unlabelled: object
) -> tuple[Rule | None, dict[str, str]]:
    """What was asked for, and its options, before anything heavy is imported."""
    from vlcls.specs import parse_spec

    name, given = parse_spec(weighting or "")
    rule = WEIGHTINGS.find(name) if name else None
    learns = rule is not None and rule.learn is not None
    if isinstance(unlabelled, str) and not learns:
        those = " or ".join(each.name for each in WEIGHTINGS.values() if each.learn)
        raise typer.BadParameter(f"--unlabelled goes with --weighting {those}")
    if rule and learns:
        if unlabelled is None:
            raise typer.BadParameter(f"--weighting {name} learns from images: give --unlabelled FOLDER")
        if unknown := set(given) - rule.options:
            known = " and ".join(sorted(rule.options))
            raise typer.BadParameter(f"{name} has no option {min(unknown)!r}; there is {known}")
    if aggregate is not None:
        check_pair(aggregate, rule)
    return rule, given


def saved(
    folder: Path, encoder: str | None, device: str | None, precision: Precision | None
) -> PromptClassifier:
    with status(f"loading {folder}"):
        from vlcls.classifiers import load

        return load(str(folder), encoder, device=device, precision=precision.value if precision else None)
