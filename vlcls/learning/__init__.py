"""Learning class names: vectors in place of words, trained on labelled images through a frozen tower."""

from vlcls.learning.checkpoint import Epoch
from vlcls.learning.names import learn_from_embeddings, learn_names
from vlcls.learning.result import REPORT, NameLearning, read_report
from vlcls.learning.split import Split, split_images
from vlcls.learning.training import Examples, Training

__all__ = [
    "REPORT",
    "Epoch",
    "Examples",
    "NameLearning",
    "Split",
    "Training",
    "learn_from_embeddings",
    "learn_names",
    "read_report",
    "split_images",
]
