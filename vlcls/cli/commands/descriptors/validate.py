"""`vlcls descriptors validate`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from vlcls.cli.command import command
from vlcls.cli.descriptor_files import DescriptorFile
from vlcls.cli.options import ClassOptions, ModelOptions, found_labels
from vlcls.cli.output import json_text
from vlcls.cli.terminal import say, styled


@command()
def validate(
    file: DescriptorFile,
    classes: Annotated[ClassOptions, ("labels", "labels_file")],
    model: Annotated[ModelOptions, ("encoder",)],
    format: Annotated[
        Literal["table", "jsonl"], typer.Option("--format", "-f", help="How to write problems.")
    ] = "table",
) -> None:
    """Report every problem with its class and line; exit code 1 if a class or a descriptor is lost.

    [bold]Examples[/]

      vlcls descriptors validate descriptors.json
      vlcls descriptors validate descriptors.json --labels-file classes.txt --encoder conse
    """
    from vlcls.descriptors import check_descriptors

    known = found_labels(classes) if classes.named else None
    problems = check_descriptors(file, known, None if model.encoder is None else model.load())
    for problem in problems:
        if format == "jsonl":
            say(json_text(problem.to_json()))
            continue
        where = file if problem.line is None else f"{file}:{problem.line}"
        words = f"{problem.descriptor!r} " if problem.descriptor else ""
        severity = styled(problem.severity, fg="red" if problem.severity == "error" else "yellow")
        say(f"{where}: ", severity, f": {problem.class_name}: {words}{problem.message}")
    errors = sum(problem.severity == "error" for problem in problems)
    if format == "table":
        say(f"{errors} errors, {len(problems) - errors} warnings", err=True)
    if errors:
        raise typer.Exit(1)
