"""Convert to OpenVINO: an `.xml` and a `.bin` file per variant, of any batch."""

from pathlib import Path

import keras
import numpy as np

# First, as it keeps what is imported after it from telling a server.
from keras_mscam.inference.runtimes.converted import get_core, keep_signal_stack

# isort: split
import nncf
import openvino

from keras_mscam.exporting.formats import export_network, quietly


def write_float32(network: keras.Model, folder: Path, _images: np.ndarray) -> None:
    """Convert by Keras's exporter."""
    export_network(network, folder / "float32.xml", "openvino")


def write_float16(_network: keras.Model, folder: Path, _images: np.ndarray) -> None:
    """Store weights in half precision; the plugin computes in what it deems fast."""
    model = get_core().read_model(folder / "float32.xml")
    openvino.save_model(model, folder / "float16.xml", compress_to_fp16=True)


def write_int8(_network: keras.Model, folder: Path, images: np.ndarray) -> None:
    """Compute in 8 bits, with scales of weights by channel, of maps by calibration.

    Weights use 7 of their 8 bits, see `onnx.write_int8`.
    """
    exact_sums = nncf.AdvancedQuantizationParameters(
        overflow_fix=nncf.OverflowFix.ENABLE
    )
    with quietly("nncf"), keep_signal_stack():
        model = get_core().read_model(folder / "float32.xml")
        samples = nncf.Dataset(images, lambda image: image[None, ..., None])
        quantized = nncf.quantize(
            model,
            samples,
            preset=nncf.QuantizationPreset.MIXED,  # features of a block end are signed
            subset_size=len(images),
            advanced_parameters=exact_sums,
        )
    openvino.save_model(quantized, folder / "int8.xml", compress_to_fp16=True)
