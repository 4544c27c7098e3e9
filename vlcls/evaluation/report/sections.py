"""The sections of a report that follow from `results.json` alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vlcls.evaluation.metrics.entries import metrics_of_cells
from vlcls.evaluation.report.blocks import (
    Block,
    Column,
    Figure,
    Figures,
    Judgement,
    Judgements,
    Table,
    points,
    signed,
    with_interval,
)
from vlcls.evaluation.report.figures import Dots, dot_chart, scatter
from vlcls.evaluation.report.section_rows import (
    MOST_FIGURES,
    Body,
    Row,
    Run,
    by,
    columns_of,
    left_out,
    main_figure,
    without_empty,
)


def what_was_run(run: Run) -> Body:
    """Encoders, sets, methods and versions."""
    results = run.results
    encoders = [
        [name, e["activation"], e["precision"], f"{e['logit_scale']:.4g}", e["fingerprint"][:16]]
        for name, e in results["encoders"].items()
    ]
    methods = [
        [run.row_name(name), m["spec"], m["reference"] or "", str(len(m["seeds"])), m["about"]]
        for name, m in results["methods"].items()
    ]
    versions = {"vlcls": results["vlcls"], **results["versions"], **results["hardware"]}
    text = f"With {', '.join(f'{name} {value}' for name, value in versions.items())}."
    return text, [
        Table("Sets", columns_of("set", "#images", "#not read", "#classes", "where from", "content"),
              [_set_row(name, s) for name, s in results["sets"].items()]),
        Table("Encoders", columns_of("encoder", "scores", "precision", "#logit scale", "fingerprint"),
              encoders),
        Table("Methods", columns_of("method", "option", "reference", "#seeds", "what it does"), methods),
    ]  # fmt: skip


def _set_row(name: str, given: Row) -> list[str]:
    source = ", ".join(f"{key} {value}" for key, value in given["source"].items() if value is not None)
    counts = [given["images"], len(given["unreadable"]), len(given["classes"])]
    return [name, *map(str, counts), source, str(given["content_sha256"] or "")[:16]]


def accuracy(run: Run) -> Body:
    """A figure and a table for each set."""
    tables: list[Block] = []
    figures = []
    given = by(run.results["cells"], "set")
    for number, (name, cells) in enumerate(given):
        if number < MOST_FIGURES:
            figures.append(_accuracy_figure(run, name, cells, number))
        tables += [_accuracy_table(run, name, own) for _, own in by(cells, "encoder")]
    if not tables:
        return None
    text = (
        "Per cent of images whose class is the first (top-1) or among the first five (top-5); brackets hold "
        "95 % intervals. Figures of methods with several seeds are means over them, and their intervals have "
        "the spread between seeds in them."
    )
    shown = Figures(figures, text=left_out(len(given) - len(figures)))
    return text, [shown, *tables]


def _accuracy_figure(run: Run, name: str, cells: Sequence[Row], number: int) -> Figure:
    encoders = list(dict.fromkeys(cell["encoder"] for cell in cells))
    rows = []
    for method, own in by(cells, "method"):
        of = {cell["encoder"]: main_figure(cell) for cell in own}
        rows.append(Dots(run.row_name(method), [of.get(encoder) for encoder in encoders]))
    values = ", ".join(
        f"{cell['method']}{' with ' + cell['encoder'] if len(encoders) > 1 else ''} "
        f"{100 * main_figure(cell)['value']:.1f} %"
        for cell in cells
    )
    label = f"Accuracy on {name} with 95 % intervals: {values}."
    return Figure(dot_chart(rows, encoders, label, f"accuracy-{number}"), name)


def _accuracy_table(run: Run, name: str, cells: Sequence[Row]) -> Table:
    shown = [metric for metric in metrics_of_cells() if metric.in_report]
    titles = [f"#{metric.title}" for metric in shown]
    rows = []
    for cell in cells:
        figures = [with_interval(cell["metrics"].get(m.name), m.scale, m.digits) for m in shown]
        rows.append([run.method_name(cell["method"]), *figures, str(cell["prompts"])])
    caption = run.where(name, cells[0]["encoder"])
    return without_empty(Table(caption, columns_of("method", *titles, "#prompts"), rows))


def gains(run: Run) -> Body:
    """Verdicts, and the paired differences that they rest on."""
    blocks: list[Block] = []
    for (name, encoder), rows in by(run.results["gains"], "set", "encoder"):
        heading = run.where(name, encoder)
        told = [
            Judgement(row["method"], row["reason"], f"{row['sentence']} {row.get('few_draws', '')}".strip())
            for row in rows
        ]
        references = list(dict.fromkeys(ref for row in rows for ref in row["comparisons"]))
        table = [
            [row["method"], *(_difference(row["comparisons"].get(reference)) for reference in references)]
            for row in rows
        ]
        blocks.append(Judgements(heading, told))
        columns = [Column("method"), *(Column(f"to {ref}", True) for ref in references)]
        blocks.append(Table(f"Differences on {heading}, in points", columns, table))
    text = (
        "Every method is compared on the same images with one prompt, and with controls whose texts say "
        "nothing about the classes. Differences are in points of accuracy with paired intervals. "
        "Intervals and p values are both Holm-corrected over the table: where there is no evidence of a "
        "difference, 0 is in the interval. Only a method that beats the controls is better because of what "
        "its texts say."
    )
    return text, blocks


def _difference(given: Row | None) -> str:
    if given is None:
        return ""
    interval = given.get("simultaneous") or given["difference"]
    return f"{signed(interval)}, p = {given['adjusted']:.2g}"


def shifts(run: Run) -> Body:
    """What is left under each shift, and effective robustness where there is a fit set."""
    figures: list[Figure] = []
    scatters: list[Figure] = []
    tables: list[Block] = []
    for number, ((start, end), rows) in enumerate(by(run.results["shifts"], "from", "to")):
        shift = f"{start} → {end}"
        for place, (encoder, own) in enumerate(by(rows, "encoder")):
            title = run.where(shift, encoder)
            dots = [Dots(run.row_name(r["method"]), [r["before"], r["after"]]) for r in own]
            drops = ", ".join(f"{r['method']} {100 * r['drop']['absolute']:.1f}" for r in own)
            label = f"Accuracy on {start} and on {end} with {encoder}. Drop in points: {drops}."
            if len(figures) < MOST_FIGURES:
                figures.append(Figure(dot_chart(dots, [start, end], label, f"drop-{number}-{place}"), title))
            tables.append(_shift_table(run, title, own))
        if len(scatters) < MOST_FIGURES:
            scatters += _scatter(shift, rows, number)
    if not tables:
        return None
    blocks: list[Block] = [Figures(figures)]
    if scatters:
        sources = sorted({r["effective_robustness"]["source"] for r in run.results["shifts"]
                          if r["effective_robustness"]})  # fmt: skip
        about = (
            "How far an accuracy under the shift is above the line that the models of a fit set follow. Fit "
            f"set: {'; '.join(source for source in sources if source) or 'not named'}"
        )
        blocks.append(Figures(scatters, "Effective robustness", about))
    text = "Accuracy in distribution, and what is left of it elsewhere, over the classes that both sets have."
    return text, [*blocks, *tables]


def _scatter(shift: str, rows: Sequence[Row], number: int) -> Iterator[Figure]:
    encoders = list(dict.fromkeys(row["encoder"] for row in rows))
    points = [
        (row["before"]["value"], row["after"]["value"], row["effective_robustness"]["expected"],
         encoders.index(row["encoder"]))
        for row in rows if row["effective_robustness"]
    ]  # fmt: skip
    if points:
        above = sum(after > expected for _, after, expected, _ in points)
        label = (
            f"Effective robustness, {shift}: accuracy under the shift over accuracy before it. {above} of "
            f"{len(points)} methods are above what the fit set lets expect."
        )
        ends = (f"on {rows[0]['from']}", f"on {rows[0]['to']}")
        yield Figure(scatter(points, encoders, ends, label, f"robustness-{number}"), shift)


def _shift_table(run: Run, caption: str, rows: Sequence[Row]) -> Table:
    columns = columns_of(
        "method", "#before", "#after", "#drop, points", "#drop, relative %",
        "#effective robustness, points", "", "#classes",
    )  # fmt: skip
    table = []
    for row in rows:
        drop, robust = row["drop"], row["effective_robustness"]
        table.append([
            run.method_name(row["method"]),
            with_interval(row["before"]), with_interval(row["after"]),
            points(drop["absolute"]), points(drop["relative"]),
            signed(robust["value"]) if robust else "",
            "outside the fit set's range" if robust and not robust["inside"] else "",
            str(row["classes"]),
        ])  # fmt: skip
    return without_empty(Table(caption, columns, table))


def groups(run: Run) -> Body:
    """The worst group of each cell: a table for each set, encoder and column of groups."""
    rows: dict[str, list[list[str]]] = {}
    for cell in run.results["cells"]:
        for column, found in cell["groups"].items():
            worst = found["worst"]
            caption = f"{run.where(cell['set'], cell['encoder'])}, by {column}"
            rows.setdefault(caption, []).append([
                run.method_name(cell["method"]), worst["name"], with_interval(worst["accuracy"]),
                str(worst["images"]), _of_groups(found, "average"), _of_groups(found, "gap"),
                points(found["mean"]),
                points(found["reweighted"]), str(len(found["groups"])), str(len(found["empty"]) or ""),
            ])  # fmt: skip
    columns = columns_of(
        "method", "worst group", "#its accuracy", "#its images", "#average", "#gap, points",
        "#mean of groups", "#reweighted", "#groups", "#without images",
    )  # fmt: skip
    text = (
        "The group of images of the least accuracy, and how far it is below the average over all images. "
        "All figures of methods with several seeds are means over them."
    )
    tables = [without_empty(Table(caption, columns, some)) for caption, some in rows.items()]
    return text, tables


def _of_groups(found: Row, name: str) -> str:
    interval = (found.get("intervals") or {}).get(name)
    return with_interval(interval) if interval else points(found[name])
