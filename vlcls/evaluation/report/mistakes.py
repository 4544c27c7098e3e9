"""The sections of a report that need the prediction of each image: calibration and confusion."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence

import numpy as np

from vlcls.evaluation.metrics.accuracy import confusion, worst_pairs
from vlcls.evaluation.metrics.calibration import reliability
from vlcls.evaluation.report.blocks import Figure, Figures, Mistake, Pair, Pairs, with_interval
from vlcls.evaluation.report.figures import reliability_diagram
from vlcls.evaluation.report.run_files import Predictions, read_predictions
from vlcls.evaluation.report.section_rows import (
    MOST_FIGURES,
    Body,
    ImageOf,
    Row,
    Run,
    by,
    left_out,
    main_figure,
)

_PAIRS, _EXAMPLES, _MOST_PICTURES = 5, 4, 240
#: Twice what is shown, for screens with two pixels to one.
_SIDE = 176


def calibration(run: Run) -> Body:
    """A reliability diagram for each cell, of all predictions of all its seeds."""
    blocks = []
    drawn = count = 0
    for number, ((name, encoder), cells) in enumerate(by(run.results["cells"], "set", "encoder")):
        figures = []
        for place, cell in enumerate(cells):
            count += bool(cell.get("predictions"))
            found = read_predictions(run.folder, cell) if drawn < MOST_FIGURES else None
            if found is not None:
                figures.append(_diagram(run, cell, found, f"reliability-{number}-{place}"))
                drawn += 1
        if figures:
            blocks.append(Figures(figures, run.where(name, encoder), small=True))
    text = (
        "How often predictions of a confidence are right, over that confidence; on the dashed line they are "
        "right as often as they say. Below: how many images have it. ECE is the mean distance from the line."
    )
    return f"{text} {left_out(count - drawn)}".strip(), blocks


def _diagram(run: Run, cell: Row, found: Predictions, identifier: str) -> Figure:
    metrics = cell["metrics"]
    bins = reliability(found.confidence.ravel(), found.right.ravel(), metrics["bins"])
    title = run.method_name(cell["method"])
    error = f"ECE {with_interval(metrics['ece'])} %"
    return Figure(
        reliability_diagram(
            bins, f"Reliability of {title} on {cell['set']} with {cell['encoder']}: {error}.", identifier
        ),
        f"{title}\n{error}",
    )


def mistakes(run: Run) -> Body:
    """The most frequent mistakes of the best method on each set with each encoder."""
    blocks, budget = [], _MOST_PICTURES
    for (name, encoder), cells in by(run.results["cells"], "set", "encoder"):
        own = [cell for cell in cells if not run.is_control(cell["method"])]
        rated = [cell for cell in own or cells if cell.get("predictions")]
        best = max(rated, key=lambda cell: main_figure(cell)["value"], default=None)
        found = read_predictions(run.folder, best) if best else None
        if best is None or found is None:
            continue
        pairs = list(
            _pairs(found, run.results["sets"][name]["classes"], name, run.image_of if budget > 0 else None)
        )
        budget -= sum(mistake.picture is not None for pair in pairs for mistake in pair.examples)
        if pairs:
            blocks.append(Pairs(f"{run.where(name, encoder)}: {best['method']}", pairs))
    text = (
        "Pairs of classes that are confused most often, by the method of the highest top-1 that is no "
        "control (means over its seeds). The images are those about which it is most confident."
    )
    return text, blocks


def _pairs(found: Predictions, classes: Sequence[str], name: str, image_of: ImageOf | None) -> Iterator[Pair]:
    every = np.tile(found.truth, len(found.seeds))
    table = confusion(found.predicted.ravel(), every, len(classes))
    for truth, given, count in worst_pairs(table, _PAIRS):
        mistaken = (found.truth == truth) & (found.predicted == given)
        # Of several seeds the mean over those that are mistaken.
        sure = np.where(mistaken, found.confidence, 0).sum(0) / np.maximum(mistaken.sum(0), 1)
        rows = np.flatnonzero(mistaken.any(0))
        surest = rows[np.argsort(-sure[rows], kind="stable")][:_EXAMPLES]
        examples = [
            Mistake(found.images[row], _picture(image_of, name, found.images[row]), float(sure[row]))
            for row in surest
        ]
        images = int((found.truth == truth).sum())
        yield Pair(classes[truth], classes[given], count / len(found.seeds), images, examples)


def _picture(image_of: ImageOf | None, name: str, image: str) -> str | None:
    """A thumbnail as a data URI."""
    opened = image_of(name, image) if image_of else None
    if opened is None:
        return None
    small = opened.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    written = io.BytesIO()
    small.save(written, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"
