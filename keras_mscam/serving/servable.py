"""One version of a model, loaded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from keras_mscam.serving.errors import ServingError, from_tensorflow, refuse
from keras_mscam.serving.input_checks import check_shape, check_type, complete
from keras_mscam.serving.tensor_protos import decode_inputs
from keras_mscam.serving.warmup_requests import read_warmup_requests

DEFAULT_SIGNATURE = "serving_default"
#: Of the graph that serves, among those that a SavedModel may hold.
_TAG = "serve"


@dataclass(frozen=True)
class _Signature:
    definition: meta_graph_pb2.SignatureDef
    specs: dict[str, tf.TensorSpec]
    defaults: dict[str, np.ndarray]
    is_batchable: bool
    outputs: list[str]
    run: Callable


class Servable:
    """A SavedModel, its signatures and what they take.

    It runs in a session, as TF Serving does it, not as functions of TensorFlow 2: so
    graphs of TensorFlow 1 are served as well.

    Every `signature` may be empty: `serving_default` is meant.

    Args:
        path: folder that holds `saved_model.pb`.
        version: its number.

    Raises:
        Exception: of TensorFlow, if it can't be loaded.
    """

    def __init__(self, path: Path, version: int):
        self.path = Path(path)
        self.version = version
        self._session, graph = _load(self.path)
        self.signature_defs = dict(graph.signature_def)
        self._signatures = {
            name: _describe(self._session, definition)
            for name, definition in self.signature_defs.items()
            if _is_runnable(definition)
        }

    def get_input_specs(self, signature: str) -> dict[str, tf.TensorSpec]:
        """Return type and shape of every input of a signature.

        Raises:
            ServingError: INVALID_ARGUMENT: there is no such signature.
        """
        name = signature or DEFAULT_SIGNATURE
        if name not in self._signatures:
            # The sentence and code of TF Serving's REST API.
            raise refuse(f'Serving signature name: "{name}" not found in signature def')
        return self._signatures[name].specs

    def find_name(self, signature: str) -> str:
        """Return the name of a signature, which may be empty.

        Raises:
            ServingError: FAILED_PRECONDITION: there is none, as TF Serving says it.
        """
        name = signature or DEFAULT_SIGNATURE
        if name not in self._signatures:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{name}" not found.',
            )
        return name

    def is_batchable(self, signature: str) -> bool:
        """Whether every input and output begins with a batch of any size."""
        return self._find(signature).is_batchable

    def check_inputs(
        self, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Compare inputs with what a signature takes; add those that have a default.

        Returns:
            The inputs; strings as `object` of bytes.

        Raises:
            ServingError: a wrong name, type or shape.
        """
        found = self._find(signature)
        inputs = complete(inputs, found.definition.inputs, found.defaults)
        checked = {}
        for place, name in enumerate(sorted(found.specs)):
            spec = found.specs[name]
            checked[name] = check_type(name, place, inputs[name], spec.dtype)
            check_shape(name, checked[name].shape, spec.shape)
        return checked

    def check_outputs(self, signature: str, names: tuple[str, ...]) -> None:
        """Refuse names of outputs that a signature hasn't, or that come twice.

        Raises:
            ServingError: there is one.
        """
        known = self._find(signature).definition.outputs.keys()
        seen = set()
        for name in names:
            if name not in known:
                raise refuse(
                    f"output tensor alias not found in signature: {name} Outputs "
                    f"expected to be in the set {{{','.join(sorted(known))}}}."
                )
            if name in seen:
                raise refuse(f"duplicate output tensor alias: {name}")
            seen.add(name)

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Run a signature on inputs that were checked.

        Returns:
            Outputs by name; strings as `object` of bytes.

        Raises:
            ServingError: the graph failed.
        """
        found = self._find(signature)
        try:
            outputs = found.run(*[inputs[name] for name in sorted(found.specs)])
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error
        return {
            name: _to_array(value)
            for name, value in zip(found.outputs, outputs, strict=True)
        }

    def warm_up(self) -> int:
        """Run the requests that the export brings along; return how many.

        Raises:
            ServingError: one fails. TF Serving does not load such a version either.
        """
        count = 0
        for signature, inputs in read_warmup_requests(self.path):
            self.run(signature, self.check_inputs(signature, inputs))
            count += 1
        return count

    def close(self) -> None:
        """Give its memory back; it can't be run any more."""
        self._signatures.clear()
        self._session.close()

    def _find(self, signature: str) -> _Signature:
        return self._signatures[self.find_name(signature)]


def _load(path: Path) -> tuple[tf.compat.v1.Session, meta_graph_pb2.MetaGraphDef]:
    v1, graph = tf.compat.v1, tf.Graph()
    with graph.as_default():
        # A model of a machine with another device is run on what is there.
        config = v1.ConfigProto(allow_soft_placement=True)
        session = v1.Session(graph=graph, config=config)
        return session, v1.saved_model.loader.load(session, [_TAG], str(path))


def _is_runnable(definition: meta_graph_pb2.SignatureDef) -> bool:
    """Whether all is a plain tensor: nothing sparse, and no mere operation."""
    infos = [*definition.inputs.values(), *definition.outputs.values()]
    return bool(definition.outputs) and all(info.name and info.dtype for info in infos)


def _describe(
    session: tf.compat.v1.Session, definition: meta_graph_pb2.SignatureDef
) -> _Signature:
    specs, outputs = _get_specs(definition.inputs), _get_specs(definition.outputs)
    tensors = [*specs.values(), *outputs.values()]
    names = sorted(outputs)
    return _Signature(
        definition=definition,
        specs=specs,
        defaults=decode_inputs(definition.defaults),
        is_batchable=bool(specs) and all(map(_begins_with_batch, tensors)),
        outputs=names,
        run=session.make_callable(
            [definition.outputs[name].name for name in names],
            [definition.inputs[name].name for name in sorted(specs)],
        ),
    )


def _begins_with_batch(spec: tf.TensorSpec) -> bool:
    return bool(spec.shape.rank) and spec.shape[0] is None


def _get_specs(infos: Mapping[str, meta_graph_pb2.TensorInfo]) -> dict:
    return {
        name: tf.TensorSpec(tf.TensorShape(info.tensor_shape), info.dtype, name)
        for name, info in infos.items()
    }


def _to_array(value) -> np.ndarray:
    if not isinstance(value, bytes):
        return np.asarray(value)
    # A string of rank 0; NumPy would cut zeros at its end.
    whole = np.empty((), object)
    whole[()] = value
    return whole
