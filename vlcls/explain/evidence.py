"""What speaks for a class: each descriptor's part of its similarity, and all of them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlcls.prompts.base import Kind


@dataclass(frozen=True)
class Contribution:
    """What one descriptor (or one other prompt) did for its class.

    Attributes:
        text: The descriptor as people wrote it, or else the prompt.
        similarity: Its cosine with the image; if several prompts hold it, their weighted mean (or maximum).
        share: Its part of the class's similarity; the shares of a class add up to it.
        margin: Its part of the class's lead over any other class: its share, less what a text of no more than
            the image's average similarity would have. For the other class it counts against it.
        kind: What the text is.
    """

    text: str
    similarity: float
    share: float
    margin: float
    kind: Kind


@dataclass(frozen=True)
class Evidence:
    """All that speaks for one class.

    Attributes:
        label: The class, as `Labels.reported` names it.
        id: Its id: the name itself unless ids were given with the labels.
        index: Its place in the labels.
        similarity: On the cosine scale: the sum of the shares.
        probability: As of `Classifier.probabilities`.
        base: The similarity that is in no margin: what the class would have if every text were of average
            similarity. It differs between classes only under "mean-embedding", which favours a class whose
            prompts disagree.
        contributions: Of each piece of evidence, greatest margin first.
    """

    label: str
    id: str
    index: int
    similarity: float
    probability: float
    base: float
    contributions: tuple[Contribution, ...]
