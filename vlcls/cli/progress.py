"""Progress on standard error, only where a person looks at it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vlcls.cli.console import Console


def is_main_process() -> bool:
    """Whether this is the one process of a launch that prints."""
    return os.environ.get("RANK", "0") == "0"


def _watched() -> bool:
    return sys.stderr.isatty() and is_main_process()


@contextmanager
def status(what: str) -> Iterator[None]:
    """A spinner while something of unknown length goes on."""
    if not _watched():
        yield
        return
    with Console(stderr=True).status(what):
        yield


@contextmanager
def bar(what: str, total: int | None) -> Iterator[Callable[..., None]]:
    """A progress bar; yields a function that is told how many more are done, and may be given a new title."""
    if not _watched():
        yield lambda count, title=None: None
        return
    from rich import progress as parts

    columns = (
        parts.TextColumn("{task.description}"),
        parts.BarColumn(),
        parts.MofNCompleteColumn(),
        parts.TimeElapsedColumn(),
        parts.TextColumn("left"),
        parts.TimeRemainingColumn(),
    )
    with parts.Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)

        def advance(count: int, title: str | None = None) -> None:
            progress.update(task, advance=count, description=title)

        yield advance
