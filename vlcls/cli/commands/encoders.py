"""`vlcls encoders`, `vlcls doctor`, `vlcls templates`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from vlcls.cli.command import command
from vlcls.cli.console import Console
from vlcls.cli.options import ModelOptions
from vlcls.cli.terminal import say


@command()
def encoders() -> None:
    """List the families of encoders, what is installed, and what to install for the rest."""
    from vlcls.encoders import FAMILIES

    console = Console(highlight=False)
    for family in FAMILIES.values():
        install = f'not installed: pip install "vlcls\\[{family.extra}]"'
        state = "[green]installed[/]" if family.installed else f"[yellow]{install}[/]"
        console.print(f"[bold]{family.name}[/]  {state}\n  {family.what}", soft_wrap=True)
        for example in family.examples:
            console.print(f"    --encoder {example}", style="dim", soft_wrap=True)
    console.print("\nCheck one with: vlcls doctor SPEC")


@command()
def templates(
    name: Annotated[str | None, typer.Argument(help="Show this set's templates, or a file's.")] = None,
) -> None:
    """List the built-in sets of prompt templates, or show one.

    [bold]Examples[/]

      vlcls templates
      vlcls templates openai-imagenet
    """
    from vlcls.prompts import load_templates, template_names

    if name is not None:
        say("\n".join(load_templates(name)))
        return
    for known in template_names():
        first, *rest = load_templates(known)
        say(f"{known:16} {len(rest) + 1:3}  {first}")


@command()
def doctor(
    spec: Annotated[str, typer.Argument(help="The encoder, as for `classify --encoder`.")],
    model: Annotated[ModelOptions, ("device", "precision")],
) -> None:
    """Check that a model is used as it was trained: preprocessing, activation, padding, scale, precision.

    Exit code 1 if a check fails.

    [bold]Examples[/]

      vlcls doctor conse
      vlcls doctor open_clip:ViT-B-32-quickgelu/openai
      vlcls doctor hf:path/to/model --precision bf16
    """
    from vlcls.doctor import examine

    colours = {"pass": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}
    console, failed, warned = Console(), 0, 0
    for check in examine(spec, model.device, model.precision):
        failed += check.verdict == "fail"
        warned += check.verdict == "warn"
        line = Text.assemble(
            (f"{check.verdict:4}", colours[check.verdict]), f"  {check.name}: {check.detail}"
        )
        console.print(line, soft_wrap=True)
    verdict = f"checks failed: {failed}" if failed else "this model is used as it was trained"
    console.print(f"\n{verdict}" + (f"; warnings: {warned}" if warned else ""))
    raise typer.Exit(int(failed > 0))
