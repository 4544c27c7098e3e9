"""Prompts: the texts that stand for each class, from templates, descriptors, sentences or random words."""

from vlcls.data import prompts_folder
from vlcls.prompts.base import Kind, LearnedName, Prompt, PromptSet
from vlcls.prompts.choose import class_prompts
from vlcls.prompts.combine import join_prompts
from vlcls.prompts.descriptors import prompts_from_descriptors
from vlcls.prompts.learned import (
    parts_around_name,
    renamed_texts,
    with_learned_names,
    with_new_classes,
    with_plain_names,
    with_slots,
)
from vlcls.prompts.phrasing import DEFAULT_PHRASING, PHRASINGS, Phrasing, clause
from vlcls.prompts.templates import (
    DEFAULT_TEMPLATES,
    fill_template,
    load_templates,
    prompts_from_templates,
    template_names,
)
from vlcls.prompts.waffle import prompts_from_random, waffle_and_descriptors

__all__ = [
    "DEFAULT_PHRASING", "DEFAULT_TEMPLATES", "PHRASINGS", "Kind", "LearnedName", "Phrasing", "Prompt",
    "PromptSet", "class_prompts", "clause", "fill_template", "join_prompts", "load_templates",
    "parts_around_name", "prompts_folder", "prompts_from_descriptors", "prompts_from_random",
    "prompts_from_templates", "renamed_texts", "template_names", "waffle_and_descriptors",
    "with_learned_names", "with_new_classes", "with_plain_names", "with_slots",
]  # fmt: skip
