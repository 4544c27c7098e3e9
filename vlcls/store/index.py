"""Where each key's row is: a few sorted arrays, not an object for each of millions of keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Bytes of a key: the first of a SHA-256.
KEY_BYTES = 16

#: Keys as NumPy sorts and compares them: by their bytes. (It takes zeros at the end for padding, which among
#: keys of one length changes nothing.)
Keys = NDArray[np.bytes_]


def as_keys(keys: Sequence[bytes]) -> Keys:
    """Keys of 16 bytes as an array [n]."""
    return np.frombuffer(b"".join(keys), f"S{KEY_BYTES}")


@dataclass(frozen=True)
class _Run:
    """Keys in order, and the shard and row that each is in: 24 bytes a key."""

    keys: Keys
    shards: NDArray[np.int32]
    rows: NDArray[np.int32]


class KeyIndex:
    """Finds keys among many shards, which come and go. Reading needs no lock; changes need one.

    The keys of all shards lie in runs, each at least twice as long as the next, so that a million keys are
    some ten searches away, and adding a shard seldom sorts more than that shard.
    """

    def __init__(self) -> None:
        self._runs: tuple[_Run, ...] = ()

    def __len__(self) -> int:
        """Number of different keys."""
        return len(np.unique(np.concatenate([run.keys for run in self._runs]))) if self._runs else 0

    def add(self, keys: Keys, shard: int) -> None:
        """A new shard, with its keys [n] in order of its rows."""
        rows = np.arange(len(keys), dtype=np.int32)
        runs = [*self._runs, _Run(keys, np.full(len(keys), shard, np.int32), rows)]
        while len(runs) > 1 and len(runs[-2].keys) < 2 * len(runs[-1].keys):
            runs[-2:] = [_joined(runs[-2], runs[-1])]
        self._runs = tuple(runs)

    def remove(self, shard: int) -> None:
        """Forget a shard. Another one that has the same keys is found from then on."""
        kept = []
        for run in self._runs:
            stays = run.shards != shard
            if not stays.all():
                run = _Run(run.keys[stays], run.shards[stays], run.rows[stays])
            if len(run.keys):
                kept.append(run)
        self._runs = tuple(kept)

    def find(self, keys: Keys) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Shard and row of each key [n]; shard -1 for a key that is in none."""
        shards = np.full(len(keys), -1, np.int32)
        rows = np.zeros(len(keys), np.int32)
        for run in self._runs:
            if len(keys) == 1:  # an image: array by array the overhead would be more than the search
                place = int(run.keys.searchsorted(keys)[0])
                if place < len(run.keys) and run.keys[place] == keys[0]:
                    return run.shards[place : place + 1], run.rows[place : place + 1]
                continue
            at = np.minimum(run.keys.searchsorted(keys), len(run.keys) - 1)
            here = (run.keys[at] == keys) & (shards < 0)
            shards[here], rows[here] = run.shards[at[here]], run.rows[at[here]]
        return shards, rows


def _joined(one: _Run, other: _Run) -> _Run:
    keys = np.concatenate([one.keys, other.keys])
    order = np.argsort(keys, kind="stable")
    return _Run(
        keys[order],
        np.concatenate([one.shards, other.shards])[order],
        np.concatenate([one.rows, other.rows])[order],
    )
