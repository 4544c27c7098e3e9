"""What is being encoded in this process right now: one thread encodes, the others wait."""

from __future__ import annotations

import threading
from collections.abc import Sequence


class Claims:
    """Keys whose rows somebody is making.

    Whoever holds claims must not wait for others': two that wait for each other never end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[bytes, threading.Event] = {}

    def claim(self, keys: Sequence[bytes]) -> list[bytes]:
        """Take those of the keys that nobody holds, and return them; `release` them in any case."""
        done = threading.Event()
        with self._lock:
            mine = [key for key in dict.fromkeys(keys) if key not in self._held]
            self._held.update(dict.fromkeys(mine, done))
        return mine

    def release(self, keys: Sequence[bytes]) -> None:
        with self._lock:
            ended = {self._held.pop(key) for key in keys if key in self._held}
        for done in ended:
            done.set()

    def wait(self, keys: Sequence[bytes]) -> None:
        """Return once none of the keys is held by who holds it now."""
        for key in keys:
            done = self._held.get(key)
            if done is not None:
                done.wait()
