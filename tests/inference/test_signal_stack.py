"""Ctrl-C behind OpenVINO."""

import subprocess
import sys

import pytest

pytest.importorskip("openvino", reason="needs OpenVINO (the extra `openvino`)")

# Two that end in the order in which they began, on a processor with AMX, leave the
# thread a stack for signals whose memory is gone.
PROGRAM = """
import keras_mscam.inference.runtimes.converted
import signal

import openvino

from keras_mscam.inference.runtimes.converted import keep_signal_stack

seen = []
signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
with keep_signal_stack():
    cores = [openvino.Core() for _ in range(2)]
    for core in cores:
        core.get_property("CPU", "FULL_DEVICE_NAME")
    while cores:
        del cores[0], core
        core = None
signal.raise_signal(signal.SIGINT)
assert seen == [signal.SIGINT]
"""


def test_a_signal_behind_several_cores_is_caught():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
