"""Requests that an export brings along, to run before a version takes its first one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from keras_mscam.serving.errors import refuse
from keras_mscam.serving.tensor_protos import decode_inputs

#: Where TF Serving looks for them, below the folder of a version.
FILE = "assets.extra/tf_serving_warmup_requests"
#: More than these TF Serving does not take.
MOST = 1000


def read_warmup_requests(
    export: Path,
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield signature and inputs of each request; nothing if there is no file.

    Records of other calls than Predict are passed over: this server has no other.

    Args:
        export: the folder that holds `saved_model.pb`.

    Raises:
        ServingError: a request is malformed, or there are more than 1000.
    """
    path = Path(export) / FILE
    if not path.is_file():
        return
    for count, record in enumerate(tf.data.TFRecordDataset(str(path)), start=1):
        if count > MOST:
            raise refuse(
                f"Number of warmup records exceeds the maximum ({MOST}) at {path}"
            )
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        if log.WhichOneof("log_type") == "predict_log":
            request = log.predict_log.request
            yield request.model_spec.signature_name, decode_inputs(request.inputs)
