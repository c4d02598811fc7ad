"""An OpenVINO model, by its CPU plugin."""

import contextlib
import ctypes
import functools
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openvino

from keras_mscam.inference.runtimes.runtime import (
    Runtime,
    check_fit,
    count_cores,
    explain_failure,
    read_verified_contract,
)


@functools.cache
def get_core() -> openvino.Core:
    """Return the one core of this process: see `signal_stack` for what several do."""
    return openvino.Core()


def load_openvino(path: Path) -> Runtime:
    """Load an `.xml` file, with the `.bin` beside it.

    A file named `float32` is computed in float32; others as the plugin sees fit. Images
    are run one after the other: shapes that are fixed make one a sixth faster.

    Args:
        path: of the file; `contract.json` lies beside it.

    Raises:
        UserError: it can't be read, has changed, or isn't that of its contract.
    """
    contract = read_verified_contract(path)
    names = contract.output_names
    with explain_failure(path):
        model = get_core().read_model(path)
        inputs, outputs = _read_shapes(model.inputs), _read_shapes(model.outputs)
        check_fit(path, contract, inputs, outputs)
        model.reshape({"image": [1, *contract.image_size, 1]})
        request = _compile(model, exact=path.stem == "float32")
    lock = threading.Lock()  # a request holds the results of one call

    def predict(images):
        pixels = images[:, None, ..., None].astype("float32")
        with lock:
            outputs = [infer(image) for image in pixels]
        return {
            name: np.concatenate([output[name] for output in outputs]) for name in names
        }

    def infer(image):
        request.infer({"image": image})
        return {name: request.get_tensor(name).data.copy() for name in names}

    return Runtime("openvino", contract, predict)


def _compile(model: openvino.Model, exact: bool) -> openvino.InferRequest:
    options = {
        "INFERENCE_NUM_THREADS": count_cores(),
        "PERFORMANCE_HINT": "LATENCY",
        # Threads that are bound to cores wait when others work there.
        "ENABLE_CPU_PINNING": False,
    }
    if exact:
        # By default it computes in bfloat16 where the CPU can: 8 bits of a number.
        options["INFERENCE_PRECISION_HINT"] = "f32"
    return get_core().compile_model(model, "CPU", options).create_infer_request()


def _read_shapes(tensors: list) -> dict[str, list[int | None]]:
    """Return shapes by name; a layer's name may be among those of a tensor, too."""
    return {
        name: [
            side.get_length() if side.is_static else None
            for side in tensor.partial_shape
        ]
        for tensor in tensors
        for name in tensor.names
    }


class _Stack(ctypes.Structure):
    """`stack_t` of `sigaltstack(2)` on Linux."""

    _fields_ = [
        ("ss_sp", ctypes.c_void_p),
        ("ss_flags", ctypes.c_int),
        ("ss_size", ctypes.c_size_t),
    ]


@contextlib.contextmanager
def keep_signal_stack() -> Iterator[None]:
    """Give the thread back the stack for signals that it had before."""
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
