"""How good a classifier is, whether for the right reasons, how robust, and whether a gain is real.

Plain functions over scores [N, C], true classes [N] and predictions [N]; `docs/metrics.md` has the formulas.
"""

from vlcls.decisions.temperature import fit_temperature
from vlcls.evaluation.metrics.accuracy import (
    ClassResult,
    class_table,
    confusion,
    mean_average_precision,
    mean_class_recall,
    top_k_accuracy,
    worst_pairs,
)
from vlcls.evaluation.metrics.calibration import (
    Bin,
    brier_score,
    calibration_error,
    maximum_calibration_error,
    negative_log_likelihood,
    reliability,
)
from vlcls.evaluation.metrics.corruptions import (
    CorruptionErrors,
    corruption_errors,
    mean_corruption_error,
    normalised_errors,
    relative_mean_corruption_error,
)
from vlcls.evaluation.metrics.entries import Metric
from vlcls.evaluation.metrics.intervals import Estimate, bootstrap_intervals, mean_interval, proportion
from vlcls.evaluation.metrics.measuring import (
    Metrics,
    MultiLabelMetrics,
    measure,
    measure_multi_label,
    measure_outcomes,
)
from vlcls.evaluation.metrics.per_image import Outcomes, joined, outcomes
from vlcls.evaluation.metrics.rationale_search import (
    Nearest,
    RationaleTexts,
    SearchEstimate,
    estimate_search,
    search_rationales,
)
from vlcls.evaluation.metrics.rationales import DoublyRight, doubly_right, quadrants
from vlcls.evaluation.metrics.reasons import ReasonReport, Reasons, reasons_that_are_true
from vlcls.evaluation.metrics.robustness import (
    Drop,
    EffectiveRobustness,
    Group,
    Groups,
    LogitFit,
    effective_robustness,
    fit_logits,
    over_groups,
    read_fit,
)
from vlcls.evaluation.metrics.significance import Difference, compare_predictions, holm, holm_corrected
from vlcls.evaluation.metrics.verdicts import Verdict, judge_gains, verdict

__all__ = [
    "Bin", "ClassResult", "CorruptionErrors", "Difference", "DoublyRight", "Drop", "EffectiveRobustness",
    "Estimate", "Group", "Groups", "LogitFit", "Metric", "Metrics", "MultiLabelMetrics", "Nearest",
    "Outcomes", "RationaleTexts", "ReasonReport", "Reasons", "SearchEstimate", "Verdict",
    "bootstrap_intervals", "brier_score", "calibration_error", "class_table", "compare_predictions",
    "confusion", "corruption_errors", "doubly_right", "effective_robustness", "estimate_search", "fit_logits",
    "fit_temperature", "holm", "holm_corrected", "joined", "judge_gains", "maximum_calibration_error",
    "mean_average_precision", "mean_class_recall", "mean_corruption_error", "mean_interval", "measure",
    "measure_multi_label", "measure_outcomes", "negative_log_likelihood", "normalised_errors", "outcomes",
    "over_groups", "proportion", "quadrants", "read_fit", "reasons_that_are_true",
    "relative_mean_corruption_error", "reliability", "search_rationales", "top_k_accuracy", "verdict",
    "worst_pairs",
]  # fmt: skip
