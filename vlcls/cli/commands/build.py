"""`vlcls build`."""

from __future__ import annotations

from vlcls.cli.command import command
from vlcls.cli.options import Cache, ClassOptions, ModelOptions, OutputFolder, built
from vlcls.cli.progress import is_main_process
from vlcls.cli.terminal import say


@command()
def build(output: OutputFolder, classes: ClassOptions, model: ModelOptions, cache: Cache = True) -> None:
    """Build a classifier once and save it: JSON and safetensors, no text is encoded again.

    [bold]Examples[/]

      vlcls build --labels "cat,dog" --templates simple -o pets/
      vlcls classify photos/ --classifier pets/
    """
    ready = built(classes, model, cache)
    if is_main_process():
        ready.save_pretrained(output)
        say(f"{output}: {len(ready.labels)} classes, {len(ready.prompts)} prompts", err=True)
