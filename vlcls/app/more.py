"""Asking a language model for more descriptors of one class."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from vlcls.app.session import joined
from vlcls.descriptors import DescriptorSet
from vlcls.errors import LanguageModelError
from vlcls.llm import describe
from vlcls.llm.secret import KEY_VARIABLE

#: Descriptors asked for beyond those that are there.
_MORE = 4


@dataclass(frozen=True)
class AskedModel:
    """Whom to ask: as for `vlcls.llm.describe`."""

    model: str
    base_url: str | None = None
    hint: str = ""


def asking(model: str | None, base_url: str | None, hint: str = "") -> AskedModel | None:
    """Whom to ask, if a model is configured: one that is named, and a server or a key for OpenAI's."""
    if model is None or not (base_url or os.environ.get(KEY_VARIABLE)):
        return None
    return AskedModel(model, base_url, hint)


def more(descriptors: DescriptorSet, index: int, whom: AskedModel) -> DescriptorSet:
    """The set with what a language model says of class `index` that is not there yet.

    Raises:
        LanguageModelError: It cannot be asked, or no answer can be used.
    """
    labels = descriptors.labels.some([index])
    known = len(descriptors.descriptors[index])
    found = describe(
        labels, model=whom.model, base_url=whom.base_url, style=descriptors.style, hint=whom.hint,
        per_class=known + _MORE, timeout=60.0, retries=2,
    )  # fmt: skip
    if found.failures:
        raise LanguageModelError(f"the language model did not help: {next(iter(found.failures.values()))}")
    sources: Mapping[str, Mapping[str, str]] = found.descriptors.sources
    return joined(descriptors, index, found.descriptors.descriptors[0], sources)
