"""Write the SavedModel."""

import contextlib
import io
from pathlib import Path

import keras
import tensorflow as tf

from keras_mscam.exporting.contract import Contract
from keras_mscam.exporting.signatures import Signatures


def write_saved_model(localizer: keras.Model, contract: Contract, path: Path) -> None:
    """Write a SavedModel with every signature of the contract.

    What is written needs TensorFlow to run: neither Keras nor this package.

    Args:
        localizer: built by the contract.
        contract: names, sizes and thresholds.
        path: folder to make.
    """
    archive = keras.export.ExportArchive()
    archive.track(localizer)
    for name, (function, inputs) in Signatures(localizer, contract).specify().items():
        archive.add_endpoint(name, function, input_signature=inputs)
    with contextlib.redirect_stdout(io.StringIO()):  # it says where it writes
        archive.write_out(str(path), verbose=False)


def load_signatures(path: Path) -> dict:
    """Load a SavedModel.

    Returns:
        A function of keyword arguments for each signature. The model lives as long as
        this dictionary.
    """
    model = tf.saved_model.load(str(path))
    signatures = dict(model.signatures)
    for function in signatures.values():
        function._model = model  # a signature alone doesn't keep the variables alive
    return signatures
