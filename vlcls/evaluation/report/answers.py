"""The first thing in a report: of each set and encoder the best method, its accuracy, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vlcls.evaluation.metrics.entries import main_metric
from vlcls.evaluation.report.blocks import Answer, Answers, Block, Table
from vlcls.evaluation.report.section_rows import Body, Row, Run, by, columns_of, main_figure

#: Shown as cards; the table of accuracies has all.
_MOST = 12


def answers(run: Run) -> Body:
    """Cards, and what a reader must know before trusting them."""
    results = run.results
    places = by(results["cells"], "set", "encoder")
    shown = [_answer(run, name, encoder, cells) for (name, encoder), cells in places[:_MOST]]
    shown += [_found(run, row) for row in (results.get("discoveries") or [])[: _MOST - len(shown)]]
    if not shown:
        return None
    blocks: list[Block] = [Answers(shown)]
    asked = [each for each in results.get("failed") or [] if not run.is_control(each["method"])]
    if asked:
        rows = [[each["method"], run.where(each["set"], each["encoder"]), each["error"]] for each in asked]
        blocks.append(Table("Not run", columns_of("method", "on", "why"), rows))
    return " ".join(_before_trusting(run, len(places))), blocks


def _answer(run: Run, name: str, encoder: str, cells: Sequence[Row]) -> Answer:
    own = [cell for cell in cells if not run.is_control(cell["method"])] or list(cells)
    best = max(own, key=lambda cell: float(main_figure(cell)["value"]))
    figure = main_figure(best)
    what = main_metric(best["metrics"]).title
    others = f", the best of {len(own)} methods" if len(own) > 1 else ""
    gain = run.gain_of(best)
    images = best["metrics"]["images"]
    about = f"{what}{others}, over {images} image{'s' * (images != 1)}"
    place = run.where(name, encoder)
    shown = f"{100 * figure['value']:.1f} %"
    interval = f"95 % interval {100 * figure['low']:.1f} to {100 * figure['high']:.1f} %"
    if gain is None:
        reference = run.results["methods"].get(best["method"], {}).get("reference")
        said = f"This is the {reference} that others are compared with: none is better." if reference else ""
        return Answer(place, best["method"], shown, interval, about, "", said)
    return Answer(place, best["method"], shown, interval, about, gain["reason"], gain["sentence"])


def _found(run: Run, row: Row) -> Answer:
    """Of a method that got no class names."""
    place = run.where(row["set"], row["encoder"])
    about = f"cluster accuracy, names found without a list, over {row['images']} images"
    said = f"Semantic similarity to the true names {100 * row['semantic_similarity']:.1f} %."
    return Answer(place, row["method"], f"{100 * row['cluster_accuracy']:.1f} %", "", about, "", said)


def _before_trusting(run: Run, places: int) -> Iterator[str]:
    if places > _MOST:
        yield f"The first {_MOST} of {places} sets and encoders; the others are under Accuracy."
    bad = sum(len(each["unreadable"]) for each in run.results["sets"].values())
    if bad:
        yield f"{bad} image{'s' * (bad != 1)} could not be read and {'is' if bad == 1 else 'are'} left out."
    for cell in run.results["cells"]:
        if cell.get("left_out"):
            yield (
                f"{cell['method']} was trained on {cell['left_out']} images of {cell['set']}: they are left "
                "out for it, and its figures are over the others."
            )
    if any(each["problems"] for each in run.results["sets"].values()):
        yield "There are problems with class names: see below before you trust a figure."
    if run.results.get("limit"):
        yield f"At most {run.results['limit']} images of each set were taken."
