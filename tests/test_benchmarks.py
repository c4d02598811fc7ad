"""Benchmarks, at sizes at which little can be said."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "experiments" / "benchmarks"


@pytest.mark.slow
def test_training_and_maps_take_turns_with_pytorch():
    torch_python = os.environ.get("KERAS_MSCAM_TORCH_PYTHON")
    if not torch_python:
        pytest.skip("KERAS_MSCAM_TORCH_PYTHON names no Python with PyTorch")
    command = [
        sys.executable,
        str(BENCHMARKS / "beside_pytorch.py"),
        "--torch-python",
        torch_python,
    ]
    toy = "--network small_densenet --size 64 --batches 2 --rounds 1 --pytorch eager"
    done = subprocess.run(
        [*command, *toy.split(), "--no-grad-cam"],
        env={**os.environ, "KERAS_BACKEND": "jax"},  # as on a GPU
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    rows = re.findall(
        r"^\| (.+) \| 2 \| (.+) \| (.+) \[.* \| (.*) \|$", done.stdout, re.M
    )
    assert [title for title, *_ in rows] == ["training step", "forward", "all maps"]
    # Whatever the speed: nothing takes no time, and nobody beats the lower bound.
    for _, seconds, ratio, bound in rows:
        assert float(seconds) > 0
        assert float(ratio) > 0
        assert float(bound) > 1


@pytest.mark.slow
def test_gradient_checkpointing_saves_memory():
    pytest.importorskip("jax")
    command = [sys.executable, str(BENCHMARKS / "memory.py"), "--sizes", "256"]
    done = subprocess.run(
        [*command, "--network", "small_densenet"],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| 256 \| (no|yes) \| ([\d.]+) \|", done.stdout, re.M)
    assert [checkpointing for checkpointing, _ in rows] == ["no", "yes"]
    without, with_checkpointing = (float(memory) for _, memory in rows)
    assert 0 < with_checkpointing < 0.9 * without
