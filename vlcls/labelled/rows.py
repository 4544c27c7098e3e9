"""Labelled images in the columns of a data set that `datasets` has opened."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlcls.errors import EvaluationError, ImageError, LabelError, VlclsWarning, library
from vlcls.image_sources import ImageSource, as_sources, path_beside
from vlcls.labelled.columns import Columns, choose_columns
from vlcls.labelled.images import LabelledImages
from vlcls.labelled.scheme import Scheme, label_scheme, read_truth, with_contradictions
from vlcls.labels import Labels, as_labels


def import_datasets() -> Any:
    """The library, or a `MissingExtraError`."""
    return library("datasets", "opening data sets of this kind", "datasets")


def labelled_dataset(
    dataset: Any,
    labels: Labels | Mapping[str, str] | Iterable[str] | None = None,
    *,
    image_column: str = "image",
    label_column: str = "label",
    group_columns: Sequence[str] = (),
) -> LabelledImages:
    """The rows of a `datasets.Dataset`, whatever its format; images are read only when they are embedded.

    Args:
        dataset: One split.
        labels: Classes, which names and numbers of the data set refer to (`value_places`); None: the data
            set's own, of `ClassLabel`; else numbers as they count, or texts in alphabetical order.
        image_column, label_column, group_columns: Names of columns.

    Raises:
        ImageError: Not one split, or no such column.
        LabelError: Rows without a class, with several, or of a class that is not among the labels.

    Warns:
        VlclsWarning: The labels replace the data set's own names, or one file is there with several classes.
    """
    if not hasattr(dataset, "features") or not hasattr(dataset, "__len__") or isinstance(dataset, dict):
        raise ImageError(f"a {type(dataset).__name__} has no fixed rows: pass one split, not streamed")
    for column in (image_column, label_column, *group_columns):
        if column not in dataset.column_names:
            raise ImageError(
                f"the data set has no column {column!r}; it has {', '.join(dataset.column_names)}"
            )
    known = None if labels is None else as_labels(labels)
    try:
        rows = read_rows(dataset, "the data set", (image_column, label_column, group_columns), known)
    except EvaluationError as error:
        raise ImageError(str(error)) from error
    where, scheme = f"column {label_column!r}", rows.scheme
    return one_class_each(rows.sources, rows.truth, rows.groups, scheme.labels, scheme.problems, where)


def one_class_each(
    sources: Sequence[ImageSource],
    truth: Sequence[tuple[int, ...]],
    groups: Mapping[str, tuple[str, ...]],
    labels: Labels,
    problems: Sequence[str],
    where: str,
) -> LabelledImages:
    """Rows as images of one class each, to learn from; the sentences on what is odd become warnings.

    Raises:
        LabelError: A row with no class, or with several.
    """
    for row, classes in enumerate(truth):
        if len(classes) != 1:
            raise LabelError(f"{where}: row {row} has {len(classes)} classes, and one is expected")
    for sentence in problems:
        warnings.warn(sentence, VlclsWarning, stacklevel=3)
    return LabelledImages(sources, tuple(place for (place,) in truth), groups, labels)


@dataclass(frozen=True)
class Rows:
    """A split, all of it: N images, N times their classes, N values of each group column."""

    sources: Sequence[ImageSource]
    truth: list[tuple[int, ...]]
    groups: Mapping[str, tuple[str, ...]]
    scheme: Scheme
    columns: Columns


def read_rows(
    dataset: Any,
    where: str,
    columns: tuple[str | None, str | None, Sequence[str]],
    labels: Labels | None,
    *,
    own: Sequence[str] | None = None,
    folder: Path | None = None,
) -> Rows:
    """Images and classes of a `datasets.Dataset`.

    Args:
        dataset: One split.
        where: For messages.
        columns: Names of the image, label and group columns; None to guess.
        labels: The user's.
        own: Names of the class numbers where the data set itself has none.
        folder: What paths of images are relative to; None: there can be none.

    Raises:
        EvaluationError: No such columns.
        LabelError: Rows without a class, or of a class that is not among the labels.
    """
    with _whole(where):
        chosen = feature_columns(dataset.features, where, columns, folder)
        plain = dataset.with_format(None)
        at = f"{where}, column {chosen.label!r}"
        values = list(plain[chosen.label])
        feature = dataset.features[chosen.label]
        scheme = label_scheme(feature_kind(feature), feature_names(feature) or own, labels, values, at)
        truth = read_truth(values, scheme, at)
        groups = {name: group_values(dataset.features[name], plain[name]) for name in chosen.groups}
        if folder is not None and feature_kind(dataset.features[chosen.image]) == "text":
            sources: Sequence[ImageSource] = [
                ImageSource(str(path), path_beside(path, folder) if isinstance(path, str) else path)
                for path in plain[chosen.image]
            ]
        else:
            own_pixels = dataset.format["type"] == "custom"  # a set_transform makes them
            sources = as_sources((dataset if own_pixels else plain)[chosen.image])
    return Rows(sources, truth, groups, with_contradictions(scheme, sources, truth), chosen)


@contextmanager
def _whole(where: str) -> Iterator[None]:
    """Texts of an Arrow file are decoded only here: those that are none raise an error that names the set."""
    try:
        yield
    except UnicodeDecodeError as reason:
        raise LabelError(f"{where}: a damaged row: {reason}") from reason


def feature_columns(
    features: Mapping[str, Any],
    where: str,
    columns: tuple[str | None, str | None, Sequence[str]],
    folder: Path | None,
) -> Columns:
    """The columns of a data set that hold images, classes and groups; see `read_rows`."""
    kinds = {name: feature_kind(feature) for name, feature in features.items()}
    chosen = choose_columns(kinds, where, *columns)
    if kinds[chosen.image] == "text" and folder is None:
        raise EvaluationError(f"{where}: column {chosen.image!r} holds text, and there is no folder it is in")
    return chosen


def group_values(feature: Any, values: Sequence[Any]) -> tuple[str, ...]:
    """A group column as names; "" where a row has none. The feature is None of a column of plain values."""
    names = feature_names(feature)
    if names is None:
        return tuple("" if value is None else str(value) for value in values)
    return tuple("" if value is None or value < 0 else names[value] for value in values)


def feature_kind(feature: Any) -> str:
    """What a column holds; see `vlcls.labelled.columns`."""
    datasets = import_datasets()
    if isinstance(feature, datasets.Image) or (isinstance(feature, dict) and "bytes" in feature):
        return "image"
    if isinstance(feature, datasets.ClassLabel):
        return "class"
    if isinstance(feature, datasets.Value):
        starts = {"bool": "int", "int": "int", "uint": "int", "float": "float", "binary": "image"}
        for start, kind in (starts | {"string": "text", "large_string": "text"}).items():
            if feature.dtype.startswith(start):
                return kind
        return str(feature.dtype)
    inner = _inner(feature)
    if inner is not None and (kind := feature_kind(inner)) in ("class", "int", "text"):
        return "classes" if kind == "class" else f"{kind}s"
    return type(feature).__name__


def _inner(feature: Any) -> Any:
    if isinstance(feature, list) and len(feature) == 1:
        return feature[0]
    return None if isinstance(feature, dict) else getattr(feature, "feature", None)


def feature_names(feature: Any) -> list[str] | None:
    """The names of a column of class numbers, or of lists of them."""
    inner = _inner(feature)
    return getattr(feature if inner is None else inner, "names", None)
