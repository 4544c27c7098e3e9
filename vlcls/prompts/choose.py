"""The prompts of some classes, by what the user has: templates, descriptors, or both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vlcls.descriptors import DescriptorSet, read_descriptors
from vlcls.errors import LabelError, TemplateError
from vlcls.labels import Labels, as_labels
from vlcls.prompts.base import PromptSet
from vlcls.prompts.descriptors import prompts_from_descriptors
from vlcls.prompts.phrasing import DEFAULT_PHRASING, Phrasing
from vlcls.prompts.templates import DEFAULT_TEMPLATES, prompts_from_templates


def class_prompts(
    labels: Labels | Mapping[str, str] | Iterable[str] | None = None,
    templates: str | Path | Sequence[str] | None = None,
    descriptors: DescriptorSet | str | Path | None = None,
    *,
    phrasing: Phrasing | str | None = None,
    articles: bool | None = None,
    clean_names: bool = True,
) -> PromptSet:
    """The arguments of `build_classifier` that are about texts.

    Raises:
        LabelError, TemplateError, DescriptorError: Named in the message.
    """
    known = None if labels is None else as_labels(labels, clean=clean_names)
    if descriptors is None:
        if known is None:
            raise LabelError("give class names, or descriptors that bring theirs")
        if phrasing is not None:
            raise TemplateError(f"phrasing {phrasing!r} is about descriptors, and there are none")
        return prompts_from_templates(known, templates or DEFAULT_TEMPLATES, articles=articles)
    described = descriptors if isinstance(descriptors, DescriptorSet) else read_descriptors(descriptors)
    return prompts_from_descriptors(
        described if known is None else described.for_labels(known),
        phrasing=phrasing or DEFAULT_PHRASING,
        templates=templates,
        articles=articles,
    )
