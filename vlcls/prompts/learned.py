"""Prompts whose class name is learned: where the name stands in a prompt, and vectors in its place.

Parisot et al., "Learning to Name Classes for Vision and Language Models" (CVPR 2023): the text of a class is
prefix + [CLASS] + suffix, and the embedding of [CLASS] is learned. Prefix and suffix are those of a template.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vlcls.errors import LabelError, TemplateError
from vlcls.labels import Labels, as_labels
from vlcls.prompts.base import LearnedName, Prompt, PromptSet
from vlcls.prompts.templates import (
    DEFAULT_TEMPLATES,
    fill_template,
    load_templates,
    prompts_from_templates,
    published_names,
    with_article,
)


def around_name(prompt: Prompt, name: str) -> tuple[str, str] | None:
    """The text before and after the class name; None for a prompt that was not made of a template.

    Raises:
        TemplateError: The template holds the class name more than once.
    """
    if prompt.learned is not None:
        before, after = prompt.text.split(prompt.learned.word)
        return before, after
    if prompt.kind not in ("name", "template"):
        return None
    for template in (with_article(prompt.source, name), prompt.source):
        parts = template.split("{}")
        if name.join(parts) != prompt.text:
            continue
        if len(parts) > 2:
            raise TemplateError(
                f"template {prompt.source!r} has {len(parts) - 1} places for the class name; a name can be "
                "learned in one with a single {}"
            )
        return parts[0], parts[1]
    return None


def parts_around_name(prompts: PromptSet, prompt: Prompt) -> tuple[str, str]:
    """`around_name` of one of the prompts that must have a place for the name.

    Raises:
        TemplateError: It has none.
    """
    around = around_name(prompt, prompts.labels.names[prompt.class_index])
    if around is None:
        raise TemplateError(f"prompt {prompt.text!r} was not made of a template: it has no slot")
    return around


def with_slots(prompts: PromptSet, classes: Iterable[int]) -> PromptSet:
    """The prompts of some classes reduced to those made of templates; other classes keep all of theirs.

    A class without any gets the default template, "a photo of a {}.".
    """
    chosen = set(classes)
    result: list[Prompt] = []
    for index, name in enumerate(prompts.labels.names):
        own = prompts.of_class(index)
        if index in chosen:
            kept = [prompt for prompt in own if around_name(prompt, name)]
            if not any(prompt.weight for prompt in kept):
                made = prompts_from_templates(Labels((name,), (name,)), DEFAULT_TEMPLATES)
                kept = [replace(prompt, class_index=index) for prompt in made]
            own = kept
        result += own
    return PromptSet(prompts.labels, tuple(result))


def with_learned_names(prompts: PromptSet, learned: Mapping[int, LearnedName]) -> PromptSet:
    """The prompts with learned names in the places of the class names.

    Args:
        prompts: Those of the classes in `learned` must be of templates; see `with_slots`.
        learned: By class index.

    Raises:
        TemplateError: A prompt of these classes has no place for a name.
    """
    result = []
    for prompt in prompts:
        name = learned.get(prompt.class_index)
        if name is not None:
            prompt = replace(prompt, text=name.word.join(parts_around_name(prompts, prompt)), learned=name)
        result.append(prompt)
    return PromptSet(prompts.labels, tuple(result))


def with_plain_names(prompts: PromptSet) -> PromptSet:
    """The prompts with the class names in letters again, as they were before anything was learned."""
    return PromptSet(
        prompts.labels,
        tuple(
            prompt
            if prompt.learned is None
            else replace(
                prompt, text=prompt.text.replace(prompt.learned.word, prompt.learned.name), learned=None
            )
            for prompt in prompts
        ),
    )


def renamed_texts(prompts: PromptSet, index: int, names: Iterable[str]) -> list[list[str]]:
    """What the templates of class `index` say with each of other names in them."""
    sources = [prompt.source for prompt in prompts.of_class(index) if prompt.kind in ("name", "template")]
    correct = _puts_an(prompts, sources)
    return [[fill_template(source, name, articles=correct) for source in sources] for name in names]


def _puts_an(prompts: PromptSet, templates: Sequence[str]) -> bool:
    """How these templates of `prompts` were filled: saved texts tell, if a name in them needs "an"."""
    for prompt in with_plain_names(prompts):
        if prompt.kind == "template" and prompt.source in templates:
            name = prompts.labels.names[prompt.class_index]
            correct = fill_template(prompt.source, name)
            if correct != fill_template(prompt.source, name, articles=False):
                return prompt.text == correct
    return not any(set(templates) == set(load_templates(name)) for name in published_names())


def with_new_classes(
    prompts: PromptSet, labels: Labels | Mapping[str, str] | Iterable[str], *, articles: bool | None = None
) -> PromptSet:
    """More classes, by plain name, in the templates that are there; nothing else changes.

    Args:
        prompts: C classes.
        labels: The new ones; their ids must be new.
        articles: Make "a" right before the names; None: where the templates have done so before.

    Raises:
        LabelError: An id that is there already.
        TemplateError: No class has templates.
    """
    new = as_labels(labels)
    old = prompts.labels
    if again := sorted(set(new.ids) & set(old.ids)):
        raise LabelError(f"class {again[0]!r} is there already ({len(again)} such): give it another id")
    by_class = ([p for p in prompts.of_class(i) if p.kind in ("name", "template")] for i in range(len(old)))
    templates = next((own for own in by_class if own), None)
    if templates is None:
        raise TemplateError("no class has templates that a new name could be put in")
    if articles is None:
        articles = _puts_an(prompts, [template.source for template in templates])
    made = tuple(
        replace(
            template,
            text=fill_template(template.source, name, articles=articles),
            class_index=len(old) + place,
            learned=None,
        )
        for place, name in enumerate(new.names)
        for template in templates
    )
    return PromptSet(Labels(old.names + new.names, old.ids + new.ids), (*prompts.prompts, *made))
