"""Suites: what to evaluate, in YAML files.

```yaml
about: One sentence.
not_tried: What could not be run, and why.
sets:
  - name: waterbirds
    path: grodino/waterbirds      # whatever `open_set` opens; {data} is a folder that the user gives
    split: test
    labels: [landbird, waterbird] # or a curated list, or a file beside the suite
methods: [name, ensemble]
shifts:
  - {from: photo, to: sketch, classes: shared}   # or a curated list, or names of classes
corruptions:
  - {set: photo, names: all, severities: [1, 2, 3, 4, 5]}
groups:
  waterbirds: [place]             # columns for worst-group figures
```
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from vlcls.data import suites_folder
from vlcls.errors import EvaluationError
from vlcls.evaluation.data.class_names import CURATED, curated_labels, shared_classes
from vlcls.evaluation.data.corrupted_sets import CORRUPTIONS
from vlcls.evaluation.data.parts import EvaluationSet, places_of
from vlcls.evaluation.data.sets import open_set
from vlcls.evaluation.metrics.corruptions import SEVERITIES
from vlcls.files.json_text import to_json
from vlcls.files.named import is_built_in
from vlcls.files.schema import FileModel
from vlcls.files.terminal import shortened
from vlcls.files.text import read_text
from vlcls.files.yaml_text import MAX_BYTES, parse_yaml
from vlcls.labels import Labels

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SUFFIX = ".yaml"
SHARED = "shared"
ALL = "all"
#: Characters of a message about one field.
_LONGEST = 500
#: Stands in paths for the folder that the user gives.
DATA = "{data}"


class _Part(FileModel):
    model_config = ConfigDict(populate_by_name=True)


class SuiteSet(_Part):
    """A data set of a suite: a name, and what `open_set` is to open.

    Attributes:
        name: What the suite and its reports call it.
        path, config, split, revision, image_column, label_column, streaming: See `open_set`.
        labels: A curated list, the path of a file beside the suite, a list of names, ids to names, or None.
    """

    name: str = Field(min_length=1, pattern=r"^[\w-][\w.-]*$", max_length=100)
    path: str = Field(min_length=1)
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    labels: str | tuple[str, ...] | dict[str, str] | None = None
    streaming: bool = False


class SuiteShift(_Part):
    """A set and the set that its accuracy is compared with.

    Attributes:
        source: Name of the set in distribution ("from" in the file).
        target: Name of the shifted set ("to").
        classes: "shared": those that both have; the name of a curated list; or classes by name or id.
    """

    source: str = Field(alias="from")
    target: str = Field(alias="to")
    classes: str | tuple[str, ...] = SHARED

    @field_validator("classes")
    @classmethod
    def _known(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(value, str) and value not in (SHARED, *CURATED):
            raise ValueError(
                f"'{value}' is none of {', '.join((SHARED, *CURATED))}; or give a list of classes"
            )
        return value

    def class_subset(self, source: Labels, target: Labels) -> tuple[str, ...]:
        """The classes that both sets are restricted to: what `restricted` takes for either.

        Raises:
            EvaluationError: The sets have none of them in common.
        """
        if not isinstance(self.classes, str):
            return self.classes
        shared = shared_classes(source, target)
        if self.classes != SHARED:
            listed = shared_classes(source, curated_labels(self.classes))
            wanted = set(places_of(listed, source, self.source)) if listed else set()
            shared = tuple(name for name in shared if wanted & set(places_of([name], source, self.source)))
        if not shared:
            raise EvaluationError(
                f"{self.source} and {self.target} have no class of '{self.classes}' in common"
            )
        return shared


class CorruptionRun(_Part):
    """Corruptions that one set is evaluated under.

    Attributes:
        set: Name of the set.
        names: Corruptions; "all" in the file stands for the fifteen of ImageNet-C.
        severities: 1 to 5.
        seed: Of the random draws.
    """

    set: str
    names: tuple[str, ...] = Field(default=CORRUPTIONS, strict=False)  # of a list that `_all` has looked at
    severities: tuple[int, ...] = tuple(range(1, SEVERITIES + 1))
    seed: int = 0

    @field_validator("names", mode="before")
    @classmethod
    def _all(cls, value: Any) -> Any:
        return CORRUPTIONS if value == ALL else value

    @field_validator("names")
    @classmethod
    def _corruptions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in value if name not in CORRUPTIONS]:
            raise ValueError(f"no corruption {unknown[0]!r}; there are {', '.join(CORRUPTIONS)}")
        return _some(value)

    @field_validator("severities")
    @classmethod
    def _severities(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if wrong := [severity for severity in value if not 1 <= severity <= SEVERITIES]:
            raise ValueError(f"severity {wrong[0]}: 1 to {SEVERITIES} are known")
        return _some(value)


class Suite(_Part):
    """What to evaluate.

    Attributes:
        name: Of the file.
        about: What it is for.
        sets: At least one.
        methods: By name, with options; the user's come instead of these.
        shifts, corruptions: See there.
        groups: For worst-group figures: group columns of sets, by the name of the set.
        not_tried: What of it could not be run when it was written.
        folder: Where its file is: paths of label files are relative to it.
    """

    name: str
    about: str
    sets: tuple[SuiteSet, ...] = Field(min_length=1)
    methods: tuple[str, ...] = ()
    shifts: tuple[SuiteShift, ...] = ()
    corruptions: tuple[CorruptionRun, ...] = ()
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    not_tried: str = ""
    folder: Path = Field(default=Path())

    @model_validator(mode="after")
    def _refers_to_its_sets(self) -> Suite:
        names = [each.name for each in self.sets]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"sets: two are called '{twice[0]}'")
        uses = [(f"shifts[{i}].from", each.source) for i, each in enumerate(self.shifts)]
        uses += [(f"shifts[{i}].to", each.target) for i, each in enumerate(self.shifts)]
        uses += [(f"corruptions[{i}].set", each.set) for i, each in enumerate(self.corruptions)]
        uses += [("groups", name) for name in self.groups]
        for where, name in uses:
            if name not in names:
                raise ValueError(f"{where}: no set is called '{name}'; there are {', '.join(names)}")
        return self


def suite_names() -> tuple[str, ...]:
    """The suites that come with vlcls."""
    return tuple(sorted(path.stem for path in suites_folder().glob(f"*{SUFFIX}")))


def read_suite(name_or_path: str | Path) -> Suite:
    """Read a suite by the name of one that comes with vlcls, or from a YAML file.

    Raises:
        EvaluationError: There is none, or its file is wrong; names the file and the field.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix not in (SUFFIX, ".yml"):
        path = suites_folder() / f"{name_or_path}{SUFFIX}"
        if str(name_or_path) not in suite_names():
            known = ", ".join(suite_names())
            raise EvaluationError(
                f"no suite {str(name_or_path)!r}; there are {known}, or give a {SUFFIX} file"
            )
    where = f"suite {path.name}"
    try:
        text = read_text(path, EvaluationError, MAX_BYTES)
    except EvaluationError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise EvaluationError(f"{where}: cannot be read ({reason})") from error
    content = parse_yaml(text, where, EvaluationError)
    if not isinstance(content, dict):
        raise EvaluationError(f"{where}: fields are expected, as in 'sets: [...]'")
    for ours in ("name", "folder"):
        if ours in content:
            raise EvaluationError(f"{where}: {ours}: extra field; a suite is called after its file")
    try:  # as JSON, whose lists fill tuples and whose keys are texts
        own = {"name": path.stem, "folder": str(path.parent)}
        return Suite.model_validate_json(to_json({**content, **own}))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)
        more = f" (and {len(first) - 1} more)" if len(first) > 1 else ""
        raise EvaluationError(f"{where}: {shortened(_words(first[0]), _LONGEST)}{more}") from error


