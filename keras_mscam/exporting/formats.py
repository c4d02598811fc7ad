"""The formats besides the SavedModel: what each needs, and what it consists of."""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.exporting import tfjs
from keras_mscam.exporting.manifest import list_variant_files


@dataclass(frozen=True)
class Format:
    """A format that a network is converted to.

    Args:
        variants: what weights are stored in, the most exact first. The function
            `write_{variant}(network, folder, images)` of the module in this package of
            the format's name writes each; it may use what those before it wrote.
        path: of a variant in the folder of the format.
        modules: that must be installed to convert and to check.
    """

    variants: tuple[str, ...]
    path: str
    modules: tuple[str, ...] = ()


FORMATS = {
    "litert": Format(
        ("float32", "float16", "int8"),
        "{}.tflite",
        ("ai_edge_litert", "ai_edge_quantizer"),
    ),
    "onnx": Format(
        ("float32", "float16", "int8"), "{}.onnx", ("onnx", "tf2onnx", "onnxruntime")
    ),
    "openvino": Format(("float32", "float16", "int8"), "{}.xml", ("openvino", "nncf")),
    "tfjs": Format(("float32", "float16", "uint8"), "{}/model.json"),
}


def check_installed(name: str) -> None:
    """Say what is missing before any work is done.

    Raises:
        UserError: a library is.
    """
    missing = [
        module
        for module in FORMATS[name].modules
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise UserError(
            f"The format {name} needs {' and '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed: "
            'pip install "keras_mscam[formats]".'
        )
    if name == "tfjs":
        tfjs.find_tools()


def get_writer(name: str, variant: str) -> Callable:
    """Return the function that writes a variant."""
    module = importlib.import_module(f"keras_mscam.exporting.{name}")
    return getattr(module, f"write_{variant}")


def load_variant(name: str, path: Path) -> Callable[[np.ndarray], dict]:
    """Load a variant that has been written; see `Runtime.run`."""
    if name == "tfjs":
        return tfjs.load(path)
    from keras_mscam.runtimes import load_runtime

    return load_runtime(path).run


def measure_size(path: Path) -> int:
    """Return the bytes of a variant, of all files that belong to it."""
    return sum(file.stat().st_size for file in list_variant_files(path))
