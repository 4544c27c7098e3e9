"""Data sets that `datasets` opens: of the Hub, saved to disk, Parquet, Arrow, image folders with metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vlcls.errors import EvaluationError
from vlcls.evaluation.data.parts import STREAMED_PART, LabelledPart, Parts, listed, streamed
from vlcls.files.lazy import Lazy
from vlcls.image_sources import DatasetRow, ImageSource, path_beside
from vlcls.labelled.columns import Columns
from vlcls.labelled.rows import (
    feature_columns,
    feature_kind,
    feature_names,
    group_values,
    import_datasets,
    read_rows,
)
from vlcls.labelled.scheme import Scheme, label_scheme, read_truth
from vlcls.labels import Labels

#: Which split is evaluated when none is named.
_USUAL_SPLITS = ("test", "validation", "val", "valid")
#: Builders of files: what `datasets` calls those that read them.
BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".json": "json"}
#: Column of webdataset shards with the name of the sample.
_KEY = "__key__"


@dataclass(frozen=True)
class HubRows:
    """A split as images and classes: what `open_rows` found."""

    parts: Parts
    count: int | None
    scheme: Scheme
    used: frozenset[int] | None

    @classmethod
    def whole(
        cls, sources: Sequence[ImageSource], truth: Sequence[tuple[int, ...]],
        groups: Mapping[str, tuple[str, ...]], scheme: Scheme,
    ) -> HubRows:  # fmt: skip
        """Of a set that is known as a whole."""
        used = frozenset(place for classes in truth for place in classes)
        return cls(listed(sources, truth, groups), len(truth), scheme, used)


def load_saved(folder: Path, split: str | None) -> tuple[Any, str | None]:
    """A folder that `save_to_disk` wrote, and the split that was chosen.

    Raises:
        EvaluationError: It cannot be read, or has no such split.
    """
    datasets = import_datasets()
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # pyarrow, JSON and the operating system each raise their own
        raise EvaluationError(f"{folder}: not a whole saved data set ({_reason(error)})") from error
    if isinstance(found, datasets.DatasetDict):
        chosen = _chosen_split(list(found), split, str(folder))
        return found[chosen], chosen
    if split is not None and split != str(found.split):
        raise EvaluationError(f"{folder}: no split {split!r}: it was saved as one data set without splits")
    return found, None


def load_split(
    path: str, split: str | None, *, config: str | None = None, streaming: bool = False, **options: Any
) -> tuple[Any, str]:
    """One split of anything that `datasets.load_dataset` opens, and the split that was chosen.

    Args:
        path: Id on the Hub, folder, or name of a builder.
        split: None: "test", or "validation", or the only one there is.
        config, streaming, options: See `datasets.load_dataset`.

    Raises:
        EvaluationError: It cannot be opened, or has no such split.
    """
    datasets = import_datasets()
    where = str(options.get("data_files") or options.get("data_dir") or path)
    if path == "pandas":  # a suite can name it; some releases of `datasets` unpickle
        raise EvaluationError(f"{where}: pickles of pandas can run code and are not opened: write Parquet")
    try:
        names = datasets.get_dataset_split_names(path, config_name=config, **options)
    except Exception as error:  # the network, the Hub, and each builder raise their own
        raise EvaluationError(f"{where}: cannot be opened as a data set ({_reason(error)})") from error
    # "test[:100]" and "train+test" are splits too: those, load_dataset itself takes apart.
    plain = split is None or split.isidentifier()
    chosen = _chosen_split(names, split, where) if plain else str(split)
    try:
        return datasets.load_dataset(path, config, split=chosen, streaming=streaming, **options), chosen
    except Exception as error:
        raise EvaluationError(f"{where}: split {chosen!r} cannot be read ({_reason(error)})") from error


def _chosen_split(names: Sequence[str], split: str | None, where: str) -> str:
    if split is None:
        usual = [name for name in _USUAL_SPLITS if name in names]
        if usual or len(names) == 1:
            return (usual or list(names))[0]
        raise EvaluationError(f"{where}: several splits ({', '.join(names)}): say which")
    if split not in names:
        raise EvaluationError(f"{where}: no split {split!r}; it has {', '.join(names)}")
    return split


def open_rows(
    dataset: Any,
    where: str,
    *,
    columns: tuple[str | None, str | None, Sequence[str]],
    labels: Labels | None,
    own: Sequence[str] | None = None,
    folder: Path | None = None,
) -> HubRows:
    """Images and classes of a `datasets.Dataset` or `IterableDataset`.

    Args:
        dataset: One split.
        where, columns, labels, own, folder: See `vlcls.labelled.rows.read_rows`.

    Raises:
        EvaluationError, LabelError: As there.
    """
    if hasattr(dataset, "__len__"):
        rows = read_rows(dataset, where, columns, labels, own=own, folder=folder)
        return HubRows.whole(rows.sources, rows.truth, rows.groups, rows.scheme)
    if dataset.features is None:
        dataset = dataset._resolve_features()
    chosen = feature_columns(dataset.features, where, columns, folder)
    feature = dataset.features[chosen.label]
    at = f"{where}, column {chosen.label!r}"
    scheme = label_scheme(feature_kind(feature), feature_names(feature) or own, labels, None, at)
    return HubRows(streamed(_stream(dataset, chosen, scheme, at, folder)), None, scheme, None)


def _stream(
    dataset: Any, columns: Columns, scheme: Scheme, where: str, folder: Path | None
) -> Callable[[], Iterator[LabelledPart]]:
    datasets = import_datasets()
    image, label = columns.image, columns.label
    if isinstance(dataset.features[image], datasets.Image):
        dataset = dataset.cast_column(image, datasets.Image(decode=False))
    key = [_KEY] if _KEY in dataset.features else []
    wanted = dataset.select_columns(list(dict.fromkeys([image, label, *columns.groups, *key])))

    def read() -> Iterator[LabelledPart]:
        first = 0
        for rows in wanted.iter(batch_size=STREAMED_PART):
            names = rows.get(_KEY) or [f"image {first + n}" for n in range(len(rows[label]))]
            pairs = zip(names, rows[image], strict=True)
            sources = [ImageSource(str(name), _data(data, folder)) for name, data in pairs]
            truth = read_truth(rows[label], scheme, where, first)
            groups = {name: group_values(dataset.features[name], rows[name]) for name in columns.groups}
            yield LabelledPart(sources, truth, groups)
            first += len(truth)

    return read


def _data(data: Any, folder: Path | None) -> Any:
    if isinstance(data, str) and folder is not None:
        return path_beside(data, folder)
    if isinstance(data, dict) and data.get("bytes") is None and "://" in (data.get("path") or ""):
        return DatasetRow(Lazy(1, partial(_fetched, data["path"])), 0)
    return DatasetRow([data], 0) if data is None else data


def _fetched(address: str, _: int) -> bytes:
    """A file that a stream names but does not hold ("hf://...", "zip://...")."""
    import fsspec

    with fsspec.open(address, "rb") as file:
        content: bytes = file.read()
    return content


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
