"""`vlcls names inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlcls.cli.command import command
from vlcls.cli.learning import NamesFolder
from vlcls.cli.names_labels import Judge, Judged, judged_labels
from vlcls.cli.names_table import write_table
from vlcls.cli.options import Cache, ModelOptions, Output, format_option, of_output, saved
from vlcls.cli.output import Format, chosen_format, file_to_write, json_text, leave, opened
from vlcls.cli.progress import bar, is_main_process, status
from vlcls.cli.terminal import say
from vlcls.files.named import is_built_in
from vlcls.labels import Labels, read_labels

if TYPE_CHECKING:
    from vlcls.classifiers import PromptClassifier
    from vlcls.explain import NameReading, NameSuggestion


@dataclass(frozen=True)
class InspectOptions:
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", show_default="the images it was made with",
            help="Labelled images whose labels to check: FOLDER/CLASS/.",
        ),
    ] = None  # fmt: skip
    judge: Annotated[
        Judge | None,
        typer.Option(
            show_default="names for --images that they did not learn from, else out-of-fold",
            help="What judges labels: for each image a probe that learned from the others; or the learned "
            "names, of images that they did not learn from.",
        ),
    ] = None
    candidates: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Names to suggest from, one a line; or `wordnet`: its 21,844 nouns."
        ),
    ] = None
    top: Annotated[int, of_output(min=1, help="Words and suggestions a name.")] = 5
    doubts: Annotated[int, of_output(min=0, help="Doubted labels to list and draw.")] = 20
    sheet: Annotated[
        Path | None,
        of_output(
            metavar="FILE", help="Draw the images with doubted labels: .png or .pdf.", callback=file_to_write
        ),
    ] = None
    format: Annotated[Format | None, format_option("table, or jsonl: one object a name and a label.")] = None
    output: Output = None


@command()
def inspect(
    context: typer.Context, folder: NamesFolder, own: InspectOptions, model: ModelOptions, cache: Cache = True
) -> None:
    """Say what the learned names have become, and which labels they doubt.

    For each name: the nearest whole words of the text tower's vocabulary to each of its vectors, how far each
    has moved, and the rank that its original word has now. Names that are nearer to another class's name.
    Images whose label the other images do not bear out: likely label errors. No image is judged by what has
    learned from it.

    [bold]Examples[/]

      vlcls names inspect names/
      vlcls names inspect names/ --sheet doubts.png --candidates wordnet
      vlcls names inspect names/ --images more-photos/ -f jsonl -o names.jsonl
    """
    kind = chosen_format(own.format, own.output)
    if kind == "csv":
        raise typer.BadParameter("names and labels do not fit into one table: take jsonl")
    ready = saved(context, folder, model)
    with status("reading names"):
        from vlcls.explain import read_names

    readings = read_names(ready, words=own.top)
    found = judged_labels(folder, own.images, ready, own.judge, cache)
    suggested = _suggested(ready, own, cache)
    if not is_main_process():
        return
    with opened(own.output) as stream:
        if kind == "jsonl":
            _write_jsonl(readings, suggested, found, ready.labels, stream)
        else:
            write_table(readings, suggested, found, own.doubts, stream)
    if own.sheet is not None:
        _draw(found, own.doubts, own.sheet)
    leave(() if found is None else found.errors)


def _suggested(
    ready: PromptClassifier, own: InspectOptions, cache: bool
) -> dict[int, tuple[NameSuggestion, ...]]:
    from vlcls.explain import suggest_names

    if own.candidates is None:
        return {}
    names = _candidates(own.candidates)
    with bar("embedding candidates", len(names)) as progress:
        return suggest_names(ready, names, count=own.top, cache=cache, progress=progress)


def _candidates(given: str) -> list[str]:
    from vlcls.explain import wordnet_names

    if is_built_in(given, ("wordnet",), "list of names"):
        return wordnet_names()
    return list(read_labels(Path(given)).names)


def _draw(found: Judged | None, most: int, sheet: Path) -> None:
    from vlcls.explain import save_sheet

    shown = found.doubts[:most] if found is not None else ()
    if shown:
        save_sheet(shown, [each.image for each in shown], sheet)
    say(str(sheet) if shown else f"{sheet} is not drawn: no label is doubted", err=True)


def _write_jsonl(
    readings: Sequence[NameReading],
    suggested: dict[int, tuple[NameSuggestion, ...]],
    found: Judged | None,
    labels: Labels,
    stream: Any,
) -> None:
    ids = dict(zip(labels.reported, labels.ids, strict=True))
    for reading in readings:
        names = [vars(each) for each in suggested.get(reading.index, ())]
        own = {"kind": "name", "label": reading.label, "id": labels.ids[reading.index]}
        row = {**own, **asdict(reading), "strayed": reading.strayed, "suggestions": names}
        stream.write(json_text(row) + "\n")
    if found is None:
        return
    for doubt in found.doubts:
        both = {"label_id": ids[doubt.label], "predicted_id": ids[doubt.predicted]}
        stream.write(json_text({"kind": "label", **vars(doubt), **both}) + "\n")
    about = {"kind": "judged", "by": found.by, "judged": found.judged, "not_judged": found.left}
    stream.write(json_text(about) + "\n")
