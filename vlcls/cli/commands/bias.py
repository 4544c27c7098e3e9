"""`vlcls bias`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlcls.cli.command import command
from vlcls.cli.commands.classify import SOME_IMAGES_FAILED
from vlcls.cli.options import (
    CLASSES,
    OUTPUT,
    AggregateOption,
    Articles,
    Cache,
    Device,
    EncoderSpec,
    Output,
    PhrasingOption,
    PrecisionOption,
    Templates,
    built,
)
from vlcls.cli.output import chosen_format, opened
from vlcls.cli.progress import bar, is_main_process, status
from vlcls.cli.terminal import say, say_not_read
from vlcls.errors import EvaluationError
from vlcls.files.text import read_lines

if TYPE_CHECKING:
    from vlcls.bias import BiasReport, HeldOut, ShapeDecisions
    from vlcls.classifiers import PromptClassifier
    from vlcls.descriptors import DescriptorSet
    from vlcls.evaluation.run.embedded import EmbeddedSet
    from vlcls.labelled import LabelledEmbeddings
    from vlcls.prompts import PromptSet

DATA, SEARCH = "Data", "Search"
#: Value of --texture for sets that say it in file names.
FILE_NAME = "file-name"


class BiasFormat(str, Enum):
    text = "text"
    json = "json"


@command()
def bias(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="FOLDER/CLASS/, FOLDER/GROUP/CLASS/, Parquet, CSV, webdataset shards, or a Hub id.",
        ),
    ],
    descriptors: Annotated[
        str,
        typer.Option(
            "--descriptors", "-d", metavar="FILE", rich_help_panel=CLASSES,
            help="What each class looks like: a file, or a built-in set. Its classes are the labels.",
        ),
    ],
    groups: Annotated[
        list[str] | None,
        typer.Option(
            "--groups", metavar="COLUMN", rich_help_panel=DATA, show_default="those of the folders",
            help="Column of groups: domain, background, ... May be repeated.",
        ),
    ] = None,
    texture: Annotated[
        str | None,
        typer.Option(
            "--texture", metavar="COLUMN|file-name", rich_help_panel=DATA,
            help="Where the class of an image's texture stands; then the class of the image is its shape.",
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Of a data set.", rich_help_panel=DATA)] = None,
    config: Annotated[str | None, typer.Option(help="Of a data set.", rich_help_panel=DATA)] = None,
    image_column: Annotated[
        str | None, typer.Option(show_default="guessed", help="Name of a column.", rich_help_panel=DATA)
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(show_default="guessed", help="Name of a column.", rich_help_panel=DATA)
    ] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="Images.", rich_help_panel=DATA)] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(
            "--vocabulary", metavar="FILE", rich_help_panel=SEARCH, show_default="the descriptors",
            help="Words to describe failures with, one a line (`vlcls discover --save-labels` finds some).",
        ),
    ] = None,
    replacements: Annotated[
        str | None,
        typer.Option(
            "--replacements", metavar="FILE", rich_help_panel=SEARCH,
            help="Another descriptor file, to replace descriptors from instead of leaving them out.",
        ),
    ] = None,
    part: Annotated[
        float,
        typer.Option("--part", min=0.01, max=0.99, help="Share of images held out.", rich_help_panel=SEARCH),
    ] = 0.5,
    seed: Annotated[int, typer.Option(help="Of the split and the tests.", rich_help_panel=SEARCH)] = 0,
    alpha: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Chance of any false alarm.", rich_help_panel=SEARCH),
    ] = 0.05,
    least: Annotated[
        int, typer.Option(min=2, help="Images that a failure mode has at least.", rich_help_panel=SEARCH)
    ] = 10,
    templates: Templates = None,
    phrasing: PhrasingOption = None,
    aggregate: AggregateOption = None,
    articles: Articles = None,
    encoder: EncoderSpec = None,
    device: Device = None,
    precision: PrecisionOption = None,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held-out", rich_help_panel=OUTPUT,
            help="Also ask the images held out. They are worth less each time one acts on the answer.",
        ),
    ] = False,
    apply: Annotated[
        int | None,
        typer.Option(
            "--apply", min=1, metavar="N", rich_help_panel=OUTPUT,
            help="Write the descriptors with suggestion N to --output; the report goes to standard output.",
        ),
    ] = None,
    format: Annotated[
        BiasFormat | None,
        typer.Option(
            "--format", "-f", rich_help_panel=OUTPUT, help="How to write it.",
            show_default="what the name of --output says, else text",
        ),
    ] = None,
    output: Output = None,
    cache: Cache = True,
) -> None:  # fmt: skip
    """Find what is wrong: where it fails, descriptors that speak of the context, and what to leave out.

    [bold]Examples[/]

      vlcls bias pacs/ -d pacs --encoder conse
      vlcls bias birds.parquet -d birds.json --groups background --vocabulary places.txt --held-out
      vlcls bias birds.parquet -d birds.json --groups background --apply 1 -o birds-2.json
      vlcls bias cue-conflict/ -d shapes.json --texture file-name

    Half of the images are held out and looked at only with --held-out. Nothing is changed unless you say
    which suggestion to --apply. If nothing is wrong, something is reported with a chance of --alpha at most.
    """
    if apply is not None and output is None:
        raise typer.BadParameter("--apply writes a descriptor file: say where, --output NEW.json")
    kind = chosen_format(format, None if apply is not None else output, BiasFormat.text)
    ready, described, embedded = _opened(
        data, descriptors, (templates, phrasing, aggregate, articles, encoder, device, precision, cache),
        limit=limit, split=split, config=config, image_column=image_column, label_column=label_column,
        group_columns=tuple(dict.fromkeys([*(groups or ()), *_column(texture)])),
    )  # fmt: skip
    phrase = _phrase(phrasing, templates, articles)
    study = _Study(ready, described, phrase, *_columns(embedded, groups, texture, ready))
    words = _words(vocabulary, described)
    with status("looking"):
        from vlcls.bias import find_bias, split_images

        parts = split_images(study.images.class_indices, study.images.groups, part=part, seed=seed)
        known = _embedded_words(words, ready, cache)
        report = find_bias(
            ready, study.images, vocabulary=known, split=parts, alpha=alpha, least=least, seed=seed
        )
        if replacements is not None:
            report = study.with_replacements(report, replacements)
        asked = study.held_out(report) if held_out else None
    if not is_main_process():
        return
    if apply is not None and output is not None:
        study.apply(report, apply, output)
    from vlcls.cli.bias_report import write_json, write_text

    with opened(None if apply is not None else output) as stream:
        write = write_json if kind is BiasFormat.json else write_text
        shapes = study.shape_decisions(report, held_out)
        write(report, asked, shapes, embedded.name, ready.labels, stream)
    for message in embedded.errors.values():
        say_not_read(message)
    if embedded.errors:
        raise typer.Exit(SOME_IMAGES_FAILED)


@dataclass(frozen=True)
class _Study:
    """What all questions are about."""

    classifier: PromptClassifier
    descriptors: DescriptorSet
    phrase: Callable[[DescriptorSet], PromptSet]
    images: LabelledEmbeddings
    textures: Any

    def with_replacements(self, report: BiasReport, file: str) -> BiasReport:
        """After each suggestion to leave something out, those to put other words in its place."""
        from vlcls.bias import suggest_replacements
        from vlcls.descriptors import read_descriptors
        from vlcls.editing import score

        candidates = read_descriptors(file).for_labels(self.descriptors.labels)
        shown = self.images.some(report.split.shown)
        before = score(self.classifier, shown.embeddings)
        suggestions = []
        for each in report.suggestions:
            texts = candidates.texts(each.index)
            suggestions += [each, *suggest_replacements(
                each, before, shown.class_indices, shown.groups, self.descriptors, texts, self.phrase,
                names=shown.names,
            )]  # fmt: skip
        return replace(report, suggestions=tuple(suggestions))

    def held_out(self, report: BiasReport) -> HeldOut:
        from vlcls.bias import check_held_out

        replaced = [
            None
            if each.replacement is None
            else self.classifier.with_prompts(self.phrase(self._edited(report, place)))
            for place, each in enumerate(report.suggestions)
        ]
        return check_held_out(report, self.classifier, self.images, replaced)

    def apply(self, report: BiasReport, number: int, output: Path) -> None:
        from vlcls.descriptors import write_descriptors

        if number > len(report.suggestions):
            have = f"there are {len(report.suggestions)}" if report.suggestions else "there is none"
            raise EvaluationError(f"no suggestion {number} to apply: {have}")
        write_descriptors(self._edited(report, number - 1), output)

    def _edited(self, report: BiasReport, place: int) -> DescriptorSet:
        from vlcls.bias import edited_descriptors

        chosen = report.suggestions[place]
        identifier = self.descriptors.labels.ids[chosen.index]
        return edited_descriptors(self.descriptors, identifier, chosen.text, chosen.replacement)

    def shape_decisions(self, report: BiasReport, held_out: bool) -> dict[str, tuple[ShapeDecisions, ...]]:
        """Of the images shown, and of those held out if asked; empty without textures."""
        from vlcls.bias import texture_against_shape

        if self.textures is None:
            return {}
        said = self.classifier.similarities(self.images.embeddings).argmax(1).numpy()
        shapes, labels = self.images.class_indices.numpy(), self.classifier.labels.reported
        parts = {"shown": report.split.shown} | ({"held out": report.split.held_out} if held_out else {})
        return {
            name: texture_against_shape(said[rows], shapes[rows], self.textures[rows], labels)
            for name, rows in parts.items()
        }


def _opened(
    data: str, file: str, prompting: tuple[Any, ...], *, limit: int | None, **opening: Any
) -> tuple[PromptClassifier, DescriptorSet, EmbeddedSet]:
    """The classifier, its descriptors, and the images of the set, embedded."""
    from vlcls.descriptors import read_descriptors

    templates, phrasing, aggregate, articles, encoder, device, precision, cache = prompting
    described = read_descriptors(file)
    with status("opening"):
        from vlcls.evaluation.data import open_set

        given = open_set(data, labels=described.labels, **opening)
    if given.multi_label:
        raise EvaluationError(f"{data}: images have several classes; bias is looked for in sets of one each")
    for problem in given.problems if is_main_process() else ():
        say(f"{given.name}: {problem}", err=True)
    ready = built(
        templates=templates, descriptors=described, phrasing=phrasing, aggregate=aggregate, articles=articles,
        encoder=encoder, device=device, precision=precision, cache=cache,
    )  # fmt: skip
    from vlcls.classifiers.base import open_store
    from vlcls.evaluation.run.embedded import embed_set

    with bar("embedding images", given.count if limit is None else limit) as progress:
        embedded = embed_set(given, ready.encoder, store=open_store(cache), limit=limit, progress=progress)
    return ready, described, embedded


def _columns(
    embedded: EmbeddedSet, groups: list[str] | None, texture: str | None, ready: PromptClassifier
) -> tuple[LabelledEmbeddings, Any]:
    """The images with the columns of groups that were asked for, and the class of each texture."""
    import numpy as np
    import torch

    from vlcls.bias import textures_of_names
    from vlcls.labelled import LabelledEmbeddings, class_places

    textures = None
    if texture == FILE_NAME:
        textures = textures_of_names(embedded.names, ready.labels)
    elif texture is not None:
        values = embedded.groups[texture]
        places = class_places(values, ready.labels, f"column {texture!r}")
        textures = np.array([places[value] for value in values])
    kept = {
        name: values
        for name, values in embedded.groups.items()
        if (name in groups if groups else name != texture)
    }
    images = LabelledEmbeddings(
        embedded.embeddings, torch.from_numpy(embedded.classes), kept, embedded.names, embedded.errors
    )
    return images, textures


def _column(texture: str | None) -> tuple[str, ...]:
    return () if texture in (None, FILE_NAME) else (str(texture),)


def _phrase(
    phrasing: str | None, templates: str | None, articles: bool | None
) -> Callable[[DescriptorSet], PromptSet]:
    """As `built` makes prompts of descriptors."""
    from vlcls.prompts import class_prompts

    def phrase(descriptors: DescriptorSet) -> PromptSet:
        return class_prompts(None, templates, descriptors, phrasing=phrasing, articles=articles)

    return phrase


def _words(vocabulary: Path | None, descriptors: DescriptorSet) -> list[str]:
    """The words of a file, or else all descriptors, each once."""
    if vocabulary is None:
        return list(dict.fromkeys(each.text for own in descriptors.descriptors for each in own))
    lines = read_lines(vocabulary.expanduser(), EvaluationError)
    # A file of labels, as `vlcls discover` saves it, may have an id and a tab in front of a name.
    words = [line.rpartition("\t")[2].strip() for line in lines if not line.lstrip().startswith("#")]
    if not any(words):
        raise EvaluationError(f"vocabulary {vocabulary}: no words in it: write one a line")
    return list(dict.fromkeys(word for word in words if word))


def _embedded_words(words: list[str], ready: PromptClassifier, cache: bool) -> tuple[list[str], Any] | None:
    from vlcls.classifiers.base import open_store
    from vlcls.embeddings import embed_texts

    return (words, embed_texts(words, ready.encoder, store=open_store(cache)).cpu()) if words else None
