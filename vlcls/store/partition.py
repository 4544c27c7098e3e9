"""The embeddings of one encoder and kind, as all of a process sees them."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import OutputError, VlclsWarning
from vlcls.files.json_text import to_json
from vlcls.files.writing import remove_leftovers, write_atomically
from vlcls.store.claims import Claims
from vlcls.store.index import KeyIndex, Keys, as_keys
from vlcls.store.shards import (
    SHARD_NAME,
    Identity,
    Shard,
    ShardError,
    Signature,
    file_names,
    open_shard,
    read_rows,
    signature_of,
    write_shard,
)

#: More small shards than this are merged; small is below half of `MERGE_BYTES` of embeddings.
MAX_SHARDS = 32
MERGE_BYTES = 64 << 20
#: Rows kept for a disk that refuses them.
MAX_WAITING = 1 << 16
#: A folder that was changed so long ago (nanoseconds) has a time that shows the next change.
SETTLED_NS = 2_000_000_000
#: Embeddings wait this long (seconds) before they become a shard: the most a killed run can lose.
FLUSH_SECONDS = 2.0

_ALL: weakref.WeakSet[Partition] = weakref.WeakSet()
_WARNED: set[Path] = set()


class Partition:
    """The embeddings of one encoder and kind. Safe to use from many threads.

    Memory holds where each key's row is, and the rows not yet written; rows on disk are read when asked for.
    `refresh` looks for what other processes wrote or deleted, and reads only shards that it has not seen.
    """

    def __init__(self, folder: Path, identity: Identity, spec: str = "?", root: Path | None = None) -> None:
        """Reads nothing yet: see `refresh`, and `vlcls.store.opened`.

        Args:
            folder: Where its shards are.
            identity: Whose rows they must be.
            spec: The encoder's name, for people.
            root: The store's folder, which a warning names.
        """
        self.folder, self.identity, self.spec = folder, identity, spec
        self.root = folder if root is None else root
        self._shards: dict[int, Shard] = {}
        self._numbers: dict[str, int] = {}  # of shards, by name of file
        self._next = 0
        self._passed_over: dict[str, Signature | None] = {}
        self._index = KeyIndex()
        # Shards that do not say whose rows they hold: not served until one of their rows proved right.
        self._doubted = KeyIndex()
        self._proved: set[int] = set()
        self._pending: dict[bytes, NDArray[np.float32]] = {}
        self._refused = False
        self._last_flush = time.monotonic()
        self._seen_before = False
        self._listed: tuple[int, int] | None = None
        self.new_locks()
        _ALL.add(self)

    def new_locks(self) -> None:
        """At the start; and in a child process, where nobody lets go of its parent's locks and claims."""
        self._lock = threading.RLock()  # whoever changes the tables above
        self._reading = threading.Lock()  # one looks for new shards, the others wait
        self._writing = threading.RLock()  # one writes
        self.claims = Claims()

    def __len__(self) -> int:
        with self._lock:
            return len(self._index) + int((self._index.find(as_keys(list(self._pending)))[0] < 0).sum())

    def __contains__(self, key: bytes) -> bool:
        return key in self._pending or bool((self._index.find(as_keys([key]))[0] >= 0).all())

    # ---- reading ---------------------------------------------------------------------------------------

    def get(self, key: bytes) -> NDArray[np.float32] | None:
        """float32[D], or None if the content was never embedded."""
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
        """A row float32[D] for each key, or None; several at once are read together."""
        waiting = (self._pending.get(key) for key in keys)
        found = [None if row is None else row.copy() for row in waiting]
        for again in (True, False):
            left = [place for place, row in enumerate(found) if row is None]
            if not left or self._read(as_keys([keys[place] for place in left]), left, found):
                break
            if again:  # another process merged them, or cleared them away
                self.refresh()
        return found

    def _read(self, keys: Keys, places: list[int], found: list[NDArray[np.float32] | None]) -> bool:
        """Read the rows of keys into their places; False if a shard was lost meanwhile."""
        shards, rows = self._index.find(keys)
        whole = True
        for number in np.unique(shards[shards >= 0]).tolist():
            mine = np.flatnonzero(shards == number)
            shard = self._shards.get(number)
            try:
                block = None if shard is None else read_rows(shard, rows[mine])
            except ShardError:
                block = None
            if block is None:
                self._forget(number)
                whole = False
            else:
                for place, row in zip(mine.tolist(), block, strict=True):
                    found[places[place]] = row
        return whole

    def refresh(self) -> None:
        """See what other processes wrote and deleted. What was seen before is not read again."""
        with self._reading:
            try:
                status = self.folder.stat()
                place = status.st_ino, status.st_mtime_ns
                if place == self._listed:
                    return
                # A change within one tick of the clock does not show in the folder's time.
                settled = time.time_ns() - status.st_mtime_ns > SETTLED_NS
                names = file_names(self.folder)
            except FileNotFoundError:
                names, settled = set(), False
            except OSError as error:
                self._warn(error)
                names, settled = set(), False
            if names and not self._seen_before:
                for folder in (self.folder, self.folder.parent):
                    remove_leftovers(folder)
            self._seen_before = True
            with self._lock:
                gone = [number for name, number in self._numbers.items() if name not in names]
            for number in gone:
                self._forget(number)
            for name in sorted(names - self._numbers.keys()):
                if SHARD_NAME.fullmatch(name):
                    self._open(name)
            self._listed = place if settled and not self._passed_over else None

    def _open(self, name: str) -> None:
        path = self.folder / name
        with contextlib.suppress(OSError):
            signature = signature_of(path.stat())
            if self._passed_over.get(name) == signature:
                return
            self._passed_over[name] = signature
        try:
            shard, keys = open_shard(path, self.identity)
        except ShardError as error:
            if error.damaged:
                with contextlib.suppress(OSError):
                    path.unlink()
            elif isinstance(error.__cause__, PermissionError):
                self._warn(error.__cause__)
            return
        self._adopt(shard, keys)

    def _adopt(self, shard: Shard, keys: Keys) -> None:
        with self._lock:
            self._passed_over.pop(shard.path.name, None)
            if shard.path.name in self._numbers:
                return
            number = self._numbers[shard.path.name] = self._next
            self._next += 1
            self._shards[number] = shard
            (self._index if shard.labelled else self._doubted).add(keys, number)

    def _forget(self, number: int) -> None:
        with self._lock:
            shard = self._shards.pop(number, None)
            if shard is not None:
                del self._numbers[shard.path.name]
            self._index.remove(number)
            self._doubted.remove(number)
            self._proved.discard(number)
            self._listed = None

    # ---- shards that do not say whose they are ---------------------------------------------------------

    def doubted(self, keys: Sequence[bytes]) -> list[int]:
        """Places of keys to encode anew, one for each shard that does not say whose rows it holds.

        `put` then compares the new row with the stored one; if they agree, the whole shard is served.
        """
        shards, _ = self._doubted.find(as_keys(keys))
        numbers, places = np.unique(shards, return_index=True)
        return [place for number, place in zip(numbers.tolist(), places.tolist(), strict=True) if number >= 0]

    def _prove(self, keys: Keys, rows: NDArray[np.float32]) -> None:
        numbers, places = self._doubted.find(keys)
        for number in np.unique(numbers[numbers >= 0]).tolist():
            here = int(np.flatnonzero(numbers == number)[0])
            shard = self._shards[number]
            try:
                stored = read_rows(shard, places[here : here + 1])[0]
                _, table = open_shard(shard.path, self.identity)
            except ShardError:
                self._forget(number)
                continue
            self._doubted.remove(number)
            if _agree(stored, rows[here], self.identity.precision):
                self._index.add(table, number)
                self._proved.add(number)

    # ---- one thread encodes, the others wait -----------------------------------------------------------

    def claim(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of the keys that the caller is to encode: not known, nor claimed; `claims` releases them,
        encoded or not, and waits for others'."""
        with self._lock:
            known = self._index.find(as_keys(keys))[0] >= 0
            new = [key for key, stored in zip(keys, known.tolist(), strict=True) if not stored]
            return self.claims.claim([key for key in new if key not in self._pending])

    # ---- writing ---------------------------------------------------------------------------------------

    def put(self, keys: Sequence[bytes], embeddings: NDArray[np.float32]) -> None:
        """Remember embeddings float32[n, D]; on disk after `FLUSH_SECONDS` or at `close`."""
        rows = np.array(embeddings, np.float32)
        if len(keys) != len(rows):
            raise ValueError(f"{len(keys)} keys for {len(rows)} rows")
        # Rows that are not finite would be served for ever.
        finite = np.isfinite(rows).all(1)
        with self._lock:
            table = as_keys(keys)
            self._prove(table, rows)
            new = finite & (self._index.find(table)[0] < 0)
            for place in np.flatnonzero(new).tolist():
                self._pending.setdefault(keys[place], rows[place])
            if self._refused and len(self._pending) > MAX_WAITING:
                self._pending.clear()
        if time.monotonic() - self._last_flush > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting. A full or read-only disk costs the cache, not the run."""
        with self._writing:
            self._last_flush = time.monotonic()
            with self._lock:
                rows = dict(self._pending)
                if not rows and not self._proved:
                    return
            try:
                if rows:
                    self._describe()
                    self._write(rows)
                self._merge()
            except (OSError, OutputError) as error:
                self._refused = True  # try again, but let memory stay flat
                self._warn(error)

    def close(self) -> None:
        self.flush()

    def drop_pending(self) -> None:
        """Forget rows that are not on disk."""
        with self._lock:
            self._pending.clear()

    def __enter__(self) -> Partition:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _describe(self) -> None:
        """`encoder.json`, for people, beside the first shard."""
        about = self.folder.parent / "encoder.json"
        if not about.exists():
            identity = self.identity
            content = {
                "spec": self.spec,
                "fingerprint": identity.fingerprint,
                "precision": identity.precision,
            }
            write_atomically(about, to_json(content, indent=2).encode("utf-8", "backslashreplace"))

    def _write(self, rows: Mapping[bytes, NDArray[np.float32]]) -> list[Shard]:
        """Write rows as shards of at most `MERGE_BYTES` or so, and serve them from there."""
        written = []
        for part in _parts(rows):
            made = write_shard(self.folder, part, self.identity)
            if made is None:  # another process cleared it away: the rows stay here, and are written again
                continue
            self._adopt(*made)
            written.append(made[0])
            with self._lock:
                for key in part:
                    self._pending.pop(key, None)
        return written

    def _merge(self) -> None:
        """Join small shards once there are many; write anew, with a label, those that proved right."""
        with self._lock:
            joined = {number: self._shards[number] for number in self._proved}
            small = sorted(
                (shard.nbytes, number) for number, shard in self._shards.items()
                if shard.labelled and shard.nbytes < MERGE_BYTES / 2
            )  # fmt: skip
            if len(small) > MAX_SHARDS:
                fits = int((np.cumsum([nbytes for nbytes, _ in small]) <= MERGE_BYTES).sum())
                joined |= {number: self._shards[number] for _, number in small[:fits]}
        rows: dict[bytes, NDArray[np.float32]] = {}
        for number, shard in list(joined.items()):
            try:  # checked again: damage must not be copied into a shard whose name fits it
                _, keys = open_shard(shard.path, self.identity)
                block = read_rows(shard, np.arange(shard.count))
            except ShardError:
                self._forget(number)
                del joined[number]
                continue
            raw = keys.tobytes()
            rows.update((raw[16 * row : 16 * row + 16], block[row]) for row in range(len(block)))
        if not joined:
            return
        kept = {shard.path for shard in self._write(rows)}
        if not kept:
            return
        for number, shard in joined.items():
            if shard.path not in kept:
                self._forget(number)
                with contextlib.suppress(OSError):
                    shard.path.unlink()

    def _warn(self, error: Exception) -> None:
        """Once for each store: its partitions fail alike."""
        if self.root in _WARNED:
            return
        _WARNED.add(self.root)
        cause = error.__cause__ if isinstance(error, OutputError) and error.__cause__ else error
        reason = (cause.strerror if isinstance(cause, OSError) else None) or cause
        warnings.warn(
            f"embeddings not stored in {self.root}: {reason} (VLCLS_CACHE names another folder)",
            VlclsWarning,
            stacklevel=4,
        )


def _parts(rows: Mapping[bytes, NDArray[np.float32]]) -> Iterator[dict[bytes, NDArray[np.float32]]]:
    keys = sorted(rows)
    size = max(1, MERGE_BYTES // rows[keys[0]].nbytes)
    for start in range(0, len(keys), size):
        yield {key: rows[key] for key in keys[start : start + size]}


def _agree(stored: NDArray[np.float32], new: NDArray[np.float32], precision: str) -> bool:
    """Whether two rows are one embedding up to rounding; those of other weights are far further apart."""
    distance = float(np.linalg.norm(stored - new))
    return distance <= (1e-3 if precision == "fp32" else 3e-2) * float(np.linalg.norm(new))


def all_partitions() -> list[Partition]:
    """Those that are in use anywhere in this process."""
    return list(_ALL)
