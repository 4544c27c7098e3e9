"""Names learned by two processes, and by one that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from launched_names import learn

from vlcls.learning.checkpoint import CHECKPOINT

TESTS = Path(__file__).parent


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": path,
        "ACCELERATE_USE_CPU": "true",
        "CUDA_VISIBLE_DEVICES": "",
    }


def job_in(folder: Path, clip: Any, **changed: Any) -> dict[str, Any]:
    job = {
        "spec": clip.spec,
        "labels": ["cat", "small red apple", "dog", "elephant", "horse"],
        "templates": ["a photo of a {}.", "{}", "a small {} of the dog"],
        "tokens_at_once": 40,
        "epochs": 5,
        "pause": 0.0,
        "output": str(folder),
        **changed,
    }
    (folder / "job.json").write_text(json.dumps(job))
    return job


def test_two_processes_learn_what_one_learns(tmp_path: Path, clip):
    job = job_in(tmp_path, clip)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", "0", str(TESTS / "launched_names.py"), str(tmp_path / "job.json")]
    run = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-4000:]
    one, two = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert one["world"] == two["world"] == 2
    assert one["vectors"] == two["vectors"] and one["history"] == two["history"]
    vectors, result = learn(job, clip)
    assert len(one["history"]) == len(result.history) == 5
    size = float(vectors.abs().max())
    assert (torch.tensor(one["vectors"]) - vectors).abs().max() <= 1e-3 * size
    for found, wanted in zip(one["history"], result.history, strict=True):
        assert found["loss"] == pytest.approx(wanted.loss, rel=1e-4)
    assert (tmp_path / "run" / CHECKPOINT).is_file()


def test_after_a_kill_it_ends_the_same_to_the_last_bit(tmp_path: Path, clip):
    job = job_in(tmp_path, clip, pause=0.5, epochs=6)
    command = [sys.executable, str(TESTS / "launched_names.py"), str(tmp_path / "job.json")]
    run = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    finished = [int(run.stdout.readline()) for _ in range(2)][-1]
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    run.stdout.close()
    assert finished == 2 and not (tmp_path / "0.json").exists()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the killed process had
    try:
        whole, other = learn(job, clip)
        resumed, result = learn(job, clip, folder=tmp_path / "run")
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(resumed, whole) and result.history == other.history and len(result.history) == 6
