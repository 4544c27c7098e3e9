"""Sequences that hold no values: what lies in files is read by whoever gets to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, overload

T = TypeVar("T")


class Lazy(Sequence[T]):
    """`count` values, each made of its place when it is asked for; to be pickled if `make` can be."""

    def __init__(self, count: int, make: Callable[[int], T]) -> None:
        self._places, self._make = range(count), make

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        found = self._places[index]  # negative ones, and IndexError, as in a list
        return self._make(found) if isinstance(found, int) else [self._make(place) for place in found]
