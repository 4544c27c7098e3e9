"""`vlcls descriptors add|remove|replace|reweight|rename`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlcls.cli.command import command
from vlcls.cli.descriptor_files import DescriptorFile, write_set
from vlcls.cli.evidence import EvidenceOptions, show_effect
from vlcls.cli.output import file_to_write
from vlcls.errors import DescriptorError

if TYPE_CHECKING:
    from vlcls.descriptors import DescriptorSet

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


@dataclass(frozen=True, kw_only=True)
class EditedOptions:
    output: Output = None
    evidence: EvidenceOptions


@command()
def add(
    file: DescriptorFile,
    class_name: ClassName,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="Descriptors to add.")],
    *,
    new_class: Annotated[bool, typer.Option("--new-class", help="Make the class first.")] = False,
    edited: EditedOptions,
) -> None:
    """Add descriptors to a class.

    [bold]Example[/]

      vlcls descriptors add mine.json tiger "black stripes" --images photos/ --encoder conse
    """
    from vlcls.descriptors.edits import add

    _edit(file, edited, lambda before: add(before, class_name, texts, new_class=new_class))


@command()
def remove(
    file: DescriptorFile,
    class_name: ClassName,
    edited: EditedOptions,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT...]", help="Descriptors; none for the whole class.")
    ] = None,
) -> None:
    """Remove descriptors of a class, or the class."""
    from vlcls.descriptors.edits import remove

    _edit(file, edited, lambda before: remove(before, class_name, texts or None))


@command()
def replace(
    file: DescriptorFile,
    class_name: ClassName,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The descriptor.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new words.")],
    edited: EditedOptions,
) -> None:
    """Change the words of a descriptor; its source is kept, and that it was edited."""
    from vlcls.descriptors.edits import replace_text

    _edit(file, edited, lambda before: replace_text(before, class_name, old, new))


@command()
def reweight(
    file: DescriptorFile,
    class_name: ClassName,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The descriptor.")],
    weight: Annotated[float, typer.Argument(metavar="WEIGHT", help="1 is usual, 0 leaves it out.")],
    edited: EditedOptions,
) -> None:
    """Change how much a descriptor counts in its class."""
    from vlcls.descriptors.edits import reweight

    _edit(file, edited, lambda before: reweight(before, class_name, text, weight))


@command()
def rename(
    file: DescriptorFile,
    old: Annotated[str, typer.Argument(metavar="OLD", help="A class, by name or id.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")],
    output: Output = None,
) -> None:
    """Give a class another name; its id, if it has one, stays."""
    from vlcls.descriptors import edits, read_descriptors

    _save(edits.rename(read_descriptors(file), old, new), file, output)


def _edit(file: str, edited: EditedOptions, change: Callable[[DescriptorSet], DescriptorSet]) -> None:
    """Show what the edit does, then write the edited set: what cannot be measured changes no file."""
    from vlcls.descriptors import read_descriptors

    before = read_descriptors(file)
    after = change(before)
    images = edited.evidence.images
    if images is not None:
        if before.labels != after.labels:
            raise DescriptorError(
                "--images compares predictions among the same classes: leave it out to add or remove one"
            )
        show_effect(before, after, images, edited.evidence)
    _save(after, file, edited.output)


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
    write_set(descriptors, output or own, format)
