"""An ONNX file, by ONNX Runtime."""

from pathlib import Path

import onnxruntime

from keras_mscam.inference.runtimes.runtime import (
    Runtime,
    check_fit,
    count_cores,
    explain_failure,
    read_verified_contract,
)


def load_onnx(path: Path) -> Runtime:
    """Load an `.onnx` file.

    Args:
        path: of the file; `contract.json` lies beside it.

    Raises:
        UserError: it can't be read, has changed, or isn't that of its contract.
    """
    contract = read_verified_contract(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count_cores()
    # Threads that wait busily take the cores from whatever else runs: with any company,
    # an image takes twice as long.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with explain_failure(path):
        session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
    inputs, outputs = (
        {item.name: item.shape for item in items}
        for items in (session.get_inputs(), session.get_outputs())
    )
    check_fit(path, contract, inputs, outputs)
    names = contract.output_names

    def predict(images):
        pixels = images[..., None].astype("float32")
        return dict(zip(names, session.run(names, {"image": pixels}), strict=True))

    return Runtime("onnx", contract, predict)
