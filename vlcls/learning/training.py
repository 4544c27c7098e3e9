"""The loop: epochs of shuffled batches, Adam, a schedule, early stopping, a checkpoint after each epoch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from vlcls.arguments import check_argument
from vlcls.encoders.placement import found_by_main, process_state
from vlcls.errors import VlclsError
from vlcls.learning.checkpoint import CHECKPOINT, Epoch, State, check_finite, load_state, save_state
from vlcls.learning.problem import LearningProblem, Start, Vectors
from vlcls.learning.tower import TOKENS_AT_ONCE, checkpointed_layers

Schedule = Literal["cosine", "linear", "constant"]

_SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
}


@dataclass(frozen=True)
class Training:
    """How names are learned. The paper's recipe is not public; these are ours (docs/learned-names.md).

    Attributes:
        vectors: "tokens": as many vectors a class as its name has tokens, so that step 0 is the zero-shot
            classifier; "one": their mean, one a class, which it is not for names of several tokens.
        epochs: At most.
        batch_size: Images a step. Every step reads all texts, so that large batches are cheap.
        learning_rate: Adam's, in units of the root mean square of the names' token embeddings: one value
            serves towers whose embeddings are of different size.
        schedule: Of the learning rate, from 1 to 0 over all epochs: "cosine", "linear"; or "constant".
        warmup: Share of the steps over which the rate rises to its full value.
        penalty: lambda of lambda mean_v (|E_v - E_0v| / length)^2, which is added to the loss: the squared
            distance from the start, length being that of an average token embedding. More of it: steadier
            with few images, and better at finding wrong labels. None: names go farthest from wrong words.
        patience: Epochs without a better validation accuracy (of equals: loss) before it stops.
        seed: Of the split and of the order of images.
        tokens_at_once: Tokens whose activations are in memory at once; see `vlcls.learning.tower`.
        gradient_checkpointing: Compute layers again on the way back: less memory, a third more time.
    """

    vectors: Vectors = "tokens"
    epochs: int = 50
    batch_size: int = 1024
    learning_rate: float = 0.1
    schedule: Schedule = "cosine"
    warmup: float = 0.0
    penalty: float = 1.0
    patience: int = 10
    seed: int = 0
    tokens_at_once: int = TOKENS_AT_ONCE
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        for name in ("vectors", "schedule"):
            check_argument(name, getattr(self, name), "text")
        for name in ("epochs", "batch_size", "patience", "tokens_at_once", "seed"):
            check_argument(name, getattr(self, name), "whole")
        for name in ("learning_rate", "penalty", "warmup"):
            check_argument(name, getattr(self, name), "real")
        if self.vectors not in ("tokens", "one"):
            raise VlclsError(f'vectors are "tokens" or "one", not {self.vectors!r}')
        if self.schedule not in _SCHEDULES:
            raise VlclsError(f"no schedule {self.schedule!r}: choose one of {', '.join(_SCHEDULES)}")
        for name in ("epochs", "batch_size", "patience", "tokens_at_once"):
            if getattr(self, name) < 1:
                raise VlclsError(f"{name} must be at least 1, not {getattr(self, name)}")
        finite = math.isfinite(self.learning_rate) and math.isfinite(self.penalty)
        if not finite or not self.learning_rate > 0 or not self.penalty >= 0 or not 0 <= self.warmup < 1:
            raise VlclsError("the learning rate is above 0, the penalty 0 or more, the warm-up 0 to below 1")


@dataclass(frozen=True)
class Examples:
    """Images to learn from, or to validate with.

    Attributes:
        images: Tensor[N, D] float32, unit rows.
        targets: Tensor[N] int64.
    """

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device) -> Examples:
        return Examples(self.images.to(device), self.targets.to(device))


def train(
    problem: LearningProblem,
    start: Start,
    examples: Examples,
    validation: Examples,
    settings: Training,
    *,
    folder: Path | None = None,
    progress: Callable[[Epoch], None] | None = None,
) -> State:
    """Learn the vectors.

    Every process of a launch does the same steps on the same images; the text tower's work is shared. With
    one CPU process the result is the same to the last bit, also if it was killed and started again.

    Args:
        problem: The loss.
        start: V vectors.
        examples: At least one image.
        validation: May be empty: then the vectors of the last epoch are the best.
        settings: How.
        folder: Where the state is written after each epoch and a former run's is found; None for neither.
        progress: Told each epoch, former ones too.

    Raises:
        VlclsError: The folder holds another run's state.
    """
    device = problem.encoder.device
    examples, validation = examples.to(device), validation.to(device)
    run = _description(problem, start, examples, validation, settings)
    state = found_by_main(lambda: None if folder is None else load_state(folder, run))
    if state is not None and state.vectors.shape != start.vectors.shape:
        raise VlclsError(
            f"{folder}/{CHECKPOINT} holds other vectors than this run's: delete it to start anew"
        )
    state = state or State(start.vectors, start.vectors, 0, {}, ())
    tell = progress or (lambda epoch: None)
    for epoch in state.history:
        tell(epoch)
    layers = checkpointed_layers(problem.encoder) if settings.gradient_checkpointing else nullcontext()
    with layers:
        while len(state.history) < settings.epochs:
            if len(validation) and len(state.history) - state.best_epoch >= settings.patience:
                break
            state = _one_epoch(problem, start, examples, validation, settings, state)
            check_finite(state.history[-1], state.vectors)
            if folder is not None and process_state().is_main_process:
                save_state(state, folder, run)
            tell(state.history[-1])
    return state


def _one_epoch(
    problem: LearningProblem,
    start: Start,
    examples: Examples,
    validation: Examples,
    settings: Training,
    state: State,
) -> State:
    device = problem.encoder.device
    vectors = state.vectors.to(device, copy=True).requires_grad_()
    origin = start.vectors.to(device)
    optimiser = _optimiser(vectors, state)
    number, steps = len(state.history), math.ceil(len(examples) / settings.batch_size)
    strength = settings.penalty / (vectors.numel() * start.scale**2)
    total = 0.0
    for place, rows in enumerate(_batches(len(examples), settings, number)):
        loss, gradient = problem.gradient(vectors, examples.images[rows], examples.targets[rows])
        away = vectors.detach() - origin
        vectors.grad = gradient + 2 * strength * away
        done = (number * steps + place) / (settings.epochs * steps)
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * start.scale * _rate(done, settings)
        optimiser.step()
        total += (loss + strength * float(away.square().sum())) * len(rows)
    epoch = Epoch(number + 1, total / len(examples), None, None)
    if len(validation):
        accuracy, validation_loss = problem.evaluate(vectors, validation.images, validation.targets)
        epoch = replace(epoch, validation_loss=validation_loss, validation_accuracy=accuracy)
    now, better = vectors.detach().cpu(), _is_better(epoch, state)
    return State(
        now,
        now if better else state.best,
        epoch.number if better else state.best_epoch,
        dict(optimiser.state[vectors]),
        (*state.history, epoch),
    )


def _optimiser(vectors: Tensor, state: State) -> torch.optim.Adam:
    """Adam, as it was left."""
    optimiser = torch.optim.Adam([vectors])
    if state.optimiser:
        kept = {name: tensor.to(vectors.device, copy=True) for name, tensor in state.optimiser.items()}
        optimiser.state[vectors] = {**kept, "step": kept["step"].cpu()}
    return optimiser


def _is_better(epoch: Epoch, state: State) -> bool:
    if epoch.validation_accuracy is None or epoch.validation_loss is None or state.best_epoch == 0:
        return True
    best = state.history[state.best_epoch - 1]
    assert best.validation_accuracy is not None and best.validation_loss is not None
    now = (epoch.validation_accuracy, -epoch.validation_loss)
    return now > (best.validation_accuracy, -best.validation_loss)


def _batches(count: int, settings: Training, epoch: int) -> Iterator[Tensor]:
    """Row numbers, shuffled by seed and epoch alone: a run that goes on needs no generator's state."""
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    yield from torch.randperm(count, generator=generator).split(settings.batch_size)


def _rate(done: float, settings: Training) -> float:
    """Factor of the learning rate when a share `done` of all steps is behind."""
    if done < settings.warmup:
        return (done + 0.01) / (settings.warmup + 0.01)
    return _SCHEDULES[settings.schedule]((done - settings.warmup) / (1 - settings.warmup))


def _description(
    problem: LearningProblem, start: Start, examples: Examples, validation: Examples, settings: Training
) -> dict[str, Any]:
    """What makes two runs the same, by the words that an error calls it."""
    prompts, encoder = problem.prompts, problem.encoder
    return {
        "settings": asdict(settings),
        "encoder": [encoder.fingerprint, encoder.precision],
        "prompts or classes": _digest(repr(prompts.to_json()).encode()),
        "aggregate": problem.scorer.name,
        "starting vectors": _digest(_bytes(start.vectors)),
        "images or labels": _digest(_bytes(examples.images), _bytes(examples.targets)),
        "validation images": _digest(_bytes(validation.images), _bytes(validation.targets)),
    }


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
