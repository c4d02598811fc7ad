"""The formats besides the SavedModel: what each needs, and what it consists of."""

import importlib
import importlib.util
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import keras
import numpy as np

from keras_mscam.data.pipeline import read_examples
from keras_mscam.errors import UserError
from keras_mscam.exporting.agreement import (
    LIMITS,
    TEST_IMAGES,
    check_agreement,
    compare_outputs,
)
from keras_mscam.exporting.examples import draw_examples
from keras_mscam.exporting.formats import SCRATCH, build_network, tfjs
from keras_mscam.images.reader import read_grey
from keras_mscam.images.resize import resize_area
from keras_mscam.inference.calibrated_model import CalibratedModel
from keras_mscam.inference.contract import FILE, Contract
from keras_mscam.inference.export_folder import list_variant_files
from keras_mscam.inference.run_folder import Run, is_prepared
from keras_mscam.inference.runtimes import load_runtime

#: Images of the run's validation split that scales of 8-bit maps are taken from.
_CALIBRATION_IMAGES = 128
_BYTES = {"float32": 4, "float16": 2, "int8": 1, "uint8": 1}
_Run = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Format:
    """A format that a network is converted to."""

    # what weights are stored in, the most exact first. The function
    # `write_{variant}(network, folder, images)` of the module in this package of the
    # format's name writes each; it may use what those before it wrote
    variants: tuple[str, ...]
    path: str  # of a variant in the folder of the format
    modules: tuple[str, ...] = ()  # that must be installed to convert and to check


_WEIGHTS = ("float32", "float16", "int8")
FORMATS = {
    "litert": Format(_WEIGHTS, "{}.tflite", ("ai_edge_litert", "ai_edge_quantizer")),
    "onnx": Format(_WEIGHTS, "{}.onnx", ("onnx", "tf2onnx", "onnxruntime")),
    "openvino": Format(_WEIGHTS, "{}.xml", ("openvino", "nncf")),
    "tfjs": Format(("float32", "float16", "uint8"), "{}/model.json"),
}


def check_installed(name: str) -> None:
    """Say, in a `UserError`, what is missing, before any work is done."""
    modules = FORMATS[name].modules
    missing = [m for m in modules if importlib.util.find_spec(m) is None]
    if missing:
        raise UserError(
            f"The format {name} needs {' and '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed: "
            'pip install "keras_mscam[formats]".'
        )
    if name == "tfjs":
        tfjs.find_tools()


@dataclass(frozen=True)
class Conversion:
    """What is converted, and what it is calibrated on and compared with."""

    network: keras.Model  # of `build_network`
    contract: Contract  # names, sizes and thresholds
    # images that scales of 8-bit maps are taken from, uint8 `(N, height, width)`, and
    # where they come from
    calibration: tuple[np.ndarray, str]
    test: tuple[np.ndarray, str]  # images that are compared; likewise


def prepare_conversion(calibrated_model: CalibratedModel, run: Run) -> Conversion:
    """Read what all formats need."""
    contract = calibrated_model.contract
    return Conversion(
        network=build_network(calibrated_model.localizer, contract),
        contract=contract,
        calibration=_read_images(run, "validation", contract, _CALIBRATION_IMAGES),
        test=_read_images(run, "test", contract, TEST_IMAGES),
    )


def _read_images(
    run: Run, split: str, contract: Contract, most: int
) -> tuple[np.ndarray, str]:
    """Read prepared images of a split of a run, or draw some where it is gone."""
    size = contract.image_size
    if is_prepared(run.records):
        found = islice(read_examples(run.records, split, image_size=size), most)
        pixels = [example.image for example in found]
        source = f"{len(pixels)} images of the run's {split} split"
    else:
        drawn = draw_examples(size)
        pixels = [resize_area(read_grey(file.data), size) for file in drawn]
        source = f"{len(pixels)} synthetic radiographs, as the run's records are gone"
    return np.stack(pixels), source


def convert(
    name: str, conversion: Conversion, folder: Path, say: Callable[[str], None]
) -> dict:
    """Write every variant of a format into a folder; compare it with the Keras model.

    A variant of fewer bits that differs too much, or overflows, is left out, with a
    warning.

    Returns:
        What was measured, for the manifest. `say` is told of every variant.

    Raises:
        UserError: a variant has lost its weights, or that in float32 has lost an output
            or differs too much.
    """
    network, contract = conversion.network, conversion.contract
    calibration, calibration_source = conversion.calibration
    test, test_source = conversion.test
    (folder / FILE).write_text(contract.dump(), encoding="utf-8")
    expected = network.predict_on_batch(test[..., None].astype("float32"))
    variants = {}
    for weights in FORMATS[name].variants:
        label = f"{name} {weights}"
        get_writer(name, weights)(network, folder, calibration.astype("float32"))
        path = folder / FORMATS[name].path.format(weights)
        size = measure_size(path)
        check_weights(size, network, weights, label)
        run = load_variant(name, path)
        try:
            agreement = compare_outputs(run(test), expected, contract, label)
            check_agreement(agreement, LIMITS[weights], label)
        except UserError as error:
            if weights == "float32":
                raise
            warnings.warn(str(error), stacklevel=2)
            for file in list_variant_files(path):
                file.unlink()
            if path.parent != folder:
                path.parent.rmdir()
            continue
        variants[weights] = {"agreement": asdict(agreement), "bytes": size}
        say(f"{label}: {size / 1e6:.2f} MB, {agreement}")
    shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    return {
        "calibration": calibration_source,
        "compared_on": test_source,
        "variants": variants,
    }


def get_writer(name: str, weights: str) -> Callable:
    """Return the function that writes a variant."""
    module = importlib.import_module(f"keras_mscam.exporting.formats.{name}")
    return getattr(module, f"write_{weights}")


def load_variant(name: str, path: Path) -> _Run:
    """Load a variant that has been written; see `Runtime.run`."""
    if name == "tfjs":
        return lambda images: tfjs.run_in_node(path, images)[0]
    return load_runtime(path).run


def measure_size(path: Path) -> int:
    """Return the bytes of a variant, of all files that belong to it."""
    return sum(file.stat().st_size for file in list_variant_files(path))


def check_weights(
    size: int, network: keras.Model, weights: str, label: str = "The model"
) -> None:
    """Raise a `UserError` for files of `size` bytes that can't hold all weights.

    A converter may lose them and say nothing. Those of batch normalizations may be
    folded into others, so a fifth may be missing.
    """
    least = int(0.8 * network.count_params() * _BYTES[weights])
    if size < least:
        raise UserError(
            f"{label} has {size:,} bytes, too few for the {network.count_params():,} "
            "weights of the network: the converter lost them, and nothing was exported."
        )
