"""Images of known classes: folders, tables, shards, data sets of the Hub, suites of them, corrupted ones."""

from vlcls.evaluation.data.class_names import shared_classes
from vlcls.evaluation.data.corrupted_sets import corrupted
from vlcls.evaluation.data.parts import EvaluationSet, restricted
from vlcls.evaluation.data.sets import labelled_images, open_set
from vlcls.evaluation.data.suites import open_suite_set, read_suite

__all__ = [
    "EvaluationSet", "corrupted", "labelled_images", "open_set", "open_suite_set", "read_suite", "restricted",
    "shared_classes",
]  # fmt: skip
