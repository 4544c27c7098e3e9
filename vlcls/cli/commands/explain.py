"""`vlcls explain`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO, cast

import typer
from rich.table import Table
from rich.text import Text

from vlcls.cli.command import command
from vlcls.cli.console import Console, page, titled
from vlcls.cli.options import (
    Cache,
    ClassOptions,
    Images,
    ModelOptions,
    found_sources,
    of_classes,
    of_output,
    saved_or_built,
)
from vlcls.cli.output import json_text, leave, opened, picture_to_write
from vlcls.cli.progress import bar, is_main_process
from vlcls.cli.terminal import say
from vlcls.errors import DescriptorError

if TYPE_CHECKING:
    from vlcls.classifiers import Classifier, PromptClassifier
    from vlcls.explain import Evidence, Explanation, Overlay
    from vlcls.image_sources import ImageSource

_BAR = 24


@dataclass(frozen=True)
class ExplainOptions:
    classifier: Annotated[
        Path | None, of_classes(metavar="DIR", help="A classifier saved by `vlcls build`.")
    ] = None
    classes: Annotated[
        list[str] | None,
        of_output(
            "--class", metavar="NAME",
            help="Explain this class too, besides the best two. May be repeated.",
        ),
    ] = None  # fmt: skip
    top: Annotated[int, of_output(min=1, help="Descriptors to show a class.")] = 8
    save: Annotated[
        Path | None,
        of_output(
            metavar="PATH", callback=picture_to_write,
            help="Draw the class beside the runner-up, or beside the first --class: a .png, .svg or .pdf; "
            "for several images a folder.",
        ),
    ] = None  # fmt: skip
    heatmap: Annotated[
        bool,
        of_output(
            "--heatmap",
            help="Draw where the image matched the predicted class's best descriptor, too. Needs --save.",
        ),
    ] = False
    heatmap_of: Annotated[
        str | None, of_output(metavar="TEXT", help="The same, of this descriptor, or of any text.")
    ] = None
    format: Annotated[Literal["text", "jsonl"], of_output("--format", "-f", help="How to write it.")] = "text"

    def check(self, images: int) -> None:
        """Whether what is to be drawn can be, before any work."""
        from vlcls.explain.picture import check_picture_path

        if self.save is None and self.drawn:
            raise typer.BadParameter("a heat map is drawn into the picture: say where with --save PATH")
        if self.save is None or not self.save.suffix:
            return
        if images > 1:
            raise typer.BadParameter(
                f"--save {self.save} is one picture, and there are {images} images: give a folder"
            )
        check_picture_path(self.save)

    @property
    def drawn(self) -> bool:
        return self.heatmap or self.heatmap_of is not None


@command()
def explain(
    context: typer.Context,
    images: Images,
    classes: ClassOptions,
    model: ModelOptions,
    own: ExplainOptions,
    cache: Cache = True,
) -> None:
    """Say why an image is given its class: which descriptors decided, and what the runner-up had.

    A descriptor's share is its part of the class's similarity; the shares add up to it. The bar and the last
    number are its part of the lead over any other class: what it has above a text of average similarity.

    [bold]Examples[/]

      vlcls explain tiger.jpg --descriptors descriptors.json
      vlcls explain tiger.jpg --descriptors descriptors.json --class lion --save explanation.png
      vlcls explain tiger.jpg --descriptors descriptors.json --save explanation.png --heatmap
      vlcls explain photos/ --classifier saved/ --format jsonl | jq .rationale
    """
    from vlcls.explain import explain_images

    sources = found_sources(images)
    own.check(len(sources))
    ready = saved_or_built(context, own.classifier, classes, model, cache)
    if own.drawn:
        _check_heatmap(ready, own.heatmap_of)
    with bar("explaining", len(sources)) as progress:
        explanations = explain_images(ready, sources, own.classes or (), cache=cache, progress=progress)
    if not is_main_process():
        return
    with opened(None) as stream:
        write_jsonl(explanations, stream) if own.format == "jsonl" else write_text(
            explanations, stream, own.top
        )
    if own.save is not None:
        overlays = _overlays(ready, own.heatmap_of) if own.drawn else None
        _save(explanations, sources, own.save, own.top, overlays)
    leave([each.error for each in explanations if each.error is not None])


def write_jsonl(explanations: Iterable[Explanation], stream: TextIO) -> None:
    """One object an image: label, rationale, and every class's evidence in full."""
    for each in explanations:
        row: dict[str, Any] = {"image": each.image, **dict.fromkeys(("label", "id", "index", "rationale"))}
        if each.error is None:
            best = each.predicted
            row |= {"label": best.label, "id": best.id, "index": best.index, "rationale": each.rationale}
        row |= {key: value for key, value in asdict(each).items() if key != "image"}
        stream.write(json_text(row) + "\n")


