"""Every number that is a constant or a default in rooms with formulas, as papers and docs have it.

Whoever changes one changes it in `constants.txt`, too, and what the docs say of it. What sets speed or memory
alone is not in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import vlcls

ROOMS = (
    "store",
    "classifiers",
    "decisions",
    "prompts",
    "encoders/conse",
    "explain",
    "learning",
    "evaluation/metrics",
    "bias",
)
NUMBERS = Path(__file__).with_name("constants.txt")


def has_number(value: Any) -> bool:
    """Plain data with a number in it."""
    if isinstance(value, dict):
        return any(map(has_number, value.values()))
    if isinstance(value, list | tuple):
        return any(map(has_number, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def functions(owner: Any, module: str) -> Iterator[tuple[str, Any]]:
    """Functions and dataclasses that a module or class defines, and the methods of its classes."""
    for name, value in vars(owner).items():
        if getattr(value, "__module__", None) != module:
            continue
        if inspect.isclass(value):
            yield name, value
            yield from ((f"{name}.{inner}", each) for inner, each in functions(value, module))
        elif inspect.isfunction(value) and name != "__init__":
            yield name, value


def numbers() -> Iterator[str]:
    package = Path(vlcls.__file__).parent
    for room in ROOMS:
        for path in sorted([*package.glob(room + ".py"), *(package / room).rglob("*.py")]):
            dotted = ".".join(path.relative_to(package.parent).with_suffix("").parts)
            module, text = importlib.import_module(dotted.removesuffix(".__init__")), path.read_text("utf-8")
            for name, value in vars(module).items():
                if re.search(f"^{name}\\b", text, re.MULTILINE) and has_number(value):
                    yield f"{name} = {value!r}"
            for name, value in functions(module, module.__name__):
                if inspect.isclass(value) and not dataclasses.is_dataclass(value):
                    own = vars(value).items()
                    yield from (
                        f"{name}.{key} = {each!r}" for key, each in own if key[0] != "_" and has_number(each)
                    )
                with contextlib.suppress(TypeError, ValueError):  # an exception has no signature
                    parameters = inspect.signature(value).parameters.values()
                    given = [
                        f"{each.name}={each.default!r}" for each in parameters if has_number(each.default)
                    ]
                    if given:
                        yield f"{name}({', '.join(given)})"


def test_numbers_are_those_that_are_written_down():
    known = [line for line in NUMBERS.read_text("utf-8").splitlines() if line]
    found = set(numbers())
    assert not [line for line in known if line not in found]
