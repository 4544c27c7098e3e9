"""One partition for each folder in a process, whoever opens it: checked once, shared by all threads."""

from __future__ import annotations

import copyreg
import os
import threading
from pathlib import Path
from typing import Any

from vlcls.store.partition import Partition, all_partitions
from vlcls.store.shards import Identity

#: Partitions that a process keeps open: 24 bytes a row each.
MAX_OPEN = 64

_GUARD = threading.Lock()
_OPEN: dict[tuple[Path, Identity], Partition] = {}


def shared_partition(folder: Path, identity: Identity, spec: str, root: Path) -> Partition:
    """The process's partition of a folder, having looked for what is new in it."""
    with _GUARD:
        partition = _OPEN.pop((folder, identity), None)
        if partition is None:
            partition = Partition(folder, identity, spec, root)
        _OPEN[folder, identity] = partition  # the last used is last
        put_away = [_OPEN.pop(key) for key in list(_OPEN)[: max(0, len(_OPEN) - MAX_OPEN)]]
    for each in put_away:
        each.flush()
    partition.refresh()
    return partition


def partitions_of(root: Path) -> list[Partition]:
    """The partitions of a store that are in use in this process."""
    return [partition for partition in all_partitions() if partition.root == root]


def _reduced(partition: Partition) -> tuple[Any, ...]:
    """Pickled, it is the other process's shared partition of the same folder."""
    return shared_partition, (partition.folder, partition.identity, partition.spec, partition.root)


copyreg.pickle(Partition, _reduced)


def _after_fork() -> None:
    global _GUARD
    _GUARD = threading.Lock()
    for partition in all_partitions():
        partition.new_locks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
