"""Explanations: which descriptors decided a prediction, which help or hurt, what learned names mean."""

from vlcls.explain.audit import Audit, LeftOut, PieceAudit, audit_descriptors
from vlcls.explain.contributions import Contribution, Evidence, Explanation, Lead, explain_images, lead
from vlcls.explain.names import (
    Doubt,
    NameReading,
    Suggestion,
    VectorReading,
    doubted_labels,
    read_names,
    suggest_names,
    wordnet_names,
)
from vlcls.explain.picture import save_picture
from vlcls.explain.sheet import save_sheet

__all__ = [
    "Audit",
    "Contribution",
    "Doubt",
    "Evidence",
    "Explanation",
    "Lead",
    "LeftOut",
    "NameReading",
    "PieceAudit",
    "Suggestion",
    "VectorReading",
    "audit_descriptors",
    "doubted_labels",
    "explain_images",
    "lead",
    "read_names",
    "save_picture",
    "save_sheet",
    "suggest_names",
    "wordnet_names",
]
