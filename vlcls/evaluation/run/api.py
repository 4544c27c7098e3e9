"""`vlcls.evaluate`: from what a user has to a run with its reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlcls.arguments import takes
from vlcls.classifiers.weighting import WEIGHTINGS, shared_templates
from vlcls.descriptors import read_descriptors
from vlcls.errors import EvaluationError, TemplateError, VlclsError
from vlcls.evaluation.data import open_set, shared_classes
from vlcls.evaluation.data.suites import CorruptionRun, open_suite_set, read_suite, suite_names
from vlcls.evaluation.metrics.robustness import read_fit
from vlcls.evaluation.report.run_folder import claim
from vlcls.evaluation.run.harness import run
from vlcls.evaluation.run.methods import Method, parse_methods, with_controls
from vlcls.evaluation.run.plan import ALPHA, Plan, Shift
from vlcls.evaluation.run.progress import Bar, no_bar
from vlcls.files.named import is_built_in
from vlcls.prompts.sources import Context

if TYPE_CHECKING:
    from PIL import Image

    from vlcls.descriptors import DescriptorSet
    from vlcls.encoders import Encoder
    from vlcls.evaluation.data import EvaluationSet
    from vlcls.evaluation.run.right_reasons import RationaleData

DEFAULT_METHODS = "photo,ensemble"


@takes(data="data", methods="methods?", encoder="encoders?", output="path")
def evaluate(
    data: str | Path | EvaluationSet | Sequence[str | Path | EvaluationSet],
    methods: str | Sequence[str] | None = None,
    encoder: str | Encoder | Sequence[str | Encoder] | None = None,
    output: str | Path = "vlcls-run",
    *,
    bar: Bar = no_bar,
    **options: Any,
) -> dict[str, Any]:
    """Evaluate methods on data sets, and write results, predictions and reports into a folder.

    Every image is read and encoded once, whatever the number of methods; a second run takes embeddings from
    the store, and one that was interrupted goes on where it was.

    Args:
        data: A data set as of `vlcls.evaluation.data.open_set` (a class folder, a Hub id, ...), a suite's
            name or file, an `EvaluationSet`, or several of these.
        methods: "photo,autoclip:beta=0.7,waffle", or a list; see `vlcls evaluate --help`. A suite brings its
            own; else "photo,ensemble".
        encoder: A spec, an encoder, or several.
        output: The folder.
        bar: Makes progress bars; see `vlcls.cli.progress.bar`.
        options: See `plan_of`.

    Returns:
        What `results.json` holds; docs/results.md describes it.

    Raises:
        VlclsError: Data that cannot be opened, unknown methods, nothing that could be evaluated.
    """
    claim(Path(output).expanduser())
    plan = plan_of(data, methods, encoder, **options)
    results = run(plan, output, bar=bar)
    write_reports(results, plan, Path(output).expanduser())
    return results


def plan_of(
    data: str | Path | EvaluationSet | Sequence[str | Path | EvaluationSet],
    methods: str | Sequence[str] | None = None,
    encoder: str | Encoder | Sequence[str | Encoder] | None = None,
    *,
    in_distribution: str | None = None,
    corrupt: bool = False,
    controls: bool = True,
    descriptors: DescriptorSet | str | Path | None = None,
    sentences: DescriptorSet | str | Path | None = None,
    root: str | Path | None = None,
    rationales: RationaleData | None = None,
    fit: str | Path | None = None,
    limit: int | None = None,
    alpha: float = ALPHA,
    device: str | None = None,
    precision: str | None = None,
    cache: bool | str | Path = True,
    batch_size: int | None = None,
    workers: int | None = None,
    opening: Mapping[str, Any] | None = None,
) -> Plan:
    """What `evaluate` does, before it does it.

    Args:
        data, methods, encoder: As of `evaluate`.
        in_distribution: Name of the set that the others are shifts of.
        corrupt: Also corrupt each set in ImageNet-C's 15 ways at 5 severities.
        controls: Also run the references that tell whether a gain is real.
        descriptors, sentences: Files for the methods that need some.
        root: Folder of a suite's local data.
        rationales: True reasons of images, for "doubly right"; see `vlcls.evaluation.run.right_reasons`.
        fit: CSV file of a fit set for effective robustness, with one column a set; see `read_fit`.
        limit: Images of each set.
        alpha: Chance of any false positive in a table of gains.
        device, precision: For encoders given as specs.
        cache: Keep embeddings on disk: True, False, or a folder.
        batch_size, workers: See `vlcls.embeddings.embed_images`.
        opening: Arguments of `open_set`: split, label_column, group_columns, labels, streaming, ...
    """
    from vlcls.evaluation.data import EvaluationSet

    given = [data] if isinstance(data, (str, Path, EvaluationSet)) else list(data)
    sets: list[EvaluationSet] = []
    shifts: list[Shift] = []
    corruptions: list[CorruptionRun] = []
    suggested: list[str] = []
    for each in given:
        if isinstance(each, EvaluationSet):
            sets.append(each)
        elif _is_suite(each):
            suite = read_suite(each)
            opened = {one.name: open_suite_set(suite, one.name, root) for one in suite.sets}
            sets += opened.values()
            for shift in suite.shifts:
                ends = (opened[name].labels for name in (shift.source, shift.target))
                shifts.append(Shift(shift.source, shift.target, shift.class_subset(*ends)))
            corruptions += suite.corruptions
            suggested += suite.methods
        else:
            sets.append(open_set(each, **(opening or {})))
    if in_distribution is not None:
        shifts += _from_one(in_distribution, sets)
    if corrupt:
        corruptions += [CorruptionRun(set=each.name) for each in sets]
    if fit is not None:
        shifts = [replace(each, fit=Path(fit)) for each in shifts]
    chosen = parse_methods(methods or suggested or DEFAULT_METHODS)
    plan = Plan(
        tuple(sets),
        tuple(with_controls(chosen) if controls else chosen),
        _encoders(encoder, device, precision),
        shifts=tuple(shifts),
        corruptions=tuple(corruptions),
        rationales=rationales,
        descriptors=descriptors,
        sentences=sentences,
        limit=limit,
        alpha=alpha,
        cache=cache,
        options={"batch_size": batch_size, "workers": workers},
    )
    _check(plan)
    return plan


def _check(plan: Plan) -> None:
    """What can be known before any image is read: files that cannot be, and weightings that do not fit.

    A method without descriptors for some set is left to the run: it costs the other methods nothing.
    """
    reasons = None if plan.rationales is None else plan.rationales.rationales
    for given, style in ((plan.descriptors, None), (plan.sentences, "sentences"), (reasons, "descriptors")):
        if isinstance(given, (str, Path)):
            read_descriptors(given, style=style)  # type: ignore[arg-type]
    for shift in plan.shifts:
        if shift.fit is not None:
            read_fit(shift.fit, shift.before, shift.after)
    for method in plan.methods:
        if "weighting" in method.options and WEIGHTINGS.find(method.options["weighting"]).shared:
            for each in plan.sets:
                _check_weighting(method, plan, each)


def _check_weighting(method: Method, plan: Plan, given: EvaluationSet) -> None:
    context = Context(given.labels, given.templates, plan.descriptors, plan.sentences)
    try:
        prompts = method.prompts(context, 0)
    except VlclsError:
        return
    try:
        shared_templates(prompts)
    except TemplateError as error:
        raise EvaluationError(f"method {method.spec!r} on {given.name}: {error}") from error


def _is_suite(given: str | Path) -> bool:
    """A YAML file, or the name of a built-in suite."""
    if Path(given).suffix in (".yaml", ".yml") and not Path(given).is_dir():
        return True
    return is_built_in(given, suite_names(), "suite")


def _from_one(name: str, sets: Sequence[EvaluationSet]) -> list[Shift]:
    """The set `name` against each of the others, over the classes they share."""
    found = [each for each in sets if each.name == name]
    if not found:
        raise EvaluationError(f"no data set is called {name!r}; there are {', '.join(s.name for s in sets)}")
    shifts = []
    for other in sets:
        if other.name == name:
            continue
        shared = shared_classes(found[0].labels, other.labels)
        if not shared:
            raise EvaluationError(f"data sets {name} and {other.name} have no class in common")
        shifts.append(Shift(name, other.name, shared))
    return shifts


def write_reports(results: dict[str, Any], plan: Plan, folder: Path) -> None:
    """The files that people and other programs read, beside `results.json`."""
    from vlcls.encoders.placement import process_state
    from vlcls.evaluation.report.exports import write_exports
    from vlcls.evaluation.report.pages import write_report

    if not process_state().is_main_process:
        return
    write_exports(results, folder)
    write_report(results, folder, _Pictures(plan))


class _Pictures:
    """Images by set and name, for thumbnails. Those of streams are gone."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.known: dict[str, dict[str, Any]] = {}

    def __call__(self, set_name: str, image: str) -> Image.Image | None:
        from vlcls.errors import ImageError
        from vlcls.images import decode, load_source

        if set_name not in self.known:
            given = next((each for each in self.plan.sets if each.name == set_name), None)
            parts = () if given is None or given.count is None else given.parts(self.plan.limit)
            self.known[set_name] = {source.name: source for part in parts for source in part.sources}
        source = self.known[set_name].get(image)
        try:
            return None if source is None else decode(load_source(source))
        except ImageError:
            return None


def _encoders(
    given: str | Encoder | Sequence[str | Encoder] | None, device: str | None, precision: str | None
) -> tuple[Encoder, ...]:
    from vlcls.classifiers.prompt import DEFAULT_ENCODER
    from vlcls.encoders import as_encoder

    default = DEFAULT_ENCODER if given is None else given
    listed = list(given) if isinstance(given, (list, tuple)) else [default]
    return tuple(as_encoder(each, device, precision) for each in listed)  # type: ignore[arg-type]
