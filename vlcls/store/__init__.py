"""The embedding store: what was embedded once is never embedded again.

Layout, below one root folder:

    v1/FINGERPRINT-PRECISION/encoder.json          which encoder this is, for people
    v1/FINGERPRINT-PRECISION/KIND/DIGEST.safetensors

Each shard holds `keys` uint8[n, 16], sorted, and `embeddings` float32[n, D], says in its metadata whose rows
they are, is named by the SHA-256 of its own bytes and never changes. That one rule gives everything else: a
shard is written under a temporary name and renamed, so a killed process leaves either all of it or none; two
processes can write at once, since equal content has an equal name; a damaged file no longer matches its
name, so it is deleted and its embeddings are made anew; and a process that has checked a shard once needs
to read no more of it than the rows it is asked for.
"""

from vlcls.store.folder import BadShard, Cleared, EmbeddingStore, PartitionInfo, Verified, default_root
from vlcls.store.partition import Partition
from vlcls.store.shards import KEY_BYTES, Identity, Kind, text_key

__all__ = [
    "KEY_BYTES", "BadShard", "Cleared", "EmbeddingStore", "Identity", "Kind", "Partition", "PartitionInfo",
    "Verified", "default_root", "text_key",
]  # fmt: skip
