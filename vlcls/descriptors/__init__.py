"""Descriptor sets: types, files, checks and edits."""

from vlcls.descriptors.base import HAND, Descriptor, DescriptorSet, Style
from vlcls.descriptors.checks import Problem, check_descriptors
from vlcls.descriptors.edits import Change, diff_descriptors
from vlcls.descriptors.files import descriptor_names, read_descriptors, write_descriptors

__all__ = [
    "HAND", "Change", "Descriptor", "DescriptorSet", "Problem", "Style", "check_descriptors",
    "descriptor_names", "diff_descriptors", "read_descriptors", "write_descriptors",
]  # fmt: skip
