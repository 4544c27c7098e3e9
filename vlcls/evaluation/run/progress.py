"""How a run says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

#: Of a title and a total, a context whose value is called with each count that is done.
Bar = Callable[[str, int], AbstractContextManager[Callable[..., None]]]


def no_bar(title: str, total: int) -> AbstractContextManager[Callable[..., None]]:
    return nullcontext(lambda count, title=None: None)
