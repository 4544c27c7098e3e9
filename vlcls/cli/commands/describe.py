"""`vlcls describe`: descriptors from a language model or from WordNet."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlcls.cli.command import command
from vlcls.cli.options import CLASSES, MODEL, OUTPUT, CleanNames, EncoderSpec, LabelsFile, found_labels
from vlcls.cli.output import file_to_write, json_text, opened
from vlcls.cli.progress import bar, status
from vlcls.cli.terminal import say
from vlcls.errors import LanguageModelError, VlclsWarning
from vlcls.files.terminal import printable, printable_json
from vlcls.files.writing import check_output_file, locked

if TYPE_CHECKING:
    from vlcls.descriptors import DescriptorSet
    from vlcls.descriptors.wordnet import FromWordNet
    from vlcls.labels import Labels

#: Exit code of a run that finished although some classes have no descriptors.
SOME_CLASSES_FAILED = 3
#: Failures that are shown with their reasons; of the others, the names.
_FAILURES_SHOWN = 20


class Source(str, Enum):
    llm = "llm"
    wordnet = "wordnet"


class StyleName(str, Enum):
    descriptors = "descriptors"
    sentences = "sentences"


@command()
def describe(
    labels: Annotated[
        str | None, typer.Argument(metavar="LABELS", help='Class names: "cat,dog,red panda".')
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Descriptor file to write; - to print.",
            rich_help_panel=OUTPUT,
            callback=file_to_write,
        ),
    ] = None,
    labels_file: LabelsFile = None,
    clean_names: CleanNames = True,
    source: Annotated[
        Source, typer.Option(help="Who describes: a language model, or WordNet's glosses (offline).")
    ] = Source.llm,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", envvar="VLCLS_LLM", help="As the server names it.", rich_help_panel=MODEL
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            envvar="OPENAI_BASE_URL",
            show_default="OpenAI",
            rich_help_panel=MODEL,
            help="A compatible server, http://localhost:8000/v1: vLLM, Ollama, llama.cpp, ...",
        ),
    ] = None,
    style: Annotated[
        StyleName, typer.Option(help="Short phrases, or full sentences.", rich_help_panel=CLASSES)
    ] = StyleName.descriptors,
    hint: Annotated[
        str, typer.Option(help='What all classes are: "breeds of pet".', rich_help_panel=CLASSES)
    ] = "",
    per_class: Annotated[
        int | None,
        typer.Option(
            min=1, show_default="8 phrases, 30 sentences", help="How many.", rich_help_panel=CLASSES
        ),
    ] = None,
    contrast: Annotated[
        str | None,
        typer.Option(
            metavar="near|PAIRS|FILE",
            rich_help_panel=CLASSES,
            help="Ask what tells classes apart: from the nearest names in the encoder's text space, "
            '"cat/lynx,dog/wolf", or the confusions.csv of `vlcls evaluate`.',
        ),
    ] = None,
    encoder: EncoderSpec = None,
    instructions: Annotated[
        str | None,
        typer.Option(help="A Jinja2 file, or one of prompts/llm: two-shot.", rich_help_panel=CLASSES),
    ] = None,
    sense: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=SYNSET", help="WordNet: what a name means.", rich_help_panel=CLASSES),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, show_default="the server's", rich_help_panel=MODEL)
    ] = None,
    max_tokens: Annotated[
        int,
        typer.Option(
            min=1, rich_help_panel=MODEL, help="Most tokens of an answer; models that think need more."
        ),
    ] = 2048,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Requests under way at once.", rich_help_panel=MODEL)
    ] = 8,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for one whole request.", rich_help_panel=MODEL)
    ] = 120.0,
    retries: Annotated[
        int,
        typer.Option(min=0, help="Times a failed request is sent again.", rich_help_panel=MODEL),
    ] = 5,
    log: Annotated[
        Path | None,
        typer.Option(
            show_default="OUTPUT.answers.jsonl",
            rich_help_panel=OUTPUT,
            help="Every answer as it arrives; a run that is started again goes on from there.",
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Ask again where no answer could be used.", rich_help_panel=OUTPUT
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the exact requests, send none.", rich_help_panel=OUTPUT)
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing output.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Have a language model write what each class looks like.

    [bold]Examples[/]

      vlcls describe "cat,dog" -o pets.json --model gpt-4o-mini --hint "pets"
      vlcls describe --labels-file classes.txt -o birds.json --model qwen3 --base-url http://localhost:11434/v1
      vlcls describe "lynx,cat" -o apart.json --model gpt-4o-mini --contrast lynx/cat
      vlcls describe "cat,dog" --model gpt-4o-mini --dry-run
      vlcls describe "tiger,crane" -o animals.json --source wordnet --sense crane=n02012849

    Any server that speaks OpenAI's chat protocol will do. The key is read from OPENAI_API_KEY, and from
    nowhere else. A run that was stopped is started again with the same command: nothing is asked twice.
    Classes that end without descriptors are named, and the exit code is then 3.
    """
    known = found_labels(labels, labels_file, clean_names)
    if output is None and not dry_run:
        raise typer.BadParameter("give a file to write: -o descriptors.json (- prints)")
    if source is Source.wordnet:
        with _claimed(output, overwrite):
            described = _from_wordnet(known, sense or [])
            _write(described.descriptors, output)
        _end(described.failures, len(known), "give other names, or say what they are: --sense NAME=SYNSET")
        return
    if model is None:
        raise typer.BadParameter("give a model: --model gpt-4o-mini, or --source wordnet for none")
    siblings = _siblings(contrast, known, encoder)
    asked: dict[str, Any] = {
        "style": style.value, "per_class": per_class, "hint": hint, "instructions": instructions,
        "siblings": siblings,
    }  # fmt: skip
    if dry_run:
        _print_requests(known, model, temperature, max_tokens, asked)
        return
    assert output is not None
    with status("loading"):
        from vlcls.llm import describe as ask
    if log is None and str(output) != "-":
        log = output.with_name(f"{output.name}.answers.jsonl")
    total = len(siblings) if siblings is not None else len(known)
    with _claimed(output, overwrite), _token_bar(total) as progress:
        found = ask(
            known, model=model, base_url=base_url, temperature=temperature, max_tokens=max_tokens,
            concurrency=concurrency, timeout=timeout, retries=retries, log=log, retry_failed=retry_failed,
            progress=progress, **asked,
        )  # fmt: skip
        _write(found.descriptors, output)
    say(f"{found.asked} answers asked for, {found.tokens:,} tokens", err=True)
    _end(found.failures, len(known), "--retry-failed --overwrite asks for them again")


