"""What makes a function a command, and a folder of such functions the command line.

To add `vlcls greet`, write `vlcls/cli/commands/greet.py`; nothing else is edited:

    @command()
    def greet(name: Annotated[str, typer.Argument(help="Whom.")], model: Model) -> None:
        '''Say hello.'''

A folder is a group, with the docstring of its `__init__.py` as its help and `ORDER` for its list of commands.
"""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from inspect import Parameter, Signature, signature
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
import typer.core

from vlcls.registry import Registry

_NAME = "__vlcls_command__"
#: Makes a parameter of a command of all that Typer gives.
_Whole = Callable[[dict[str, Any]], Any]


#: Help texts behind which parts are listed.
_LISTED: dict[str, Registry[Any]] = {}


def with_parts(text: str, parts: Registry[Any]) -> str:
    """A help text with a list of parts behind it, those of plugins too: they are looked for only then."""
    _LISTED[text] = parts
    return text


class _PlainFlags:
    """Help with lists of parts, and without the type of a flag: nothing is typed after one."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        for each in self.get_params(ctx):
            for part in _LISTED.get(getattr(each, "help", None) or "", {}).values():
                each.help += f" {part.name}: {part.about}."
        super().format_help(ctx, formatter)  # type: ignore[misc]

    def get_params(self, ctx: Any) -> list[Any]:
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for each in found:
            if getattr(each, "is_flag", False):
                each.metavar = ""
        return found


class _Command(_PlainFlags, typer.core.TyperCommand):
    pass


class CommandGroup(_PlainFlags, typer.core.TyperGroup):
    pass


def command(name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command, of its own name unless another is given.

    Its parameters are options and arguments as Typer knows them. A parameter that is a dataclass stands for
    all of its fields, `Annotated[ThatClass, ("one", "other")]` for these; the function gets the dataclass.
    """

    def marked(function: Callable[..., None]) -> Callable[..., None]:
        setattr(function, _NAME, name or function.__name__.replace("_", "-"))
        return function

    return marked


def add_commands(app: typer.Typer, package: ModuleType) -> None:
    """Add the commands of a folder's files, and of its folders as groups; those in its `ORDER` first."""
    order: tuple[str, ...] = package.ORDER
    found = dict(_found(package))
    for name in sorted(found, key=lambda each: (order.index(each) if each in order else len(order), each)):
        each = found[name]
        if isinstance(each, ModuleType):
            group = typer.Typer(no_args_is_help=True, cls=CommandGroup, help=each.__doc__)
            add_commands(group, each)
            app.add_typer(group, name=name)
        else:
            app.command(name, cls=_Command)(_of_single_options(each))


def _found(package: ModuleType) -> Iterator[tuple[str, Any]]:
    for info in pkgutil.iter_modules(package.__path__):
        module = import_module(f"{package.__name__}.{info.name}")
        if info.ispkg:
            yield info.name, module
        for each in [] if info.ispkg else vars(module).values():
            if getattr(each, _NAME, None) and each.__module__ == module.__name__:
                yield getattr(each, _NAME), each


def _of_single_options(function: Callable[..., None]) -> Callable[..., None]:
    """The function as Typer reads it: with the fields of dataclasses in place of these."""
    hints = get_type_hints(function, include_extras=True)
    own = signature(function).parameters.values()
    parts = {each.name: _single_options(each.name, hints[each.name], each.default) for each in own}

    def called(**given: Any) -> None:
        _refuse_nan(given)
        function(**{name: whole(given) for name, (_, whole) in parts.items()})

    single = [each for found, _ in parts.values() for each in found]
    called.__doc__ = function.__doc__
    called.__signature__ = Signature(single)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in single}
    return called


def _single_options(name: str, kind: Any, default: Any) -> tuple[list[Parameter], _Whole]:
    """What Typer reads in place of a parameter, and what makes its value of all that Typer gives."""
    whole: Any = kind
    chosen = None
    if get_origin(kind) is Annotated and is_dataclass(get_args(kind)[0]):
        whole, chosen = get_args(kind)
    has_fields = is_dataclass(whole)
    if not has_fields:
        own = Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        return [own], lambda given: given[name]
    types = get_type_hints(whole, include_extras=True)
    parts = {
        each.name: _single_options(
            each.name, types[each.name], Parameter.empty if each.default is MISSING else each.default
        )
        for each in fields(whole)
        if chosen is None or each.name in chosen
    }
    single = [each for found, _ in parts.values() for each in found]
    return single, lambda given: whole(**{own: part(given) for own, (_, part) in parts.items()})


def _refuse_nan(given: dict[str, Any]) -> None:
    """Ranges of options let NaN and infinity pass."""
    for name, value in given.items():
        for each in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(each, float) and not math.isfinite(each):
                raise typer.BadParameter(f"--{name.replace('_', '-')}: {each} is no finite number")
