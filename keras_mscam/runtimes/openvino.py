"""An OpenVINO model, by its CPU plugin."""

import keras_mscam.runtimes.telemetry  # noqa: F401

# isort: split

import functools
import threading
from pathlib import Path

import numpy as np
import openvino

from keras_mscam.exporting.contract import read_contract_beside
from keras_mscam.runtimes.loading import count_cores, explain_failure
from keras_mscam.runtimes.runtime import Runtime


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
        UserError: it can't be read.
    """
    contract = read_contract_beside(path)
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
        names = set().union(*(output.names for output in model.outputs))
        names &= set(contract.output_names)  # a layer's name may be there too
        model.reshape({"image": [1, *contract.image_size, 1]})
        compiled = get_core().compile_model(model, "CPU", options)
        request = compiled.create_infer_request()
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
