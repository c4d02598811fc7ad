"""A SavedModel, by TensorFlow."""

from pathlib import Path

from keras_mscam.exporting.contract import FILE, read_contract
from keras_mscam.exporting.examples import run_signature
from keras_mscam.exporting.manifest import verify_files
from keras_mscam.exporting.repository import find_export
from keras_mscam.exporting.saved_model import load_signatures
from keras_mscam.runtimes.loading import explain_failure
from keras_mscam.runtimes.runtime import Runtime


def load_saved_model(path: Path) -> Runtime:
    """Load an exported version.

    Args:
        path: its folder, or one that `find_export` finds it in.

    Raises:
        UserError: there is none, it is no export of this package, or has changed.
    """
    export = find_export(path)
    contract = read_contract(export)
    files = [export / "saved_model.pb", export / "assets.extra" / FILE]
    verify_files(export, [*files, *export.glob("variables/*")])
    with explain_failure(export):
        signature = load_signatures(export)["tensor_uint8"]

    def predict(images):
        return run_signature(signature, image=images[..., None])

    return Runtime("tensorflow", contract, predict)
