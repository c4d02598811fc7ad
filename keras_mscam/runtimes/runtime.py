"""Any model file as one function of images."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.exporting.contract import Contract


@dataclass(frozen=True, eq=False)
class Runtime:
    """A network that is ready to run.

    Args:
        name: of the library that runs it.
        contract: names, sizes and thresholds.
        run: function of uint8 `(N, height, width)`, grey at the size of the contract;
            N is any number from 1 on. It returns float32 arrays by name:
            `probabilities` `(N, C)`, calibrated, and `cam_block*` and `attention`
            `(N, h, w, C)`, raw and signed.
    """

    name: str
    contract: Contract
    run: Callable[[np.ndarray], dict[str, np.ndarray]]


def load_runtime(path: str | os.PathLike) -> Runtime:
    """Load a model with the library that its file is made for.

    Args:
        path: the folder of a run, or an export of `keras_mscam-export`: of a version,
            or the newest of a repository.

    Raises:
        UserError: the path is neither, or can't be loaded.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"There is no model at {path}.")
    # A runtime is imported when it is used: none but Keras need be installed.
    if (path / "config.json").is_file():
        from keras_mscam.runtimes.keras_model import load_keras_model

        return load_keras_model(path)
    from keras_mscam.runtimes.saved_model import load_saved_model

    return load_saved_model(path)
