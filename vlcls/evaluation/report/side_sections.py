"""The sections of a report beside accuracy and gains: corrupted images, names without a list, rationales, and
what was wrong with the data."""

from __future__ import annotations

from vlcls.evaluation.metrics.entries import metrics_of
from vlcls.evaluation.metrics.vocabulary_free import FoundNames
from vlcls.evaluation.report.blocks import (
    Block,
    Column,
    Figure,
    Figures,
    Table,
    points,
    with_interval,
)
from vlcls.evaluation.report.figures import stacked_bars
from vlcls.evaluation.report.section_rows import (
    MOST_FIGURES,
    MOST_ROWS,
    Body,
    Run,
    by,
    columns_of,
    without_empty,
)

#: Quadrants of rationales in words.
_QUADRANTS = {
    "RR": "category right, rationale right",
    "RW": "category right, rationale wrong",
    "WR": "category wrong, rationale right",
    "WW": "both wrong",
}


def corruptions(run: Run) -> Body:
    """One table for each kind of mean, one column for each corruption."""
    named = run.several
    tables = []
    for (name, baseline, data), rows in by(run.results["corruptions"], "name", "baseline", "set"):
        kinds = list(dict.fromkeys(kind for row in rows for kind in row["errors"]))
        columns = [*columns_of("method", *(["encoder"] if named else []), "#mean"),
                   *(Column(kind, True) for kind in kinds)]  # fmt: skip
        table = [
            [run.method_name(row["method"]), *([row["encoder"]] if named else []),
             f"{row['mean']:.1f}",
             *(f"{row['errors'][kind]:.1f}" if kind in row["errors"] else "" for kind in kinds)]
            for row in rows
        ]  # fmt: skip
        unit = f"per cent of the errors of {baseline}" if baseline else "per cent"
        tables.append(Table(f"{name}, {data}, {unit}", columns, table))
    text = "Errors, means over severities: less is better."
    return text, tables


def discoveries(run: Run) -> Body:
    """Methods that got no class names: how well the names they found fit the true ones."""
    shown = [metric for metric in metrics_of(FoundNames) if metric.in_report]
    columns = columns_of(
        "method", *(f"#{metric.title}" for metric in shown), "#images", "#without a candidate",
        "most frequent names",
    )  # fmt: skip
    tables = []
    for (data, encoder), some in by(run.results.get("discoveries") or [], "set", "encoder"):
        table = [
            [run.method_name(row["method"]),
             *(points(row.get(m.name), m.scale, m.digits) for m in shown),
             str(row["images"]), str(row["fallbacks"] or ""),
             ", ".join(f"{name} ({count})" for name, count in row["names"])]
            for row in some
        ]  # fmt: skip
        tables.append(without_empty(Table(run.where(data, encoder), columns, table)))
    text = "Names found without a list, against the true class names; see the CaSED paper for the metrics."
    return text, tables


def rationales(run: Run) -> Body:
    """Quadrants: category right or wrong, rationale right or wrong."""
    rows = run.results.get("rationales") or []
    if not rows:
        return None
    names = list(_QUADRANTS)
    titles = [f"{run.where(row['set'], row['encoder'])}, {row['method']}" for row in rows]
    found = [row["quadrants"] for row in rows]
    bars = [
        (title, [each[name]["value"] for name in names])
        for title, each in zip(titles, found, strict=True) if each["images"]
    ]  # fmt: skip
    label = "Right for the right reasons: " + "; ".join(
        title + "".join(f", {name} {100 * value:.0f} %" for name, value in zip(names, values, strict=True))
        for title, values in bars
    )
    blocks: list[Block] = []
    if bars:
        parts = [f"{name}: {said}" for name, said in _QUADRANTS.items()]
        shown = bars[:MOST_FIGURES]
        blocks.append(Figures([Figure(stacked_bars(shown, parts, label, "rationales"), "Quadrants, %")]))
    columns = columns_of("what", *(f"#{name}" for name in names), "#category right", "#images")
    table = [
        [title, *(with_interval(each[name]) for name in (*names, "accuracy")), str(each["images"])]
        for title, each in zip(titles, found, strict=True)
    ]
    blocks.append(Table("Parts of all images, %", columns, table))
    text = "Whether the category is right, and whether the true rationale comes with the category predicted."
    return text, blocks


def unreadable(run: Run) -> Body:
    """Images that were left out of every method alike."""
    rows = [
        [bad["image"], name, bad["error"]]
        for name, s in run.results["sets"].items()
        for bad in s["unreadable"]
    ]
    if not rows:
        return None
    more = f" {len(rows) - MOST_ROWS} more are in unreadable.jsonl." if len(rows) > MOST_ROWS else ""
    text = f"{len(rows)} images could not be read. They are left out of every method alike.{more}"
    table = Table("Not read", columns_of("image", "set", "why"), rows[:MOST_ROWS])
    return text, [table]


def problems(run: Run) -> Body:
    """What the check of class names found."""
    rows = [[name, said] for name, s in run.results["sets"].items() for said in s["problems"]]
    if not rows:
        return None
    more = f" {len(rows) - MOST_ROWS} more are in results.json." if len(rows) > MOST_ROWS else ""
    text = (
        f"Zero-shot accuracy depends on the names of classes. Look at these before trusting a figure.{more}"
    )
    table = Table("Class names", columns_of("set", "what was found"), rows[:MOST_ROWS])
    return text, [table]
