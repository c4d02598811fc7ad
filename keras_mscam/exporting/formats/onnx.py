"""Convert to ONNX: one `.onnx` file per variant, of any batch."""

from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from keras_mscam.exporting.formats import SCRATCH, export_network, quietly

#: The newest that tf2onnx writes; scales by channel need 13.
_OPSET = 18
#: Weights that aren't worth a cast.
_FEW = 64


def write_float32(network: keras.Model, folder: Path, _images: np.ndarray) -> None:
    """Convert by Keras's exporter."""
    path = folder / "float32.onnx"
    export_network(network, path, "onnx", opset_version=_OPSET)


def write_float16(_network: keras.Model, folder: Path, _images: np.ndarray) -> None:
    """Store weights in half precision, cast as they are loaded.

    It computes in float32: ONNX Runtime has few operations in half precision on CPUs.
    """
    model = onnx.load(folder / "float32.onnx")
    casts = []
    for weights in model.graph.initializer:
        if weights.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weights)
        if values.size < _FEW:
            continue
        name = weights.name
        half = numpy_helper.from_array(values.astype("float16"), f"{name}_float16")
        weights.CopyFrom(half)
        casts.append(
            helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "float16.onnx")


def write_int8(_network: keras.Model, folder: Path, images: np.ndarray) -> None:
    """Convolve in 8 bits, with scales of weights by channel, of maps by calibration.

    All that holds weights to speak of is a convolution. The rest stays float32: in 8
    bits it doubles the error of probabilities and maps. Weights use 7 of their 8 bits:
    without VNNI instructions, ONNX Runtime adds products of larger ones in pairs that
    16 bits can't hold, and the file must give the same on every processor.
    """
    prepared = folder / SCRATCH / "prepared.onnx"
    prepared.parent.mkdir()
    samples = ({"image": image[None, ..., None]} for image in images)
    calibration = SimpleNamespace(get_next=lambda: next(samples, None))
    with quietly():
        # Folds what is constant and batch normalizations, that convolutions be alone.
        quant_pre_process(folder / "float32.onnx", prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            folder / "int8.onnx",
            calibration,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
