"""A LiteRT file, by its interpreter."""

import threading
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from keras_mscam.inference.runtimes.runtime import (
    Runtime,
    check_fit,
    count_cores,
    explain_failure,
    read_verified_contract,
)


def load_litert(path: Path) -> Runtime:
    """Load a `.tflite` file.

    Its batch is 1, as phones want it: several images are run one after the other.

    Args:
        path: of the file; `contract.json` lies beside it.

    Raises:
        UserError: it can't be read, has changed, or isn't that of its contract.
    """
    contract = read_verified_contract(path)
    with explain_failure(path):
        interpreter = Interpreter(str(path), num_threads=count_cores())
        runner = interpreter.get_signature_runner()
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        check_fit(path, contract, _read_shapes(inputs), _read_shapes(outputs))
    lock = threading.Lock()  # it computes in memory of its own, one image at a time

    def predict(images):
        pixels = images[:, None, ..., None].astype("float32")
        with lock:
            outputs = [runner(image=image) for image in pixels]
        return {
            name: np.concatenate([output[name] for output in outputs])
            for name in outputs[0]
        }

    return Runtime("litert", contract, predict)


def _read_shapes(details: dict[str, dict]) -> dict[str, list[int]]:
    return {name: detail["shape"].tolist() for name, detail in details.items()}
