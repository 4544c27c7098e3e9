"""Finding what is wrong with a classifier: where it fails, what it relies on, and what to change.

Plain functions over a classifier, image embeddings, true classes, group columns and a split into images that
are shown and images that are held out. `docs/bias.md` has the methods, their sources and their limits.
"""

from vlcls.bias.effects import Effect, edited_descriptors, effect_of, without_piece, worst_group_change
from vlcls.bias.failures import FailureMode, FailureSearch, check_failure_modes, failure_modes
from vlcls.bias.reliance import Reliance, RelianceSearch, descriptor_reliance
from vlcls.bias.report import BiasReport, GroupAccuracy, HeldOut, check_held_out, find_bias
from vlcls.bias.suggestions import Suggestion, suggest_removals, suggest_replacements
from vlcls.bias.tags import Tagger, Tags, fit_tagger, group_tags, joined_tags
from vlcls.bias.texture import ShapeDecisions, texture_against_shape, textures_of_names
from vlcls.labelled.splits import Split, split_images

__all__ = [
    "BiasReport", "Effect", "FailureMode", "FailureSearch", "GroupAccuracy", "HeldOut", "Reliance",
    "RelianceSearch", "ShapeDecisions", "Split", "Suggestion", "Tagger", "Tags", "check_failure_modes",
    "check_held_out", "descriptor_reliance", "edited_descriptors", "effect_of", "failure_modes", "find_bias",
    "fit_tagger", "group_tags", "joined_tags", "split_images", "suggest_removals", "suggest_replacements",
    "texture_against_shape", "textures_of_names", "without_piece", "worst_group_change",
]  # fmt: skip
