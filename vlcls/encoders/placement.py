"""Which device and which precision an encoder runs with."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from accelerate import PartialState

from vlcls.encoders.base import Precision
from vlcls.errors import EncoderError, VlclsError

T = TypeVar("T")


def process_state() -> PartialState:
    """This process's place among those of a launch: index, number of processes, device.

    A plain `PartialState()` sees only itself when several processes were launched on CPUs.
    """
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    launched = "LOCAL_RANK" in os.environ
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or (launched and not torch.accelerator.is_available())
    state = PartialState(cpu=on_cpu)
    if state.num_processes > 1:
        _leave_the_group_at_exit()
    return state


def found_by_main(find: Callable[[], T]) -> T:
    """What the main process of a launch finds, or its error, for all processes; the others do not look."""
    state = process_state()
    if state.num_processes == 1:
        return find()
    from accelerate.utils import broadcast_object_list

    found: list[Any] = [None]
    if state.is_main_process:
        try:
            found = [find()]
        except VlclsError as error:
            found = [error]
    broadcast_object_list(found)
    if isinstance(found[0], VlclsError):
        raise found[0]
    value: T = found[0]
    return value


@lru_cache(maxsize=1)
def _leave_the_group_at_exit() -> None:
    """Gloo's threads abort a process whose interpreter ends before they do, and the launch with it."""
    import atexit

    def leave() -> None:
        # NCCL's groups are left alone: leaving one waits for processes that may have failed.
        if torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo":
            torch.distributed.destroy_process_group()

    atexit.register(leave)


def choose_device(device: str | None) -> torch.device:
    """The device asked for, or the one Accelerate gives to this process."""
    here = process_state().device  # also makes it the current one of its kind
    if device is None:
        return here
    try:
        target = torch.empty(1, device=device).device  # "cuda" becomes "cuda:0"
    except (RuntimeError, AssertionError, TypeError) as error:
        raise EncoderError(f"device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return target


def choose_precision(precision: Precision | None, device: torch.device) -> Precision:
    """The precision asked for, or what `accelerate launch` asks for, or what suits the device.

    On CUDA: bf16 where the hardware has it, else fp16. On a CPU fp32: bf16 is faster where there are
    instructions for it, and ten times slower where there are none, and scores should not depend on that.
    """
    if precision is None:
        launched = {"bf16": "bf16", "fp16": "fp16"}.get(os.environ.get("ACCELERATE_MIXED_PRECISION", "no"))
        return launched or _usual(device.type)  # type: ignore[return-value]
    if precision not in ("fp32", "bf16", "fp16"):
        raise EncoderError(f"unknown precision {precision!r}: choose fp32, bf16 or fp16")
    return precision


def _usual(device_type: str) -> Precision:
    if device_type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "fp32"
