"""What an evaluation is to do, and how long it would take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlcls.errors import EvaluationError, VlclsError
from vlcls.evaluation.data.suites import CorruptionRun
from vlcls.evaluation.run.embedded import embed_set
from vlcls.evaluation.run.methods import Method
from vlcls.prompts.sources import Context

if TYPE_CHECKING:
    from vlcls.descriptors import DescriptorSet
    from vlcls.encoders import Encoder
    from vlcls.evaluation.data import EvaluationSet
    from vlcls.evaluation.run.right_reasons import RationaleData

ALPHA = 0.05


@dataclass(frozen=True)
class Shift:
    """Two sets that are compared over some classes.

    Attributes:
        before, after: Names of the sets: in distribution, and under the shift.
        classes: Of both, by id or name; see `vlcls.evaluation.data.shared_classes`.
        fit: File of a fit set for effective robustness, with columns of these names; see `read_fit`.
    """

    before: str
    after: str
    classes: tuple[str, ...]
    fit: Path | None = None


@dataclass(frozen=True)
class Plan:
    """What an evaluation is to do.

    Attributes:
        sets: Data sets.
        methods: With the controls, which are marked as such.
        encoders: Loaded ones.
        shifts: Comparisons of two sets.
        corruptions: Sets that are also corrupted.
        rationales: True reasons of images, for "doubly right".
        descriptors, sentences: Files for the methods that need some.
        limit: Images of each set.
        alpha: Chance of any false positive in a table of gains.
        cache: Where embeddings are kept: True, False, or a folder.
        options: For `embed_images`: batch_size, workers, reduced_decode.
    """

    sets: tuple[EvaluationSet, ...]
    methods: tuple[Method, ...]
    encoders: tuple[Encoder, ...]
    shifts: tuple[Shift, ...] = ()
    corruptions: tuple[CorruptionRun, ...] = ()
    rationales: RationaleData | None = None
    descriptors: DescriptorSet | str | Path | None = None
    sentences: DescriptorSet | str | Path | None = None
    limit: int | None = None
    alpha: float = ALPHA
    cache: bool | str | Path = True
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [each.name for each in self.sets]
        if not names:
            raise EvaluationError("no data set: nothing to evaluate on")
        if again := [name for name in names if names.count(name) > 1]:
            raise EvaluationError(f"two data sets are called {again[0]!r}: give them names")
        used = [each.set for each in self.corruptions]
        used += [name for each in self.shifts for name in (each.before, each.after)]
        for name in used:
            if name not in names:
                raise EvaluationError(f"no data set is called {name!r}; there are {', '.join(names)}")


def estimate(plan: Plan, *, probe: int = 16) -> Iterator[dict[str, Any]]:
    """How long a run would take: encodes a few images of the first set with each encoder, and nothing else.

    Args:
        plan: What would be done.
        probe: Images that are encoded for it.

    Yields:
        For each encoder and set: images (None if unknown), texts, and seconds for all of them, as if nothing
        were in the store.
    """
    for encoder in plan.encoders:
        rates = _probe(plan.sets[0], encoder, probe)
        for given in plan.sets:
            count = given.count if plan.limit is None else min(plan.limit, given.count or plan.limit)
            runs = [len(c.names) * len(c.severities) for c in plan.corruptions if c.set == given.name]
            images = None if count is None else count * (1 + sum(runs))
            texts = len(_texts(plan, given))
            if plan.rationales is not None:
                texts += len(plan.rationales.texts(given.labels))
            yield {
                "set": given.name,
                "encoder": encoder.spec,
                "images": images,
                "texts": texts,
                "seconds": None if images is None else images / rates[0] + texts / rates[1],
            }


def _probe(given: EvaluationSet, encoder: Encoder, count: int) -> tuple[float, float]:
    """Images and texts a second, reading included."""
    names = [f"a photo of a {name}." for name in (given.labels.names * count)[:count]]
    encoder.encode_texts(names[:1])
    start = time.perf_counter()
    encoder.encode_texts([f"{name} {place}" for place, name in enumerate(names)])
    texts = count / (time.perf_counter() - start)
    embed_set(given, encoder, limit=2)
    start = time.perf_counter()
    embedded = embed_set(given, encoder, limit=count)
    return (len(embedded) + len(embedded.errors)) / (time.perf_counter() - start), texts


def _texts(plan: Plan, given: EvaluationSet) -> set[str]:
    context = Context(given.labels, given.templates, plan.descriptors, plan.sentences)
    texts: set[str] = set()
    for method in plan.methods:
        try:
            texts |= {text for seed in method.seeds for text in method.prompts(context, seed).texts}
        except VlclsError:  # the run itself will say so
            continue
    return texts
