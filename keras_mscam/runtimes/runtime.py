"""Any model file as one function of images."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_mscam.exporting.contract import Contract
from keras_mscam.runtimes.choice import choose_runtime, find_models, import_loader


@dataclass(frozen=True, eq=False)
class Runtime:
    """A network that is ready to run.

    Args:
        name: of what runs it, one of `keras_mscam.runtimes.RUNTIMES`.
        contract: names, sizes and thresholds.
        run: function of uint8 `(N, height, width)`, grey at the size of the contract;
            N is any number from 1 on. It returns float32 arrays by name:
            `probabilities` `(N, C)`, calibrated, and `cam_block*` and `attention`
            `(N, h, w, C)`, raw and signed.
    """

    name: str
    contract: Contract
    run: Callable[[np.ndarray], dict[str, np.ndarray]]


def load_runtime(path: str | os.PathLike, runtime: str = "auto") -> Runtime:
    """Load a model.

    Args:
        path: the folder of a run; a file `.keras`, `.tflite`, `.onnx` or `.xml`
            (OpenVINO); or an export of `keras_mscam-export`: a version's folder, a
            model's, or a repository with one model, of which the newest version is
            taken. Of variants of different precision in a folder, float32 is.
        runtime: what runs it, one of `RUNTIMES`. `"auto"` takes the fastest that is
            installed of those that the path has a model for.

    Raises:
        UserError: the path holds no model, none for this runtime, or the library that
            runs it is missing.

    Example:
        >>> runtime = load_runtime("exports", "onnx")
        >>> runtime.run(np.zeros((1, 256, 256), "uint8"))["probabilities"].shape
        (1, 14)
    """
    models = find_models(path)
    name = choose_runtime(models, path, runtime)
    return import_loader(name)(models[name])
