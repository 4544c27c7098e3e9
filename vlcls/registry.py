"""Parts by name: those that vlcls has, and those that other packages bring as plugins.

A kind of part is one `Registry`. A package brings parts through an entry point of the registry's group whose
object is the part itself (docs/plugins.md).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from threading import RLock
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from vlcls.errors import VlclsError, VlclsWarning

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Named(Protocol):
    """What a registry holds."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


class Registry(Mapping[str, T]):
    """Parts of one kind by name, in the order in which they came.

    Plugins are looked for once, and not before somebody lists the parts or asks for one that vlcls has not.

    Args:
        kind: Their class.
        what: One of them, in words: "method".
        error: What `find` raises.
        group: Entry points that bring more: "vlcls.methods"; None for kinds that plugins have no part in.
    """

    def __init__(
        self, kind: type[T], what: str, error: type[VlclsError] = VlclsError, group: str | None = None
    ) -> None:
        self.kind, self.what, self.error, self.group = kind, what, error, group
        self._parts: dict[str, T] = {}
        self._looked, self._lock = False, RLock()

    def register(self, part: T) -> T:
        """Add one.

        Raises:
            VlclsError: It is of another kind, or its name is taken or no text.
        """
        if not isinstance(part, self.kind):
            raise VlclsError(f"a {self.what} is a {self.kind.__name__}, not {type(part).__name__}")
        if not isinstance(part.name, str) or not part.name:
            raise VlclsError(f"the name of a {self.what} is a text, not {part.name!r}")
        if part.name in self._parts:
            raise VlclsError(f"there is a {self.what} called {part.name!r} already")
        self._parts[part.name] = part
        return part

    def find(self, name: str) -> T:
        """The one of that name.

        Raises:
            VlclsError: There is none; names those that there are. Of the class that the registry was given.
        """
        if name not in self:
            raise self.error(f"no {self.what} {name!r}: choose one of {', '.join(self)}")
        return self[name]

    def __getitem__(self, name: str) -> T:
        if name not in self._parts:
            self._look_for_plugins()
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        self._look_for_plugins()
        return iter(tuple(self._parts))

    def __len__(self) -> int:
        self._look_for_plugins()
        return len(self._parts)

    def _look_for_plugins(self) -> None:
        with self._lock:
            if self._looked or self.group is None:
                return
            self._looked = True  # first: a plugin may well look at the registry while it is imported
            from importlib.metadata import entry_points

            for point in entry_points(group=self.group):
                self._take(point)

    def _take(self, point: EntryPoint) -> None:
        """A plugin that cannot be used costs a warning and nothing else."""
        try:
            self.register(point.load())
        except (Exception, SystemExit) as error:
            package = "an unknown package" if point.dist is None else f"the package {point.dist.name}"
            said = " ".join(str(error).split())
            reason = said if isinstance(error, VlclsError) else f"{type(error).__name__}: {said}"
            warnings.warn(
                f"the plugin {point.name!r} of {package} ({self.group}, {point.value}) is left out: {reason}",
                VlclsWarning,
                stacklevel=4,
            )


def lazy(target: str) -> Callable[..., Any]:
    """The function that "package.module:name" names, whose module is imported when it is first called."""
    return partial(_call, target)


def _call(target: str, *args: Any, **options: Any) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)(*args, **options)
