"""Images of known classes: folders, tables, shards, data sets of the Hub, suites of them, corrupted ones."""

from vlcls.evaluation.data.parts import EvaluationSet, restricted
from vlcls.evaluation.data.sets import corrupted, labelled_images, open_set, shared_classes
from vlcls.evaluation.data.suites import open_suite_set, read_suite

__all__ = [
    "EvaluationSet",
    "corrupted",
    "labelled_images",
    "open_set",
    "open_suite_set",
    "read_suite",
    "restricted",
    "shared_classes",
]
