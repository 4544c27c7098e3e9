"""`vlcls edit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlcls.cli.command import command
from vlcls.cli.options import (
    MODEL,
    AggregateOption,
    Articles,
    Cache,
    Device,
    EncoderSpec,
    PhrasingOption,
    PrecisionOption,
    Templates,
)
from vlcls.cli.progress import bar, status
from vlcls.cli.terminal import say
from vlcls.errors import MissingExtraError

if TYPE_CHECKING:
    from vlcls.encoders import Encoder

DATA, SERVER = "Images", "Server and session"


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
    images: Annotated[
        str,
        typer.Option(
            "--images", "-i", metavar="DATASET", rich_help_panel=DATA,
            help="Images of known classes: FOLDER/CLASS/, FOLDER/GROUP/CLASS/, a table, a Hub id; "
            "as for `vlcls evaluate`.",
        ),
    ],
    groups: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="Column of groups: domain, background. May be repeated.",
            rich_help_panel=DATA, show_default="the folders above the classes, if any",
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Of a data set.", rich_help_panel=DATA)] = None,
    held_out: Annotated[
        float,
        typer.Option(
            min=0, max=0.9, help="Part of the images that is held out to confirm edits.", rich_help_panel=DATA
        ),
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Of the split.", rich_help_panel=DATA)] = 0,
    session: Annotated[
        Path,
        typer.Option(
            "--session", "-o", metavar="FOLDER", rich_help_panel=SERVER,
            help="Folder of the session and of all that it writes; a session that is there is continued.",
        ),
    ] = Path("vlcls-edit"),
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; others let other machines in.", rich_help_panel=SERVER),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0: any free one.", rich_help_panel=SERVER)
    ] = 7860,
    templates: Templates = None,
    articles: Articles = None,
    phrasing: PhrasingOption = None,
    aggregate: AggregateOption = None,
    encoder: EncoderSpec = None,
    device: Device = None,
    precision: PrecisionOption = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", envvar="VLCLS_LLM", rich_help_panel=MODEL,
            help="Language model to ask for more descriptors, with --base-url or OPENAI_API_KEY.",
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            envvar="OPENAI_BASE_URL", show_default="OpenAI", rich_help_panel=MODEL,
            help="Its server: vLLM, Ollama, llama.cpp, ...",
        ),
    ] = None,
    hint: Annotated[
        str, typer.Option(help='For it: what all classes are, "breeds of pet".', rich_help_panel=MODEL)
    ] = "",
    cache: Cache = True,
) -> None:  # fmt: skip
    """Edit descriptors in the browser, and see at once what every change does to the predictions.

    The images are split once: half are shown while editing, half are held out, and their accuracy is told
    only when asked, with how often it was. The session is saved as it goes; the same command goes on with it.

    [bold]Examples[/]

      vlcls edit animals.json --images photos/
      vlcls edit pacs --images pacs/ --encoder conse --session pacs-edit --port 0
    """
    from importlib.util import find_spec

    if find_spec("gradio") is None:  # said before models are loaded and images embedded
        raise MissingExtraError("vlcls edit", "app")
    with status("loading torch"):
        from vlcls.app import material as materials
        from vlcls.app.more import asking
        from vlcls.app.serve import address, bound, build_app, serve
        from vlcls.app.session_files import check_folder
        from vlcls.app.workbench import Workbench
        from vlcls.classifiers.prompt import DEFAULT_ENCODER
        from vlcls.descriptors import descriptor_names
        from vlcls.encoders import load_encoder
        from vlcls.files.named import is_built_in

    check_folder(session.expanduser())
    listening = bound(host, port)
    built_in = is_built_in(given, descriptor_names(), "descriptor set")
    if Path(given).expanduser().is_dir() and not built_in:
        if templates or phrasing or aggregate or articles is not None:
            raise typer.BadParameter(
                "a saved classifier brings its own prompts: leave --templates, --articles, --phrasing and "
                "--aggregate out"
            )
        typed = context.get_parameter_source("encoder")
        named = encoder if typed is not None and typed.name == "COMMANDLINE" else None
        with status(f"loading {given}"):
            classifier, descriptors, wording = materials.open_classifier(given, named)
    else:
        wording = materials.Wording(phrasing or materials.DEFAULT_PHRASING, templates, articles)

        def loaded() -> Encoder:
            return load_encoder(encoder or DEFAULT_ENCODER, device, precision.value if precision else None)

        with status("embedding texts"):
            classifier, descriptors = materials.open_descriptors(
                given, loaded, wording, aggregate=aggregate, cache=cache
            )
    found = materials.open_images(images, classifier, groups or (), split)
    for problem in found.problems:
        say(f"note: {problem}", err=True)
    with bar("embedding images", found.count) as progress:
        material = materials.prepare(
            found, classifier, descriptors, wording, held_out_share=held_out, seed=seed, cache=cache,
            progress=progress,
        )  # fmt: skip
    bench = Workbench(material, session, cache=cache)
    try:
        app = build_app(bench, host=host, asking=asking(model, base_url, hint))
        say(f"session in {session}; open {address(host, listening)} (Ctrl+C ends it)", err=True)
        serve(app, listening)
    finally:
        bench.close()
