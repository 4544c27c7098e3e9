"""What the two files of an editing session may hold: types and bounds of every field."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from vlcls.app.session import MOST_CHARACTERS
from vlcls.descriptors.base import Style
from vlcls.files.schema import FileModel
from vlcls.limits import unreadable, weight_problem

FORMAT, VERSION = "vlcls-edit-session", 1


def _readable(text: str) -> str:
    if character := unreadable(text):
        raise ValueError(f"holds {character!r}")
    return text


def _weight(value: float) -> float:
    if problem := weight_problem(value):
        raise ValueError(problem)
    return value


Text = Annotated[str, AfterValidator(_readable)]
Count = Annotated[int, Field(ge=0, le=2**53)]
#: A time as sessions write it: ISO 8601, with a zone.
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Place = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,8})$")]
#: A descriptor: its words, source, weight, and whether a person changed it.
Entry = tuple[Text, str, Annotated[float, AfterValidator(_weight)], bool]
Sources = dict[str, dict[str, str]]
#: A group: its name, images, right before, right then.
Group = tuple[Text, Annotated[int, Field(ge=1, le=2**53)], Count, Count]


class StartFile(FileModel):
    """`start.json`: C classes, and their descriptors at the start."""

    about: dict[str, Text]
    names: tuple[Text, ...]
    ids: tuple[Text, ...]
    style: Style
    sources: Sources
    descriptors: tuple[tuple[Entry, ...], ...]


class Changes(FileModel):
    """What a state changes of the start: classes by place, and all sources if any is another."""

    classes: dict[Place, tuple[Entry, ...]]
    sources: Sources | None = None


class StepFile(Changes):
    """A state that the session went through."""

    said: Text
    at: Time


class LookFile(FileModel):
    """A look at held-out images; see `vlcls.app.session.Look`."""

    at: Time
    revision: Count
    images: Annotated[int, Field(ge=1, le=2**53)]
    before: Count
    gained: Count
    lost: Count
    groups: dict[Text, tuple[Group, ...]]

    @model_validator(mode="after")
    def _adds_up(self) -> LookFile:
        if self.before > self.images or self.lost > self.before or self.gained > self.images - self.before:
            raise ValueError("more images turned than there are")
        for column, groups in self.groups.items():
            for name, count, before, after in groups:
                if max(before, after) > count:
                    raise ValueError(f"{column!r}, {name!r}: more images are right than there are")
        return self


class SessionFile(FileModel):
    """`session.json`: everything since the start."""

    format: Literal["vlcls-edit-session"]
    version: Annotated[int, Field(ge=VERSION, le=VERSION)]  # Literal[1] would take true
    start: Digest
    revision: Count
    place: Count
    steps: Annotated[tuple[StepFile, ...], Field(min_length=1)]
    snapshots: dict[Annotated[Text, Field(min_length=1, max_length=MOST_CHARACTERS)], Changes]
    looks: tuple[LookFile, ...]

    @model_validator(mode="after")
    def _belongs_together(self) -> SessionFile:
        if self.place >= len(self.steps):
            raise ValueError(f"place {self.place} of {len(self.steps)} steps")
        if self.steps[0].classes or self.steps[0].sources is not None:
            raise ValueError("steps.0 is the start, and changes something of it")
        if any(look.revision > self.revision for look in self.looks):
            raise ValueError("looks: one is of a later revision than the session's")
        return self
