"""`vlcls bias`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vlcls.cli.bias_report import write_json, write_text
from vlcls.cli.command import command
from vlcls.cli.options import (
    Cache,
    ClassOptions,
    DataOptions,
    ModelOptions,
    Output,
    built,
    format_option,
    of_classes,
    of_data,
    of_output,
)
from vlcls.cli.output import chosen_format, leave, opened
from vlcls.cli.progress import bar, is_main_process, status
from vlcls.cli.terminal import say
from vlcls.errors import EvaluationError
from vlcls.files.text import read_lines

if TYPE_CHECKING:
    from vlcls.bias import BiasReport, HeldOut, ShapeDecisions
    from vlcls.classifiers import PromptClassifier
    from vlcls.descriptors import DescriptorSet
    from vlcls.evaluation.data import EvaluationSet
    from vlcls.evaluation.run.embedded import EmbeddedSet
    from vlcls.labelled import LabelledEmbeddings
    from vlcls.labels import Labels
    from vlcls.prompts import PromptSet

#: Value of --texture for sets that say it in file names.
FILE_NAME = "file-name"
_of_search = partial(typer.Option, rich_help_panel="Search")


@dataclass(frozen=True)
class GroupOptions:
    """Which columns are looked at."""

    groups: Annotated[
        list[str] | None,
        of_data(
            metavar="COLUMN", show_default="those of the folders",
            help="Column of groups: domain, background, ... May be repeated.",
        ),
    ] = None  # fmt: skip
    texture: Annotated[
        str | None,
        of_data(
            metavar="COLUMN|file-name",
            help="Where the class of an image's texture stands; then the class of the image is its shape.",
        ),
    ] = None

    @property
    def columns(self) -> tuple[str, ...]:
        texture = () if self.texture in (None, FILE_NAME) else (str(self.texture),)
        return tuple(dict.fromkeys([*(self.groups or ()), *texture]))


@dataclass(frozen=True)
class SearchOptions:
    """What is looked for, and what is written of it."""

    limit: Annotated[int | None, of_data(min=2, help="Images.")] = None
    vocabulary: Annotated[
        Path | None,
        _of_search(
            metavar="FILE", show_default="the descriptors",
            help="Words to describe failures with, one a line (`vlcls discover --save-labels` finds some).",
        ),
    ] = None  # fmt: skip
    replacements: Annotated[
        str | None,
        _of_search(
            metavar="FILE",
            help="Another descriptor file, to replace descriptors from instead of leaving them out.",
        ),
    ] = None
    part: Annotated[float, _of_search(min=0.01, max=0.99, help="Share of images held out.")] = 0.5
    seed: Annotated[int, _of_search(help="Of the split and the tests.")] = 0
    alpha: Annotated[float, _of_search(min=0.0, max=1.0, help="Chance of any false alarm.")] = 0.05
    least: Annotated[int, _of_search(min=2, help="Images that a failure mode has at least.")] = 10


@dataclass(frozen=True)
class FoundOptions:
    held_out: Annotated[
        bool,
        of_output(
            "--held-out",
            help="Also ask the images held out. They are worth less each time one acts on the answer.",
        ),
    ] = False
    apply: Annotated[
        int | None,
        of_output(
            min=1, metavar="N",
            help="Write the descriptors with suggestion N to --output; the report goes to standard output.",
        ),
    ] = None  # fmt: skip
    format: Annotated[Literal["text", "json"] | None, format_option(usual="text")] = None
    output: Output = None

    @property
    def report(self) -> Path | None:
        """Where the report goes: to standard output if the file is for descriptors."""
        return None if self.apply is not None else self.output


Descriptors = Annotated[
    str,
    of_classes(
        "--descriptors", "-d", metavar="FILE",
        help="What each class looks like: a file, or a built-in set. Its classes are the labels.",
    ),
]  # fmt: skip


Dataset = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="FOLDER/CLASS/, FOLDER/GROUP/CLASS/, Parquet, CSV, webdataset shards, or a Hub id.",
    ),
]


@command()
def bias(
    data: Dataset,
    descriptors: Descriptors, groups: GroupOptions,
    reading: Annotated[DataOptions, ("split", "config", "image_column", "label_column")],
    search: SearchOptions,
    classes: Annotated[ClassOptions, ("templates", "phrasing", "aggregate", "articles")],
    model: ModelOptions, found: FoundOptions, cache: Cache = True,
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
    if found.apply is not None and found.output is None:
        raise typer.BadParameter("--apply writes a descriptor file: say where, --output NEW.json")
    kind = chosen_format(found.format, found.report, ("text", "json"))
    from vlcls.descriptors import read_descriptors

    described = read_descriptors(descriptors)
    given = _opened(data, described.labels, vars(reading) | {"group_columns": groups.columns})
    ready = built(classes, model, cache, descriptors=described)
    embedded = _embedded(given, ready, search.limit, cache)
    study = _Study(ready, described, classes, *_columns(embedded, groups, ready))
    report = study.report(search, cache)
    asked = study.held_out(report) if found.held_out else None
    if is_main_process():
        _write(study, report, asked, found, kind, embedded.name)
        leave(embedded.errors.values())


def _write(
    study: _Study, report: BiasReport, asked: HeldOut | None, found: FoundOptions, kind: str, name: str
) -> None:
    if found.apply is not None and found.output is not None:
        study.apply(report, found.apply, found.output)
    with opened(found.report) as stream:
        write = write_json if kind == "json" else write_text
        shapes = study.shape_decisions(report, found.held_out)
        write(report, asked, shapes, name, study.classifier.labels, stream)


@dataclass(frozen=True)
class _Study:
    """What all questions are about."""

    classifier: PromptClassifier
    descriptors: DescriptorSet
    wording: ClassOptions
    images: LabelledEmbeddings
    textures: Any

    def phrase(self, descriptors: DescriptorSet) -> PromptSet:
        """As `built` makes prompts of descriptors."""
        from vlcls.prompts import class_prompts

        wording = self.wording
        return class_prompts(
            None, wording.templates, descriptors, phrasing=wording.phrasing, articles=wording.articles
        )

    def report(self, search: SearchOptions, cache: bool) -> BiasReport:
        words = _words(search.vocabulary, self.descriptors)
        with status("looking"):
            from vlcls.bias import find_bias, split_images

            parts = split_images(
                self.images.class_indices, self.images.groups, part=search.part, seed=search.seed
            )
            found = find_bias(
                self.classifier, self.images, vocabulary=_embedded_words(words, self.classifier, cache),
                split=parts, alpha=search.alpha, least=search.least, seed=search.seed,
            )  # fmt: skip
            file = search.replacements
            return found if file is None else self.with_replacements(found, file)

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


def _opened(data: str, labels: Labels, reading: dict[str, Any]) -> EvaluationSet:
    with status("opening"):
        from vlcls.evaluation.data import open_set

        given = open_set(data, labels=labels, **reading)
    if given.multi_label:
        raise EvaluationError(f"{data}: images have several classes; bias is looked for in sets of one each")
    for problem in given.problems if is_main_process() else ():
        say(f"{given.name}: {problem}", err=True)
    return given


def _embedded(given: EvaluationSet, ready: PromptClassifier, limit: int | None, cache: bool) -> EmbeddedSet:
    from vlcls.classifiers.base import open_store
    from vlcls.evaluation.run.embedded import embed_set

    with bar("embedding images", given.count if limit is None else limit) as progress:
        return embed_set(given, ready.encoder, store=open_store(cache), limit=limit, progress=progress)


def _columns(
    embedded: EmbeddedSet, asked: GroupOptions, ready: PromptClassifier
) -> tuple[LabelledEmbeddings, Any]:
    """The images with the columns of groups that were asked for, and the class of each texture."""
    import numpy as np
    import torch

    from vlcls.bias import textures_of_names
    from vlcls.labelled import LabelledEmbeddings, class_places

    textures, groups, texture = None, asked.groups, asked.texture
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
