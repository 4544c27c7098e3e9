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
    single: list[Parameter] = []
    whole: dict[str, tuple[Any, list[str]]] = {}
    for each in signature(function).parameters.values():
        kind, chosen = hints[each.name], None
        if get_origin(kind) is Annotated and is_dataclass(get_args(kind)[0]):
            kind, chosen = get_args(kind)
        if not is_dataclass(kind):
            single.append(each.replace(annotation=kind, kind=Parameter.KEYWORD_ONLY))
            continue
        own = [field for field in fields(kind) if chosen is None or field.name in chosen]
        types = get_type_hints(kind, include_extras=True)
        for field in own:
            default = Parameter.empty if field.default is MISSING else field.default
            single.append(
                Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=types[field.name])
            )
        whole[each.name] = kind, [field.name for field in own]

    def called(**given: Any) -> None:
        _refuse_nan(given)
        for name, (kind, names) in whole.items():
            given[name] = kind(**{own: given.pop(own) for own in names})
        function(**given)

    called.__doc__ = function.__doc__
    called.__signature__ = Signature(single)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in single}
    return called


def _refuse_nan(given: dict[str, Any]) -> None:
    """Ranges of options let NaN and infinity pass."""
    for name, value in given.items():
        for each in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(each, float) and not math.isfinite(each):
                raise typer.BadParameter(f"--{name.replace('_', '-')}: {each} is no finite number")
