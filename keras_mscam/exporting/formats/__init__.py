"""Other formats than the SavedModel, and what their converters share."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from keras_mscam.inference.contract import Contract

#: In the folder of a format, for what lies between; removed in the end.
SCRATCH = ".scratch"


def build_network(localizer: keras.Model, contract: Contract) -> keras.Model:
    """Build the functional model that Keras's own exporters convert.

    It shares the weights of the localizer, and lacks the output `relevance_weights`:
    that is the same for every image, and in the contract.
    """
    outputs = {name: localizer.output[name] for name in contract.output_names}
    network = keras.Model(localizer.input, outputs, name="localizer")
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            # tf2onnx takes tensors that a layer holds besides its weights for inputs
            # of the model, and loses their values; arrays become constants.
            layer.mean = np.asarray(layer.mean)
            layer.variance = np.asarray(layer.variance)
    return network


def export_network(
    network: keras.Model, path: Path, kind: str, batch: int | None = None, **options
) -> None:
    """Export by Keras, so many images at a time; any number if `batch` is `None`."""
    shape = (batch, *network.input.shape[1:])
    image = keras.InputSpec(shape=shape, dtype="float32", name="image")
    with quietly():
        network.export(
            str(path), format=kind, input_signature=[image], verbose=False, **options
        )


@contextlib.contextmanager
def quietly(logger: str | None = None) -> Iterator[None]:
    """Keep off what converters print, warn of and log below errors."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(action="ignore"),
        ):
            yield
    finally:
        log.setLevel(level)
