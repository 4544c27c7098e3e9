"""Learning class names: vectors in place of words, trained on labelled images through a frozen tower."""

from vlcls.learning.checkpoint import Epoch
from vlcls.learning.names import learn_from_embeddings, learn_names
from vlcls.learning.result import REPORT, NameLearning, read_report
from vlcls.learning.split import ShotSplit, split_shots
from vlcls.learning.training import Examples, Training

__all__ = [
    "REPORT", "Epoch", "Examples", "NameLearning", "ShotSplit", "Training", "learn_from_embeddings",
    "learn_names", "read_report", "split_shots",
]  # fmt: skip
