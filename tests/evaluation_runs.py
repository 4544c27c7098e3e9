"""Runs of `vlcls evaluate` made from random scores by the functions of `vlcls.evaluation`: no model."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from vlcls.evaluation import (
    Drop,
    Outcomes,
    corruption_errors,
    doubly_right,
    effective_robustness,
    fit_logits,
    judge_gains,
    measure_multi_label,
    measure_outcomes,
    outcomes,
    over_groups,
)

CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
#: Method: its reference, whether it is a control, seeds, and how far right scores stand out.
METHODS: Mapping[str, tuple[str | None, bool, int, float]] = {
    "name": ("one prompt", False, 1, 2.4),
    "ensemble": ("template ensemble", False, 1, 2.6),
    "descriptors": (None, False, 1, 3.4),
    "autoclip": (None, False, 1, 2.62),
    "cupl+descriptors": (None, False, 1, 2.3),
    "waffle": ("WaffleCLIP", False, 3, 2.5),
    "random": ("shared random descriptors", True, 3, 2.45),
}
#: Set: images, and what is lost there.
SETS = {"photo": (84, 0.0), "art painting": (84, 0.7), "sketch": (84, 1.2)}


@dataclass(frozen=True)
class Shape:
    """What a run is made of."""

    sets: Mapping[str, tuple[int, float]]
    methods: Mapping[str, tuple[str | None, bool, int, float]]
    encoders: Sequence[str]
    classes: Sequence[str]
    prefix: str = "image"
    seed: int = 0


SMALL = Shape({"photo": (40, 0.0)}, dict(list(METHODS.items())[:3]), ("conse",), CLASSES)
WHOLE = Shape(SETS, METHODS, ("conse", "open_clip:ViT-B-32/laion2b_s34b_b79k"), CLASSES)


def write_run(folder: Path, shape: Shape = SMALL, **changes: Any) -> dict[str, Any]:
    """Write results.json and predictions; `changes` replace parts of the results at the top."""
    found = {
        (name, encoder, method): _outcomes(shape, name, encoder, method)
        for name in shape.sets
        for encoder in shape.encoders
        for method in shape.methods
    }
    results = _frame(shape) | {
        "cells": [_cell(folder, shape, key, seeds) for key, seeds in found.items()],
        "gains": [gain for name in shape.sets for gain in _gains(shape, name, found)],
        "shifts": _shifts(shape, found),
        "corruptions": _corruptions(shape),
        "rationales": _rationales(shape),
    }
    results |= changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, allow_nan=False), encoding="utf-8")
    return results


def images_of(shape: Shape, name: str) -> list[str]:
    return [f"{name}/{shape.prefix}{row:03d}.jpg" for row in range(shape.sets[name][0])]


def multi_label_cell(images: int = 30) -> dict[str, Any]:
    """One with a class without an image."""
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, (images, len(CLASSES)))
    truth[:, -1] = 0
    metrics = measure_multi_label(truth + rng.normal(0, 1, truth.shape), truth, resamples=50)
    return {
        "set": "photo", "encoder": "conse", "method": "many", "prompts": 7, "prompts_sha256": "0" * 64,
        "seeds": [0], "metrics": metrics.to_json(), "per_seed": [], "groups": {}, "predictions": None,
    }  # fmt: skip


def _hash(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _truth(shape: Shape, name: str) -> np.ndarray:
    return np.arange(shape.sets[name][0]) % len(shape.classes)


def _outcomes(shape: Shape, name: str, encoder: str, method: str) -> list[Outcomes]:
    count, shift = shape.sets[name]
    _, _, seeds, strength = shape.methods[method]
    # The same images for all methods: most of the noise is shared, some belongs to the method or the draw.
    images = np.random.default_rng([shape.seed, count, len(name), len(encoder)])
    base = images.normal(0, 1, (count, len(shape.classes)))
    truth = _truth(shape, name)
    result = []
    for seed in range(seeds):
        own = np.random.default_rng([shape.seed, seed, *method.encode(), *name.encode()])
        scores = base + 0.5 * own.normal(0, 1, base.shape)
        scores[np.arange(count), truth] += strength - shift + 0.3 * (encoder != "conse")
        result.append(outcomes(1.6 * scores, truth))
    return result


def _frame(shape: Shape) -> dict[str, Any]:
    sets = {
        name: {
            "source": {"path": f"data/{name}", "split": "test"},
            "classes": list(shape.classes),
            "images": shape.sets[name][0],
            "unreadable": [],
            "content_sha256": _hash(name, shape.prefix, shape.sets[name]),
            "templates": None,
            "multi_label": False,
            "problems": [],
        }
        for name in shape.sets
    }
    encoders = {
        name: {"fingerprint": _hash(name)[:16], "precision": "fp32", "logit_scale": 20.0, "logit_bias": 0.0,
               "activation": "softmax"}
        for name in shape.encoders
    }  # fmt: skip
    methods = {
        name: {"spec": name, "control": control, "reference": reference, "seeds": list(range(seeds)),
               "about": f"What {name} does, in one sentence."}
        for name, (reference, control, seeds, _) in shape.methods.items()
    }  # fmt: skip
    return {
        "format": "vlcls-results", "version": 1, "vlcls": "0.1.0", "date": "2026-11-24T22:00:00Z",
        "seconds": 12.3, "versions": {"python": "3.11.2", "torch": "2.9.0", "open_clip_torch": "3.2.0"},
        "hardware": {"machine": "x86_64", "processors": 2, "device": "cpu"}, "limit": None, "alpha": 0.05,
        "encoders": encoders, "sets": sets, "methods": methods,
    }  # fmt: skip


def _cell(folder: Path, shape: Shape, key: tuple[str, str, str], seeds: list[Outcomes]) -> dict[str, Any]:
    name, encoder, method = key
    places = [f"place {row // len(shape.classes) % 2}" for row in range(len(seeds[0]))]
    metrics = measure_outcomes(seeds[0], resamples=100).to_json()
    metrics["top1"]["value"] = float(np.mean([each.right.mean() for each in seeds]))
    path = f"predictions/{_hash(*key)[:12]}.parquet"
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    parquet.write_table(_table(images_of(shape, name), places, seeds), folder / path)
    return {
        "set": name, "encoder": encoder, "method": method, "prompts": 7 * len(method),
        "prompts_sha256": _hash(method), "seeds": list(range(len(seeds))), "metrics": metrics,
        "per_seed": [{"seed": seed, "top1": float(each.right.mean())} for seed, each in enumerate(seeds)],
        "groups": {"place": over_groups(seeds[0].right, places).to_json()}, "predictions": path,
    }  # fmt: skip


def _table(images: list[str], places: list[str], seeds: list[Outcomes]) -> pa.Table:
    columns: dict[str, list[Any]] = {"image": images * len(seeds), "group:place": places * len(seeds)}
    columns["seed"] = [seed for seed, each in enumerate(seeds) for _ in range(len(each))]
    for name, field in {"true": "truth", "predicted": "predicted", "confidence": "confidence", "rank": "rank",
                        "nll": "nll", "brier": "brier"}.items():  # fmt: skip
        columns[name] = np.concatenate([getattr(each, field) for each in seeds]).tolist()
    return pa.table(columns)


def _gains(shape: Shape, name: str, found: Mapping[tuple[str, str, str], list[Outcomes]]) -> list[dict]:
    rows = []
    for encoder in shape.encoders:
        given = {m: np.stack([each.predicted for each in found[name, encoder, m]]) for m in shape.methods}
        references = {shape.methods[m][0]: given[m] for m in shape.methods if shape.methods[m][0]}
        judged = {m: given[m] for m in shape.methods if not shape.methods[m][0]}
        verdicts = judge_gains(judged, references, _truth(shape, name), samples=500)
        rows += [
            {"set": name, "encoder": encoder, "method": m, **each.to_json()} for m, each in verdicts.items()
        ]
    return rows


def _shifts(shape: Shape, found: Mapping[tuple[str, str, str], list[Outcomes]]) -> list[dict]:
    first, *others = shape.sets
    fit = fit_logits([(0.3, 0.1), (0.5, 0.22), (0.7, 0.4), (0.95, 0.7)], "Four models, made up.")
    rows = []
    for other in others:
        for encoder in shape.encoders:
            for method in shape.methods:
                ends = [measure_outcomes(found[name, encoder, method][0], resamples=20).top1
                        for name in (first, other)]  # fmt: skip
                before, after = (each.value for each in ends)
                rho = effective_robustness(fit, min(0.95, before), after, resamples=100).to_json()
                rows.append(
                    {"encoder": encoder, "method": method, "from": first, "to": other,
                     "classes": len(shape.classes), "before": ends[0].to_json(), "after": ends[1].to_json(),
                     "drop": Drop(before, after).to_json(), "effective_robustness": rho}
                )  # fmt: skip
    return rows


def _corruptions(shape: Shape) -> list[dict]:
    rng = np.random.default_rng(3)
    return [
        {"encoder": encoder, "method": method, "set": next(iter(shape.sets)),
         **corruption_errors({name: rng.uniform(0.1, 0.6, 5).tolist() for name in ("fog", "snow", "contrast")}
                             ).to_json()}
        for encoder in shape.encoders for method in list(shape.methods)[:2]
    ]  # fmt: skip


def _rationales(shape: Shape) -> list[dict]:
    rng = np.random.default_rng(4)
    found = doubly_right(*rng.integers(0, 2, (2, 60, 3)), *rng.integers(0, 2, (2, 60)))
    assert math.isclose(sum(found.part(name).value for name in ("RR", "RW", "WR", "WW")), 1)
    return [
        {
            "set": next(iter(shape.sets)),
            "encoder": encoder,
            "method": "why prompt",
            "quadrants": found.to_json(),
        }
        for encoder in shape.encoders
    ]
