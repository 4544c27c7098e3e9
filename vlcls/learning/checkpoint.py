"""The state of a run after an epoch, in one safetensors file: a kill leaves the last whole one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vlcls.errors import VlclsError
from vlcls.store import write_atomically

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        number: From 1.
        loss: Mean over the images that were learned from, while they were.
        validation_loss, validation_accuracy: After it; None without validation images.
    """

    number: int
    loss: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


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


def save_state(state: State, folder: Path, run: dict[str, Any]) -> None:
    """Write the state of the run that `run` describes (plain JSON data)."""
    from safetensors.torch import save

    tensors = {"vectors": state.vectors, "best": state.best}
    tensors |= {f"optimiser/{name}": tensor for name, tensor in state.optimiser.items()}
    history = [vars(epoch) for epoch in state.history]
    about = {"run": run, "best_epoch": state.best_epoch, "history": history}
    # Copies: safetensors refuses two names for one piece of memory.
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(folder, CHECKPOINT, save(whole, {"state": json.dumps(about)}))


def load_state(folder: Path, run: dict[str, Any]) -> State | None:
    """The state of the same run, or None if none was written.

    Raises:
        VlclsError: The file cannot be read, or belongs to a run with other settings, images or classes.
    """
    from safetensors import safe_open

    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        history = tuple(Epoch(**epoch) for epoch in about["history"])
        vectors, best = tensors.pop("vectors"), tensors.pop("best")
    except Exception as error:  # whatever is in the file
        raise VlclsError(f"{path} is no readable checkpoint ({error}): delete it to start anew") from error
    if other := _differences(run, about["run"]):
        raise VlclsError(
            f"{path} belongs to another run (other {', '.join(other)}): give the same arguments to go on "
            "with it, or delete it, or take another folder"
        )
    optimiser = {name.removeprefix("optimiser/"): tensor for name, tensor in tensors.items()}
    return State(vectors, best, about["best_epoch"], optimiser, history)


def remove_state(folder: Path) -> None:
    """Delete the state of a finished run; a file of that name that no run wrote stays."""
    from safetensors import SafetensorError, safe_open

    path = folder / CHECKPOINT
    if path.is_symlink() or not path.is_file():
        return
    try:
        with safe_open(path, "pt") as file:
            ours = "run" in json.loads((file.metadata() or {})["state"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return
    if ours:
        path.unlink()


def _differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    plain = json.loads(json.dumps(one))
    return sorted(key for key in {*plain, *other} if plain.get(key) != other.get(key))
