"""`vlcls names add`."""

from __future__ import annotations

from typing import Annotated

import typer

from vlcls.cli.command import command
from vlcls.cli.learning import NamesFolder
from vlcls.cli.options import Cache, ClassOptions, ModelOptions, OutputFolder, found_labels, saved
from vlcls.cli.progress import is_main_process, status
from vlcls.cli.terminal import say


@command()
def add(
    context: typer.Context, folder: NamesFolder, output: OutputFolder,
    classes: Annotated[ClassOptions, ("labels", "labels_file", "articles", "clean_names")],
    model: ModelOptions, cache: Cache = True,
) -> None:  # fmt: skip
    """Add classes by plain name to a classifier; the learned names stay as they are, to the last bit.

    New names are put into the templates as the others were: with "an" where it belongs, or letter for letter.

    [bold]Example[/]

      vlcls names add names/ --labels "okapi,zebra" -o more/
    """
    new = found_labels(classes)
    ready = saved(context, folder, model)
    from vlcls.prompts import with_new_classes

    with status("embedding texts"):
        prompts = with_new_classes(ready.prompts, new, articles=classes.articles)
        more = ready.with_prompts(prompts, cache=cache)
    if is_main_process():
        more.save_pretrained(output)
        say(f"{output}: {len(more.labels)} classes, {len(new)} of them new", err=True)
