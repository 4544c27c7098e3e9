"""Classifiers: ways to turn image embeddings into scores of classes.

Names are imported when first used: what ways there are is known without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlcls.classifiers.base import Classification, Classifier, Prediction
    from vlcls.classifiers.loading import load
    from vlcls.classifiers.prompt import PromptClassifier, build_classifier, classifier_from_embeddings
    from vlcls.classifiers.zpe import weigh_templates

__all__ = [
    "Classification", "Classifier", "Prediction", "PromptClassifier", "build_classifier",
    "classifier_from_embeddings", "load", "weigh_templates",
]  # fmt: skip

_HOMES = {
    **dict.fromkeys(("Classification", "Classifier", "Prediction"), "base"),
    **dict.fromkeys(("PromptClassifier", "build_classifier", "classifier_from_embeddings"), "prompt"),
    "load": "loading", "weigh_templates": "zpe",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vlcls.classifiers' has no attribute {name!r}")
    return getattr(import_module(f"vlcls.classifiers.{_HOMES[name]}"), name)