def _end(failures: Mapping[str, str], total: int, advice: str) -> None:
    """Names the classes that have no descriptors, if there are any, and ends with the code that says so."""
    for name, reason in list(failures.items())[:_FAILURES_SHOWN]:
        say(printable(f"not described: {name}: {reason}"), err=True)
    if others := list(failures)[_FAILURES_SHOWN:]:
        say(printable(f"not described either: {', '.join(others)}"), err=True)
    if failures:
        say(f"{len(failures)} of {total} classes have no descriptors; {advice}", err=True)
        raise typer.Exit(SOME_CLASSES_FAILED)


@contextmanager
def _claimed(output: Path | None, overwrite: bool) -> Iterator[None]:
    """The output for this run alone, and writable, before anything is asked and paid for."""
    if output is None or str(output) == "-":
        yield
        return
    check_output_file(output)
    if output.exists() and not output.is_file():
        yield
        return
    with locked(output, "another `vlcls describe`"):
        if output.exists() and not overwrite:
            raise LanguageModelError(f"{output} exists: --overwrite replaces it")
        yield


def _from_wordnet(labels: Labels, senses: list[str]) -> FromWordNet:
    from vlcls.descriptors.wordnet import describe_with_wordnet

    pairs = [text.partition("=") for text in senses]
    if wrong := [name for name, sign, synset in pairs if not (sign and synset)]:
        raise typer.BadParameter(f"--sense {wrong[0]}: NAME=SYNSET is expected, as in crane=n02012849")
    return describe_with_wordnet(labels, senses={name.strip(): synset.strip() for name, _, synset in pairs})


def _siblings(contrast: str | None, labels: Labels, encoder: str | None) -> Mapping[int, list[str]] | None:
    if contrast is None:
        return None
    if contrast != "near":
        from vlcls.llm.contrast import read_siblings

        return read_siblings(contrast, labels)
    from vlcls.classifiers.prompt import DEFAULT_ENCODER
    from vlcls.encoders import load_encoder
    from vlcls.llm.contrast import near_siblings

    with status(f"loading {encoder or DEFAULT_ENCODER}"):
        return near_siblings(labels, load_encoder(encoder or DEFAULT_ENCODER))


def _print_requests(
    labels: Labels, model: str, temperature: float | None, max_tokens: int, asked: dict[str, Any]
) -> None:
    from vlcls.llm.requests import Asking, questions

    asking = Asking(model, asked["style"], temperature=temperature, max_tokens=max_tokens)
    with opened(None) as stream:
        for question in questions(labels, **asked):
            stream.write(json_text(asking.body(question.text)) + "\n")


def _write(descriptors: DescriptorSet, output: Path | None) -> None:
    from vlcls.descriptors.checks import classes_alike
    from vlcls.descriptors.files import written

    text = written(descriptors)
    printed = output is None or str(output) == "-"
    described = sum(map(bool, descriptors.descriptors))
    if not described and not printed:  # the same command, given again, finds nothing in its way
        say(f"{output} is not written: no class is described", err=True)
        return
    with opened(output) as stream:
        stream.write(printable_json(text) if printed else text)
    for names in classes_alike(descriptors):
        few = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        warnings.warn(
            f"{few} have the same descriptors: no image can tell them apart by these",
            VlclsWarning,
            stacklevel=2,
        )
    if not printed:
        say(f"{output}: {described} classes described, {len(descriptors)} {descriptors.style}", err=True)


@contextmanager
def _token_bar(total: int) -> Iterator[Any]:
    """A bar of classes; its title counts the tokens."""
    with bar("describing", total) as advance:
        used = 0

        def progress(classes: int, tokens: int) -> None:
            nonlocal used
            used += tokens
            advance(classes, f"describing, {used:,} tokens") if tokens else advance(classes)

        yield progress
