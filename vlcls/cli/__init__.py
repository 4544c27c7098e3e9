"""The command line: parse, call the library, print. No logic of its own."""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
import warnings
from typing import Annotated, Any, NoReturn

import typer

from vlcls import __version__
from vlcls.cli import commands
from vlcls.cli.command import CommandGroup, add_commands
from vlcls.cli.terminal import forget_stdout, prepare_streams, say, styled
from vlcls.errors import VlclsError, VlclsWarning, cut_message
from vlcls.files.terminal import printable

#: Typer brings the class along, in a place that differs between its releases.
_UsageError: Any = typer.BadParameter.__bases__[0]


class _Main(CommandGroup):
    """Catches what Typer would turn into an exit code of its own."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _fail("interrupted; what was embedded is kept, the same command goes on from there", code=130)
        except BrokenPipeError:  # the reader of our output has left: `vlcls ... | head`
            forget_stdout()
            sys.exit(141)
        except _UsageError as error:  # it repeats what was typed, or what the shell made of "*"
            error.message = printable(error.message, lines=True)
            raise


app = typer.Typer(
    name="vlcls",
    cls=_Main,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Classify images by names you type: no training, no labelled data.

[bold]Examples[/]

  vlcls demo
  vlcls classify photos/ --labels "cat,dog,red panda"
  vlcls classify photos/ --labels "cat,dog" --encoder conse     [dim]# no download, no network[/]
  vlcls encoders                                                [dim]# which models there are[/]

Results go to standard output, everything else to standard error. Exit codes: 0 all well, 1 the command
failed, 2 it was mistyped, 3 it finished but some images could not be read.""",
)
add_commands(app, commands)

_debug = False


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"vlcls {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error, and all logs.")
    ] = False,
) -> None:
    global _debug
    _debug = debug or bool(os.environ.get("VLCLS_DEBUG"))
    if not _debug:
        _quiet_libraries()


def main() -> None:
    """The `vlcls` command: errors as one line, warnings as one line."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    prepare_streams()
    try:
        app()
    except VlclsError as error:
        _fail(str(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            forget_stdout()  # which may be what is full: what is left in it would fail once more at the end
            _fail(f"{error.filename or 'the output'} cannot be written: {error.strerror}")
        what = cut_message(f"unexpected {type(error).__name__}: {error}")
        _fail(f"{what} (`vlcls --debug ...` shows where)")


def _fail(message: str, code: int = 1) -> NoReturn:
    if _debug:
        say(traceback.format_exc(), err=True)
    say(styled("error: ", fg="red", bold=True), message, err=True)
    sys.exit(code)


def _show_warning(message: Warning | str, category: type[Warning], *args: object) -> None:
    if issubclass(category, VlclsWarning) or _debug:
        say(styled("warning: ", fg="yellow"), message, err=True)


def _quiet_libraries() -> None:
    logging.getLogger().setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
