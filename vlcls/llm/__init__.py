"""Descriptors written by a language model."""

from vlcls.llm.client import Described, describe, describe_async
from vlcls.llm.contrast import near_siblings, read_siblings

__all__ = ["Described", "describe", "describe_async", "near_siblings", "read_siblings"]
