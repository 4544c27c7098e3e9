"""Reading what a run of `vlcls evaluate` has written: `docs/results.md` has the schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import EvaluationError
from vlcls.evaluation.report.run_folder import listed
from vlcls.evaluation.report.run_schemas import Results
from vlcls.files.hashes import check_hashes
from vlcls.files.json_text import read_json
from vlcls.files.parquet import read_parquet
from vlcls.files.schema import validated

FORMAT, VERSION = "vlcls-results", 1
RESULTS = "results.json"


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one method said about N images, with S seeds.

    Attributes:
        images: Their names, [N], in the order of the file; names may repeat.
        seeds: [S].
        truth: int64[N], true classes.
        predicted: int64[S, N], classes given.
        confidence: float64[S, N], the probabilities of these.
    """

    images: tuple[str, ...]
    seeds: tuple[int, ...]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.images)

    def at(self, rows: NDArray[np.int64]) -> Predictions:
        """Those of some images."""
        return Predictions(
            tuple(self.images[row] for row in rows), self.seeds,
            self.truth[rows], self.predicted[:, rows], self.confidence[:, rows],
        )  # fmt: skip

    @property
    def right(self) -> NDArray[np.bool_]:
        """bool[S, N]."""
        found: NDArray[np.bool_] = self.predicted == self.truth
        return found


def cell_name(cell: Mapping[str, Any]) -> str:
    """Its set, encoder and method, for people."""
    return " / ".join(str(cell[part]) for part in ("set", "encoder", "method"))


def read_results(folder: str | Path) -> dict[str, Any]:
    """The `results.json` of a run, checked field by field.

    Args:
        folder: The run's folder, or the file itself.

    Raises:
        EvaluationError: No such file, no JSON, JSON of another kind or of a later version, a field that is
            not as it should be, or a file that is not what was written in this folder.
    """
    path = Path(folder)
    path = path / RESULTS if path.is_dir() else path
    if not path.exists():
        raise EvaluationError(
            f"{path} cannot be read (not there): give the folder that `vlcls evaluate` wrote"
        )
    results = read_json(path, EvaluationError)
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise EvaluationError(f"{path} does not hold results of `vlcls evaluate`: no format {FORMAT!r}")
    if results.get("version") != VERSION:
        raise EvaluationError(
            f"{path} has version {results.get('version')!r:.40} of the results' format; this vlcls reads "
            f"{VERSION}: take a newer one, or evaluate again"
        )
    validated(Results, results, path, EvaluationError)
    written = listed(path.parent).get(RESULTS) if path.name == RESULTS else None
    if written is not None:
        check_hashes(path.parent, {RESULTS: written}, EvaluationError)
    found: dict[str, Any] = results
    return found


def read_predictions(folder: str | Path, cell: Mapping[str, Any]) -> Predictions | None:
    """What a cell's method said about each image; None for multi-label sets, which have no such file.

    Args:
        folder: The run's.
        cell: One of `results["cells"]`.

    Raises:
        EvaluationError: The file is missing, damaged, or has other images for another seed.
        MissingExtraError: PyArrow is not installed.
    """
    name = cell.get("predictions")
    if not name:
        return None
    path = Path(folder) / name
    try:
        written = cell.get("predictions_sha256")
        if written is not None:
            check_hashes(Path(folder), {name: written}, EvaluationError)
        table = read_parquet(path, ["image", "seed", "true", "predicted", "confidence"], EvaluationError)
    except EvaluationError as error:
        raise EvaluationError(f"{error}: run `vlcls evaluate` again") from error
    images, columns = _columns(table, cell["metrics"]["classes"], path)
    return _by_seed(images, columns, path)


def _columns(table: Any, classes: int, path: Path) -> tuple[list[str], dict[str, NDArray[Any]]]:
    """The columns of predictions, each of its type and in its range.

    Raises:
        EvaluationError: Names the column.
    """
    import pyarrow as pa

    def fail(name: str, wanted: str) -> NoReturn:
        raise EvaluationError(f"{path}: column {name!r} must hold {wanted}: run `vlcls evaluate` again")

    for name in table.column_names:
        if table[name].null_count:
            fail(name, "no empty cells")
    image = table["image"]
    if not (pa.types.is_string(image.type) or pa.types.is_large_string(image.type)):
        fail("image", "names of images")
    columns: dict[str, NDArray[Any]] = {}
    for name, most in (("seed", 2**63 - 1), ("true", classes - 1), ("predicted", classes - 1)):
        if not pa.types.is_integer(table[name].type):
            fail(name, "whole numbers")
        columns[name] = table[name].to_numpy()
        if len(columns[name]) and not 0 <= columns[name].min() <= columns[name].max() <= most:
            fail(name, f"numbers from 0 to {most}")
    if not pa.types.is_floating(table["confidence"].type):
        fail("confidence", "numbers")
    columns["confidence"] = table["confidence"].to_numpy()
    if not ((columns["confidence"] >= 0) & (columns["confidence"] <= 1)).all():
        fail("confidence", "numbers from 0 to 1")
    return image.to_pylist(), columns


def numbered(names: Sequence[Any]) -> list[tuple[Any, int]]:
    """Each name with how many before it are the same."""
    seen: Counter[Any] = Counter()
    keys = []
    for name in names:
        keys.append((name, seen[name]))
        seen[name] += 1
    return keys


def _by_seed(images: Sequence[str], columns: Mapping[str, NDArray[Any]], path: Path) -> Predictions:
    if not images:
        raise EvaluationError(f"{path} holds no predictions")
    seed = columns["seed"]
    seeds = tuple(dict.fromkeys(seed.tolist()))
    rows = [np.flatnonzero(seed == each).tolist() for each in seeds]
    first = numbered([images[row] for row in rows[0]])
    order = [rows[0]]
    for other, given in zip(seeds[1:], rows[1:], strict=True):
        places = dict(zip(numbered([images[row] for row in given]), given, strict=True))
        if places.keys() != set(first):
            raise EvaluationError(f"{path}: seed {other} is not of the same images as seed {seeds[0]}")
        order.append([places[key] for key in first])
    table = np.array(order)
    return Predictions(
        tuple(name for name, _ in first),
        seeds,
        columns["true"][table[0]].astype(np.int64),
        columns["predicted"][table].astype(np.int64),
        columns["confidence"][table].astype(np.float64),
    )
