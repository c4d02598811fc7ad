"""An ONNX file, by ONNX Runtime."""

from pathlib import Path

import onnxruntime

from keras_mscam.exporting.contract import read_contract_beside
from keras_mscam.runtimes.loading import count_cores, explain_failure
from keras_mscam.runtimes.runtime import Runtime


def load_onnx(path: Path) -> Runtime:
    """Load an `.onnx` file.

    Args:
        path: of the file; `contract.json` lies beside it.

    Raises:
        UserError: it can't be read.
    """
    contract = read_contract_beside(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count_cores()
    # Threads that wait busily take the cores from whatever else runs: with any company,
    # an image takes twice as long.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with explain_failure(path):
        session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
    names = [output.name for output in session.get_outputs()]

    def predict(images):
        pixels = images[..., None].astype("float32")
        return dict(zip(names, session.run(names, {"image": pixels}), strict=True))

    return Runtime("onnx", contract, predict)
