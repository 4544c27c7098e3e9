"""`vlcls evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlcls.cli.command import command
from vlcls.cli.commands.classify import SOME_IMAGES_FAILED
from vlcls.cli.options import MODEL, OUTPUT, BatchSize, Cache, Device, PrecisionOption, Workers
from vlcls.cli.output import folder_to_write
from vlcls.cli.progress import bar, is_main_process, status
from vlcls.cli.terminal import say
from vlcls.files.terminal import printable

if TYPE_CHECKING:
    from vlcls.evaluation.run.plan import Plan

DATA, METHODS = "Data", "Methods"
_COLOURS = {"what the text says": "green", "ensembling alone": "yellow", "worse": "red"}


@command()
def evaluate(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATASET|SUITE...",
            help="FOLDER/CLASS/, FOLDER/GROUP/CLASS/, Parquet, CSV, webdataset shards, a Hub id, or a suite.",
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder to write.", rich_help_panel=OUTPUT,
            callback=folder_to_write,
        ),
    ] = Path("vlcls-run"),
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods", "-m", rich_help_panel=METHODS, show_default="the suite's, or photo,ensemble",
            help="Comma-separated, with options behind a colon: photo,autoclip:beta=0.7,waffle.",
        ),
    ] = None,
    list_methods: Annotated[
        bool, typer.Option("--list", help="List methods and suites, and stop.", rich_help_panel=METHODS)
    ] = False,
    descriptors: Annotated[
        str | None,
        typer.Option(
            "--descriptors", "-d", metavar="FILE", rich_help_panel=METHODS,
            help="For methods with descriptors.", show_default="a built-in set with these classes",
        ),
    ] = None,
    sentences: Annotated[
        str | None,
        typer.Option("--sentences", metavar="FILE", rich_help_panel=METHODS, help="For the method cupl."),
    ] = None,
    controls: Annotated[
        bool,
        typer.Option(
            help="Also run what tells whether a gain is real: one prompt, templates, random words, ...",
            rich_help_panel=METHODS,
        ),
    ] = True,
    alpha: Annotated[
        float,
        typer.Option(min=0, max=1, help="Chance of any false gain in a table.", rich_help_panel=METHODS),
    ] = 0.05,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder", "-e", envvar="VLCLS_ENCODER", rich_help_panel=MODEL,
            show_default="open_clip:ViT-B-32/laion2b_s34b_b79k", help="May be repeated.",
        ),
    ] = None,
    device: Device = None,
    precision: PrecisionOption = None,
    split: Annotated[str | None, typer.Option(help="Of a data set.", rich_help_panel=DATA)] = None,
    config: Annotated[str | None, typer.Option(help="Of a data set.", rich_help_panel=DATA)] = None,
    revision: Annotated[str | None, typer.Option(help="On the Hub.", rich_help_panel=DATA)] = None,
    image_column: Annotated[
        str | None, typer.Option(show_default="guessed", help="Name of a column.", rich_help_panel=DATA)
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(show_default="guessed", help="Name of a column.", rich_help_panel=DATA)
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="Report accuracies by it. May be repeated.", rich_help_panel=DATA
        ),
    ] = None,
    labels_file: Annotated[
        str | None,
        typer.Option(help='Class names: a file, or "imagenet".', rich_help_panel=DATA),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Read images as they come; keep none.", rich_help_panel=DATA)
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option("--data", metavar="ROOT", help="Folder of a suite's data.", rich_help_panel=DATA),
    ] = None,
    in_distribution: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The set that the others are shifts of.", rich_help_panel=DATA),
    ] = None,
    corrupt: Annotated[
        bool,
        typer.Option(
            "--corrupt", help="Also in ImageNet-C's 15 ways at 5 severities.", rich_help_panel=DATA
        ),
    ] = False,
    fit: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", rich_help_panel=DATA,
            help="Accuracies of other models, one column a set, for effective robustness.",
        ),
    ] = None,
    rationales: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", rich_help_panel=METHODS,
            help="Class to rationales: are reasons right? The sets have a column of true ones.",
        ),
    ] = None,
    rationale_column: Annotated[
        str, typer.Option(help="Name of that column.", rich_help_panel=METHODS)
    ] = "rationale",
    legacy: Annotated[
        bool,
        typer.Option("--legacy", help="Count right reasons as the published code.", rich_help_panel=METHODS),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Images of each set.", rich_help_panel=DATA)
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would be done and how long it takes.", rich_help_panel=OUTPUT
        ),
    ] = False,
    batch_size: BatchSize = None,
    workers: Workers = None,
    cache: Cache = True,
) -> None:  # fmt: skip
    """Evaluate many methods on data sets with labels; every image is encoded once.

    [bold]Examples[/]

      vlcls evaluate photos/ -m photo,ensemble,autoclip -e conse -o run/
      vlcls evaluate pacs/photo pacs/sketch --in-distribution photo -m descriptors,waffle -o run/
      vlcls evaluate clip-benchmark/wds_vtab-pets --split test -m ensemble,waffle:concept=breed -o pets/
      vlcls evaluate imagenet-shifts --dry-run
      vlcls evaluate --list

    Writes results.json, predictions, and reports (report.html, report.md, CSV). A run that was stopped is
    started again with the same command and goes on. Images that cannot be read are left out of every
    method and listed; the exit code is then 3, as it is when a method that you asked for could not be run.
    """
    if list_methods:
        _list()
        return
    if not data:
        raise typer.BadParameter("give a data set or a suite; `vlcls evaluate --list` lists suites")
    with status("opening"):
        from vlcls.evaluation.report.run_folder import claim
        from vlcls.evaluation.run.api import plan_of, write_reports
        from vlcls.evaluation.run.harness import run
        from vlcls.evaluation.run.right_reasons import RationaleData

        if not dry_run:
            claim(output.expanduser())
        groups = list(group or ())
        reasons = None
        if rationales is not None:
            reasons = RationaleData(rationales, rationale_column, legacy)
            groups = list(dict.fromkeys([*groups, rationale_column]))
        plan = plan_of(
            data, methods, encoder, in_distribution=in_distribution, corrupt=corrupt, controls=controls,
            descriptors=descriptors, sentences=sentences, root=root, fit=fit, rationales=reasons,
            limit=limit, alpha=alpha,
            device=device,
            precision=precision.value if precision else None, cache=cache, batch_size=batch_size,
            workers=workers,
            opening={
                "split": split, "config": config, "revision": revision, "image_column": image_column,
                "label_column": label_column, "group_columns": tuple(groups), "labels": labels_file,
                "streaming": stream,
            },
        )  # fmt: skip
    for given in plan.sets:
        for problem in given.problems if is_main_process() else ():
            say(f"{given.name}: {problem}", err=True)
    if dry_run:
        _print_estimate(plan)
        return
    results = run(plan, output, bar=bar)
    with status("writing the report"):
        write_reports(results, plan, output)
    if is_main_process():
        _print(results, output)
    asked = [each for each in results["failed"] if not results["methods"][each["method"]]["control"]]
    if asked or any(each["unreadable"] for each in results["sets"].values()):
        raise typer.Exit(SOME_IMAGES_FAILED)


def _list() -> None:
    from rich.table import Table
    from rich.text import Text

    from vlcls.classifiers.scorers import SCORERS
    from vlcls.classifiers.weighting import WEIGHTINGS
    from vlcls.cli.console import Console
    from vlcls.evaluation.data.suites import read_suite, suite_names
    from vlcls.evaluation.run.kinds import method_kinds

    console = Console(highlight=False)
    for title, rows in (
        ("method", [(name, kind.about) for name, kind in method_kinds().items()]),
        ("suite", [(name, read_suite(name).about) for name in suite_names()]),
        ("aggregate=", [(each.name, each.about) for each in SCORERS.values()]),
        ("weighting=", [(each.name, each.about) for each in WEIGHTINGS.values()]),
    ):
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column(title)
        table.add_column("", overflow="fold")
        for name, about in rows:
            table.add_row(Text(name, "green"), Text(about))
        console.print(table)
        console.print()
    console.print("Every method takes beta=, scaled, temperature=, seeds= and the two above.", style="dim")


def _print_estimate(plan: Plan) -> None:
    from vlcls.evaluation.run.plan import estimate

    total = 0.0
    for row in estimate(plan):
        images = "an unknown number of" if row["images"] is None else f"{row['images']:,}"
        seconds = row["seconds"]
        say(
            f"{row['set']} with {row['encoder']}: {images} images, {row['texts']:,} texts"
            + ("" if seconds is None else f", about {_duration(seconds)}")
        )
        total += seconds or 0
    say(f"methods: {', '.join(method.spec for method in plan.methods)}")
    say(f"about {_duration(total)} in all, if nothing is in the store; nothing was written")


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    )


def _print(results: dict[str, Any], output: Path) -> None:
    """Top-1 of every cell, what each gain is, what failed, and where the report is."""
    from rich.table import Table
    from rich.text import Text

    from vlcls.cli.console import Console

    terminal = Console()
    console = Console(highlight=False, width=None if terminal.is_terminal else 160)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("data set", "encoder", "method"):
        table.add_column(title, overflow="fold")
    for title in ("top-1", "95 % interval", "ECE"):
        table.add_column(title, justify="right")
    table.add_column("gain over one prompt")
    reasons = {_place(gain): gain["reason"] for gain in results["gains"]}
    for cell in results["cells"]:
        name = Text(cell["method"], "dim" if results["methods"][cell["method"]]["control"] else "")
        reason = Text(reasons.get(_place(cell), ""), _COLOURS.get(reasons.get(_place(cell), ""), ""))
        table.add_row(Text(cell["set"]), Text(cell["encoder"]), name, *_figures(cell["metrics"]), reason)
    if results["cells"]:
        console.print(table)
    for row in results["discoveries"]:
        console.print(
            f"{row['set']}, {row['method']}: cluster accuracy {row['cluster_accuracy']:.1%}, "
            f"semantic similarity {row['semantic_similarity']:.1%}, IoU {row['semantic_iou']:.1%}",
            markup=False, soft_wrap=True,
        )  # fmt: skip
    for gain in results["gains"]:
        if gain["reason"] != "no evidence":
            said = f"{gain['set']}, {gain['method']}: {gain['sentence']} {gain['few_draws']}"
            console.print(Text(said.strip()), soft_wrap=True)
    for failure in results["failed"]:
        said = f"not run: {failure['method']} on {failure['set']}: {failure['error']}"
        say(printable(said, lines=True), err=True)
    for cell in results["cells"]:
        if cell["left_out"]:
            say(
                f"{cell['set']}: {cell['left_out']} images are left out for {cell['method']}, which was "
                "trained on them",
                err=True,
            )
    for name, about in results["sets"].items():
        if about["unreadable"]:
            say(f"{name}: {len(about['unreadable'])} images could not be read and are left out", err=True)
    say(output / "report.html", err=True)


def _place(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["set"], row["encoder"], row["method"]


def _figures(metrics: dict[str, Any]) -> list[str]:
    if "mean_average_precision" in metrics:
        found = metrics["mean_average_precision"]
        return [f"mAP {found['value']:.1%}", f"{found['low']:.1%} to {found['high']:.1%}", ""]
    top1 = metrics["top1"]
    ends = f"{top1['low']:.1%} to {top1['high']:.1%}"
    return [f"{top1['value']:.1%}", ends, f"{metrics['ece']['value']:.3f}"]
