"""Explanations: which descriptors decided a prediction, where they matched, which help over a data set."""

from vlcls.explain.audit import Audit, LeftOut, PieceAudit, audit_descriptors
from vlcls.explain.contributions import Contribution, Evidence, Explanation, Lead, explain_images, lead
from vlcls.explain.faithfulness import Faithfulness, faithfulness, random_maps
from vlcls.explain.heatmaps import heat_grid, heat_map, usable_method
from vlcls.explain.overlay import Overlay, descriptor_embedding, descriptor_overlay
from vlcls.explain.picture import save_picture

__all__ = [
    "Audit",
    "Contribution",
    "Evidence",
    "Explanation",
    "Faithfulness",
    "Lead",
    "LeftOut",
    "Overlay",
    "PieceAudit",
    "audit_descriptors",
    "descriptor_embedding",
    "descriptor_overlay",
    "explain_images",
    "faithfulness",
    "heat_grid",
    "heat_map",
    "lead",
    "random_maps",
    "save_picture",
    "usable_method",
]
