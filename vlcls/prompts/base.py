"""Prompts: the texts that stand for each class, and where each of them came from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from vlcls.errors import TemplateError
from vlcls.labels import Labels

Kind = Literal["name", "template", "descriptor", "sentence", "random", "embedding"]


@dataclass(frozen=True)
class Prompt:
    """One piece of evidence for one class.

    Attributes:
        text: What the text tower reads; empty for embeddings that a user brought without texts.
        class_index: Which class. Never a name: names repeat.
        kind: What the text is.
        source: Where it came from: the template as written, also of a descriptor inside one; a file, a model,
            "hand".
        template: Index of the template in its set. Prompts of different classes with the same index belong
            together (AutoCLIP weights them as one).
        weight: Factor of its share in the class; 0 leaves it out.
        descriptor: The descriptor inside the text, as people wrote it; reports show it in place of the text.
    """

    text: str
    class_index: int
    kind: Kind
    source: str = ""
    template: int | None = None
    weight: float = 1.0
    descriptor: str = ""


@dataclass(frozen=True)
class PromptSet:
    """The prompts of all classes: what text-based methods make and text-based classifiers take."""

    labels: Labels
    prompts: tuple[Prompt, ...]

    def __post_init__(self) -> None:
        counts = [0] * len(self.labels)
        for prompt in self.prompts:
            if not 0 <= prompt.class_index < len(counts):
                raise TemplateError(
                    f"prompt {prompt.text!r} is for class {prompt.class_index} of {len(counts)}"
                )
            if not 0 <= prompt.weight < math.inf:
                raise TemplateError(f"prompt {prompt.text!r}: weight {prompt.weight} is not 0 or more")
            counts[prompt.class_index] += prompt.weight > 0
        if 0 in counts:
            name = self.labels.reported[counts.index(0)]
            raise TemplateError(f"class {name!r} has no prompt with a weight above 0")

    def __len__(self) -> int:
        return len(self.prompts)

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self.prompts)

    @cached_property
    def texts(self) -> list[str]:
        return [prompt.text for prompt in self.prompts]

    @cached_property
    def class_indices(self) -> list[int]:
        return [prompt.class_index for prompt in self.prompts]

    @cached_property
    def weights(self) -> list[float]:
        return [prompt.weight for prompt in self.prompts]

    def of_class(self, index: int) -> list[Prompt]:
        return [prompt for prompt in self.prompts if prompt.class_index == index]

    def to_json(self) -> list[dict[str, Any]]:
        """Plain data, fields at their defaults left out; `from_json` reads it back."""
        return [
            {
                key: value
                for key, value in vars(prompt).items()
                if value != Prompt.__dataclass_fields__[key].default
            }
            for prompt in self.prompts
        ]

    @classmethod
    def from_json(cls, labels: Labels, rows: Iterable[dict[str, Any]]) -> PromptSet:
        return cls(labels, tuple(Prompt(**row) for row in rows))
