"""Explanations: which descriptors decided a prediction, where they matched, which help or hurt, what
learned names mean."""

from vlcls.explain.audit import Audit, LeftOut, PieceAudit, audit_descriptors
from vlcls.explain.contributions import Explanation, Lead, explain_images, lead
from vlcls.explain.evidence import Contribution, Evidence
from vlcls.explain.faithfulness import Faithfulness, faithfulness, random_maps
from vlcls.explain.heatmaps import heat_grid, heat_map, usable_method
from vlcls.explain.names import (
    Doubt,
    NameReading,
    NameSuggestion,
    VectorReading,
    doubted_labels,
    read_names,
    suggest_names,
    wordnet_names,
)
from vlcls.explain.out_of_fold import OutOfFold, doubted_out_of_fold
from vlcls.explain.overlay import Overlay, descriptor_embedding, descriptor_overlay
from vlcls.explain.picture import save_picture
from vlcls.explain.sheet import save_sheet

__all__ = [
    "Audit", "Contribution", "Doubt", "Evidence", "Explanation", "Faithfulness", "Lead", "LeftOut",
    "NameReading", "NameSuggestion", "OutOfFold", "Overlay", "PieceAudit", "VectorReading",
    "audit_descriptors", "descriptor_embedding", "descriptor_overlay", "doubted_labels",
    "doubted_out_of_fold", "explain_images", "faithfulness", "heat_grid", "heat_map", "lead", "random_maps",
    "read_names", "save_picture", "save_sheet", "suggest_names", "usable_method", "wordnet_names",
]  # fmt: skip
