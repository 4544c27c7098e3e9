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
    from vlcls.retrieval import build_captions, open_captions, read_captions
    from vlcls.store import EmbeddingStore

__version__ = "0.1.0"

_HOMES = {
    "Cased": "vlcls.classifiers.cased",
    "Classification": "vlcls.classifiers",
    "Classifier": "vlcls.classifiers",
    "Prediction": "vlcls.classifiers",
    "PromptClassifier": "vlcls.classifiers",
    "build_classifier": "vlcls.classifiers",
    "classifier_from_embeddings": "vlcls.classifiers",
    "load": "vlcls.classifiers",
    "weigh_templates": "vlcls.classifiers",
    "Naming": "vlcls.classifiers.vocabulary_free",
    "discover": "vlcls.classifiers.vocabulary_free",
    "Encoder": "vlcls.encoders",
    "load_encoder": "vlcls.encoders",
    "VlclsError": "vlcls.errors",
    "VlclsWarning": "vlcls.errors",
    "Explanation": "vlcls.explain",
    "evaluate": "vlcls.evaluation.run.api",
    "audit_descriptors": "vlcls.explain",
    "explain_images": "vlcls.explain",
    "labelled_folder": "vlcls.labelled",
    "Labels": "vlcls.labels",
    "NameLearning": "vlcls.learning",
    "Training": "vlcls.learning",
    "learn_names": "vlcls.learning",
    "Prompt": "vlcls.prompts",
    "PromptSet": "vlcls.prompts",
    "build_captions": "vlcls.retrieval",
    "open_captions": "vlcls.retrieval",
    "read_captions": "vlcls.retrieval",
    "EmbeddingStore": "vlcls.store",
}

__all__ = [
    "Cased", "Classification", "Classifier", "EmbeddingStore", "Encoder", "Explanation", "Labels",
    "NameLearning", "Naming", "Prediction", "Prompt", "PromptClassifier", "PromptSet", "Training",
    "VlclsError", "VlclsWarning", "__version__", "audit_descriptors", "build_captions", "build_classifier",
    "classifier_from_embeddings", "discover", "evaluate", "explain_images", "labelled_folder", "learn_names",
    "load", "load_encoder", "open_captions", "read_captions", "weigh_templates",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vlcls' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
