"""Names with options, as people type them: "autoclip:beta=0.7,scaled"."""

from __future__ import annotations

import math

from vlcls.errors import VlclsError


def parse_spec(text: str) -> tuple[str, dict[str, str]]:
    """A name and its options: `NAME` or `NAME:KEY=VALUE,KEY`. A key alone stands for "true".

    Raises:
        VlclsError: An option without a key, or one that is there twice.
    """
    name, _, rest = text.strip().partition(":")
    options: dict[str, str] = {}
    for part in filter(None, (each.strip() for each in rest.split(","))):
        key, sign, value = (each.strip() for each in part.partition("="))
        if not key or (sign and not value) or key in options:
            raise VlclsError(f"{text!r}: {part!r} is not KEY=VALUE, or is there twice")
        options[key] = value if sign else "true"
    return name.strip(), options


def as_number(text: str, what: str) -> float:
    """A number out of an option.

    Raises:
        VlclsError: It is none, or not finite.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise VlclsError(f"{what} must be a number, not {text!r}")
    return number


def number_within(text: str, what: str, low: float, high: float, *, whole: bool = False) -> float:
    """A number from `low` to `high`; above 0 where `low` is 0 and `high` infinite.

    Raises:
        VlclsError: It is none.
    """
    value = as_number(text, what)
    above = low == 0 and high == math.inf
    if not math.isfinite(value) or not low <= value <= high or (above and not value):
        wanted = "above 0" if above else f"from {low:g} to {high:g}"
        raise VlclsError(f"{what} must be {'a whole number ' if whole else ''}{wanted}, not {text}")
    if whole and value != int(value):
        raise VlclsError(f"{what} must be a whole number, not {text}")
    return value


def as_truth(text: str, what: str) -> bool:
    """true or false out of an option.

    Raises:
        VlclsError: It is neither.
    """
    truths = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.casefold() not in truths:
        raise VlclsError(f"{what} must be true or false, not {text!r}")
    return truths[text.casefold()]