def write_text(explanations: Sequence[Explanation], stream: TextIO, top: int) -> None:
    """For people: the rationale, bars for each class, and what separates the best two."""
    console = page(stream)
    for place, each in enumerate(explanations):
        if each.error is not None:
            continue
        if place:
            console.print()
        console.print(Text(each.image, "dim"), soft_wrap=True)
        console.print(Text(each.rationale, "bold"), soft_wrap=True)
        widest = max((abs(c.margin) for some in each.classes for c in some.contributions), default=0)
        for evidence in each.classes:
            _print_class(console, evidence, widest, top)
        if each.templates:
            _print_templates(console, each.templates, top)
        if each.runner_up is not None:
            console.print(Text(f"\n{_lead(each.predicted, each.runner_up)}"), soft_wrap=True)


def _print_class(console: Console, evidence: Evidence, widest: float, top: int) -> None:
    heading = Text.assemble(
        (f"\n{evidence.label}", "bold green"),
        f"  {evidence.probability:.1%}  similarity {evidence.similarity:.4f}",
    )
    console.print(heading, soft_wrap=True)
    console.print(_table(evidence, widest, top))
    left_out = len(evidence.contributions) - top
    if left_out > 0:
        console.print(
            Text(f"  ... and {left_out} more (--top {len(evidence.contributions)} shows all)", "dim")
        )


def _print_templates(console: Console, templates: Sequence[tuple[str, float]], top: int) -> None:
    """What this image asked for, and what it had no use for."""
    table = titled("  template", "weight", "times its equal share", right=(1, 2), header_style="dim")
    table.columns[0].max_width = 56
    kept = templates if len(templates) <= top + 1 else [*templates[: top - 1], templates[-1]]
    for place, (name, weight) in enumerate(kept):
        if place == len(kept) - 1 and len(kept) < len(templates):
            table.add_row(Text(f"  ... {len(templates) - len(kept)} between", "dim"))
        table.add_row(Text(f"  {name}"), f"{weight:.1%}", f"{weight * len(templates):.2f}")
    console.print(Text("\ntemplates that this image asked for", "bold"))
    console.print(table)


def _table(evidence: Evidence, widest: float, top: int) -> Table:
    table = titled("  descriptor", "similarity", "share", "part", "", right=(1, 2, 4), header_style="dim")
    table.columns[0].max_width, table.columns[3].min_width = 56, _BAR
    # Those that did most, for or against; and these from the best to the worst.
    chosen = sorted(evidence.contributions, key=lambda each: -abs(each.margin))[:top]
    for each in sorted(chosen, key=lambda each: -each.margin):
        length = round(_BAR * abs(each.margin) / widest) if widest else 0
        drawn = Text("█" * length, "green") if each.margin >= 0 else Text("░" * length, "red")
        share, margin = _or_zero(f"{each.share:.4f}"), _or_zero(f"{each.margin:+.4f}")
        table.add_row(Text(f"  {each.text}"), f"{each.similarity:.4f}", share, drawn, margin)
    return table


def _or_zero(number: str) -> str:
    return number if float(number) else "0"


def _lead(first: Evidence, second: Evidence) -> str:
    from vlcls.explain import lead

    found = lead(first, second)
    own = sum(part for index, _, part in found.parts if index == first.index)
    parts = [
        f"{own:+.4f} from its own",
        f"{found.difference - own - found.agreement:+.4f} from those of the other",
    ]
    if abs(found.agreement) >= 5e-5:
        how = "less" if found.agreement > 0 else "more"
        parts.append(f"{found.agreement:+.4f} as its prompts agree {how} with each other")
    return f"{first.label} leads {second.label} by {found.difference:.4f}: {', '.join(parts)}"


def _check_heatmap(classifier: Classifier, descriptor: str | None) -> None:
    """Before any image is looked at."""
    from vlcls.explain import descriptor_embedding, usable_method

    usable_method(classifier.encoder)
    if descriptor is None:
        return
    try:
        descriptor_embedding(cast("PromptClassifier", classifier), descriptor)
    except DescriptorError as error:  # a slip of the pen, or meant
        say(f"note: {error}; the heat map is of this text alone", err=True)


def _overlays(
    classifier: Classifier, descriptor: str | None
) -> Callable[[Explanation, ImageSource], Overlay]:
    from vlcls.explain import descriptor_overlay

    made_of_prompts = cast("PromptClassifier", classifier)
    return lambda each, source: descriptor_overlay(made_of_prompts, each, source, descriptor)


def _save(
    explanations: Sequence[Explanation],
    sources: Sequence[ImageSource],
    path: Path,
    top: int,
    overlays: Callable[[Explanation, ImageSource], Overlay] | None,
) -> None:
    from vlcls.explain import save_picture

    several = not path.suffix
    for number, (each, source) in enumerate(zip(explanations, sources, strict=True), start=1):
        if each.error is not None:
            continue
        # Numbered: images of different folders may have one name.
        target = path / f"{number:03}-{Path(source.name).stem}.png" if several else path
        asked = each.classes[2] if len(each.classes) > 2 else None
        overlay = None if overlays is None else overlays(each, source)
        say(save_picture(each, source, target, against=asked, top=top, overlay=overlay), err=True)