def open_suite_set(suite: Suite, name: str, data: str | Path | None = None) -> EvaluationSet:
    """Open a set of a suite, with the group columns that the suite names.

    Args:
        suite: The suite.
        name: Name of the set.
        data: What `{data}` in its path stands for.

    Raises:
        EvaluationError: No such set; `{data}` without a folder for it; and what `open_set` raises.
    """
    found = [each for each in suite.sets if each.name == name]
    if not found:
        have = ", ".join(each.name for each in suite.sets)
        raise EvaluationError(f"suite {suite.name}: no set {name!r}; it has {have}")
    entry = found[0]
    if DATA in entry.path and data is None:
        raise EvaluationError(
            f"suite {suite.name}: set {name!r} is at {entry.path}: say with --data which folder {DATA} is"
        )
    labels: Any = entry.labels
    if isinstance(labels, str) and not is_built_in(labels, CURATED, "list of labels"):
        labels = suite.folder / labels
    return open_set(
        entry.path.replace(DATA, _as_path(data)),
        group_columns=suite.groups.get(name, ()),
        labels=labels,
        **entry.model_dump(exclude={"path", "labels"}),
    )


def _as_path(data: str | Path | None) -> str:
    """The user's folder in a way that no set in it can be taken for one of the Hub ("pacs/photo")."""
    text = str(data)
    return text if Path(text).is_absolute() or text.startswith((".", "~")) else f"./{text}"


def _some(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        raise ValueError("at least one is needed")
    return value


def _words(error: ErrorDetails) -> str:
    """A finding of pydantic as a path into the file and a reason: "sets[2].path: field required"."""
    path = ""
    for step in error["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    reason = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        reason = "there is no such field"
    elif error["type"] != "value_error":
        reason = reason[:1].lower() + reason[1:]
    return f"{path.lstrip('.')}: {reason}" if path else reason
