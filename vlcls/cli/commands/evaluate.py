"""`vlcls evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from vlcls.cli.command import command
from vlcls.cli.console import Console, page, titled
from vlcls.cli.options import DataOptions, ModelOptions, SpeedOptions, of_data, of_model, of_output
from vlcls.cli.output import SOME_IMAGES_FAILED, folder_to_write
from vlcls.cli.progress import bar, is_main_process, status
from vlcls.cli.terminal import say
from vlcls.files.terminal import printable

if TYPE_CHECKING:
    from vlcls.evaluation.run.plan import Plan

_of_methods = partial(typer.Option, rich_help_panel="Methods")
_COLOURS = {"what the text says": "green", "ensembling alone": "yellow", "worse": "red"}


@dataclass(frozen=True)
class RunOptions:
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATASET|SUITE...",
            help="FOLDER/CLASS/, FOLDER/GROUP/CLASS/, Parquet, CSV, webdataset shards, a Hub id, or a suite.",
        ),
    ] = None
    output: Annotated[
        Path, of_output("--output", "-o", metavar="DIR", help="Folder to write.", callback=folder_to_write)
    ] = Path("vlcls-run")
    methods: Annotated[
        str | None,
        _of_methods(
            "--methods", "-m", show_default="the suite's, or photo,ensemble",
            help="Comma-separated, with options behind a colon: photo,autoclip:beta=0.7,waffle.",
        ),
    ] = None  # fmt: skip
    list_methods: Annotated[bool, _of_methods("--list", help="List methods and suites, and stop.")] = False
    descriptors: Annotated[
        str | None,
        _of_methods(
            "--descriptors", "-d", metavar="FILE", help="For methods with descriptors.",
            show_default="a built-in set with these classes",
        ),
    ] = None  # fmt: skip
    sentences: Annotated[str | None, _of_methods(metavar="FILE", help="For the method cupl.")] = None
    controls: Annotated[
        bool,
        _of_methods(
            help="Also run what tells whether a gain is real: one prompt, templates, random words, ..."
        ),
    ] = True
    alpha: Annotated[float, _of_methods(min=0, max=1, help="Chance of any false gain in a table.")] = 0.05
    rationales: Annotated[
        str | None,
        _of_methods(
            metavar="FILE",
            help="Class to rationales: are reasons right? The sets have a column of true ones.",
        ),
    ] = None
    rationale_column: Annotated[str, _of_methods(help="Name of that column.")] = "rationale"
    legacy: Annotated[bool, _of_methods("--legacy", help="Count right reasons as the published code.")] = (
        False
    )
    dry_run: Annotated[bool, of_output("--dry-run", help="Say what would be done and how long it takes.")] = (
        False
    )
    encoder: Annotated[
        list[str] | None,
        of_model(
            "--encoder", "-e", envvar="VLCLS_ENCODER", help="May be repeated.",
            show_default="open_clip:ViT-B-32/laion2b_s34b_b79k",
        ),
    ] = None  # fmt: skip


@dataclass(frozen=True)
class SetOptions:
    group: Annotated[
        list[str] | None, of_data(metavar="COLUMN", help="Report accuracies by it. May be repeated.")
    ] = None
    labels_file: Annotated[str | None, of_data(help='Class names: a file, or "imagenet".')] = None
    stream: Annotated[bool, of_data("--stream", help="Read images as they come; keep none.")] = False

    root: Annotated[Path | None, of_data("--data", metavar="ROOT", help="Folder of a suite's data.")] = None
    in_distribution: Annotated[
        str | None, of_data(metavar="NAME", help="The set that the others are shifts of.")
    ] = None
    corrupt: Annotated[bool, of_data("--corrupt", help="Also in ImageNet-C's 15 ways at 5 severities.")] = (
        False
    )
    fit: Annotated[
        Path | None,
        of_data(
            metavar="CSV", help="Accuracies of other models, one column a set, for effective robustness."
        ),
    ] = None
    limit: Annotated[int | None, of_data(min=1, help="Images of each set.")] = None


@command()
def evaluate(
    own: RunOptions, model: Annotated[ModelOptions, ("device", "precision")], data: DataOptions,
    sets: SetOptions, speed: Annotated[SpeedOptions, ("batch_size", "workers", "cache")],
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
    if own.list_methods:
        _list()
        return
    if not own.data:
        raise typer.BadParameter("give a data set or a suite; `vlcls evaluate --list` lists suites")
    plan = _plan(own, model, data, sets, speed)
    if own.dry_run:
        _print_estimate(plan)
        return
    from vlcls.evaluation.run.api import write_reports
    from vlcls.evaluation.run.harness import run

    results = run(plan, own.output, bar=bar)
    with status("writing the report"):
        write_reports(results, plan, own.output)
    if is_main_process():
        _print(results, own.output)
    asked = [each for each in results["failed"] if not results["methods"][each["method"]]["control"]]
    if asked or any(each["unreadable"] for each in results["sets"].values()):
        raise typer.Exit(SOME_IMAGES_FAILED)


def _plan(
    own: RunOptions, model: ModelOptions, data: DataOptions, sets: SetOptions, speed: SpeedOptions
) -> Plan:
    with status("opening"):
        from vlcls.evaluation.report.run_folder import claim
        from vlcls.evaluation.run.api import plan_of
        from vlcls.evaluation.run.right_reasons import RationaleData

        if not own.dry_run:
            claim(own.output.expanduser())
        groups, reasons = list(sets.group or ()), None
        if own.rationales is not None:
            reasons = RationaleData(own.rationales, own.rationale_column, own.legacy)
            groups = list(dict.fromkeys([*groups, own.rationale_column]))
        reading = {"group_columns": tuple(groups), "labels": sets.labels_file, "streaming": sets.stream}
        plan = plan_of(
            own.data or (), own.methods, own.encoder, in_distribution=sets.in_distribution,
            corrupt=sets.corrupt, controls=own.controls, descriptors=own.descriptors,
            sentences=own.sentences, root=sets.root, fit=sets.fit, rationales=reasons, limit=sets.limit,
            alpha=own.alpha, device=model.device, precision=model.precision, cache=speed.cache,
            batch_size=speed.batch_size, workers=speed.workers, opening=vars(data) | reading,
        )  # fmt: skip
    for given in plan.sets:
        for problem in given.problems if is_main_process() else ():
            say(f"{given.name}: {problem}", err=True)
    return plan


def _list() -> None:
    from vlcls.classifiers.scorers import SCORERS
    from vlcls.classifiers.weighting import WEIGHTINGS
    from vlcls.evaluation.data.suites import read_suite, suite_names
    from vlcls.evaluation.run.kinds import method_kinds

    console = Console(highlight=False)
    for title, rows in (
        ("method", [(name, kind.about) for name, kind in method_kinds().items()]),
        ("suite", [(name, read_suite(name).about) for name in suite_names()]),
        ("aggregate=", [(each.name, each.about) for each in SCORERS.values()]),
        ("weighting=", [(each.name, each.about) for each in WEIGHTINGS.values()]),
    ):
        table = titled(title, "")
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
    console = page(width=160)
    if results["cells"]:
        console.print(_cells(results))
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
    for said in _left_out(results):
        say(printable(said, lines=True), err=True)
    say(output / "report.html", err=True)


def _cells(results: dict[str, Any]) -> Table:
    table = titled(
        "data set", "encoder", "method", "top-1", "95 % interval", "ECE", "gain over one prompt",
        right=(3, 4, 5),
    )  # fmt: skip
    reasons = {_place(gain): gain["reason"] for gain in results["gains"]}
    for cell in results["cells"]:
        name = Text(cell["method"], "dim" if results["methods"][cell["method"]]["control"] else "")
        reason = reasons.get(_place(cell), "")
        table.add_row(
            Text(cell["set"]), Text(cell["encoder"]), name, *_figures(cell["metrics"]),
            Text(reason, _COLOURS.get(reason, "")),
        )  # fmt: skip
    return table


def _left_out(results: dict[str, Any]) -> Iterator[str]:
    for failure in results["failed"]:
        yield f"not run: {failure['method']} on {failure['set']}: {failure['error']}"
    for cell in results["cells"]:
        if cell["left_out"]:
            yield (
                f"{cell['set']}: {cell['left_out']} images are left out for {cell['method']}, which was "
                "trained on them"
            )
    for name, about in results["sets"].items():
        if about["unreadable"]:
            yield f"{name}: {len(about['unreadable'])} images could not be read and are left out"


def _place(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["set"], row["encoder"], row["method"]


def _figures(metrics: dict[str, Any]) -> list[str]:
    if "mean_average_precision" in metrics:
        found = metrics["mean_average_precision"]
        return [f"mAP {found['value']:.1%}", f"{found['low']:.1%} to {found['high']:.1%}", ""]
    top1 = metrics["top1"]
    ends = f"{top1['low']:.1%} to {top1['high']:.1%}"
    return [f"{top1['value']:.1%}", ends, f"{metrics['ece']['value']:.3f}"]
