"""Reading what a run of `vlcls evaluate` has written: `docs/results.md` has the schema."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlcls.errors import EvaluationError, MissingExtraError

FORMAT, VERSION = "vlcls-results", 1
#: An image of a run: its name, and how many before it have the same name.
ImageKey = tuple[str, int]


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

    @property
    def right(self) -> NDArray[np.bool_]:
        """bool[S, N]."""
        found: NDArray[np.bool_] = self.predicted == self.truth
        return found

    @property
    def keys(self) -> list[ImageKey]:
        """What tells the images apart, [N]."""
        return numbered(self.images)


def cell_name(cell: Mapping[str, Any]) -> str:
    """Its set, encoder and method, for people."""
    return " / ".join(str(cell[part]) for part in ("set", "encoder", "method"))


def read_results(folder: str | Path) -> dict[str, Any]:
    """The `results.json` of a run.

    Args:
        folder: The run's folder, or the file itself.

    Raises:
        EvaluationError: No such file, no JSON, or JSON of another kind or of a later version.
    """
    path = Path(folder)
    path = path / "results.json" if path.is_dir() else path
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(
            f"{path} cannot be read ({error.strerror or error}): give the folder that `vlcls evaluate` wrote"
        ) from error
    except ValueError as error:
        raise EvaluationError(f"{path} is no JSON: {error}") from error
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise EvaluationError(f"{path} does not hold results of `vlcls evaluate`: no format {FORMAT!r}")
    if results.get("version") != VERSION:
        raise EvaluationError(
            f"{path} has version {results.get('version')!r} of the results' format; this vlcls reads "
            f"{VERSION}: take a newer one, or evaluate again"
        )
    return results


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
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingExtraError("reading predictions", "parquet") from error
    try:
        table = parquet.read_table(path, columns=["image", "seed", "true", "predicted", "confidence"])
    except (OSError, ArrowException) as error:
        raise EvaluationError(f"{path} cannot be read ({error}): run `vlcls evaluate` again") from error
    images = [str(image) for image in table["image"].to_pylist()]
    columns = {name: table[name].to_numpy() for name in ("seed", "true", "predicted", "confidence")}
    return _by_seed(images, columns, path)


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
