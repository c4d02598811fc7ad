"""Requests that a server runs before a version takes its first one."""

from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

#: Where TF Serving looks for them, below the folder of a version.
FILE = "assets.extra/tf_serving_warmup_requests"


def write_warmup(
    requests: list[tuple[str, dict[str, tf.Tensor]]], name: str, export: Path
) -> None:
    """Write warm-up requests; the first run of a graph takes many times as long.

    Args:
        requests: pairs of a signature and its inputs.
        name: of the model.
        export: the folder that holds `saved_model.pb`.
    """
    path = export / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, value in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())
