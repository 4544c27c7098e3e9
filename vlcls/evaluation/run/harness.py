"""Many methods on many data sets with many encoders; every image is encoded once.

Under `accelerate launch` all processes share the encoding; the main one measures and writes. A run that was
interrupted is started again with the same arguments: embeddings come from the store, finished cells from the
run's folder.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlcls import __version__
from vlcls.classifiers.base import open_store
from vlcls.errors import EvaluationError, OutputError, VlclsError
from vlcls.evaluation.metrics.robustness import Drop
from vlcls.evaluation.report.run_files import FORMAT, RESULTS, VERSION, read_predictions
from vlcls.evaluation.report.run_folder import claim, write_files
from vlcls.evaluation.report.run_schemas import EncoderOf
from vlcls.evaluation.run.cell_files import CELLS, read_cell
from vlcls.evaluation.run.cells import Cell, classifiers, file_name, run_cell
from vlcls.evaluation.run.embedded import EmbeddedSet, embed_set
from vlcls.evaluation.run.methods import Method
from vlcls.evaluation.run.naming import found_names, judged_names, naming_key
from vlcls.evaluation.run.plan import Plan, Shift
from vlcls.evaluation.run.progress import Bar, no_bar
from vlcls.evaluation.run.right_reasons import judge_reasons
from vlcls.files.json_text import to_json
from vlcls.files.writing import locked
from vlcls.prompts.sources import Context

if TYPE_CHECKING:
    from vlcls.encoders import Encoder
    from vlcls.evaluation.data import EvaluationSet
    from vlcls.evaluation.data.suites import CorruptionRun
    from vlcls.evaluation.metrics.verdicts import Verdict


def run(plan: Plan, folder: str | Path, *, bar: Bar = no_bar) -> dict[str, Any]:
    """Evaluate, and write everything into a folder.

    Args:
        plan: What to do.
        folder: Holds the results, and what an interrupted run has finished.
        bar: Makes progress bars; see `vlcls.cli.progress.bar`.

    Returns:
        What `results.json` holds; see docs/results.md.

    Raises:
        EvaluationError: A set without a readable image, nothing that could be evaluated, or files of somebody
            else where the run would write.
        OutputError: The folder cannot be written, or another run writes there.
    """
    started = time.monotonic()
    evaluation = _Evaluation(plan, Path(folder).expanduser(), bar)
    claim(evaluation.folder)
    # The folder for this run alone: another one would replace its files, and the hashes of them.
    with locked(evaluation.folder, "another `vlcls evaluate`") if _is_main() else nullcontext():
        evaluation.run()
        results = evaluation.results(time.monotonic() - started)
        if _is_main():
            text = to_json(results, indent=1) + "\n"
            write_files(evaluation.folder, {RESULTS: text.encode("utf-8", "surrogatepass")})
    return results


class _Evaluation:
    """One run: its cells, and what follows from them."""

    def __init__(self, plan: Plan, folder: Path, bar: Bar) -> None:
        self.plan, self.folder, self.bar = plan, folder, bar
        self.cells: list[dict[str, Any]] = []
        self.failed: list[dict[str, str]] = []
        self.sets: dict[str, dict[str, Any]] = {}
        self.gains: list[dict[str, Any]] = []
        self.shifts: list[dict[str, Any]] = []
        self.corruptions: list[dict[str, Any]] = []
        self.rationales: list[dict[str, Any]] = []
        self.discoveries: list[dict[str, Any]] = []
        self.store = open_store(plan.cache)

    def run(self) -> None:
        for encoder in self.plan.encoders:
            embedded = {}
            for given in self.plan.sets:
                data = self._embedded(given, encoder, given.name)
                embedded[given.name] = data
                self._describe(given, data)
                found = self._cells(given, data, encoder, self.plan.methods)
                self.cells += found
                self._name(data, encoder)
                if not data.multi_label and _is_main():
                    self._judge(data, encoder, found)
            self._reasons(embedded, encoder)
            for shift in self.plan.shifts:
                self._shift(shift, embedded[shift.before], embedded[shift.after], encoder)
            for corruptions in self.plan.corruptions:
                self._corrupt(corruptions, embedded[corruptions.set], encoder)
        if not self.cells and not self.discoveries and _is_main():
            errors = "; ".join(dict.fromkeys(each["error"] for each in self.failed))
            raise EvaluationError(f"no method could be evaluated: {errors}")

    def _embedded(self, given: EvaluationSet, encoder: Encoder, title: str) -> EmbeddedSet:
        count = given.count if self.plan.limit is None else min(self.plan.limit, given.count or 10**9)
        with self.bar(f"encoding {title}", count or 0) as progress:
            return embed_set(
                given, encoder, store=self.store, limit=self.plan.limit, progress=progress,
                **self.plan.options,
            )  # fmt: skip

    def _describe(self, given: EvaluationSet, data: EmbeddedSet) -> None:
        self.sets[given.name] = {
            "source": dict(given.source),
            "classes": list(given.labels.reported),
            "ids": list(given.labels.ids),
            "images": len(data),
            "unreadable": [{"image": name, "error": error} for name, error in data.errors.items()],
            "content_sha256": data.content,
            "templates": None if given.templates is None else list(given.templates),
            "multi_label": given.multi_label,
            "problems": list(given.problems),
        }

    # ---- cells -----------------------------------------------------------------------------------------

    def _cells(
        self, given: EvaluationSet, data: EmbeddedSet, encoder: Encoder, methods: Sequence[Method]
    ) -> list[dict[str, Any]]:
        context = Context(data.labels, given.templates, self.plan.descriptors, self.plan.sentences)
        result = []
        with_prompts = [method for method in methods if not method.finds_names]
        with self.bar(f"methods on {data.name}", len(with_prompts)) as progress:
            for method in with_prompts:
                try:
                    result.append(self._cell(Cell.of(encoder, data, method, context)))
                except OutputError:  # a full disk is no fault of the method
                    raise
                except VlclsError as error:
                    self._fail(data, encoder, method, error)
                progress(1)
        return [cell for cell in result if cell is not None]

    def _cell(self, cell: Cell) -> dict[str, Any] | None:
        """The figures of a cell, from an earlier run or new; None on processes that only help to encode."""
        from vlcls.encoders.placement import found_by_main

        found = read_cell(self.folder, cell.name, cell.key) if _is_main() else None
        if found_by_main(lambda: found is not None):
            return found
        made = classifiers(cell, self.plan.cache)
        return run_cell(cell, made, self.folder) if _is_main() else None

    def _fail(self, data: EmbeddedSet, encoder: Encoder, method: Method, error: VlclsError) -> None:
        """A missing descriptor file must not cost the other methods their results."""
        about = {"set": data.name, "encoder": encoder.spec, "method": method.spec}
        self.failed.append({**about, "error": str(error)})

    def _name(self, data: EmbeddedSet, encoder: Encoder) -> None:
        """The methods that get no class names."""
        from vlcls.encoders.placement import found_by_main

        methods = [method for method in self.plan.methods if method.finds_names]
        for method in methods:
            name, key = file_name(data, encoder, method), naming_key(data, encoder, method)
            stored = read_cell(self.folder, name, key) if _is_main() else None
            try:
                if data.multi_label:
                    raise EvaluationError("names are judged where each image has one class")
                if not found_by_main(partial(bool, stored)):
                    with self.bar(f"{method.spec} on {data.name}", len(data)) as progress:
                        found = found_names(data, encoder, method, self.plan.cache)
                        progress(len(data))
                    stored = judged_names(data, encoder, method, found, self.folder) if _is_main() else None
            except OutputError:
                raise
            except VlclsError as error:
                self._fail(data, encoder, method, error)
                continue
            if stored is not None:
                self.discoveries.append(stored)

    def _judge(self, data: EmbeddedSet, encoder: Encoder, cells: Sequence[Mapping[str, Any]]) -> None:
        found = {cell["method"]: read_predictions(self.folder, cell) for cell in cells}
        predictions = {spec: each.predicted for spec, each in found.items() if each is not None}
        references = {
            method.reference: predictions[method.spec]
            for method in self.plan.methods
            if method.reference is not None and method.spec in predictions
        }
        judged = {
            method.spec: predictions[method.spec]
            for method in self.plan.methods
            if not method.control and method.reference != "one prompt" and method.spec in predictions
        }
        if "one prompt" not in references or not judged:
            return
        methods = {method.spec: method for method in self.plan.methods}
        for spec, verdict in _corrected(methods, judged, references, data, self.plan.alpha).items():
            place = {"set": data.name, "encoder": encoder.spec, "method": spec}
            self.gains.append({**place, **verdict.to_json()})

    # ---- shifts and corruptions ------------------------------------------------------------------------

    def _shift(self, shift: Shift, before: EmbeddedSet, after: EmbeddedSet, encoder: Encoder) -> None:
        """Accuracies over the same classes: names of others are no answers either."""
        sides = [self._over(shift, data, encoder) for data in (before, after)]
        if not _is_main():
            return
        under = {cell["method"]: cell["metrics"]["top1"] for cell in sides[1]}
        for cell in sides[0]:
            if cell["method"] not in under:
                continue
            first, second = cell["metrics"]["top1"], under[cell["method"]]
            self.shifts.append(
                {
                    "encoder": encoder.spec, "method": cell["method"], "from": shift.before,
                    "to": shift.after, "classes": len(shift.classes), "before": first, "after": second,
                    "drop": Drop(first["value"], second["value"]).to_json(),
                    "effective_robustness": _effective(shift, first["value"], second["value"]),
                }
            )  # fmt: skip

    def _over(self, shift: Shift, data: EmbeddedSet, encoder: Encoder) -> list[dict[str, Any]]:
        """The cells of a set over the classes of a shift: those there are, or those of a part of it."""
        from vlcls.evaluation.data.parts import places_of

        places = places_of(shift.classes, data.labels, data.name)
        if len(places) == len(data.labels):
            return [
                cell for cell in self.cells if (cell["set"], cell["encoder"]) == (data.name, encoder.spec)
            ]
        other = shift.after if data.name == shift.before else shift.before
        part = data.restricted(f"{data.name} ({len(places)} classes of {other})", places)
        self.sets[part.name] = self.sets[data.name] | {
            "classes": list(part.labels.reported), "ids": list(part.labels.ids), "images": len(part),
            "unreadable": [], "problems": [], "content_sha256": part.content,
        }  # fmt: skip
        given = next(each for each in self.plan.sets if each.name == data.name)
        found = self._cells(given, part, encoder, self._methods)
        self.cells += found
        return found

    def _corrupt(self, plan: CorruptionRun, clean: EmbeddedSet, encoder: Encoder) -> None:
        """Errors under corruptions, unnormalised: only the images of ImageNet-C itself have an mCE."""
        from vlcls.evaluation.data import corrupted
        from vlcls.evaluation.metrics.corruptions import corruption_errors

        given = next(each for each in self.plan.sets if each.name == plan.set)
        errors: dict[str, dict[str, list[float]]] = {method.spec: {} for method in self._methods}
        for name in plan.names:
            for severity in plan.severities:
                changed = corrupted(given, name, severity, plan.seed)
                data = self._embedded(changed, encoder, changed.name).changed_from(clean)
                for cell in self._cells(changed, data, encoder, self._methods):
                    values = errors[cell["method"]].setdefault(name, [])
                    values.append(1 - cell["metrics"]["top1"]["value"])
        for spec, found in errors.items():
            if found:
                place = {"encoder": encoder.spec, "method": spec, "set": plan.set}
                self.corruptions.append({**place, **corruption_errors(found).to_json()})

    def _reasons(self, embedded: Mapping[str, EmbeddedSet], encoder: Encoder) -> None:
        """Doubly right on every set; by one process, since its texts go nowhere near the store."""
        if self.plan.rationales is None or not _is_main():
            return
        for data in embedded.values():
            folder = self.folder / CELLS
            self.rationales.append(judge_reasons(self.plan.rationales, data, encoder, folder, self.bar))

    @property
    def _methods(self) -> list[Method]:
        """Those that the user asked for."""
        return [method for method in self.plan.methods if not method.control and not method.finds_names]

    # ---- what comes of it ------------------------------------------------------------------------------

    def results(self, seconds: float) -> dict[str, Any]:
        plan = self.plan
        return {
            "format": FORMAT,
            "version": VERSION,
            "vlcls": __version__,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "versions": _versions(),
            "hardware": {
                "machine": platform.machine(),
                "processors": os.cpu_count(),
                "device": ", ".join(dict.fromkeys(str(encoder.device) for encoder in plan.encoders)),
            },
            "limit": plan.limit,
            "alpha": plan.alpha,
            "encoders": {
                encoder.spec: {name: getattr(encoder, name) for name in EncoderOf.model_fields}
                for encoder in plan.encoders
            },
            "sets": self.sets,
            "methods": {method.spec: _method(method) for method in plan.methods},
            "cells": self.cells,
            "failed": self.failed,
            "gains": self.gains,
            "shifts": self.shifts,
            "corruptions": self.corruptions,
            "rationales": self.rationales,
            "discoveries": self.discoveries,
        }


def _corrected(
    methods: Mapping[str, Method], judged: Mapping[str, Any], references: Mapping[Any, Any],
    data: EmbeddedSet, alpha: float,
) -> dict[str, Verdict]:  # fmt: skip
    """Verdicts of methods that are compared with references of their own, Holm-corrected together.

    No method is a reference for itself, and one that was trained on some images is compared on the others.
    """
    from vlcls.evaluation.metrics.significance import compare_right, holm_corrected, right_of
    from vlcls.evaluation.metrics.verdicts import verdict

    table = {}
    for spec, predicted in judged.items():
        kept = data.unseen(methods[spec].fitted)
        truth = data.classes[kept]
        right = right_of(predicted, truth)
        table[spec] = {
            str(name): compare_right(right, right_of(other[:, kept], truth))
            for name, other in references.items()
            if name != methods[spec].reference
        }
    return {
        spec: verdict(row, alpha, methods[spec].fitted) for spec, row in holm_corrected(table, alpha).items()
    }


def _effective(shift: Shift, before: float, after: float) -> dict[str, Any] | None:
    from vlcls.evaluation.metrics.robustness import effective_robustness, read_fit

    if shift.fit is None:
        return None
    fit = read_fit(shift.fit, shift.before, shift.after)
    found = effective_robustness(fit, before, after)
    return {**found.to_json(), "points": [list(point) for point in fit.points]}


def _method(method: Method) -> dict[str, Any]:
    return {
        "spec": method.spec,
        "control": method.control,
        "reference": method.reference,
        "seeds": list(method.seeds),
        "about": method.about,
        "trained_on": method.fitted.images if method.fitted.saw_labels else None,
        "fitted": method.fitted.reason,
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("torch", "torchvision", "open_clip_torch", "transformers", "accelerate", "pillow", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _is_main() -> bool:
    from vlcls.encoders.placement import process_state

    return bool(process_state().is_main_process)
