"""The right article before a name, by sound: an hour, a university."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

# inflect knows the article of every name, but takes seconds to import. These openings leave no doubt (no
# silent h, "uni-", "eu-", "one" or spelled-out letters); on all names of ImageNet-21k they agree with it.
_SURELY_A = re.compile(
    r"(?:(?i:[bcdfgjkmpqtvwz])[aeioulrhy]|(?i:[lnr])[aeiouy]|(?i:s)[aeiouchklmnpqtwy])[a-z]"
)
_SURELY_AN = re.compile(r"(?:(?i:[ai])[b-df-hj-np-tv-z]|(?i:e)[b-df-hj-tvx-z]|(?i:o)[b-df-hj-mp-tv-z])[a-z]")


@lru_cache(maxsize=100_000)
def article(name: str) -> str:
    """ "a" or "an", by sound: an hour, a university."""
    if _SURELY_A.match(name):
        return "a"
    if _SURELY_AN.match(name) or re.match(r"8|1[18](?!\d)", name):  # eight, eleven, eighteen
        return "an"
    # inflect knows unaccented words; it takes the first one and gives it back behind its article.
    first = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().split()[:1]
    return "an" if first and str(inflect_engine().a(first[0])).startswith("an ") else "a"


@lru_cache(maxsize=1)
def inflect_engine() -> Any:
    """The library of numbers and articles, loaded when it is asked for."""
    import inflect

    return inflect.engine()
