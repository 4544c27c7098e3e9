"""A metric of every cell of an evaluation."""

from vlcls.evaluation.metrics.entries import Metric

HESITATION = Metric(
    "hesitation",
    lambda found: float(1 - found.confidence.mean()),
    "hesitation",
    "One less the mean confidence.",
    better="lower",
)
