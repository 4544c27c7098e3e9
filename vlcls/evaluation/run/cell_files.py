"""Finished cells on disk: a later run takes over what is as it was written."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlcls.errors import EvaluationError, VlclsError, VlclsWarning, library
from vlcls.evaluation.metrics.entries import METRICS
from vlcls.evaluation.report.run_schemas import StoredCell
from vlcls.files.hashes import check_hashes
from vlcls.files.json_text import read_json, to_json
from vlcls.files.schema import validated
from vlcls.files.writing import write_atomically

CELLS, PREDICTIONS = "cells", "predictions"
FORMAT, VERSION = "vlcls-cell", 1


def stored_schema() -> list[Any]:
    """Every field that a stored cell has, for the keys of cells: one that lacks a field is made anew."""
    return [StoredCell.model_json_schema(), list(METRICS)]


def digest(cell: Mapping[str, Any]) -> str:
    """SHA-256 of a cell's figures: a bit that flips in a number leaves JSON that reads well."""
    return hashlib.sha256(to_json(cell, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def read_cell(folder: Path, name: str, key: str) -> dict[str, Any] | None:
    """What an earlier run made of the same cell; None if there is none, or it is damaged and made anew.

    Args:
        folder: The run's.
        name: Of the cell's files, without a suffix.
        key: The hash of all that its figures depend on.
    """
    path = folder / CELLS / f"{name}.json"
    if not os.path.lexists(path):
        return None
    try:
        content = read_json(path, EvaluationError)
        validated(StoredCell, content, path, EvaluationError)
        if content["key"] != key:
            return None
        found: dict[str, Any] = content["cell"]
        if digest(found) != content["sha256"]:
            raise EvaluationError(f"{path}: damaged: its figures are not those that were written")
        if found.get("predictions"):
            hashes = {found["predictions"]: str(found.get("predictions_sha256"))}
            check_hashes(folder, hashes, EvaluationError)
    except EvaluationError as error:
        warnings.warn(f"{error}; this cell is evaluated anew", VlclsWarning, stacklevel=2)
        return None
    return found


def write_cell(folder: Path, name: str, key: str, cell: Mapping[str, Any]) -> None:
    """Write a finished cell; its predictions must be there already.

    Raises:
        OutputError: It cannot be written.
    """
    content = {"format": FORMAT, "version": VERSION, "key": key, "sha256": digest(cell), "cell": cell}
    write_atomically(folder / CELLS / f"{name}.json", to_json(content, indent=1))


def write_predictions(folder: Path, name: str, columns: Mapping[str, Any]) -> dict[str, str]:
    """Write a Parquet file, whole or not at all; what its cell says of it: path and hash.

    Raises:
        MissingExtraError: PyArrow is not installed.
        VlclsError: Names of images that are no text.
        OutputError: It cannot be written.
    """
    pa = library("pyarrow", "writing predictions", "evaluation")
    parquet = library("pyarrow.parquet", "writing predictions", "evaluation")
    path = f"{PREDICTIONS}/{name}.parquet"
    sink = pa.BufferOutputStream()
    try:
        parquet.write_table(pa.table(dict(columns)), sink)
    except (pa.ArrowInvalid, UnicodeEncodeError) as error:
        raise VlclsError(f"{folder / path}: predictions cannot be written ({error})") from error
    data = sink.getvalue().to_pybytes()
    write_atomically(folder / path, data)
    return {"predictions": path, "predictions_sha256": hashlib.sha256(data).hexdigest()}
