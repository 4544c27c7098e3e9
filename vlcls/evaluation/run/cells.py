"""One cell of an evaluation: one method with one encoder on one set, kept in a file of its own.

A cell is named by what it is and keyed by the hash of all that its figures depend on. A run that is started
again takes over every cell whose key is the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlcls import __version__
from vlcls.evaluation.metrics.intervals import RESAMPLES
from vlcls.evaluation.metrics.measuring import mean_over_seeds, measure_multi_label, measure_outcomes
from vlcls.evaluation.metrics.per_image import Outcomes, joined, outcomes
from vlcls.evaluation.metrics.robustness import over_groups
from vlcls.evaluation.run.cell_files import stored_schema, write_cell, write_predictions
from vlcls.evaluation.run.embedded import EmbeddedSet
from vlcls.evaluation.run.methods import Method, prompts_hash
from vlcls.prompts.sources import Context

if TYPE_CHECKING:
    from vlcls.classifiers import PromptClassifier
    from vlcls.encoders import Encoder
    from vlcls.prompts import PromptSet

#: Scores in memory at once (float32: 64 MiB).
_ENTRIES_AT_ONCE = 2**24


@dataclass(frozen=True)
class Cell:
    """A cell that is about to be run.

    Attributes:
        encoder, data, method: What it is made of.
        prompts: One set of prompts for each seed.
        left_out: Images of the set that are not in `data`, since the method was trained on them.
    """

    encoder: Encoder
    data: EmbeddedSet
    method: Method
    prompts: tuple[PromptSet, ...]
    left_out: int = 0

    @classmethod
    def of(cls, encoder: Encoder, data: EmbeddedSet, method: Method, context: Context) -> Cell:
        """Without the images that the method was trained on.

        Raises:
            VlclsError: The method has no prompts for these classes, or was trained on all images.
        """
        prompts = tuple(method.prompts(context, seed) for seed in method.seeds)
        unseen = data.without_seen(method.fitted)
        return cls(encoder, unseen, method, prompts, len(data) - len(unseen))

    @property
    def name(self) -> str:
        return file_name(self.data, self.encoder, self.method)

    @property
    def key(self) -> str:
        """A hash of all that its figures depend on."""
        encoder = self.encoder
        known = [
            __version__, self.data.name, self.data.content, encoder.fingerprint, encoder.precision,
            encoder.logit_scale, encoder.logit_bias, encoder.activation, self.method.spec,
            list(self.method.seeds), prompts_hash(self.prompts), self.left_out, stored_schema(),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def file_name(data: EmbeddedSet, encoder: Encoder, method: Method) -> str:
    """The name of a cell's files: readable, and distinct even where names differ only in odd characters."""
    parts = (data.name, encoder.spec, method.spec)
    readable = "--".join(re.sub(r"[^\w.=-]+", "_", part)[:60] for part in parts)
    exact = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
    return f"{readable}--{exact}"


def classifiers(cell: Cell, cache: bool | str | Path = True) -> list[PromptClassifier]:
    """One for each seed. Under `accelerate launch` every process has to call this: texts are shared out."""
    images = cell.data.embeddings.to(cell.encoder.device)
    return [cell.method.classifier(each, cell.encoder, images, cache) for each in cell.prompts]


def run_cell(
    cell: Cell, made: Sequence[PromptClassifier], folder: Path, *, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Score the set, measure, and write predictions and figures. What `results.json` says of the cell."""
    data = cell.data
    result: dict[str, Any] = {
        "set": data.name,
        "encoder": cell.encoder.spec,
        "method": cell.method.spec,
        "prompts": len(cell.prompts[0]),
        "prompts_sha256": prompts_hash(cell.prompts),
        "seeds": list(cell.method.seeds),
        "left_out": cell.left_out,
    }
    if data.multi_label:
        scores = (np.concatenate(list(_scores(one, data))) for one in made)
        every = [measure_multi_label(own, data.membership, resamples=resamples) for own in scores]
        result |= {"metrics": mean_over_seeds(every).to_json(), "per_seed": [], "groups": {}}
    else:
        found = [_outcomes(each, data) for each in made]
        # Intervals of many seeds need fewer samples each: their distances are averaged.
        each = [
            measure_outcomes(one, cell.encoder.activation, resamples=max(100, resamples // len(found)))
            for one in found
        ]
        result["metrics"] = mean_over_seeds(each).to_json()
        pairs = zip(cell.method.seeds, each, strict=True)
        result["per_seed"] = [{"seed": seed, "top1": one.top1.value} for seed, one in pairs]
        result["groups"] = _groups(data, found)
        columns = _predictions(data, cell.method.seeds, found)
        result |= write_predictions(folder, cell.name, columns)
    write_cell(folder, cell.name, cell.key, result)
    return result


def _scores(made: PromptClassifier, data: EmbeddedSet) -> Any:
    rows = data.embeddings.to(made.text_embeddings.device)
    for part in rows.split(max(1, _ENTRIES_AT_ONCE // len(data.labels))):
        yield made.scores(part).cpu().numpy()


def _outcomes(made: PromptClassifier, data: EmbeddedSet) -> Outcomes:
    parts, start = [], 0
    for scores in _scores(made, data):
        classes = data.classes[start : start + len(scores)]
        parts.append(outcomes(scores, classes, made.activation))
        start += len(scores)
    return joined(parts)


def _groups(data: EmbeddedSet, found: Sequence[Outcomes]) -> dict[str, Any]:
    """Accuracies over each group column, and over class and column together."""
    right = np.stack([one.right for one in found])
    result = {}
    labels = [data.labels.reported[index] for index in data.classes]
    for column, values in data.groups.items():
        both = [f"{label} / {value}" for label, value in zip(labels, values, strict=True)]
        for name, groups in ((column, values), (f"class / {column}", both)):
            result[name] = over_groups(right, groups).to_json()
    return result


def _predictions(data: EmbeddedSet, seeds: Sequence[int], found: Sequence[Outcomes]) -> dict[str, Any]:
    """Columns with one row for each seed and image, seed by seed."""
    count = len(seeds)
    columns: dict[str, Any] = {
        "image": list(data.names) * count,
        "seed": np.repeat(np.array(seeds), len(data)),
        "true": np.tile(data.classes, count),
    }
    for name in ("predicted", "confidence", "rank", "nll", "brier"):
        columns[name] = np.concatenate([getattr(one, name) for one in found])
    ids = np.array(data.labels.ids, dtype=object)
    columns |= {f"{name}_id": ids[columns[name]] for name in ("true", "predicted")}
    for column, values in data.groups.items():
        columns[f"group:{column}"] = list(values) * count
    return columns
