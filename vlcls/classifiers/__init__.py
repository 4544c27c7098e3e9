"""Classifiers: ways to turn image embeddings into scores of classes."""

from __future__ import annotations

from vlcls.classifiers.base import Classification, Classifier, Prediction
from vlcls.classifiers.loading import load
from vlcls.classifiers.prompt import PromptClassifier, build_classifier, classifier_from_embeddings
from vlcls.classifiers.zpe import weigh_templates

__all__ = [
    "Classification",
    "Classifier",
    "Prediction",
    "PromptClassifier",
    "build_classifier",
    "classifier_from_embeddings",
    "load",
    "weigh_templates",
]
