"""Every answer as it arrived: a killed run goes on from here, and pays for nothing twice."""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from vlcls.errors import LanguageModelError, VlclsWarning
from vlcls.files.json_text import parse_json, to_json
from vlcls.files.reading import read_bytes
from vlcls.files.schema import FileModel, validated
from vlcls.files.terminal import printable, shortened
from vlcls.files.writing import locked, output_errors, write_atomically
from vlcls.llm.requests import Asking, LimitName

#: Bytes of a log: the answers of all 21,000 nouns of WordNet, each as long as answers are kept.
MAX_LOG = 2 << 30


class LoggedAnswer(FileModel):
    """One answer.

    Attributes:
        key: Hash of the exact request (`Asking.key`).
        class_name: The class that was asked about.
        answer: The model's words.
        refusal: The server says that it is a refusal.
        tokens: Spent on question and answer.
        finish: Why it ends, as the server says.
        thinking: The model thought beforehand, in words that are not in `answer`.
        max_tokens: The limit that it was asked with.
    """

    model_config = ConfigDict(populate_by_name=True)

    key: str = Field(min_length=1, max_length=200)
    class_name: str = Field(default="", validation_alias="class", serialization_alias="class")
    answer: str = ""
    refusal: bool = False
    tokens: int = Field(default=0, ge=0)
    finish: str = ""
    thinking: bool = False
    max_tokens: int | None = Field(default=None, ge=1)


class Settings(FileModel):
    """How this server wants to be asked.

    Attributes:
        structured: It knows JSON schemas.
        limit: Its name for the limit of tokens.
        allowed: The most tokens that it allows; None if that was never found out.
    """

    structured: bool = True
    limit: LimitName = "max_tokens"
    allowed: int | None = Field(default=None, ge=1)

    def applied(self, asking: Asking) -> Asking:
        most = min(asking.max_tokens, self.allowed or asking.max_tokens)
        return replace(asking, structured=self.structured, limit=self.limit, max_tokens=most)


class _SettingsLine(FileModel):
    settings: Settings


class AnswerLog:
    """JSON Lines, appended to and flushed to the disk answer by answer. No key of the server is ever in it.

    A line is a `LoggedAnswer`, or `{"settings": {"structured": false}}`, once a server turned out not to know
    JSON schemas, say. Other lines are put into a file of the same name with `.bad` behind, and said.

    Args:
        path: The file, which is locked until `close`; None to keep answers in memory only.

    Raises:
        LanguageModelError: It is no log, or cannot be read.
        OutputError: Another run has it, or it cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.settings = Settings()
        self._answers: dict[str, LoggedAnswer] = {}
        self._file = None
        self._held = ExitStack()
        if path is None:
            return
        with ExitStack() as held:
            held.enter_context(locked(path, "another `vlcls describe`"))
            self._read(path)
            with output_errors(path):
                self._file = held.enter_context(path.open("ab"))
            self._held = held.pop_all()

    def __enter__(self) -> AnswerLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: str) -> LoggedAnswer | None:
        return self._answers.get(key)

    def add(self, answer: LoggedAnswer) -> None:
        self._answers[answer.key] = answer
        self._append(answer.model_dump(by_alias=True, exclude_defaults=True))

    def set(self, asking: Asking) -> None:
        """Remember how this server wants to be asked."""
        settings = Settings(structured=asking.structured, limit=asking.limit, allowed=asking.max_tokens)
        if settings != self.settings:
            self.settings = settings
            self._append({"settings": settings.model_dump(exclude_none=True)})

    def close(self) -> None:
        self._file = None
        self._held.close()

    def _append(self, line: dict[str, Any]) -> None:
        if self._file is None or self.path is None:
            return
        with output_errors(self.path):
            self._file.write((to_json(line) + "\n").encode("utf-8", "replace"))
            self._file.flush()
            os.fsync(self._file.fileno())

    def _read(self, path: Path) -> None:
        """Take over what is there; put aside what cannot be read."""
        if not path.exists():
            return
        lines = read_bytes(path, LanguageModelError, MAX_LOG).split(b"\n")
        bad = [number for number, raw in enumerate(lines, start=1) if raw.strip() and not self._taken(raw)]
        if not bad:
            if lines[-1]:  # a whole line whose end was not written
                write_atomically(path, b"\n".join([*lines, b""]))
            return
        torn = bad[-1:] == [len(lines)]  # as a killed run leaves it
        damaged = bad[:-1] if torn else bad
        if damaged and not self._answers:
            found = shortened(printable(lines[damaged[0] - 1].decode("utf-8", "replace")), 80)
            raise LanguageModelError(
                f"{path} is no log of answers (line {damaged[0]}: {found}): give another file as --log"
            )
        aside = path.with_name(f"{path.name}.bad")
        with output_errors(aside), aside.open("ab") as file:
            file.writelines(lines[number - 1] + b"\n" for number in bad)
            file.flush()
            os.fsync(file.fileno())
        kept = [raw for number, raw in enumerate(lines, start=1) if raw.strip() and number not in set(bad)]
        write_atomically(path, b"".join(raw + b"\n" for raw in kept))
        if damaged:
            more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
            warnings.warn(
                f"{path}: line {damaged[0]}{more} is no answer; put into {aside.name}, "
                "what it was about is asked again",
                VlclsWarning,
                stacklevel=5,
            )

    def _taken(self, raw: bytes) -> bool:
        try:
            line = parse_json(raw, "line", LanguageModelError)
            if isinstance(line, dict) and "settings" in line:
                self.settings = validated(_SettingsLine, line, "line", LanguageModelError).settings
            else:
                answer = validated(LoggedAnswer, line, "line", LanguageModelError)
                self._answers[answer.key] = answer
        except LanguageModelError:
            return False
        return True
