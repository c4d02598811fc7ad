"""A SavedModel, by TensorFlow."""

from pathlib import Path

from keras_mscam.exporting.contract import read_contract
from keras_mscam.exporting.examples import run_signature
from keras_mscam.exporting.repository import find_export
from keras_mscam.exporting.saved_model import load_signatures
from keras_mscam.runtimes.runtime import Runtime


def load_saved_model(path: Path) -> Runtime:
    """Load an exported version.

    Args:
        path: its folder, or one that `find_export` finds it in.

    Raises:
        UserError: there is none, or it is no export of this package.
    """
    export = find_export(path)
    contract = read_contract(export)
    signature = load_signatures(export)["tensor_uint8"]

    def predict(images):
        return run_signature(signature, image=images[..., None])

    return Runtime("tensorflow", contract, predict)
