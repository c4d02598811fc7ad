"""The Keras model of a run."""

from pathlib import Path

from keras_mscam.exporting.exportable import read_exportable
from keras_mscam.run_folder import read_run
from keras_mscam.runtimes.runtime import Runtime


def load_keras_model(run: Path) -> Runtime:
    """Load the model of a run, calibrated.

    Args:
        run: its folder.

    Raises:
        UserError: it is none, or has no model yet.
    """
    exportable = read_exportable(read_run(run))

    def predict(images):
        return exportable.localizer.predict_on_batch(images[..., None])

    return Runtime("keras", exportable.contract, predict)
