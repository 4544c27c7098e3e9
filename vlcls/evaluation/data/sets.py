"""Open anything with images of known classes: folders, tables, shards, and all that `datasets` opens."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vlcls import demo
from vlcls.errors import EvaluationError, LabelError
from vlcls.evaluation.data.class_names import GivenLabels, check_labels, given_labels
from vlcls.evaluation.data.hf_sets import BUILDERS, HubRows, load_saved, load_split, open_rows
from vlcls.evaluation.data.layouts import layout_of, subfolders
from vlcls.evaluation.data.parts import EvaluationSet, joined_parts
from vlcls.evaluation.data.shards import CLASS_NAMES, TEMPLATES, read_class_names, read_shards, read_templates
from vlcls.evaluation.data.tables import SUFFIXES, read_table, table_images
from vlcls.files.reading import regular_file
from vlcls.files.terminal import few
from vlcls.labelled import LabelledImages, labelled_folder
from vlcls.labelled.rows import group_values, one_class_each
from vlcls.labelled.scheme import Scheme, label_scheme, read_truth
from vlcls.labels import Labels

#: The packaged photographs with their true labels.
DEMO = "builtin:demo"

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class _Request:
    """What a user asked for."""

    path: str
    name: str
    split: str | None
    config: str | None
    revision: str | None
    columns: tuple[str | None, str | None, tuple[str, ...]]
    labels: Labels | None
    streaming: bool

    def source(self, split: str | None) -> dict[str, str]:
        asked = {"path": self.path, "config": self.config, "split": split, "revision": self.revision}
        return {key: value for key, value in asked.items() if value is not None}


def open_set(
    path: str | Path,
    *,
    name: str | None = None,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    group_columns: Sequence[str] = (),
    labels: GivenLabels | None = None,
    streaming: bool = False,
) -> EvaluationSet:
    """Open a data set; images are read only when they are embedded.

    Args:
        path: One of

            - a folder `FOLDER/CLASS/` or `FOLDER/GROUP/CLASS/` (the group column is called "group");
            - a folder with metadata.csv or metadata.jsonl, as `datasets` knows image folders;
            - a folder that `Dataset.save_to_disk` wrote, or one with Parquet, Arrow, CSV or JSON Lines files;
            - a .parquet, .arrow, .json, .csv, .tsv or .jsonl file; images may be paths relative to it;
            - a folder of webdataset shards in CLIP_benchmark's layout, or the like on the Hub
              (`clip-benchmark/wds_...`);
            - the id of any other data set on the Hub, `ORG/NAME`;
            - "builtin:demo", the packaged photographs of `vlcls demo`.
        name: What reports call it; by default after `path`.
        split: None: "test", or "validation", or the only one.
        config, revision: Of a data set on the Hub.
        image_column, label_column: None: the column of images; the one of classes, or with a usual name.
        group_columns: Columns that divide the images into groups.
        labels: Classes: the name of a curated list (`CURATED`), a file, or what `as_labels` takes. The class
            names of the set are matched to them by id or name, else, if there are equally many, by place;
            numbers are ids where all of them are, else places (`vlcls.labelled.value_places`). None: the
            set's own, in its order; texts in alphabetical order.
        streaming: Read a data set of the Hub, or a Parquet or Arrow file, as it comes, and hold a few hundred
            images at most. Its labels must be known beforehand.

    Raises:
        EvaluationError: There is nothing like that, or it is not clear which column or split is meant.
        LabelError: No class names, or images whose class is none of them.
        ImageError: A folder without images, or with images outside of class folders.
        MissingExtraError: A kind of data set that needs `datasets`, which is not installed.
    """
    text = str(path)
    request = _Request(
        path=text,
        name=name or _name(text),
        split=split,
        config=config,
        revision=revision,
        columns=(image_column, label_column, tuple(group_columns)),
        labels=None if labels is None else given_labels(labels),
        streaming=streaming,
    )
    if text == DEMO:
        return _of_images(demo.demo_images(), request)
    local = Path(text).expanduser()
    if local.exists():
        if revision:
            raise EvaluationError(f"{text}: only data sets on the Hub have revisions")
        if local.is_dir():
            return _open_folder(local, request)
        return _open_file(regular_file(local, EvaluationError), request)
    if local.is_absolute() or text.startswith((".", "~")) or not _HUB_ID.fullmatch(text):
        raise EvaluationError(f"{text}: no such file or folder")
    return _open_hub(request)


def labelled_images(given: EvaluationSet) -> LabelledImages:
    """All images of a set that has one class each, to learn from; files are named by their whole path.

    Raises:
        LabelError: An image with several classes, or with none.

    Warns:
        VlclsWarning: What the set's problems are.
    """
    part = joined_parts(given.parts(None))
    sources = part.sources
    if isinstance(sources, list):
        named = (isinstance(each.data, Path) for each in sources)
        sources = [
            replace(each, name=str(each.data)) if is_file else each
            for each, is_file in zip(sources, named, strict=True)
        ]
    return one_class_each(sources, part.truth, part.groups, given.labels, given.problems, given.name)


def _name(path: str) -> str:
    stem = path.rstrip("/").rpartition("/")[2].removeprefix("wds_")
    for suffix in (*SUFFIXES, *BUILDERS):
        stem = stem.removesuffix(suffix)
    return re.sub(r"[^\w.-]+", "-", stem.removeprefix("builtin:")).strip("-.") or "images"


# ---- folders and files ---------------------------------------------------------------------------------


def _open_folder(folder: Path, request: _Request) -> EvaluationSet:
    layout = layout_of(folder)
    if layout.kind == "table":
        return _open_file(_chosen_table(layout.tables, request), replace(request, split=None))
    openers: dict[str, Callable[[Path, _Request], EvaluationSet]] = {
        "saved": _open_saved,
        "shards": _of_shards,
        "metadata": _open_image_folder,
        "tables": _open_table_folder,
        "class": _open_class_folder,
    }
    found = openers[layout.kind](folder, request)
    return replace(found, problems=layout.problems + found.problems)


def _chosen_table(tables: Sequence[Path], request: _Request) -> Path:
    chosen = [path for path in tables if request.split in (None, path.stem)]
    if len(chosen) != 1:
        names = ", ".join(path.name for path in tables)
        raise EvaluationError(f"{request.path}: which of its tables ({names}) is meant? Give its path")
    return chosen[0]


def _open_saved(folder: Path, request: _Request) -> EvaluationSet:
    dataset, split = load_saved(folder, request.split)
    return _of_dataset(dataset, request, split=split)


def _open_image_folder(folder: Path, request: _Request) -> EvaluationSet:
    dataset, split = load_split(
        "imagefolder", request.split, data_dir=str(folder), streaming=request.streaming
    )
    return _of_dataset(dataset, request, split=split)


def _open_table_folder(folder: Path, request: _Request) -> EvaluationSet:
    dataset, split = load_split(
        str(folder), request.split, config=request.config, streaming=request.streaming
    )
    return _of_dataset(dataset, request, split=split, folder=folder)


def _open_file(path: Path, request: _Request) -> EvaluationSet:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        if request.split or request.config:
            raise EvaluationError(f"{request.path}: has no splits or configs to choose from")
        table = read_table(path)
        sources, truth, columns, scheme = table_images(table, path, request.labels, *request.columns)
        groups = {name: group_values(None, table[name]) for name in columns.groups}
        return _of_rows(HubRows.whole(sources, truth, groups, scheme), request)
    if suffix not in BUILDERS:
        kinds = ", ".join((*SUFFIXES, *BUILDERS))
        raise EvaluationError(f"{path}: a folder is expected, or one of these kinds of files: {kinds}")
    dataset, _ = load_split(
        BUILDERS[suffix], request.split, data_files=str(path), streaming=request.streaming
    )
    return _of_dataset(dataset, request, folder=path.parent)


def _open_class_folder(folder: Path, request: _Request) -> EvaluationSet:
    if request.split is not None:
        if not (folder / request.split).is_dir():
            raise EvaluationError(f"{folder}: no split {request.split!r}: there is no such folder in it")
        folder = folder / request.split
    images = labelled_folder(folder, request.labels)
    found = {Path(source.data).relative_to(folder).parts[0] for source in images.sources}
    empty = [*map(repr, sorted({path.name for path in subfolders(folder)} - found))]
    said = (f"Folders without an image count as no class: {few(empty)}.",) if empty else ()
    # Named by their place in the folder: runs over copies of it elsewhere can then be compared.
    named = [replace(each, name=Path(each.data).relative_to(folder).as_posix()) for each in images.sources]
    return _of_images(replace(images, sources=named), request, said)


# ---- the Hub -------------------------------------------------------------------------------------------


def _open_hub(request: _Request) -> EvaluationSet:
    shards = request.path.rpartition("/")[2].startswith("wds_")
    if shards and not request.streaming:
        request = replace(request, split=request.split or "test")
        folder = _fetch(request, f"{request.split}/*")
        # The folder of a snapshot is called after its commit.
        return _of_shards(folder, replace(request, revision=request.revision or folder.name))
    own, templates = None, None
    if shards:
        folder = _fetch(request)
        own, templates = read_class_names(folder), read_templates(folder)
    dataset, split = load_split(
        request.path,
        request.split,
        config=request.config,
        revision=request.revision,
        streaming=request.streaming,
    )
    return _of_dataset(dataset, request, split=split, own=own, templates=templates)


def _fetch(request: _Request, *patterns: str) -> Path:
    import huggingface_hub

    wanted = [CLASS_NAMES, TEMPLATES, *patterns]
    try:
        return Path(
            huggingface_hub.snapshot_download(
                request.path, repo_type="dataset", revision=request.revision, allow_patterns=wanted
            )
        )
    except Exception as error:  # the network, the Hub and the disk each raise their own
        reason = " ".join(str(error).split())[:300]
        raise EvaluationError(f"{request.path}: cannot be fetched from the Hub ({reason})") from error


# ---- one shape for all ---------------------------------------------------------------------------------


def _of_dataset(
    dataset: object, request: _Request, *, split: str | None = None, own: Sequence[str] | None = None,
    folder: Path | None = None, templates: tuple[str, ...] | None = None,
) -> EvaluationSet:  # fmt: skip
    rows = open_rows(
        dataset, request.path, columns=request.columns, labels=request.labels, own=own, folder=folder
    )
    return _of_rows(rows, request, split=split, templates=templates)


def _of_rows(
    rows: HubRows,
    request: _Request,
    *,
    split: str | None = None,
    templates: tuple[str, ...] | None = None,
) -> EvaluationSet:
    if rows.count == 0:
        raise EvaluationError(f"{request.path}: no images in it")
    return EvaluationSet(
        name=request.name,
        labels=rows.scheme.labels,
        parts=rows.parts,
        count=rows.count,
        source=request.source(split or request.split),
        templates=templates,
        multi_label=rows.scheme.multi_label,
        problems=rows.scheme.problems + check_labels(rows.scheme.labels, rows.used),
    )


def _of_images(images: LabelledImages, request: _Request, said: tuple[str, ...] = ()) -> EvaluationSet:
    image, label, groups = request.columns
    unknown = [name for name in (image, label, *groups) if name and name not in images.groups]
    if unknown or request.config:
        have = ", ".join(images.groups) or "none"
        raise EvaluationError(f"{request.path}: has no columns but its groups ({have}), and no configs")
    truth = tuple((place,) for place in images.class_indices)
    scheme = Scheme(images.labels, None, False, said)
    return _of_rows(HubRows.whole(images.sources, truth, images.groups, scheme), request)


def _of_shards(folder: Path, request: _Request) -> EvaluationSet:
    shards = read_shards(folder, request.split)
    image, label, groups = request.columns
    if image or label or groups:
        raise EvaluationError(f"{request.path}: shards have no columns but their images and classes")
    where = f"{request.path}, {shards.split}"
    kind = "ints" if shards.multi_label else "int"
    if shards.names is None and request.labels is None:
        raise LabelError(f"{where}: there is no {CLASS_NAMES} in {folder}: give the labels")
    if shards.multi_label and shards.names is None and request.labels is not None:
        scheme = Scheme(request.labels, None, True)  # of vectors, whose places are no ids
    else:
        scheme = label_scheme(kind, shards.names, request.labels, shards.values, where)
    truth = read_truth(shards.values, scheme, where)
    rows = HubRows.whole(shards.sources, truth, {}, scheme)
    return _of_rows(rows, request, split=shards.split, templates=shards.templates)
