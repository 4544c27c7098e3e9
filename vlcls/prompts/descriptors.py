"""Prompts made of descriptors ("tiger, which has black stripes") and of full sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vlcls.descriptors.base import Descriptor, DescriptorSet
from vlcls.labels import clean_name
from vlcls.prompts.base import Prompt, PromptSet
from vlcls.prompts.phrasing import DEFAULT_PHRASING, Phrasing, check_phrasing, clause
from vlcls.prompts.templates import fill_template, load_templates, prompts_from_templates, puts_an


def prompts_from_descriptors(
    descriptors: DescriptorSet,
    *,
    phrasing: Phrasing | str = DEFAULT_PHRASING,
    templates: str | Path | Sequence[str] | None = None,
    before: str = "",
    between: str = ", ",
    after: str = "",
    articles: bool | None = None,
) -> PromptSet:
    """The prompts of a descriptor set.

    Descriptors: one prompt for each, before + name + between + clause + after (Menon & Vondrick 2023,
    section 3; `vlcls.prompts.phrasing` makes the clause). With K templates: K prompts for each, the clause
    behind the name inside the filled template, in front of its full stop ("a photo of a tiger, which has
    black stripes."). A class without descriptors gets its bare name, or the templates; under "dclip" and
    "append" one empty descriptor, as in the published code.

    Sentences: used as they are (Pratt et al. 2023); with templates both, in one list, so that each text
    weighs alike ("combined" in the paper).

    Args:
        descriptors: C classes.
        phrasing: "grammatical", "dclip", "append" or "alone".
        templates: As for `prompts_from_templates`; none by default.
        before, between, after: What stands around name and clause. ImageNet's published prompts end in ".".
        articles: Make "a" right before names in templates; None: in all but published sets.

    Raises:
        TemplateError: An unknown phrasing or template set.
    """
    known = check_phrasing(phrasing)
    labels = descriptors.labels
    if descriptors.style == "sentences":
        sentences = [
            Prompt(each.text, index, "sentence", each.source, weight=each.weight, descriptor=each.text)
            for index, own in enumerate(descriptors.descriptors)
            for each in own
        ]
        filled = () if templates is None else prompts_from_templates(labels, templates, articles=articles)
        return PromptSet(labels, (*filled, *sentences))
    numbered = [None] if templates is None else list(enumerate(load_templates(templates)))
    correct = templates is not None and puts_an(templates, articles)
    made: list[Prompt] = []
    for index, (name, own) in enumerate(zip(labels.names, descriptors.descriptors, strict=True)):
        if known in ("dclip", "append"):
            name, own = clean_name(name), own or (Descriptor("", "none"),)
        for each in own or (None,):
            said = "" if each is None else clause(each.text, known)
            for slot in numbered:
                if slot is None:
                    text = f"{before}{_joined(name, said, between, known)}{after}"
                else:
                    text = _in_template(slot[1], name, said, between, known, correct)
                made.append(_prompt(text, index, each, slot))
    return PromptSet(labels, tuple(made))


def _prompt(text: str, index: int, descriptor: Descriptor | None, slot: tuple[int, str] | None) -> Prompt:
    number = None if slot is None else slot[0]
    if descriptor is None:
        kind, source = ("name", "") if slot is None else ("template", slot[1])
        return Prompt(text, index, kind, source, number)  # type: ignore[arg-type]  # one of the two above
    source = descriptor.source if slot is None else slot[1]
    return Prompt(text, index, "descriptor", source, number, descriptor.weight, descriptor.text)


def _joined(name: str, said: str, between: str, phrasing: Phrasing) -> str:
    if phrasing == "append":
        return f"{said}{between}{name}"
    if phrasing == "alone":
        return said or name
    return f"{name}{between}{said}" if said else name


def _in_template(
    template: str, name: str, said: str, between: str, phrasing: Phrasing, articles: bool
) -> str:
    """The clause behind the whole filled template, in front of its full stop."""
    filled = fill_template(template, name, articles=articles)
    body = filled.rstrip(" .!")
    return f"{_joined(body, said, between, phrasing)}{filled[len(body) :]}"
