"""`vlcls describe`: descriptors from a language model or from WordNet."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vlcls.cli.command import command
from vlcls.cli.options import ClassOptions, ModelOptions, found_labels, of_classes, of_model, of_output
from vlcls.cli.output import file_to_write, json_text, opened
from vlcls.cli.progress import bar, status
from vlcls.cli.terminal import say
from vlcls.errors import LanguageModelError, VlclsWarning
from vlcls.files.terminal import few, printable, printable_json
from vlcls.files.writing import check_output_file, locked

if TYPE_CHECKING:
    from vlcls.descriptors import DescriptorSet
    from vlcls.descriptors.wordnet import FromWordNet
    from vlcls.labels import Labels

#: Exit code of a run that finished although some classes have no descriptors.
SOME_CLASSES_FAILED = 3
#: Failures that are shown with their reasons; of the others, the names.
_FAILURES_SHOWN = 20


@dataclass(frozen=True)
class DescribeOptions:
    labels: Annotated[
        str | None, typer.Argument(metavar="LABELS", help='Class names: "cat,dog,red panda".')
    ] = None
    output: Annotated[
        Path | None,
        of_output("--output", "-o", help="Descriptor file to write; - to print.", callback=file_to_write),
    ] = None
    log: Annotated[
        Path | None,
        of_output(
            show_default="OUTPUT.answers.jsonl",
            help="Every answer as it arrives; a run that is started again goes on from there.",
        ),
    ] = None
    retry_failed: Annotated[
        bool, of_output("--retry-failed", help="Ask again where no answer could be used.")
    ] = False
    dry_run: Annotated[bool, of_output("--dry-run", help="Print the exact requests, send none.")] = False
    overwrite: Annotated[bool, of_output("--overwrite", help="Replace an existing output.")] = False
    source: Annotated[
        Literal["llm", "wordnet"],
        typer.Option(help="Who describes: a language model, or WordNet's glosses (offline)."),
    ] = "llm"


@dataclass(frozen=True)
class WhatOptions:
    """What is asked of each class."""

    style: Annotated[
        Literal["descriptors", "sentences"], of_classes(help="Short phrases, or full sentences.")
    ] = "descriptors"
    hint: Annotated[str, of_classes(help='What all classes are: "breeds of pet".')] = ""
    per_class: Annotated[
        int | None, of_classes(min=1, show_default="8 phrases, 30 sentences", help="How many.")
    ] = None
    contrast: Annotated[
        str | None,
        of_classes(
            metavar="near|PAIRS|FILE",
            help="Ask what tells classes apart: from the nearest names in the encoder's text space, "
            '"cat/lynx,dog/wolf", or the confusions.csv of `vlcls evaluate`.',
        ),
    ] = None
    instructions: Annotated[
        str | None, of_classes(help="A Jinja2 file, or one of prompts/llm: two-shot.")
    ] = None
    sense: Annotated[
        list[str] | None, of_classes(metavar="NAME=SYNSET", help="WordNet: what a name means.")
    ] = None


@dataclass(frozen=True)
class ServerOptions:
    """Whom to ask, and how; arguments of `vlcls.llm.describe`."""

    model: Annotated[
        str | None, of_model("--model", "-m", envvar="VLCLS_LLM", help="As the server names it.")
    ] = None
    base_url: Annotated[
        str | None,
        of_model(
            envvar="OPENAI_BASE_URL", show_default="OpenAI",
            help="A compatible server, http://localhost:8000/v1: vLLM, Ollama, llama.cpp, ...",
        ),
    ] = None  # fmt: skip
    temperature: Annotated[float | None, of_model(min=0, show_default="the server's")] = None
    max_tokens: Annotated[
        int, of_model(min=1, help="Most tokens of an answer; models that think need more.")
    ] = 2048
    concurrency: Annotated[int, of_model(min=1, help="Requests under way at once.")] = 8
    timeout: Annotated[float, of_model(min=0.1, help="Seconds for one whole request.")] = 120.0
    retries: Annotated[int, of_model(min=0, help="Times a failed request is sent again.")] = 5


@command()
def describe(
    own: DescribeOptions, classes: Annotated[ClassOptions, ("labels_file", "clean_names")], what: WhatOptions,
    server: ServerOptions, encoder: Annotated[ModelOptions, ("encoder",)],
) -> None:  # fmt: skip
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
    known = found_labels(replace(classes, labels=own.labels))
    if own.output is None and not own.dry_run:
        raise typer.BadParameter("give a file to write: -o descriptors.json (- prints)")
    if own.source == "wordnet":
        with _claimed(own.output, own.overwrite):
            described = _from_wordnet(known, what.sense or [])
            _write(described.descriptors, own.output)
        _end(described.failures, len(known), "give other names, or say what they are: --sense NAME=SYNSET")
        return
    if server.model is None:
        raise typer.BadParameter("give a model: --model gpt-4o-mini, or --source wordnet for none")
    asked: dict[str, Any] = {
        name: vars(what)[name] for name in ("style", "per_class", "hint", "instructions")
    }
    asked["siblings"] = _siblings(what.contrast, known, encoder)
    if own.dry_run:
        _print_requests(known, server, asked)
    else:
        _ask(known, own, server, asked)


def _ask(known: Labels, own: DescribeOptions, server: ServerOptions, asked: dict[str, Any]) -> None:
    with status("loading"):
        from vlcls.llm import describe as ask
    log, total = own.log, len(known if asked["siblings"] is None else asked["siblings"])
    if log is None and own.output is not None and str(own.output) != "-":
        log = own.output.with_name(f"{own.output.name}.answers.jsonl")
    with _claimed(own.output, own.overwrite), _token_bar(total) as progress:
        found = ask(known, log=log, retry_failed=own.retry_failed, progress=progress, **vars(server), **asked)
        _write(found.descriptors, own.output)
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


def _siblings(contrast: str | None, labels: Labels, model: ModelOptions) -> Mapping[int, list[str]] | None:
    if contrast is None:
        return None
    from vlcls.llm.contrast import near_siblings, read_siblings

    if contrast != "near":
        return read_siblings(contrast, labels)
    return near_siblings(labels, model.load())


def _print_requests(labels: Labels, server: ServerOptions, asked: dict[str, Any]) -> None:
    from vlcls.llm.requests import Asking, questions

    asking = Asking(
        str(server.model), asked["style"], temperature=server.temperature, max_tokens=server.max_tokens
    )
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
        warnings.warn(
            f"{few(names)} have the same descriptors: no image can tell them apart by these",
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
