"""Caption databases: captions, their embeddings, and an index that finds those nearest to an image."""

from __future__ import annotations

from vlcls.retrieval.build import BuildReport, build_captions
from vlcls.retrieval.database import CaptionDatabase, DatabaseInfo, Found
from vlcls.retrieval.opening import open_captions
from vlcls.retrieval.sources import read_captions

__all__ = [
    "BuildReport", "CaptionDatabase", "DatabaseInfo", "Found", "build_captions", "open_captions",
    "read_captions",
]  # fmt: skip
