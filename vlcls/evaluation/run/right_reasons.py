"""Doubly right on a data set: is the category right, and is the reason that comes with it?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlcls.descriptors import DescriptorSet, read_descriptors
from vlcls.errors import EvaluationError
from vlcls.evaluation.metrics.rationale_search import RationaleTexts, search_rationales
from vlcls.evaluation.metrics.rationales import doubly_right
from vlcls.evaluation.run.embedded import EmbeddedSet
from vlcls.labels import Labels

if TYPE_CHECKING:
    from vlcls.encoders import Encoder
    from vlcls.evaluation.run.progress import Bar

#: What reports call the published way to ask: every category with every rationale, the five nearest texts.
METHOD = "category because rationale"


@dataclass(frozen=True)
class RationaleData:
    """What is known of the true reasons.

    Attributes:
        rationales: Class -> rationales, in any format of descriptor files.
        column: Group column of the data sets that holds each image's true rationale.
        legacy: Count as the published code does; see `vlcls.evaluation.doubly_right`.
    """

    rationales: DescriptorSet | str | Path
    column: str = "rationale"
    legacy: bool = False

    def texts(self, labels: Labels) -> RationaleTexts:
        """Every category with every rationale. Millions for ImageNet."""
        given = self.rationales
        known = given if isinstance(given, DescriptorSet) else read_descriptors(given, style="descriptors")
        known = known.for_labels(labels)
        return RationaleTexts.of({name: known.texts(index) for index, name in enumerate(labels.reported)})


def judge_reasons(
    given: RationaleData, data: EmbeddedSet, encoder: Encoder, folder: Path, bar: Bar
) -> dict[str, Any]:
    """The quadrants of one set with one encoder, as `results.json` has them.

    Args:
        given: The rationales.
        data: A set whose group column `given.column` holds the true rationale of each image.
        encoder: Any encoder.
        folder: Where the state of the search is kept: an interrupted one goes on.
        bar: Makes progress bars.

    Raises:
        EvaluationError: No such column, or a rationale that is not among those of the file.
        DescriptorError: The file has no entry for some class.
    """
    if given.column not in data.groups:
        have = ", ".join(data.groups) or "none"
        raise EvaluationError(
            f"data set {data.name}: no group column {given.column!r} with the true rationales; it has {have}"
        )
    texts = given.texts(data.labels)
    pairs = [
        (data.labels.reported[own[0]], reason)
        for own, reason in zip(data.truth, data.groups[given.column], strict=True)
    ]
    category, rationale = texts.truth(pairs)
    with bar(f"reasons on {data.name}", len(texts)) as progress:
        found = search_rationales(
            data.embeddings, texts, encoder.encode_texts,
            fingerprint=f"{encoder.fingerprint} {encoder.precision}", folder=folder, progress=progress,
        )  # fmt: skip
    counts = doubly_right(found.categories, found.rationales, category, rationale, legacy=given.legacy)
    return {
        "set": data.name,
        "encoder": encoder.spec,
        "method": METHOD + (", counted as published" if given.legacy else ""),
        "texts": len(texts),
        "quadrants": counts.to_json(),
    }
