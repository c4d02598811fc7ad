"""One version of a model, loaded."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import prediction_log_pb2

from keras_mscam.serving.serving_error import ServingError, refuse

DEFAULT_SIGNATURE = "serving_default"
#: Requests to run before a version takes its first one: where TensorFlow Serving looks
#: for them below the folder of a version, and how many it takes.
WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
MOST_WARMUPS = 1000
#: Of the graph that serves, among those that a SavedModel may hold.
_TAG = "serve"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
#: What TensorFlow puts around the sentence of an operation that failed.
_AROUND = re.compile(
    r"Graph execution error:|\d+ root error\(s\) found\.|<stack traces unavailable>"
    r"|Detected at node .*|^Node: .*|^  File .*|\{\{function_node [^}]*\}\}"
    r"|\[\[\{\{node .*|\[Op:.*",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Signature:
    """A function of a model, with type and shape of inputs and outputs by name.

    `run` takes the values of all inputs, by rising name, and gives those of outputs.
    """

    name: str
    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, tf.TensorSpec]
    run: Callable

    @property
    def is_batchable(self) -> bool:
        """Whether every input and output begins with a batch of any size."""
        specs = [*self.inputs.values(), *self.outputs.values()]
        batches = (bool(spec.shape.rank) and spec.shape[0] is None for spec in specs)
        return bool(self.inputs) and all(batches)

    def check(self, inputs: Mapping[str, np.ndarray], wanted: Sequence[str]) -> None:
        """Refuse inputs of other names, types or shapes, and unknown wanted outputs."""
        if inputs.keys() != self.inputs.keys():
            raise refuse(
                f"The signature {self.name!r} takes the inputs {_join(self.inputs)}; "
                f"the request has {_join(inputs)}."
            )
        for name, spec in self.inputs.items():
            dtype = tf.as_dtype(inputs[name].dtype)
            if dtype != spec.dtype:
                raise refuse(
                    f"The input {name!r} is of type {dtype.name}, but must be of "
                    f"{spec.dtype.name}."
                )
            if not spec.shape.is_compatible_with(inputs[name].shape):
                raise refuse(
                    f"The input {name!r} has the shape {list(inputs[name].shape)}, but "
                    f"its signature takes {spec.shape.as_list()}."
                )
        if len(set(wanted)) < len(wanted) or not set(wanted) <= self.outputs.keys():
            raise refuse(
                f"The signature {self.name!r} has the outputs {_join(self.outputs)}; "
                f"the request asks for {_join(wanted)}."
            )

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run it on inputs that were checked; strings are `object` of bytes.

        Raises:
            ServingError: the graph failed.
        """
        try:
            values = self.run(*[inputs[name] for name in sorted(self.inputs)])
        except tf.errors.OpError as error:
            raise explain_failure(error) from error
        arrays = map(_to_array, values)
        return dict(zip(sorted(self.outputs), arrays, strict=True))


class Servable:
    """A SavedModel, loaded in a session, and its signatures.

    It runs in a session, as in TensorFlow Serving: nothing is traced, and its memory
    can be given back.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        v1, graph = tf.compat.v1, tf.Graph()
        with graph.as_default():
            # A model of a machine with another device is run on what is there.
            config = v1.ConfigProto(allow_soft_placement=True)
            self._session = v1.Session(graph=graph, config=config)
            loaded = v1.saved_model.loader.load(self._session, [_TAG], str(path))
        self.signature_defs = dict(loaded.signature_def)
        self._signatures = {
            name: self._describe(name, definition)
            for name, definition in self.signature_defs.items()
            if _is_runnable(definition)
        }

    def find_signature(self, name: str) -> Signature:
        """Return a signature; the default one if the name is empty."""
        name = name or DEFAULT_SIGNATURE
        if name not in self._signatures:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"The model has no signature {name!r}, only {_join(self._signatures)}.",
            )
        return self._signatures[name]

    def warm_up(self) -> int:
        """Run the requests that the export brings along; return how many."""
        path, count = self.path / WARMUP_FILE, 0
        records = tf.data.TFRecordDataset(str(path)) if path.is_file() else ()
        for count, record in enumerate(records, start=1):
            if count > MOST_WARMUPS:
                raise refuse(f"{path} holds more than {MOST_WARMUPS} requests.")
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            request = log.predict_log.request
            inputs = {name: tf.make_ndarray(p) for name, p in request.inputs.items()}
            signature = self.find_signature(request.model_spec.signature_name)
            signature.check(inputs, ())
            signature(inputs)
        return count

    def close(self) -> None:
        """Give its memory back; it can't be run any more."""
        self._signatures.clear()
        self._session.close()

    def _describe(
        self, name: str, definition: meta_graph_pb2.SignatureDef
    ) -> Signature:
        inputs, outputs = definition.inputs, definition.outputs
        run = self._session.make_callable(
            [outputs[key].name for key in sorted(outputs)],
            [inputs[key].name for key in sorted(inputs)],
        )
        return Signature(name, _get_specs(inputs), _get_specs(outputs), run)


def explain_failure(error: tf.errors.OpError) -> ServingError:
    """Return what a failed graph says, under its own code, in one line."""
    lines = _AROUND.sub("", error.message or "").splitlines()
    said = next((line.strip() for line in lines if line.strip()), "The graph failed.")
    return ServingError(_CODES.get(error.error_code, grpc.StatusCode.INTERNAL), said)


def _is_runnable(definition: meta_graph_pb2.SignatureDef) -> bool:
    """Whether all is a plain tensor: nothing sparse, and no mere operation."""
    infos = [*definition.inputs.values(), *definition.outputs.values()]
    return bool(definition.outputs) and all(info.name and info.dtype for info in infos)


def _get_specs(infos: Mapping[str, meta_graph_pb2.TensorInfo]) -> dict:
    return {
        name: tf.TensorSpec(tf.TensorShape(info.tensor_shape), info.dtype, name)
        for name, info in infos.items()
    }


def _to_array(value) -> np.ndarray:
    # Strings of rank 0 too: NumPy would cut zeros at the end of bytes.
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)


def _join(names) -> str:
    return ", ".join(sorted(names)) or "none"
