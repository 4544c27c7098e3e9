"""Every answer as it arrived: a killed run goes on from here, and pays for nothing twice."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlcls.errors import LanguageModelError


class AnswerLog:
    """JSON Lines, appended to and flushed to the disk answer by answer. No key of the server is ever in it.

    A line is `{"key": ..., "class": ..., "answer": ..., "tokens": ...}`, whose key is the hash of the exact
    request; or `{"settings": {"structured": false}}`, once a server turned out not to know JSON schemas, say.

    Args:
        path: The file; None to keep answers in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.settings: dict[str, Any] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._file = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = self._read(path)
            self._file = path.open("ab")
            if not whole:  # a torn last line must not swallow the next one
                self._file.write(b"\n")
        except OSError as error:
            raise LanguageModelError(f"log {path}: {error.strerror or error}") from error

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: str) -> dict[str, Any] | None:
        return self._answers.get(key)

    def add(self, key: str, record: Mapping[str, Any]) -> None:
        line = {"key": key, **record}
        self._answers[key] = line
        self._append(line)

    def set(self, **settings: Any) -> None:
        """Remember how this server wants to be asked."""
        if settings != self.settings:
            self.settings = settings
            self._append({"settings": settings})

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, line: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        self._file.write((json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, path: Path) -> bool:
        """Take over what is there; False if the last line is torn."""
        if not path.exists():
            return True
        data = path.read_bytes()
        for raw in data.split(b"\n"):
            try:
                line = json.loads(raw)
            except ValueError:
                continue
            if not isinstance(line, dict):
                continue
            if isinstance(line.get("settings"), dict):
                self.settings = line["settings"]
            elif isinstance(line.get("key"), str):
                self._answers[line["key"]] = line
        return data.endswith(b"\n") or not data
