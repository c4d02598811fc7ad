"""Convert to LiteRT, formerly TensorFlow Lite: one `.tflite` file per variant.

The batch is 1: phones' delegates want shapes that are fixed.
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.quantizer import Quantizer
from ai_edge_quantizer.recipe_manager import RecipeManager

from keras_mscam.exporting.formats import export_network, quietly


def write_float32(network: keras.Model, folder: Path, _images: np.ndarray) -> None:
    """Convert by Keras's exporter, to LiteRT's own operations alone."""
    # Keras would allow TensorFlow's operations too, which no phone has.
    own = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    export_network(network, folder / "float32.tflite", "litert", 1, target_spec=own)


def write_float16(_network: keras.Model, folder: Path, _images: np.ndarray) -> None:
    """Store weights in half precision; it computes in float32 where half is slow."""
    recipe = RecipeManager()
    recipe.add_quantization_config(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        algorithm_key="float_casting",
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
    )
    _quantize(recipe, folder, "float16.tflite")


def write_int8(_network: keras.Model, folder: Path, images: np.ndarray) -> None:
    """Convolve in 8 bits, with scales of weights by channel, of maps by calibration.

    All that holds weights to speak of is a convolution. The rest stays float32: in 8
    bits it costs probabilities five times the error, and saves no time.
    """
    recipe = RecipeManager()
    recipe.add_static_config(
        regex=".*",
        operation_name=qtyping.TFLOperationName.CONV_2D,
        activation_num_bits=8,
        weight_num_bits=8,
    )
    _quantize(recipe, folder, "int8.tflite", images)


def _quantize(
    recipe: RecipeManager, folder: Path, name: str, images: np.ndarray | None = None
) -> None:
    exact = str(folder / "float32.tflite")
    quantizer = Quantizer(exact, recipe.get_quantization_recipe())
    calibration = None
    # It draws bars, writes reports and warns of its own way to calibrate.
    with quietly():
        if images is not None:
            samples = [{"image": image[None, ..., None]} for image in images]
            calibration = quantizer.calibrate({"serving_default": samples})
        result = quantizer.quantize(calibration)
    assert result.quantized_model is not None
    (folder / name).write_bytes(result.quantized_model)
