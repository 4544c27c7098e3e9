"""Explanations: which descriptors decided a prediction, and which help or hurt over a data set."""

from vlcls.explain.audit import Audit, LeftOut, PieceAudit, audit_descriptors
from vlcls.explain.contributions import Contribution, Evidence, Explanation, Lead, explain_images, lead
from vlcls.explain.picture import save_picture

__all__ = [
    "Audit",
    "Contribution",
    "Evidence",
    "Explanation",
    "Lead",
    "LeftOut",
    "PieceAudit",
    "audit_descriptors",
    "explain_images",
    "lead",
    "save_picture",
]
