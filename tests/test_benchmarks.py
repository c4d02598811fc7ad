"""The benchmark beside PyTorch, at a size at which nothing can be said."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "experiments" / "benchmarks" / "beside_pytorch.py"


@pytest.mark.slow
def test_training_and_maps_take_turns_with_pytorch():
    torch_python = os.environ.get("KERAS_MSCAM_TORCH_PYTHON")
    if not torch_python:
        pytest.skip("KERAS_MSCAM_TORCH_PYTHON names no Python with PyTorch")
    command = [sys.executable, str(SCRIPT), "--torch-python", torch_python]
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
