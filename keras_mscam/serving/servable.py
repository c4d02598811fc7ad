"""One version of a model, loaded."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from keras_mscam.serving.errors import ServingError, from_tensorflow, refuse

DEFAULT_SIGNATURE = "serving_default"

_WARMUP = "assets.extra/tf_serving_warmup_requests"


class Servable:
    """A SavedModel, its signatures and what they take.

    Args:
        path: folder that holds `saved_model.pb`.
        version: its number.

    Raises:
        Exception: of TensorFlow, if it can't be loaded.
    """

    def __init__(self, path: Path, version: int):
        self.path = Path(path)
        self.version = version
        self.signature_defs = _read_signature_defs(self.path)
        self._model = tf.saved_model.load(str(path))
        self._signatures = dict(self._model.signatures)

    def get_input_specs(self, signature: str) -> dict[str, tf.TensorSpec]:
        """Return type and shape of every input of a signature."""
        function = self._find(signature)
        return dict(function.structured_input_signature[1])

    def is_batchable(self, signature: str) -> bool:
        """Whether every input and output begins with a batch of any size."""
        function = self._find(signature)
        tensors = [*self.get_input_specs(signature).values(), *function.outputs]
        return all(
            tensor.shape.rank is not None
            and tensor.shape.rank > 0
            and tensor.shape[0] is None
            for tensor in tensors
        )

    def check_inputs(
        self, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Compare inputs with what a signature takes.

        Raises:
            ServingError: a wrong name, type or shape.
        """
        specs = self.get_input_specs(signature)
        if inputs.keys() != specs.keys():
            raise refuse(_describe_names(set(inputs), set(specs)))
        for name, value in inputs.items():
            _check_type(name, value, specs[name])
            if not specs[name].shape.is_compatible_with(value.shape):
                raise refuse(
                    f"Input {name!r} has shape {list(value.shape)}, but signature "
                    f"{signature!r} takes {specs[name].shape}."
                )
        return dict(inputs)

    def check_outputs(self, signature: str, names: tuple[str, ...]) -> None:
        """Refuse names of outputs that a signature hasn't, or that come twice.

        Raises:
            ServingError: there is one.
        """
        known = set(self._find(signature).structured_outputs)
        for name in names:
            if name not in known:
                raise refuse(
                    f"output tensor alias not found in signature: {name} Outputs "
                    f"expected to be in the set {{{','.join(sorted(known))}}}."
                )
            if names.count(name) > 1:
                raise refuse(f"duplicate output tensor alias: {name}")

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Run a signature; strings come as `object` of bytes.

        Raises:
            ServingError: the graph failed.
        """
        function = self._find(signature)
        specs = self.get_input_specs(signature)
        tensors = {
            name: tf.constant(value, dtype=specs[name].dtype)
            for name, value in inputs.items()
        }
        try:
            outputs = function(**tensors)
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error
        return {name: _to_array(value) for name, value in outputs.items()}

    def warm_up(self) -> int:
        """Run the requests that the export brings along; return how many."""
        count = 0
        for signature, inputs in _read_warmup(self.path / _WARMUP):
            self.run(signature, self.check_inputs(signature, inputs))
            count += 1
        return count

    def _find(self, signature: str):
        function = self._signatures.get(signature or DEFAULT_SIGNATURE)
        if function is None:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{signature or DEFAULT_SIGNATURE}" not found.',
            )
        return function


def _to_array(value: tf.Tensor) -> np.ndarray:
    """Return an array; of a single string TensorFlow would give bare bytes."""
    return np.asarray(value.numpy(), object if value.dtype == tf.string else None)


def _read_signature_defs(path: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((path / "saved_model.pb").read_bytes())
    return dict(model.meta_graphs[0].signature_def)


def _read_warmup(path: Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    if not path.is_file():
        return
    for record in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        inputs = {
            name: tf.make_ndarray(proto) for name, proto in request.inputs.items()
        }
        yield request.model_spec.signature_name, inputs


def _describe_names(sent: set[str], wanted: set[str]) -> str:
    # TensorFlow Serving's sentence.
    return (
        f"input size does not match signature: {len(sent)}!={len(wanted)} "
        f"len({{{_join(sent)}}}) != len({{{_join(wanted)}}}). "
        f"Sent extra: {{{_join(sent - wanted)}}}. "
        f"Missing but required: {{{_join(wanted - sent)}}}."
    )


def _join(names: set[str]) -> str:
    return ",".join(sorted(names))


def _check_type(name: str, value: np.ndarray, spec: tf.TensorSpec) -> None:
    is_text = value.dtype.kind in "OSU"
    if is_text != (spec.dtype == tf.string) or (
        not is_text and value.dtype != spec.dtype.as_numpy_dtype
    ):
        sent = "string" if is_text else value.dtype.name
        raise refuse(
            f"Input {name!r} is of type {sent}, but {spec.dtype.name} is expected."
        )
