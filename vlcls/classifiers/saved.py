"""The files of a saved classifier: JSON and safetensors. It loads without encoding any text again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field

from vlcls.classifiers.base import EncoderInfo
from vlcls.classifiers.fitted import Fitted
from vlcls.classifiers.weighting import Weighting
from vlcls.errors import VlclsError
from vlcls.files.hashes import file_sha256
from vlcls.files.json_text import json_bytes, read_json
from vlcls.files.schema import FileModel, validated
from vlcls.files.tensors import expect_array, read_safetensors
from vlcls.files.writing import check_output_folder, write_atomically
from vlcls.labels import Labels
from vlcls.prompts import LearnedName, PromptSet
from vlcls.prompts.base import Kind

CONFIG = "classifier.json"
WEIGHTS = "text_embeddings.safetensors"
_FORMAT = 1
#: Prefix of the tensors, in the file of weights, that hold learned names.
_LEARNED = "learned_names/"
#: Bytes of a description: that of ImageNet-21k with 80 templates has 200 MB.
_MAX_BYTES = 1 << 30
#: How far from 1 the length of a stored row may be.
_LENGTH = 1e-3


#: Whether there is such a part is for the parts to say: plugins bring more.
_Name = Annotated[str, Field(max_length=100)]


class _Encoder(FileModel):
    spec: str
    fingerprint: str


class _Weighting(FileModel):
    name: _Name
    beta: float
    scaled: bool


class _Label(FileModel):
    id: str
    name: str


class _Prompt(FileModel):
    """A row of `PromptSet.to_json`: fields at their defaults are left out."""

    text: str
    class_index: int
    kind: Kind
    source: str = ""
    template: int | None = None
    weight: float = 1.0
    descriptor: str = ""
    learned: str | None = None


class _LearnedName(FileModel):
    name: str
    fingerprint: str


class _Fitted(FileModel):
    """Labelled images that something was fitted on: content keys, and how many have none."""

    images: tuple[Annotated[str, Field(pattern="^[0-9a-f]{32}$")], ...]
    unknown: int = Field(ge=0)


class _Config(FileModel):
    """`classifier.json`, format 1."""

    format: int = Field(ge=1, le=1)
    type: Literal["prompts"]
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    encoder: _Encoder | None
    aggregate: _Name
    weighting: _Weighting | None
    logit_scale: float
    logit_bias: float
    activation: Literal["softmax", "sigmoid"]
    labels: tuple[_Label, ...]
    prompts: tuple[_Prompt, ...]
    learned_names: dict[str, _LearnedName] = Field(default_factory=dict)
    fitted: _Fitted | None = None


def write_classifier(
    folder: Path,
    prompts: PromptSet,
    text_embeddings: torch.Tensor,
    settings: Mapping[str, Any],
    fitted: Fitted,
) -> Path:
    """Write `classifier.json` (for people too) and `text_embeddings.safetensors`, each atomically.

    Args:
        folder: Made if need be.
        prompts, text_embeddings, settings, fitted: Of a `PromptClassifier`.

    Raises:
        OutputError: The folder cannot be written.
        VlclsError: What `read_classifier` would refuse: a text that is not valid Unicode, embeddings that are
            no unit rows, ...
    """
    from safetensors.torch import save

    info, weighting = settings["encoder_info"], settings["weighting"]
    labels, learned = prompts.labels, prompts.learned
    vectors = {_LEARNED + word: name.vectors.contiguous() for word, name in learned.items()}
    weights = save({"text_embeddings": text_embeddings.cpu().contiguous(), **vectors})
    config: dict[str, Any] = {
        "format": _FORMAT,
        "type": "prompts",
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "encoder": None if info is None else vars(info),
        "aggregate": settings["aggregate"],
        "weighting": None if weighting is None else vars(weighting),
        "logit_scale": float(settings["logit_scale"]),
        "logit_bias": float(settings["logit_bias"]),
        "activation": settings["activation"],
        "labels": [
            {"id": identifier, "name": name}
            for identifier, name in zip(labels.ids, labels.names, strict=True)
        ],
        "prompts": prompts.to_json(),
    }
    if learned:  # without it, files are what earlier releases write
        config["learned_names"] = {
            word: {"name": name.name, "fingerprint": name.fingerprint} for word, name in learned.items()
        }
    if fitted.recorded and fitted.saw_labels:
        config["fitted"] = {"images": sorted(fitted.labelled), "unknown": fitted.unknown}
    # What the reader would refuse is not written.
    text = json_bytes(config, folder / CONFIG, VlclsError, indent=1)
    validated(_Config, config, f"{folder / CONFIG} cannot be written", VlclsError)
    _check_unit(text_embeddings.cpu().numpy(), f"{folder / WEIGHTS} cannot be written")
    check_output_folder(folder)
    write_atomically(folder / WEIGHTS, weights)
    write_atomically(folder / CONFIG, text)
    return folder


def read_classifier(path: Path) -> tuple[PromptSet, torch.Tensor, dict[str, Any], Fitted | None]:
    """What `write_classifier` wrote, in its order; None where nobody wrote down what was fitted on what.

    Raises:
        VlclsError: Nothing there, or not a classifier.
    """
    content = read_json(path / CONFIG, VlclsError, limit=_MAX_BYTES)
    if isinstance(content, dict) and type(content.get("format")) is int and content["format"] > _FORMAT:
        raise VlclsError(f"format {content['format']} was written by a newer vlcls: upgrade to read it")
    config = validated(_Config, content, path / CONFIG, VlclsError)
    labels = Labels(tuple(each.name for each in config.labels), tuple(each.id for each in config.labels))
    if file_sha256(path / WEIGHTS) != config.weights_sha256:
        raise VlclsError(f"{WEIGHTS} is damaged, or belongs to another {CONFIG}")
    embeddings, vectors = _tensors(path / WEIGHTS, config)
    learned = {
        word: LearnedName(about.name, vectors[word], about.fingerprint)
        for word, about in config.learned_names.items()
    }
    if other := [word for word, name in learned.items() if name.word != word]:
        raise VlclsError(f"the learned name {other[0]} is not what its vectors spell")
    info = config.encoder
    if other := [word for word, name in learned.items() if info and name.fingerprint != info.fingerprint]:
        raise VlclsError(f"the learned name {other[0]} is spelt in the vectors of another encoder")
    rows = [each.model_dump(exclude_none=True) for each in config.prompts]
    for number, row in enumerate(rows):
        if (word := row.get("learned")) is not None and (word not in learned or row["text"].count(word) != 1):
            raise VlclsError(f"{CONFIG}: prompts.{number}: no learned name {word!r}, or not once in its text")
    settings = {
        "aggregate": config.aggregate,
        "weighting": None if config.weighting is None else Weighting(**config.weighting.model_dump()),
        "encoder_info": None if info is None else EncoderInfo(info.spec, info.fingerprint),
        "logit_scale": config.logit_scale,
        "logit_bias": config.logit_bias,
        "activation": config.activation,
    }
    about = config.fitted
    fitted = None if about is None else Fitted(frozenset(about.images), about.unknown)
    return PromptSet.from_json(labels, rows, learned), embeddings, settings, fitted


def _tensors(path: Path, config: _Config) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The unit rows of the prompts, and the vectors of learned names by their words."""
    arrays, _ = read_safetensors(path, VlclsError)
    wanted = {_LEARNED + word: word for word in config.learned_names}
    if unknown := sorted(set(arrays) - {"text_embeddings", *wanted}):
        raise VlclsError(f"{path}: {unknown[0]!r} belongs to nothing in {CONFIG}")
    rows = expect_array(arrays, "text_embeddings", "f", (len(config.prompts), None), path, VlclsError)
    _check_unit(rows, path)
    vectors = {}
    for name, word in wanted.items():
        found = expect_array(arrays, name, "f", (None, None), path, VlclsError)
        if found.dtype != np.float32 or not found.size:
            raise VlclsError(f"{path}: {name!r} holds no float32 vectors")
        vectors[word] = torch.from_numpy(found)
    return torch.from_numpy(rows.astype(np.float32, copy=False)), vectors


def _check_unit(rows: np.ndarray[Any, Any], where: str | Path) -> None:
    away = np.abs(np.linalg.norm(rows.astype(np.float64), axis=1) - 1)
    if not (away <= _LENGTH).all():
        raise VlclsError(f"{where}: row {int(away.argmax())} of its embeddings is no unit vector")
