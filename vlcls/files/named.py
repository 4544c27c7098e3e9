"""A name of something built in, or a path: one rule for all places that take either."""

from __future__ import annotations

import warnings
from collections.abc import Container
from pathlib import Path

from vlcls.errors import VlclsWarning


def is_built_in(given: object, names: Container[str], what: str) -> bool:
    """Whether what a user gave is a built-in name.

    A name is a name whatever lies in the current folder, so that a command does not change its meaning when a
    folder appears; a path is written as one: `./pacs`, `pacs/`, or a `Path` in Python. Where a file or folder
    of that very name is there too, that is said.

    Args:
        given: As the user typed it.
        names: What is built in.
        what: "descriptor set": for the warning.
    """
    if not isinstance(given, str) or given not in names:
        return False
    try:
        there = "folder" if Path(given).is_dir() else "file" if Path(given).exists() else None
    except (OSError, ValueError):
        there = None
    if there is not None:
        warnings.warn(
            f"{given!r} is the built-in {what}; the {there} of that name here is ./{given}",
            VlclsWarning,
            stacklevel=3,
        )
    return True
