"""Which texts and numbers the package takes. Python API, readers and writers share these rules, so that what
can be made can be written, and what was written can be read again."""

from __future__ import annotations

import math
import re
from numbers import Real

#: Smallest and greatest weight besides 0. Sums, products and quotients of them stay finite in float32.
LEAST_WEIGHT, MOST_WEIGHT = 1e-30, 1e30
#: Likewise of a logit scale; released models have 10 to 120. A bias is at most this far from 0.
LEAST_SCALE, MOST_SCALE = 1e-6, 1e6

# Controls but for white space, and halves of characters: terminals and files choke on them.
_UNREADABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def unreadable(text: str) -> str | None:
    """The first character of a text that no descriptor, name or id may hold, or None."""
    found = _UNREADABLE.search(text)
    return None if found is None else found[0]


def readable(text: str) -> str:
    """The text with a space for each such character: for words that a machine wrote."""
    return _UNREADABLE.sub(" ", text)


def weight_problem(weight: object) -> str | None:
    """What is wrong with the weight of a prompt or descriptor, or None: 0 leaves it out, 1 is usual."""
    if not isinstance(weight, Real) or isinstance(weight, bool):
        return f"weight {_short(weight)} is no number"
    value = _as_float(weight)
    if not 0 <= value < math.inf:
        return f"weight {_short(weight)} is not 0 or more"
    if value != 0 and not LEAST_WEIGHT <= value <= MOST_WEIGHT:
        return f"weight {_short(weight)} is neither 0 nor from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}"
    return None


def logit_problem(scale: object, bias: object, activation: object) -> str | None:
    """What is wrong with how cosines become probabilities, or None."""
    if not isinstance(scale, Real) or not LEAST_SCALE <= _as_float(scale) <= MOST_SCALE:
        return f"logit scale {_short(scale)} is not a number from {LEAST_SCALE:g} to {MOST_SCALE:g}"
    if not isinstance(bias, Real) or not abs(_as_float(bias)) <= MOST_SCALE:
        return f"logit bias {_short(bias)} is not a number from {-MOST_SCALE:g} to {MOST_SCALE:g}"
    if activation not in ("softmax", "sigmoid"):
        return f"activation {_short(activation)} is neither 'softmax' nor 'sigmoid'"
    return None


def _as_float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:  # an int of more than 308 digits
        return math.inf


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or value.bit_length() < 1000 else "inf"
    return text if len(text) <= 60 else f"{text[:57]}..."
