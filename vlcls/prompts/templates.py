"""Prompts made of templates, with the right article before every class name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vlcls import imagenet
from vlcls.articles import article
from vlcls.data import prompts_folder
from vlcls.errors import TemplateError
from vlcls.files.named import is_built_in
from vlcls.files.reading import is_file
from vlcls.files.text import read_lines
from vlcls.labels import Labels
from vlcls.prompts.base import Prompt, PromptSet

DEFAULT_TEMPLATES = "photo"
#: Built-in sets that nobody published: written for any class, as a user would.
_OWN_SETS = ("name", "photo")

_ARTICLE = re.compile(r"\b([Aa])n?(\s+)\{\}")


def prompts_from_templates(
    labels: Labels, templates: str | Path | Sequence[str] = DEFAULT_TEMPLATES, *, articles: bool | None = None
) -> PromptSet:
    """Every template filled with every class name (Radford et al. 2021, section 3.1.4).

    Args:
        labels: C classes.
        templates: A built-in set's name, a file of templates, one template, or a list of K of them, with `{}`
            where the class name goes.
        articles: Make "a" right before the name: "a photo of an elephant". None: as `puts_an` says.

    Returns:
        C x K prompts, class by class.

    Raises:
        TemplateError: An unknown set, an unreadable file, or a template without `{}`.
    """
    filled, correct = load_templates(templates), puts_an(templates, articles)
    return PromptSet(
        labels,
        tuple(
            Prompt(
                fill_template(template, name, articles=correct),
                index,
                "name" if template == "{}" else "template",
                source=template,
                template=number,
            )
            for index, name in enumerate(labels.names)
            for number, template in enumerate(filled)
        ),
    )


def puts_an(templates: str | Path | Sequence[str], articles: bool | None = None) -> bool:
    """Whether "a" becomes "an" before names that need it: as asked; else for all but published sets.

    Those ("openai-imagenet", "pets", ...) are used letter for letter, as CLIP's and open_clip's code does, so
    that scores equal theirs: "a photo of a apple."
    """
    if articles is not None:
        return articles
    return not (isinstance(templates, str) and templates in published_names())


def fill_template(template: str, name: str, *, articles: bool = True) -> str:
    """One template with one class name in it."""
    return (with_article(template, name) if articles else template).replace("{}", name)


def with_article(template: str, name: str) -> str:
    """The template with "a" or "an" before `{}`, as `name` needs it."""
    return _ARTICLE.sub(lambda found: _right_article(found, name), template)


def load_templates(templates: str | Path | Sequence[str]) -> list[str]:
    """Templates by name, from a file, one alone, or a list; each checked to hold `{}` (or `{c}`, as
    CLIP_benchmark writes it)."""
    if isinstance(templates, str) and "{" in templates:
        templates = [templates]
    if isinstance(templates, (str, Path)):
        where, lines = _named_templates(templates)
    else:
        where, lines = "templates", list(enumerate(templates, start=1))
    if not lines:
        raise TemplateError(f"{where}: no templates")
    result = []
    for number, template in lines:
        if not isinstance(template, str):
            raise TemplateError(f"{where}: number {number} must be text, not {template!r}")
        template = template.replace("{c}", "{}")
        if "{}" not in template:
            raise TemplateError(f"{where}: number {number}, {template!r}, has no {{}} for the class name")
        result.append(template)
    return result


def template_names() -> list[str]:
    """The built-in template sets."""
    return sorted(
        [*imagenet.TEMPLATE_SETS, *(path.stem for path in (prompts_folder() / "templates").glob("*.txt"))]
    )


def published_names() -> list[str]:
    """The built-in sets that are used as they were published."""
    return [name for name in template_names() if name not in _OWN_SETS]


def _named_templates(name: str | Path) -> tuple[str, list[tuple[int, str]]]:
    built_in = is_built_in(name, template_names(), "template set")
    if built_in and name in imagenet.TEMPLATE_SETS:
        return str(name), list(enumerate(imagenet.templates(str(name)), start=1))
    path = prompts_folder() / "templates" / f"{name}.txt" if built_in else Path(name).expanduser()
    if not is_file(path):
        known = ", ".join(template_names())
        raise TemplateError(f"no template set or readable file {str(name)!r}; built in are: {known}")
    lines = enumerate(read_lines(path, TemplateError), start=1)
    return f"{path}, line", [
        (number, line) for number, line in lines if line.strip() and not line.startswith("#")
    ]


def _right_article(found: re.Match[str], name: str) -> str:
    right = article(name)
    return (right.capitalize() if found[1] == "A" else right) + found[2] + "{}"
