"""What an edit of descriptors did to the predictions, for a person to read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from vlcls.cli.console import Console, page, titled
from vlcls.cli.options import Cache, ClassOptions, ModelOptions, built, embedded_images
from vlcls.cli.output import file_to_write, json_text, opened
from vlcls.cli.progress import status
from vlcls.cli.terminal import say_not_read
from vlcls.errors import ImageError

if TYPE_CHECKING:
    from vlcls.descriptors import DescriptorSet
    from vlcls.editing import Comparison, PartCounts
    from vlcls.labelled import LabelledImages
    from vlcls.labels import Labels

_of_evidence = partial(typer.Option, rich_help_panel="Evidence: what the edit changes")
_EXAMPLES = 10


@dataclass(frozen=True, kw_only=True)
class EvidenceOptions:
    images: Annotated[
        Path | None,
        _of_evidence(
            metavar="FOLDER",
            help="Images to show the effect on: FOLDER/CLASS/, FOLDER/GROUP/CLASS/, or unsorted ones.",
        ),
    ] = None
    flips: Annotated[
        Path | None, _of_evidence(help="Write every flipped image, JSON Lines.", callback=file_to_write)
    ] = None
    model: Annotated[ModelOptions, ("encoder",)]
    classes: Annotated[ClassOptions, ("templates", "phrasing", "aggregate")]
    cache: Cache = True


def show_effect(before: DescriptorSet, after: DescriptorSet, images: Path, own: EvidenceOptions) -> None:
    """Score the images with both sets and print what changed. Only texts that are new are encoded."""
    ready = built(own.classes, own.model, own.cache, descriptors=before)
    from vlcls.editing import compare, rescore, score
    from vlcls.prompts import class_prompts

    labelled, known = _found_images(images, ready.labels)
    embedded = embedded_images(labelled, ready, own.cache)
    prompts = class_prompts(None, own.classes.templates, after, phrasing=own.classes.phrasing)
    with status("scoring"):
        first = score(ready, embedded.embeddings)
        second = rescore(first, ready.with_prompts(prompts, cache=own.cache))
    truth = embedded.class_indices if known else None
    result = compare(first, second, truth, embedded.groups, embedded.names)
    _print(result)
    if own.flips is not None:
        with opened(own.flips) as stream:
            stream.writelines(json_text(vars(flip)) + "\n" for flip in result.flips)
    for message in embedded.errors.values():
        say_not_read(message)


def _found_images(folder: Path, labels: Labels) -> tuple[LabelledImages, bool]:
    """Labelled images and True; or images without labels, all said to be of the first class, and False."""
    from vlcls.image_sources import find_images
    from vlcls.labelled import LabelledImages, labelled_folder

    try:
        return labelled_folder(folder, labels), True
    except ImageError:
        if not folder.is_dir():
            raise
        sources = find_images([folder])
        return LabelledImages(sources, (0,) * len(sources), {}, labels), False


def _print(result: Comparison) -> None:
    console = page()
    if result.total is not None:
        _print_accuracy(console, result, result.total)
    counts = Counter(flip.direction for flip in result.flips)
    said = ", ".join(f"{count} {direction}" for direction, count in counts.most_common()) or "none"
    console.print(f"flipped: {len(result.flips)} of {result.images} images ({said})", markup=False)
    for flip in result.flips[:_EXAMPLES]:
        truth = "" if flip.truth is None else f"  [{flip.direction}]"
        console.print(f"  {flip.name}: {flip.before} -> {flip.after}{truth}", markup=False, soft_wrap=True)
    if len(result.flips) > _EXAMPLES:
        console.print(f"  ... and {len(result.flips) - _EXAMPLES} more (--flips FILE writes all)")
    changed = [part for part in result.classes if part.before != part.after]
    for title, parts in (("class", changed), *((c, list(p)) for c, p in result.groups.items())):
        if any(part.before != part.after for part in parts):
            _print_parts(console, title, [part for part in parts if part.before != part.after])
    for column in result.groups:
        worst, now = result.worst(column)
        console.print(
            f"worst {column}: {worst.name} {worst.before / worst.count:.1%} -> "
            f"{now.name} {now.after / now.count:.1%}",
            markup=False,
        )


def _print_accuracy(console: Console, result: Comparison, total: PartCounts) -> None:
    from vlcls.binomial import interval

    sides = []
    for right in (total.before, total.after):
        low, high = interval(right, total.count)
        sides.append(f"{right / total.count:.1%} ({low:.1%} to {high:.1%})")
    console.print(
        f"accuracy over {total.count} images: {sides[0]} -> {sides[1]}, {100 * total.change:+.1f} points, "
        f"p = {result.p_value:.2g} (exact McNemar)",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def _print_parts(console: Console, title: str, parts: list[PartCounts]) -> None:
    table = titled(title, "images", "before", "after", "change", right=range(1, 5))
    for part in sorted(parts, key=lambda each: each.change):
        table.add_row(
            Text(part.name),
            str(part.count),
            f"{part.before / part.count:.1%}",
            f"{part.after / part.count:.1%}",
            Text(f"{100 * part.change:+.1f}", "red" if part.change < 0 else "green"),
        )
    console.print(table)
