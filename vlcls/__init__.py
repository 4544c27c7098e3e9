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
        weigh_templates,
    )
    from vlcls.classifiers.cased import Cased
    from vlcls.classifiers.vocabulary_free import Naming, discover
    from vlcls.encoders import Encoder, load_encoder
    from vlcls.errors import VlclsError, VlclsWarning
    from vlcls.evaluation.run.api import evaluate
    from vlcls.explain import Explanation, audit_descriptors, explain_images
    from vlcls.labelled import labelled_folder
    from vlcls.labels import Labels
    from vlcls.learning import NameLearning, Training, learn_names
    from vlcls.prompts import Prompt, PromptSet
    from vlcls.results.sorting import sort_into
    from vlcls.results.unsorting import unsort
    from vlcls.retrieval import build_captions, open_captions, read_captions
    from vlcls.store import EmbeddingStore

__version__ = "0.1.0"

_NAMES = {
    "vlcls.classifiers.cased": ("Cased",),
    "vlcls.classifiers": (
        "Classification",
        "Classifier",
        "Prediction",
        "PromptClassifier",
        "build_classifier",
        "classifier_from_embeddings",
        "load",
        "weigh_templates",
    ),
    "vlcls.classifiers.vocabulary_free": ("Naming", "discover"),
    "vlcls.encoders": ("Encoder", "load_encoder"),
    "vlcls.errors": ("VlclsError", "VlclsWarning"),
    "vlcls.explain": ("Explanation", "audit_descriptors", "explain_images"),
    "vlcls.evaluation.run.api": ("evaluate",),
    "vlcls.labelled": ("labelled_folder",),
    "vlcls.labels": ("Labels",),
    "vlcls.learning": ("NameLearning", "Training", "learn_names"),
    "vlcls.prompts": ("Prompt", "PromptSet"),
    "vlcls.results.sorting": ("sort_into",),
    "vlcls.results.unsorting": ("unsort",),
    "vlcls.retrieval": ("build_captions", "open_captions", "read_captions"),
    "vlcls.store": ("EmbeddingStore",),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}

__all__ = [
    "Cased", "Classification", "Classifier", "EmbeddingStore", "Encoder", "Explanation", "Labels",
    "NameLearning", "Naming", "Prediction", "Prompt", "PromptClassifier", "PromptSet", "Training",
    "VlclsError", "VlclsWarning", "__version__", "audit_descriptors", "build_captions", "build_classifier",
    "classifier_from_embeddings", "discover", "evaluate", "explain_images", "labelled_folder", "learn_names",
    "load", "load_encoder", "open_captions", "read_captions", "sort_into", "unsort", "weigh_templates",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vlcls' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
