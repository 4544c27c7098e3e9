"""`vlcls descriptors`: look at, check, convert and edit descriptor sets."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlcls.cli.command import command
from vlcls.cli.evidence import FlipsFile, Images, show_effect
from vlcls.cli.options import (
    AggregateOption,
    Cache,
    EncoderSpec,
    LabelsFile,
    LabelsText,
    PhrasingOption,
    Templates,
    found_labels,
)
from vlcls.cli.output import file_to_write, json_text, opened
from vlcls.cli.progress import status
from vlcls.cli.terminal import say, styled
from vlcls.errors import DescriptorError
from vlcls.files.terminal import printable_json

if TYPE_CHECKING:
    from vlcls.descriptors import DescriptorSet
    from vlcls.descriptors.parsing import FileFormat


File = Annotated[str, typer.Argument(metavar="FILE", help="A descriptor file, or a built-in set.")]
ClassName = Annotated[str, typer.Argument(metavar="CLASS", help="A class, by name or id.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        show_default="FILE itself",
        help="Write to another file; - to print.",
        callback=file_to_write,
    ),
]


class Target(str, Enum):
    vlcls = "vlcls"
    plain = "plain"


class Lines(str, Enum):
    table = "table"
    jsonl = "jsonl"


@command("list")
def list_sets() -> None:
    """List the built-in sets."""
    from vlcls.descriptors import descriptor_names, read_descriptors

    for name in descriptor_names():
        found = read_descriptors(name)
        say(f"{name}: {len(found.labels)} classes, {len(found)} {found.style}")


@command()
def validate(
    file: File,
    labels: LabelsText = None,
    labels_file: LabelsFile = None,
    encoder: EncoderSpec = None,
    format: Annotated[Lines, typer.Option("--format", "-f", help="How to write problems.")] = Lines.table,
) -> None:
    """Report every problem with its class and line; exit code 1 if a class or a descriptor is lost.

    [bold]Examples[/]

      vlcls descriptors validate descriptors.json
      vlcls descriptors validate descriptors.json --labels-file classes.txt --encoder conse
    """
    from vlcls.descriptors import check_descriptors

    known = found_labels(labels, labels_file, True) if labels or labels_file else None
    loaded = None
    if encoder is not None:
        with status(f"loading {encoder}"):
            from vlcls.encoders import load_encoder

            loaded = load_encoder(encoder)
    problems = check_descriptors(file, known, loaded)
    if format is Lines.jsonl:
        for problem in problems:
            say(json_text(problem.to_json()))
    else:
        for problem in problems:
            where = file if problem.line is None else f"{file}:{problem.line}"
            words = f"{problem.descriptor!r} " if problem.descriptor else ""
            severity = styled(problem.severity, fg="red" if problem.severity == "error" else "yellow")
            say(f"{where}: ", severity, f": {problem.class_name}: {words}{problem.message}")
        errors = sum(problem.severity == "error" for problem in problems)
        say(f"{errors} errors, {len(problems) - errors} warnings", err=True)
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(1)


@command()
def show(
    file: File,
    classes: Annotated[list[str] | None, typer.Argument(metavar="[CLASS...]", help="Only these.")] = None,
) -> None:
    """Print descriptors, and where each came from."""
    from vlcls.descriptors import read_descriptors

    found = read_descriptors(file)
    places = [found.find(name) for name in classes] if classes else range(len(found.labels))
    for index in places:
        say(styled(found.labels.reported[index], bold=True))
        for each in found.descriptors[index]:
            notes = [each.source, *(["edited"] if each.edited else [])]
            notes += [f"weight {each.weight:g}"] if each.weight != 1 else []
            say(f"  {each.text}", styled(f"  ({', '.join(notes)})", dim=True))
        if not found.descriptors[index]:
            say(styled("  (none)", dim=True))
    if not classes:
        for name, about in found.sources.items():
            notes = [f"{key} {value}" for key, value in about.items()]
            say(styled(f"{name}: {', '.join(notes)}", dim=True))


@command()
def convert(
    file: File,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write; - to print.", callback=file_to_write)
    ],
    to: Annotated[
        Target, typer.Option(help="vlcls: with provenance and weights. plain: class to texts.")
    ] = Target.vlcls,
) -> None:
    """Write a set in another format.

    [bold]Examples[/]

      vlcls descriptors convert published.json -o mine.json
      vlcls descriptors convert pacs -o - --to plain
    """
    from vlcls.descriptors import read_descriptors

    _write(read_descriptors(file), output, "plain" if to is Target.plain else "vlcls")


@command()
def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="A file or built-in set.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="A file or built-in set.")],
    images: Images = None,
    encoder: EncoderSpec = None,
    templates: Templates = None,
    phrasing: PhrasingOption = None,
    aggregate: AggregateOption = None,
    flips: FlipsFile = None,
    cache: Cache = True,
) -> None:
    """Say what differs between two sets; with --images, what that does to predictions.

    [bold]Examples[/]

      vlcls descriptors diff old.json new.json
      vlcls descriptors diff old.json new.json --images photos/ --encoder conse
    """
    from vlcls.descriptors import diff_descriptors, read_descriptors

    old, new = read_descriptors(before), read_descriptors(after)
    marks = {"class added": "+", "class removed": "-", "added": "+", "removed": "-", "reweighted": "~"}
    for change in diff_descriptors(old, new):
        text = change.text or "(the class)"
        weights = f"  weight {change.weights[0]:g} -> {change.weights[1]:g}" if change.weights else ""
        colour = {"+": "green", "-": "red", "~": "yellow"}[marks[change.kind]]
        say(styled(f"{marks[change.kind]} {change.class_name}: {text}{weights}", fg=colour))
    if images is not None:
        show_effect(
            old, new.for_labels(old.labels), images, encoder=encoder, templates=templates, phrasing=phrasing,
            aggregate=aggregate, flips=flips, cache=cache,
        )  # fmt: skip


@command()
def add(
    file: File,
    class_name: ClassName,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="Descriptors to add.")],
    new_class: Annotated[bool, typer.Option("--new-class", help="Make the class first.")] = False,
    output: Output = None,
    images: Images = None,
    encoder: EncoderSpec = None,
    templates: Templates = None,
    phrasing: PhrasingOption = None,
    aggregate: AggregateOption = None,
    flips: FlipsFile = None,
    cache: Cache = True,
) -> None:
    """Add descriptors to a class.

    [bold]Example[/]

      vlcls descriptors add mine.json tiger "black stripes" --images photos/ --encoder conse
    """
    from vlcls.descriptors import edits

    before = _read(file)
    after = edits.add(before, class_name, texts, new_class=new_class)
    _finish(before, after, file, output, images, encoder, templates, phrasing, aggregate, flips, cache)


@command()
def remove(
    file: File,
    class_name: ClassName,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT...]", help="Descriptors; none for the whole class.")
    ] = None,
    output: Output = None,
    images: Images = None,
    encoder: EncoderSpec = None,
    templates: Templates = None,
    phrasing: PhrasingOption = None,
    aggregate: AggregateOption = None,
    flips: FlipsFile = None,
    cache: Cache = True,
) -> None:
    """Remove descriptors of a class, or the class."""
    from vlcls.descriptors import edits

    before = _read(file)
    after = edits.remove(before, class_name, texts or None)
    _finish(before, after, file, output, images, encoder, templates, phrasing, aggregate, flips, cache)


@command()
def replace(
    file: File,
    class_name: ClassName,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The descriptor.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new words.")],
    output: Output = None,
    images: Images = None,
    encoder: EncoderSpec = None,
    templates: Templates = None,
    phrasing: PhrasingOption = None,
    aggregate: AggregateOption = None,
    flips: FlipsFile = None,
    cache: Cache = True,
) -> None:
    """Change the words of a descriptor; its source is kept, and that it was edited."""
    from vlcls.descriptors import edits

    before = _read(file)
    after = edits.replace_text(before, class_name, old, new)
    _finish(before, after, file, output, images, encoder, templates, phrasing, aggregate, flips, cache)


@command()
def reweight(
    file: File,
    class_name: ClassName,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The descriptor.")],
    weight: Annotated[float, typer.Argument(metavar="WEIGHT", help="1 is usual, 0 leaves it out.")],
    output: Output = None,
    images: Images = None,
    encoder: EncoderSpec = None,
    templates: Templates = None,
    phrasing: PhrasingOption = None,
    aggregate: AggregateOption = None,
    flips: FlipsFile = None,
    cache: Cache = True,
) -> None:
    """Change how much a descriptor counts in its class."""
    from vlcls.descriptors import edits

    before = _read(file)
    after = edits.reweight(before, class_name, text, weight)
    _finish(before, after, file, output, images, encoder, templates, phrasing, aggregate, flips, cache)


@command()
def rename(
    file: File,
    old: Annotated[str, typer.Argument(metavar="OLD", help="A class, by name or id.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")],
    output: Output = None,
) -> None:
    """Give a class another name; its id, if it has one, stays."""
    from vlcls.descriptors import edits

    _save(edits.rename(_read(file), old, new), file, output)


def _read(file: str) -> DescriptorSet:
    from vlcls.descriptors import read_descriptors

    return read_descriptors(file)


def _finish(
    before: DescriptorSet, after: DescriptorSet, file: str, output: Path | None, images: Path | None,
    encoder: str | None, templates: str | None, phrasing: str | None, aggregate: str | None,
    flips: Path | None, cache: bool,
) -> None:  # fmt: skip
    """Show what the edit does, then write the edited set: what cannot be measured changes no file."""
    if images is not None:
        if before.labels != after.labels:
            raise DescriptorError(
                "--images compares predictions among the same classes: leave it out to add or remove one"
            )
        show_effect(
            before, after, images, encoder=encoder, templates=templates, phrasing=phrasing,
            aggregate=aggregate, flips=flips, cache=cache,
        )  # fmt: skip
    _save(after, file, output)


def _save(descriptors: DescriptorSet, file: str, output: Path | None) -> None:
    """Write to the file that was read, in its own format, or elsewhere."""
    from vlcls.descriptors.files import descriptor_names, read_file

    own = Path(file).expanduser()
    if output is None and file in descriptor_names():
        raise DescriptorError(f"{file} is built in and cannot be changed: write to another file with -o")
    format = read_file(file).format
    if format == "plain" and any(
        each.weight != 1 for own_list in descriptors.descriptors for each in own_list
    ):
        raise DescriptorError(
            f"{file} is a plain file, which holds no weights: `vlcls descriptors convert {file} -o NEW.json`"
        )
    _write(descriptors, output or own, format)


def _write(descriptors: DescriptorSet, output: Path, format: FileFormat) -> None:
    from vlcls.descriptors.files import written

    text = written(descriptors, format)
    with opened(output) as stream:
        stream.write(printable_json(text) if str(output) == "-" else text)
    if str(output) != "-":
        sys.stdout.flush()
        say(f"{output}: {len(descriptors.labels)} classes, {len(descriptors)} {descriptors.style}", err=True)
