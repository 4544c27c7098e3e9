"""The one way of text to a terminal: names of files, labels and answers of servers are shown, never obeyed.

Everything that a command says goes through `say`, through `vlcls.cli.console.Console` (tables, progress) or
the writers of results in `vlcls.cli.output`; tests/test_terminal.py holds that nothing passes them by.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import typer

from vlcls.files.terminal import printable


class _Styled(str):
    """Text that was made printable and carries our own colours."""


def styled(text: object, **style: Any) -> str:
    """Part of what `say` prints, in a style of `typer.style`."""
    return _Styled(typer.style(printable(str(text)), **style))


def say(*parts: object, err: bool = False, nl: bool = True) -> None:
    """Print a line (or several: line ends are kept) on standard output or standard error."""
    shown = [part if isinstance(part, _Styled) else printable(str(part), lines=True) for part in parts]
    typer.echo("".join(shown), err=err, nl=nl)


def say_not_read(message: str | None) -> None:
    """One line for an image that could not be read; a file name cannot make two of it."""
    say(printable(f"not read: {message}"), err=True)


def prepare_streams() -> None:
    """Characters that a terminal's encoding lacks are written as escapes: they must not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def forget_stdout() -> None:
    """What is still to be written to standard output is dropped: its reader has left, or its disk is full."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
