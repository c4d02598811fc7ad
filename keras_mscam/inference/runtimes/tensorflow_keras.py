"""The Keras model of a run, and the SavedModel of an export."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_mscam.inference.calibrated_model import load_calibrated_model
from keras_mscam.inference.contract import FILE, read_contract
from keras_mscam.inference.export_folder import verify_files
from keras_mscam.inference.run_folder import load_run
from keras_mscam.inference.runtimes.runtime import Runtime, explain_failure
from keras_mscam.inference.runtimes.saved_model_ops import check_operations


def load_keras(run: Path) -> Runtime:
    """Load the model in the folder of a run, calibrated.

    Raises:
        UserError: it is none, or has no model yet.
    """
    calibrated_model = load_calibrated_model(load_run(run))

    def predict(images):
        return calibrated_model.localizer.predict_on_batch(images[..., None])

    return Runtime("keras", run, calibrated_model.contract, predict)


def load_tensorflow(path: Path) -> Runtime:
    """Load an exported version.

    Args:
        path: the folder that holds `saved_model.pb`.

    Raises:
        UserError: it is no export of this package, or has changed.
    """
    contract = read_contract(path)
    verify_files(path, "*.pb", FILE, "variables/*")
    check_operations(path)
    with explain_failure(path):
        signature = load_signatures(path)["tensor_uint8"]

    def predict(images):
        return run_signature(signature, image=images[..., None])

    return Runtime("tensorflow", path, contract, predict)


def run_signature(signature, **inputs) -> dict[str, np.ndarray]:
    """Call a loaded signature; its outputs as arrays, strings as `object` of bytes."""
    outputs = signature(**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def load_signatures(path: Path) -> dict:
    """Load a SavedModel: a function of keyword arguments for each signature.

    The model lives as long as this dictionary.
    """
    model = tf.saved_model.load(str(path))
    signatures = dict(model.signatures)
    for function in signatures.values():
        function._model = model  # a signature alone doesn't keep the variables alive
    return signatures
