"""Several ways to describe the same classes, in one prompt set."""

from __future__ import annotations

from dataclasses import replace

from vlcls.errors import TemplateError
from vlcls.prompts.base import Prompt, PromptSet


def join_prompts(*sets: PromptSet) -> PromptSet:
    """All prompts of all sets, class by class: templates and sentences, random words and descriptors, ...

    A class's score is then one mean over all of them, so that a longer list counts for more (as in CuPL's
    "combined"). Templates of later sets are numbered on from those of earlier ones.

    Raises:
        TemplateError: Sets of other classes.
    """
    if not sets or any(each.labels != sets[0].labels for each in sets):
        raise TemplateError("only prompt sets of the same classes can be joined")
    joined: list[Prompt] = []
    used = 0
    for each in sets:
        numbers = [prompt.template for prompt in each if prompt.template is not None]
        joined += [
            prompt if prompt.template is None else replace(prompt, template=prompt.template + used)
            for prompt in each
        ]
        used += max(numbers, default=-1) + 1
    return PromptSet(sets[0].labels, tuple(sorted(joined, key=lambda prompt: prompt.class_index)))
