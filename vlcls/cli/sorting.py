"""`--sort-into` of `vlcls classify`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from vlcls.cli.options import found_sources
from vlcls.cli.terminal import say
from vlcls.errors import ImageError
from vlcls.files.terminal import counted, printable

if TYPE_CHECKING:
    from vlcls.classifiers import Classification
    from vlcls.image_sources import ImageSource
    from vlcls.results.sorting import Sorted, Sorter

_sorting = partial(typer.Option, rich_help_panel="Sort into folders")
#: Images and folders that are named one by one.
_MOST = 10


@dataclass(frozen=True)
class SortOptions:
    sort_into: Annotated[
        Path | None,
        _sorting(
            metavar="DIR",
            help="Put the images into a folder for each label, and into 'none of these' and 'unreadable'. "
            "Nothing is overwritten; DIR keeps a manifest, the same command goes on with a DIR that it "
            "began, and `vlcls unsort DIR` puts everything back.",
        ),
    ] = None
    copy: Annotated[bool, _sorting("--copy", help="As copies: the usual way.")] = False
    link: Annotated[
        bool,
        _sorting(
            "--link",
            help="As symbolic links to where the images lie now: DIR may be moved, the images may not.",
        ),
    ] = False
    move: Annotated[
        bool,
        _sorting(
            "--move",
            help="The images themselves. One with several labels goes to the first one's folder, and links "
            "to it into the others. An image that is itself a link stays, and is linked.",
        ),
    ] = False

    def started(self, context: typer.Context, images: Sequence[str]) -> Sorting:
        """Find the images, and hold DIR from now on to the end of the command."""
        ways = [name for name in ("copy", "link", "move") if getattr(self, name)]
        if len(ways) > 1:
            raise typer.BadParameter(f"--{ways[0]} and --{ways[1]}: give one of them")
        if self.sort_into is None:
            if ways:
                raise typer.BadParameter(f"--{ways[0]} says how to sort: --sort-into DIR says where")
            return Sorting(found_sources(images), None)
        from vlcls.results.sorting import Sorter

        stack = context.with_resource(ExitStack())
        how = cast(Literal["copy", "link", "move"], ways[0] if ways else "copy")
        sorters: list[Sorter] = []

        def found(inputs: Sequence[str]) -> list[ImageSource]:
            sorters.append(Sorter(Path(str(self.sort_into)), how, stack))
            return _unsorted(sorters[0], inputs)

        sources = found_sources(images, found)
        return Sorting(sources, sorters[0] if sorters else None)


@dataclass(frozen=True)
class Sorting:
    """The images to classify, and what sorts them; None if they are not sorted, or by another process."""

    sources: list[ImageSource]
    sorter: Sorter | None

    def placed(self, results: Iterable[Classification]) -> Iterator[Classification]:
        """Hand results on, each once its image is placed; say at the end what became of all."""
        if self.sorter is None:
            yield from results
            return
        for result, source in zip(results, self.sources, strict=True):
            self.sorter.place(result, source)
            yield result
        _say(self.sorter.done)


def _unsorted(sorter: Sorter, inputs: Sequence[str]) -> list[ImageSource]:
    """The images that are there to be sorted; none if earlier runs moved all of them."""
    from vlcls.image_sources import find_images

    try:
        sources = find_images(inputs)
    except ImageError:
        sorter.done.already = sorter.moved_from(inputs)
        if not sorter.done.already:
            raise
        sources = []
    sources = sorter.unsorted(sources)
    sorter.check(sources)
    return sources


def _say(done: Sorted) -> None:
    names = [f"{name} {count:,}" for name, count in sorted(done.placed.items())]
    said = f"{done.folder}: {counted(names, _MOST) or 'nothing new'}"
    if done.already:
        said += f"; {done.already:,} were there already"
    if done.placed or done.already:
        said += f"; `vlcls unsort {done.folder}` puts everything back"
    say(said, err=True)
    if done.elsewhere:
        say(
            f"{done.elsewhere:,} of them lie in other folders of {done.folder}, too, where an earlier run "
            "put them: unsort it and sort anew to have each in its own only",
            err=True,
        )
    say_left(done.left, "left where they are")


def say_left(left: Sequence[str], what: str) -> None:
    """Name what was not touched, up to a number of lines."""
    for each in left[:_MOST]:
        say(f"left: {printable(each)}", err=True)
    if left:
        say(f"{len(left):,} {what}" + (" (the first are named)" if len(left) > _MOST else ""), err=True)
