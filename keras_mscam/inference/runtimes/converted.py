"""Converted models: a file by LiteRT, ONNX Runtime, or OpenVINO's CPU plugin.

Beside each lies `contract.json`. Loading raises `UserError` for a file that can't be
read, has changed, or isn't that of its contract.
"""

import contextlib
import ctypes
import functools
import glob
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.inference.contract import FILE, Contract, read_contract
from keras_mscam.inference.export_folder import verify_files
from keras_mscam.inference.runtimes.runtime import Runtime, count_cores, explain_failure

# OpenVINO and its quantizer tell a server what is converted, through a package of its
# own; they do without it where it can't be imported. This runs before they are.
sys.modules.setdefault("openvino_telemetry", cast(Any, None))


def load_litert(path: Path) -> Runtime:
    """Load a `.tflite` file, whose batch is 1, as phones want it."""
    from ai_edge_litert.interpreter import Interpreter

    contract = read_verified_contract(path)
    with explain_failure(path):
        interpreter = Interpreter(str(path), num_threads=count_cores())
        runner = interpreter.get_signature_runner()
        inputs, outputs = (
            {name: detail["shape"].tolist() for name, detail in details.items()}
            for details in (runner.get_input_details(), runner.get_output_details())
        )
        _check_fit(path, contract, inputs, outputs)
    run = _run_one_by_one(contract.output_names, lambda image: runner(image=image))
    return Runtime("litert", path, contract, run)


def load_onnx(path: Path) -> Runtime:
    """Load an `.onnx` file."""
    import onnxruntime

    contract = read_verified_contract(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count_cores()
    # Threads that wait busily take the cores from whatever else runs: with any company,
    # an image takes twice as long.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with explain_failure(path):
        session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
    inputs, outputs = (
        {item.name: item.shape for item in items}
        for items in (session.get_inputs(), session.get_outputs())
    )
    _check_fit(path, contract, inputs, outputs)
    names = contract.output_names

    def run(images):
        pixels = images[..., None].astype("float32")
        return dict(zip(names, session.run(names, {"image": pixels}), strict=True))

    return Runtime("onnx", path, contract, run)


def load_openvino(path: Path) -> Runtime:
    """Load an `.xml` file, with the `.bin` beside it.

    A file named `float32` is computed in float32; others as the plugin sees fit. Images
    are run one after the other: shapes that are fixed make one a sixth faster.
    """
    contract = read_verified_contract(path)
    names = contract.output_names
    options = {
        "INFERENCE_NUM_THREADS": count_cores(),
        "PERFORMANCE_HINT": "LATENCY",
        # Threads that are bound to cores wait when others work there.
        "ENABLE_CPU_PINNING": False,
    }
    if path.stem == "float32":
        # By default it computes in bfloat16 where the CPU can: 8 bits of a number.
        options["INFERENCE_PRECISION_HINT"] = "f32"
    with explain_failure(path):
        model = get_core().read_model(path)
        inputs, outputs = (
            {
                name: [side.get_length() if side.is_static else None for side in shape]
                for tensor in tensors
                for shape in [tensor.partial_shape]
                for name in tensor.names  # a layer's name may be among them, too
            }
            for tensors in (model.inputs, model.outputs)
        )
        _check_fit(path, contract, inputs, outputs)
        model.reshape({"image": [1, *contract.image_size, 1]})
        compiled = get_core().compile_model(model, "CPU", options)
        request = compiled.create_infer_request()

    def infer(image):
        request.infer({"image": image})
        return {name: request.get_tensor(name).data.copy() for name in names}

    return Runtime("openvino", path, contract, _run_one_by_one(names, infer))


@functools.cache
def get_core():
    """Return the one `openvino.Core` of this process.

    Where a processor has AMX, each gives its thread a stack for signals, and two that
    end in the order in which they began leave it one that is gone.
    """
    import openvino

    return openvino.Core()


class _Stack(ctypes.Structure):
    """`stack_t` of `sigaltstack(2)` on Linux."""

    _fields_ = [
        ("ss_sp", ctypes.c_void_p),
        ("ss_flags", ctypes.c_int),
        ("ss_size", ctypes.c_size_t),
    ]


@contextlib.contextmanager
def keep_signal_stack() -> Iterator[None]:
    """Give the thread back the stack for signals that it had before: see `get_core`."""
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)


def _run_one_by_one(
    names: Sequence[str], infer: Callable[[np.ndarray], dict[str, np.ndarray]]
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    lock = threading.Lock()  # it computes in memory of its own, one image at a time

    def run(images):
        pixels = images[:, None, ..., None].astype("float32")
        with lock:
            outputs = [infer(image) for image in pixels]
        return {
            name: np.concatenate([output[name] for output in outputs]) for name in names
        }

    return run


def read_verified_contract(model: Path) -> Contract:
    """Read the contract beside a file, if both are as they were exported."""
    contract = read_contract(model)
    verify_files(model.parent, FILE, f"{glob.escape(model.stem)}.*")
    return contract


def _check_fit(
    path: Path,
    contract: Contract,
    inputs: Mapping[str, Sequence],
    outputs: Mapping[str, Sequence],
) -> None:
    """Refuse inputs or outputs, shapes by name, that aren't those of the contract."""
    expected = [*contract.image_size, 1]
    if set(inputs) != {"image"} or list(inputs["image"][1:]) != expected:
        raise UserError(
            f"{path} isn't the model of its {FILE}, which says that it takes 'image' "
            f"of {expected}: it takes {_describe(inputs)}."
        )
    count = len(contract.pathologies)
    for name in contract.output_names:
        if name not in outputs or outputs[name][-1] != count:
            raise UserError(
                f"{path} isn't the model of its {FILE}, which says that it gives "
                f"{name!r} of {count} pathologies: it gives {_describe(outputs)}."
            )


def _describe(shapes: Mapping[str, Sequence]) -> str:
    return ", ".join(f"{name!r} of {list(sides[1:])}" for name, sides in shapes.items())
