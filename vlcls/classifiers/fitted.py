"""What a classifier has seen before it is judged: the labelled images that something in it was fitted on.

Accuracy on images that a method was trained on says nothing, and a gain of a method that saw labels is no
gain of what its texts say. Whatever fits something keeps this record with it; `vlcls.evaluation` goes by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Fitted:
    """A record of fitting; the default says that nothing was fitted.

    Attributes:
        labelled: Labelled images that were learned from or that chose what was learned, by their content:
            `vlcls.images.content_key` in hexadecimal.
        unknown: How many more of them are known only as embeddings, not by content.
        recorded: False if something was fitted and nobody knows on what.
        judged: It looks at the very images that it is judged on, without their labels.
    """

    labelled: frozenset[str] = frozenset()
    unknown: int = 0
    recorded: bool = True
    judged: bool = False

    @classmethod
    def on(cls, keys: Iterable[bytes], count: int) -> Fitted:
        """On `count` labelled images, of which these contents are known."""
        known = frozenset(key.hex() for key in keys if key)
        return cls(known, 0 if known else count)

    @property
    def saw_labels(self) -> bool:
        return bool(self.labelled or self.unknown or not self.recorded)

    @property
    def images(self) -> int | None:
        """How many labelled images; None if nobody knows."""
        return len(self.labelled) + self.unknown if self.recorded else None

    @property
    def reason(self) -> str | None:
        """What stands in the place of a reason for a gain; None if nothing was fitted."""
        if self.saw_labels:
            count = self.images
            return f"trained on {'' if count is None else f'{count} '}labelled image{'s' * (count != 1)}"
        return "fitted on the judged images" if self.judged else None

    def __or__(self, other: Fitted) -> Fitted:
        """Of something that was fitted twice."""
        return Fitted(
            self.labelled | other.labelled,
            self.unknown + other.unknown,
            self.recorded and other.recorded,
            self.judged or other.judged,
        )
