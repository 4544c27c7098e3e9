"""Results for other programs: CLIP_benchmark's own shape, and a table of all cells.

CLIP_benchmark (github.com/LAION-AI/CLIP_benchmark) writes one JSON object for each model and data set
(`clip_benchmark/cli.py`, `run`), and its command `build` makes one CSV of many such files (`main_build`). Its
figures are those of `clip_benchmark/metrics/zeroshot_classification.py`, `evaluate`.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlcls.errors import EvaluationError
from vlcls.evaluation.metrics.entries import metrics_of_cells
from vlcls.evaluation.report.run_files import Predictions, read_predictions
from vlcls.evaluation.report.run_folder import listed, write_files
from vlcls.evaluation.report.section_rows import PLACE, Run
from vlcls.files.json_text import read_json, to_json
from vlcls.files.terminal import csv_cells

_TASK = "zeroshot_classification"
#: The folder of a file for each cell.
_EACH = "clip_benchmark/"
#: The columns of its CSV behind those of metrics, in the order of the table that it publishes.
_COLUMNS = ("dataset", "model", "pretrained", "task", "language", "model_fullname")
_CONFUSION = (*PLACE, "true", "predicted", "count", "true_id", "predicted_id")
_LONGEST_NAME = 180


def write_exports(results: Mapping[str, Any], folder: Path) -> None:
    """Write `clip_benchmark/*.json` (one a cell), `clip_benchmark.json`, `clip_benchmark.csv`, `summary.csv`,
    `confusions.csv` and `unreadable.jsonl`.

    `clip_benchmark build DIR/clip_benchmark/*.json` reads the first; the CSV is what it would make of them.
    `clip_benchmark.json` is the list of all of them in one file. Of the files in `clip_benchmark/` those that
    an earlier run wrote and this one does not are removed, and no others; see `run_folder`.
    """
    folder = Path(folder)
    records = [clip_benchmark_record(results, cell) for cell in results["cells"]]
    contents = _each(records, folder)
    contents["clip_benchmark.json"] = _json(records)
    rows = [_flat(record) for record in records]
    known = [metric.clip_benchmark for metric in metrics_of_cells() if metric.clip_benchmark]
    columns = [name for name in known if any(name in row for row in rows)]
    contents["clip_benchmark.csv"] = _csv(rows, [*columns, *_COLUMNS] if rows else [])
    run = Run(results, folder)
    cells = [_summary(run, cell) for cell in results["cells"]]
    contents["summary.csv"] = _csv(cells, list(cells[0]) if cells else [])
    wrong = [row for cell in results["cells"] for row in _confusions(results, cell, folder)]
    contents["confusions.csv"] = _csv(wrong, _CONFUSION)
    lines = [
        to_json({"set": name, **each}) + "\n"
        for name, about in results["sets"].items()
        for each in about["unreadable"]
    ]
    contents["unreadable.jsonl"] = "".join(lines).encode("utf-8", "backslashreplace")
    write_files(folder, contents, within=_EACH)


def _confusions(results: Mapping[str, Any], cell: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Which classes a method that is no control takes for which, means over seeds, most frequent first."""
    found = read_predictions(folder, cell)
    if found is None or results["methods"][cell["method"]]["control"]:
        return []
    pairs: Counter[tuple[int, int]] = Counter()
    for predicted in found.predicted:
        pairs.update(zip(found.truth.tolist(), predicted.tolist(), strict=True))
    classes = results["sets"][cell["set"]]["classes"]
    ids = results["sets"][cell["set"]].get("ids") or classes
    place = {part: cell[part] for part in PLACE}
    return [
        {
            **place,
            "true": classes[true],
            "predicted": classes[predicted],
            "count": _mean(count, found),
            "true_id": ids[true],
            "predicted_id": ids[predicted],
        }
        for (true, predicted), count in pairs.most_common()
        if true != predicted
    ]


def _mean(count: int, found: Predictions) -> int | float:
    mean = count / len(found.seeds)
    return int(mean) if mean == int(mean) else round(mean, 3)


