"""What a run of `vlcls evaluate` writes as JSON, field by field; docs/results.md says what each means.

What is read back is checked against this: a field that is missing, of another type, out of its range or
unknown is named. `results.json` is `Results`; a file in `cells/` is a `StoredCell`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from vlcls.evaluation.metrics.entries import metrics_of
from vlcls.evaluation.metrics.per_image import MultiLabel, Outcomes
from vlcls.evaluation.metrics.vocabulary_free import FoundNames
from vlcls.files.schema import FileModel

Text = Annotated[str, Field(min_length=1)]
Part = Annotated[float, Field(ge=0, le=1)]
Signed = Annotated[float, Field(ge=-1, le=1)]
Count = Annotated[int, Field(ge=0)]
Several = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
#: A file of the folder, by its path within it.
Inside = Annotated[str, Field(pattern=r"^predictions/[^/\\]+\.parquet$")]


class EstimateOf(FileModel):
    value: float
    low: float
    high: float

    @model_validator(mode="after")
    def _in_order(self) -> EstimateOf:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class PartEstimate(EstimateOf):
    value: Part
    low: Part
    high: Part


class _Place(FileModel):
    set: Text
    encoder: Text
    method: Text


class _Figures(FileModel):
    """Beside its fields a figure for each metric of whoever wrote it: some may be unknown here."""

    model_config = ConfigDict(extra="allow")
    measured: ClassVar[type]

    @model_validator(mode="after")
    def _possible(self) -> _Figures:
        found = self.__pydantic_extra__ or {}
        for metric in metrics_of(self.measured):
            if metric.name in found:
                figure = found[metric.name]
                values = [*vars(figure).values()] if isinstance(figure, EstimateOf) else [figure]
                if not all(metric.can_be(value) for value in values):
                    raise ValueError(f"{metric.name} cannot be {', '.join(map(str, values))}")
            elif metric.always:
                raise ValueError(f"{metric.name} is missing")
        return self


class _Estimates(_Figures):
    __pydantic_extra__: dict[str, EstimateOf | None] = Field(init=False)
    images: Several
    classes: Several
    classes_with_images: Several


class MetricsOf(_Estimates):
    measured = Outcomes
    activation: Literal["softmax", "sigmoid"]
    bins: Several


class MultiLabelMetricsOf(_Estimates):
    measured = MultiLabel


class SeedOf(FileModel):
    seed: Count
    top1: Part


class GroupOf(FileModel):
    name: str
    images: Count
    right: NotNegative
    accuracy: PartEstimate | None

    @model_validator(mode="after")
    def _no_more_than_all(self) -> GroupOf:
        if self.right > self.images:
            raise ValueError("more images are right than there are")
        return self


class GroupsOf(FileModel):
    groups: Annotated[tuple[GroupOf, ...], Field(min_length=1)]
    worst: GroupOf
    average: Part
    mean: Part
    gap: Signed
    reweighted: Part | None
    empty: tuple[str, ...]
    intervals: dict[Literal["average", "gap"], EstimateOf] = Field(default_factory=dict)


class CellOf(_Place):
    prompts: Several
    prompts_sha256: Digest
    seeds: Annotated[tuple[Count, ...], Field(min_length=1)]
    metrics: MetricsOf | MultiLabelMetricsOf
    per_seed: tuple[SeedOf, ...]
    groups: dict[str, GroupsOf]
    predictions: Inside | None = None
    predictions_sha256: Digest | None = None
    left_out: Count = 0

    @model_validator(mode="after")
    def _agrees(self) -> CellOf:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("a seed is there twice")
        if self.per_seed and tuple(each.seed for each in self.per_seed) != self.seeds:
            raise ValueError("per_seed is not of the seeds")
        return self


class DiscoveryOf(_Place, _Figures):
    __pydantic_extra__: dict[str, float] = Field(init=False)
    measured = FoundNames
    images: Several
    fallbacks: Count
    names: tuple[tuple[str, Several], ...]
    predictions: Inside
    predictions_sha256: Digest | None = None


class DifferenceOf(FileModel):
    accuracy: Part
    reference: Part
    difference: EstimateOf
    gained: NotNegative
    lost: NotNegative
    seeds: Several
    reference_seeds: Several
    p_value: Part
    adjusted: Part
    simultaneous: EstimateOf | None = None
    p_images: Part | None = None
    between_seeds: NotNegative | None = None
    freedom: NotNegative | None = None


class GainOf(_Place):
    reason: Text
    sentence: Text
    comparisons: dict[str, DifferenceOf]
    few_draws: str = ""


class DropOf(FileModel):
    before: Part
    after: Part
    absolute: Signed
    relative: float | None
    retention: float | None


class EffectiveOf(FileModel):
    value: EstimateOf
    expected: Part
    inside: bool
    source: str
    points: tuple[tuple[Part, Part], ...] = ()


class ShiftOf(FileModel):
    encoder: Text
    method: Text
    from_: Text = Field(alias="from")
    to: Text
    classes: Several
    before: PartEstimate
    after: PartEstimate
    drop: DropOf
    effective_robustness: EffectiveOf | None


class CorruptionOf(_Place):
    name: Text
    baseline: str | None
    errors: Annotated[dict[str, NotNegative], Field(min_length=1)]
    mean: NotNegative


class QuadrantsOf(FileModel):
    images: Count
    RR: PartEstimate | None
    RW: PartEstimate | None
    WR: PartEstimate | None
    WW: PartEstimate | None
    accuracy: PartEstimate | None


class RationaleOf(_Place):
    texts: Count = 0
    quadrants: QuadrantsOf


class EncoderOf(FileModel):
    fingerprint: Text
    precision: Text
    logit_scale: float
    logit_bias: float
    activation: Literal["softmax", "sigmoid"]


class UnreadableOf(FileModel):
    image: str
    error: str


class SetOf(FileModel):
    source: dict[str, Any]
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    ids: tuple[str, ...] | None = None  # files of before it was there have none
    images: Several
    unreadable: tuple[UnreadableOf, ...]
    content_sha256: str | None
    templates: tuple[str, ...] | None
    multi_label: bool
    problems: tuple[str, ...]


class MethodOf(FileModel):
    spec: Text
    control: bool
    reference: str | None
    seeds: Annotated[tuple[Count, ...], Field(min_length=1)]
    about: str
    trained_on: Count | None = None
    fitted: str | None = None


class FailureOf(_Place):
    error: str


class Hardware(FileModel):
    machine: str
    processors: Several | None
    device: str


class Results(FileModel):
    format: Literal["vlcls-results"]
    version: Literal[1]
    vlcls: Text
    date: Text
    seconds: NotNegative
    versions: dict[str, str]
    hardware: Hardware
    limit: Several | None
    alpha: Part
    encoders: Annotated[dict[str, EncoderOf], Field(min_length=1)]
    sets: Annotated[dict[str, SetOf], Field(min_length=1)]
    methods: Annotated[dict[str, MethodOf], Field(min_length=1)]
    cells: tuple[CellOf, ...]
    failed: tuple[FailureOf, ...] = ()
    gains: tuple[GainOf, ...]
    shifts: tuple[ShiftOf, ...]
    corruptions: tuple[CorruptionOf, ...]
    rationales: tuple[RationaleOf, ...]
    discoveries: tuple[DiscoveryOf, ...] = ()

    @model_validator(mode="after")
    def _names_are_known(self) -> Results:
        for what in ("cells", "gains", "discoveries"):
            for place, row in enumerate(getattr(self, what)):
                for part, known in (("set", self.sets), ("encoder", self.encoders)):
                    name = getattr(row, part)
                    if name not in known:
                        raise ValueError(f"{what}.{place}.{part}: there is no {part} {name!r}")
        for place, cell in enumerate(self.cells):
            if cell.metrics.classes > len(self.sets[cell.set].classes):
                raise ValueError(f"cells.{place}.metrics.classes: more than the set has")
        keys = [(cell.set, cell.encoder, cell.method) for cell in self.cells]
        if len(set(keys)) != len(keys):
            raise ValueError("cells: one is there twice")
        return self


class StoredCell(FileModel):
    """A file in `cells/`: what it depends on, its figures, and the hash of these as `digest` makes it."""

    format: Literal["vlcls-cell"]
    version: Literal[1]
    key: Digest
    sha256: Digest
    cell: CellOf | DiscoveryOf
