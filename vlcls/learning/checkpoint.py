"""The state of a run after an epoch, in one safetensors file: a kill leaves the last whole one."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vlcls.errors import VlclsError
from vlcls.files.json_text import parse_json, to_json
from vlcls.files.schema import FileModel, validated
from vlcls.files.tensors import expect_array, read_safetensors
from vlcls.files.writing import write_atomically

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        number: From 1.
        loss: Mean over the images that were learned from, while they were.
        validation_loss, validation_accuracy: After it; None without validation images.
    """

    __pydantic_config__: ClassVar = FileModel.model_config  # in files: no field unknown, none missing
    number: Annotated[int, Field(ge=1)]
    loss: float
    validation_loss: float | None
    validation_accuracy: Annotated[float | None, Field(ge=0, le=1)]


@dataclass(frozen=True)
class State:
    """All that the next epoch depends on. The order of images is a function of seed and epoch alone.

    Attributes:
        vectors: Tensor[V, F] on the CPU.
        best: Tensor[V, F] on the CPU, those of the best epoch so far.
        best_epoch: Which; 0 for the start.
        optimiser: Adam's tensors by name; empty before the first step.
        history: The epochs so far.
    """

    vectors: Tensor
    best: Tensor
    best_epoch: int
    optimiser: dict[str, Tensor]
    history: tuple[Epoch, ...]


class _About(FileModel):
    """The metadata "state" of a checkpoint; of earlier releases it has no hash."""

    run: dict[str, Any]
    best_epoch: int = Field(ge=0)
    history: tuple[Epoch, ...]
    sha256: str | None = None


def save_state(state: State, folder: Path, run: dict[str, Any]) -> None:
    """Write the state of the run that `run` describes (plain JSON data).

    Raises:
        VlclsError: The last epoch came to NaN or infinity: there is nothing to go on from.
        OutputError: It cannot be written.
    """
    from safetensors.torch import save

    tensors = {"vectors": state.vectors, "best": state.best}
    tensors |= {f"optimiser/{name}": tensor for name, tensor in state.optimiser.items()}
    # Copies: safetensors refuses two names for one piece of memory.
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    about = {
        "run": run,
        "best_epoch": state.best_epoch,
        "history": [asdict(epoch) for epoch in state.history],
        "sha256": _digest({name: tensor.numpy() for name, tensor in whole.items()}),
    }
    write_atomically(folder / CHECKPOINT, save(whole, {"state": to_json(about)}))


def check_finite(epoch: Epoch, vectors: Tensor) -> None:
    """Refuse to go on from an epoch whose loss or vectors are no numbers.

    Raises:
        VlclsError: Says what to change.
    """
    losses = (epoch.loss, epoch.validation_loss or 0.0)
    if not (all(map(math.isfinite, losses)) and vectors.isfinite().all()):
        raise VlclsError(
            f"epoch {epoch.number} came to a loss of {epoch.loss}: learning has run away; give a smaller "
            "learning rate (or a smaller penalty)"
        )


def load_state(folder: Path, run: dict[str, Any]) -> State | None:
    """The state of the same run, or None if none was written.

    Raises:
        VlclsError: The file cannot be read, is damaged, or belongs to a run with other settings, images or
            classes.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        about, state = _read(path)
    except VlclsError as error:
        raise VlclsError(f"{path} is no readable checkpoint ({error}): delete it to start anew") from error
    if other := _differences(run, about.run):
        raise VlclsError(
            f"{path} belongs to another run (other {', '.join(other)}): give the same arguments to go on "
            "with it, or delete it, or take another folder"
        )
    return state


def _read(path: Path) -> tuple[_About, State]:
    arrays, metadata = read_safetensors(path, VlclsError)
    content = parse_json(metadata.get("state", ""), path, VlclsError)
    about = validated(_About, content, path, VlclsError)
    if about.sha256 not in (None, _digest(arrays)):
        raise VlclsError("its numbers are not those that were written")
    history = about.history
    validated_ones = {epoch.validation_accuracy is None for epoch in history}
    if [epoch.number for epoch in history] != list(range(1, len(history) + 1)) or len(validated_ones) > 1:
        raise VlclsError("history: its epochs do not follow each other")
    if not min(1, len(history)) <= about.best_epoch <= len(history):
        raise VlclsError(f"best_epoch: {about.best_epoch} of {len(history)} epochs")
    vectors = expect_array(arrays, "vectors", "f", (None, None), path, VlclsError)
    wanted: dict[str, tuple[int, ...]] = {"best": vectors.shape}
    if history:
        wanted |= {"optimiser/step": (), "optimiser/exp_avg": vectors.shape}
        wanted |= {"optimiser/exp_avg_sq": vectors.shape}
    for name, shape in wanted.items():
        expect_array(arrays, name, "f", shape, path, VlclsError)
    if unknown := sorted(set(arrays) - {"vectors", *wanted}):
        raise VlclsError(f"{unknown[0]!r} belongs to no checkpoint")
    if any(array.dtype != np.float32 for array in arrays.values()):
        raise VlclsError("its numbers are not float32")
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    optimiser = {
        name.removeprefix("optimiser/"): tensor
        for name, tensor in tensors.items()
        if name.startswith("optimiser/")
    }
    return about, State(tensors["vectors"], tensors["best"], about.best_epoch, optimiser, history)


def remove_state(folder: Path) -> None:
    """Delete the state of a finished run; a file of that name that no run wrote stays."""
    path = folder / CHECKPOINT
    if path.is_symlink() or not path.is_file():
        return
    try:
        about = parse_json(read_safetensors(path, VlclsError)[1].get("state", ""), path, VlclsError)
    except VlclsError:
        return
    if isinstance(about, dict) and "run" in about:
        path.unlink()


def _differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    plain = json.loads(to_json(one))
    return sorted(key for key in {*plain, *other} if plain.get(key) != other.get(key))


def _digest(arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
