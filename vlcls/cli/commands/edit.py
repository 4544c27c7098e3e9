"""`vlcls edit`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlcls.cli.command import command
from vlcls.cli.options import Cache, ClassOptions, ModelOptions, of_model
from vlcls.cli.progress import bar, status
from vlcls.cli.terminal import say
from vlcls.errors import MissingExtraError
from vlcls.files.named import is_built_in

if TYPE_CHECKING:
    from vlcls.app.material import Material

_of_images = partial(typer.Option, rich_help_panel="Images")
_of_server = partial(typer.Option, rich_help_panel="Server and session")


@dataclass(frozen=True)
class EditOptions:
    images: Annotated[
        str,
        _of_images(
            "--images", "-i", metavar="DATASET",
            help="Images of known classes: FOLDER/CLASS/, FOLDER/GROUP/CLASS/, a table, a Hub id; "
            "as for `vlcls evaluate`.",
        ),
    ]  # fmt: skip
    groups: Annotated[
        list[str] | None,
        _of_images(
            metavar="COLUMN", help="Column of groups: domain, background. May be repeated.",
            show_default="the folders above the classes, if any",
        ),
    ] = None  # fmt: skip
    split: Annotated[str | None, _of_images(help="Of a data set.")] = None
    held_out: Annotated[
        float, _of_images(min=0, max=0.9, help="Part of the images that is held out to confirm edits.")
    ] = 0.5
    seed: Annotated[int, _of_images(min=0, help="Of the split.")] = 0
    session: Annotated[
        Path,
        _of_server(
            "--session", "-o", metavar="FOLDER",
            help="Folder of the session and of all that it writes; a session that is there is continued.",
        ),
    ] = Path("vlcls-edit")  # fmt: skip
    host: Annotated[str, _of_server(help="Address to listen on; others let other machines in.")] = "127.0.0.1"
    port: Annotated[int, _of_server(min=0, max=65535, help="0: any free one.")] = 7860


@dataclass(frozen=True)
class AskOptions:
    model: Annotated[
        str | None,
        of_model(
            "--model", "-m", envvar="VLCLS_LLM",
            help="Language model to ask for more descriptors, with --base-url or OPENAI_API_KEY.",
        ),
    ] = None  # fmt: skip
    base_url: Annotated[
        str | None,
        of_model(
            envvar="OPENAI_BASE_URL", show_default="OpenAI", help="Its server: vLLM, Ollama, llama.cpp, ..."
        ),
    ] = None
    hint: Annotated[str, of_model(help='For it: what all classes are, "breeds of pet".')] = ""


@command()
def edit(
    context: typer.Context,
    given: Annotated[
        str,
        typer.Argument(
            metavar="DESCRIPTORS|CLASSIFIER",
            help="A descriptor file, a built-in set, or a folder that `vlcls build` saved.",
        ),
    ],
    own: EditOptions,
    classes: Annotated[ClassOptions, ("templates", "articles", "phrasing", "aggregate")],
    model: ModelOptions,
    asked: AskOptions,
    cache: Cache = True,
) -> None:
    """Edit descriptors in the browser, and see at once what every change does to the predictions.

    The images are split once: half are shown while editing, half are held out, and their accuracy is told
    only when asked, with how often it was. The session is saved as it goes; the same command goes on with it.

    [bold]Examples[/]

      vlcls edit animals.json --images photos/
      vlcls edit pacs --images pacs/ --encoder conse --session pacs-edit --port 0
    """
    if find_spec("gradio") is None:  # said before models are loaded and images embedded
        raise MissingExtraError("vlcls edit", "app")
    with status("loading torch"):
        from vlcls.app.serve import bound
        from vlcls.app.session_files import check_folder

    check_folder(own.session.expanduser())
    listening = bound(own.host, own.port)
    _serve(
        _material(_opened(context, given, classes, model, cache), own, cache), own, asked, listening, cache
    )


def _opened(
    context: typer.Context, given: str, classes: ClassOptions, model: ModelOptions, cache: bool
) -> tuple[Any, Any, Any]:
    """The classifier that is saved, or made of descriptors; the descriptors, and how they become prompts."""
    from vlcls.app import material as materials
    from vlcls.descriptors import descriptor_names

    built_in = is_built_in(given, descriptor_names(), "descriptor set")
    if Path(given).expanduser().is_dir() and not built_in:
        if classes != ClassOptions():
            raise typer.BadParameter(
                "a saved classifier brings its own prompts: leave --templates, --articles, --phrasing and "
                "--aggregate out"
            )
        with status(f"loading {given}"):
            return materials.open_classifier(given, model.typed(context))
    phrasing = classes.phrasing or materials.DEFAULT_PHRASING
    wording = materials.Wording(phrasing, classes.templates, classes.articles)
    made = materials.open_descriptors(given, model.load, wording, aggregate=classes.aggregate, cache=cache)
    return *made, wording


def _material(opened: tuple[Any, Any, Any], own: EditOptions, cache: bool) -> Material:
    from vlcls.app import material as materials

    found = materials.open_images(own.images, opened[0], own.groups or (), own.split)
    for problem in found.problems:
        say(f"note: {problem}", err=True)
    with bar("embedding images", found.count) as progress:
        return materials.prepare(
            found, *opened, held_out_share=own.held_out, seed=own.seed, cache=cache, progress=progress
        )


def _serve(material: Material, own: EditOptions, asked: AskOptions, listening: Any, cache: bool) -> None:
    from vlcls.app.more import asking
    from vlcls.app.serve import address, build_app, serve
    from vlcls.app.workbench import Workbench

    bench = Workbench(material, own.session, cache=cache)
    try:
        app = build_app(bench, host=own.host, asking=asking(**vars(asked)))
        place = address(own.host, listening)
        say(f"session in {own.session}; open {place} (Ctrl+C ends it)", err=True)
        serve(app, listening)
    finally:
        bench.close()
