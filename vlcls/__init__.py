"""vlcls: vision-language zero-shot and description-based image classification.

Names are imported when first used, so that `import vlcls` and `vlcls --help` stay quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlcls.classifiers import (
        Classification,
        Classifier,
        Prediction,
        PromptClassifier,
        build_classifier,
        classifier_from_embeddings,
        load,
    )
    from vlcls.encoders import Encoder, load_encoder
    from vlcls.errors import VlclsError, VlclsWarning
    from vlcls.explain import Explanation, audit_descriptors, explain_images
    from vlcls.labelled import labelled_folder
    from vlcls.labels import Labels
    from vlcls.learning import NameLearning, Training, learn_names
    from vlcls.prompts import Prompt, PromptSet
    from vlcls.store import EmbeddingStore

__version__ = "0.1.0"

_HOMES = {
    "Classification": "vlcls.classifiers",
    "Classifier": "vlcls.classifiers",
    "Prediction": "vlcls.classifiers",
    "PromptClassifier": "vlcls.classifiers",
    "build_classifier": "vlcls.classifiers",
    "classifier_from_embeddings": "vlcls.classifiers",
    "load": "vlcls.classifiers",
    "Encoder": "vlcls.encoders",
    "load_encoder": "vlcls.encoders",
    "VlclsError": "vlcls.errors",
    "VlclsWarning": "vlcls.errors",
    "Explanation": "vlcls.explain",
    "audit_descriptors": "vlcls.explain",
    "explain_images": "vlcls.explain",
    "labelled_folder": "vlcls.labelled",
    "Labels": "vlcls.labels",
    "NameLearning": "vlcls.learning",
    "Training": "vlcls.learning",
    "learn_names": "vlcls.learning",
    "Prompt": "vlcls.prompts",
    "PromptSet": "vlcls.prompts",
    "EmbeddingStore": "vlcls.store",
}

__all__ = [
    "Classification",
    "Classifier",
    "EmbeddingStore",
    "Encoder",
    "Explanation",
    "Labels",
    "NameLearning",
    "Prediction",
    "Prompt",
    "PromptClassifier",
    "PromptSet",
    "Training",
    "VlclsError",
    "VlclsWarning",
    "__version__",
    "audit_descriptors",
    "build_classifier",
    "classifier_from_embeddings",
    "explain_images",
    "labelled_folder",
    "learn_names",
    "load",
    "load_encoder",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vlcls' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
