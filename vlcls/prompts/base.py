"""Prompts: the texts that stand for each class, and where each of them came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from vlcls.arguments import check_argument
from vlcls.errors import TemplateError
from vlcls.labels import Labels
from vlcls.limits import weight_problem

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["name", "template", "descriptor", "sentence", "random", "embedding"]


@dataclass(frozen=True, eq=False)
class LearnedName:
    """A word that is spelt in vectors: what a text tower reads in the place of a class name.

    Attributes:
        name: The class name that it was learned for.
        vectors: Tensor[M, F] float32 on the CPU, rows of the text tower's input space, one a token. Never
            changed.
        fingerprint: The encoder whose input space that is.

    Raises:
        TemplateError: The vectors are no rows of finite float32 numbers.
    """

    name: str
    vectors: Tensor
    fingerprint: str

    def __post_init__(self) -> None:
        found = self.vectors
        if found.ndim != 2 or not found.numel() or str(found.dtype) != "torch.float32":
            raise TemplateError(
                f"the learned name of {self.name!r} must be rows of float32, not {found.dtype} "
                f"{list(found.shape)}"
            )
        if not found.isfinite().all():
            raise TemplateError(f"the learned name of {self.name!r} holds NaN or infinity")

    @cached_property
    def word(self) -> str:
        """What stands for it in texts: the name, and a digest of the vectors, so that no two share one."""
        digest = hashlib.sha256(self.vectors.contiguous().numpy().tobytes()).hexdigest()
        return f"<{self.name}#{digest[:8]}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LearnedName):
            return NotImplemented
        return (self.word, self.fingerprint) == (other.word, other.fingerprint)

    def __hash__(self) -> int:
        return hash((self.word, self.fingerprint))


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
        learned: The word of `text` (once in it) that is spelt in vectors, if there is one.
    """

    text: str
    class_index: int
    kind: Kind
    source: str = ""
    template: int | None = None
    weight: float = 1.0
    descriptor: str = ""
    learned: LearnedName | None = None


@dataclass(frozen=True)
class PromptSet:
    """The prompts of all classes: what text-based methods make and text-based classifiers take."""

    labels: Labels
    prompts: tuple[Prompt, ...]

    def __post_init__(self) -> None:
        check_argument("labels", self.labels, "labels")
        check_argument("prompts", self.prompts, "prompt list")
        counts = [0] * len(self.labels)
        for prompt in self.prompts:
            if not 0 <= prompt.class_index < len(counts):
                raise TemplateError(
                    f"prompt {prompt.text!r} is for class {prompt.class_index} of {len(counts)}"
                )
            if problem := weight_problem(prompt.weight):
                raise TemplateError(f"prompt {prompt.text!r}: {problem}")
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

    @cached_property
    def learned(self) -> dict[str, LearnedName]:
        """The learned names among the prompts, by their words in the texts."""
        return {prompt.learned.word: prompt.learned for prompt in self.prompts if prompt.learned is not None}

    def to_json(self) -> list[dict[str, Any]]:
        """Plain data, fields at their defaults left out; `from_json` reads it back. Of a learned name only
        its word is there: its vectors are not text."""
        return [
            {
                key: value.word if isinstance(value, LearnedName) else value
                for key, value in vars(prompt).items()
                if value != Prompt.__dataclass_fields__[key].default
            }
            for prompt in self.prompts
        ]

    @classmethod
    def from_json(
        cls, labels: Labels, rows: Iterable[dict[str, Any]], learned: Mapping[str, LearnedName] | None = None
    ) -> PromptSet:
        """Prompts of `to_json`, with the learned names by their words."""
        spelt = learned or {}
        return cls(
            labels,
            tuple(
                Prompt(**{**row, "learned": spelt[row["learned"]]} if "learned" in row else row)
                for row in rows
            ),
        )