def clip_benchmark_record(results: Mapping[str, Any], cell: Mapping[str, Any]) -> dict[str, Any]:
    """What CLIP_benchmark would have written for a cell, with its keys and no others.

    It has no place for a method, which would make several rows of a table of models and data sets the same:
    `pretrained` ends with the method in brackets.

    Args:
        results: All of `results.json`.
        cell: One of its cells.
    """
    model, pretrained = _model(cell["encoder"])
    return {
        "dataset": cell["set"],
        "model": model,
        "pretrained": f"{pretrained} [{cell['method']}]".strip(),
        "task": _TASK,
        "metrics": {
            metric.clip_benchmark: metric.elsewhere(cell["metrics"])
            for metric in metrics_of_cells()
            if metric.clip_benchmark and metric.name in cell["metrics"]
        },
        "language": "en",
    }


def _model(spec: str) -> tuple[str, str]:
    """open_clip's architecture and tag, as CLIP_benchmark is given them; other encoders have no tag."""
    family, _, rest = spec.partition(":")
    if family != "open_clip":
        return spec, ""
    if rest.startswith(("hf-hub:", "local-dir:")):
        return rest, ""
    model, _, pretrained = rest.partition("/")
    return model, pretrained


def _each(records: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, bytes]:
    """A file for each record, under names that no file of anybody else has."""
    known = listed(folder)
    contents: dict[str, bytes] = {}
    seen: Counter[str] = Counter()
    for record in records:
        # Its README's template: --output "{dataset}_{pretrained}_{model}_{language}_{task}.json"
        parts = [record[key] for key in ("dataset", "pretrained", "model", "language", "task")]
        stem = re.sub(r"[^\w.+=-]+", "_", "_".join(parts), flags=re.ASCII)[:_LONGEST_NAME]
        name = ""
        while not name or not _free(folder / name, record, name in known):
            # Some file systems take "A" and "a" for one.
            seen[stem.lower()] += 1
            again = seen[stem.lower()]
            name = f"{_EACH}{stem}{f'~{again}' if again > 1 else ''}.json"
        contents[name] = _json(record)
    return contents


def _free(path: Path, record: Mapping[str, Any], known: bool) -> bool:
    """Nothing is there, or what we wrote; a vlcls that kept no list wrote a record of the same cell."""
    if known or not os.path.lexists(path):
        return not path.is_symlink()
    try:
        found = read_json(path, EvaluationError)
        own = found.keys() == record.keys() and all(found[k] == record[k] for k in record if k != "metrics")
        return own and not path.is_symlink()
    except (EvaluationError, AttributeError):
        return False


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A row as `clip_benchmark build` makes it."""
    row = record["metrics"] | {key: value for key, value in record.items() if key != "metrics"}
    return row | {"model_fullname": f"{record['model']} {record['pretrained']}"}


def _summary(run: Run, cell: Mapping[str, Any]) -> dict[str, Any]:
    """A cell as one row: what it is, then every figure with the ends of its interval."""
    method, metrics = run.results["methods"].get(cell["method"], {}), cell["metrics"]
    gain = run.gain_of(cell)
    row = {name: cell[name] for name in PLACE}
    row |= {name: method.get(name) for name in ("spec", "control", "reference")}
    row |= {"prompts": cell["prompts"], "prompts_sha256": cell["prompts_sha256"], "seeds": len(cell["seeds"])}
    row |= {name: metrics[name] for name in ("images", "classes", "classes_with_images")}
    for metric in metrics_of_cells():
        figure = metrics.get(metric.name) or {}
        ends = {"": "value", "_low": "low", "_high": "high"}
        row |= {f"{metric.name}{end}": figure.get(key) for end, key in ends.items()}
    return row | {"gain": gain["reason"] if gain else None}


def _json(data: Any) -> bytes:
    return to_json(data, indent=1, ensure_ascii=True).encode() + b"\n"


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(dict(zip(row, csv_cells(row.values()), strict=True)))
    return text.getvalue().encode("utf-8", "backslashreplace")
