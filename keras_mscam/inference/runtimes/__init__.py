"""What runs a network: Keras, TensorFlow, or what else a model was exported for."""

from keras_mscam.inference.runtimes.runtime import (
    RUNTIMES,
    Runtime,
    holds_model,
    load_runtime,
)

__all__ = ["RUNTIMES", "Runtime", "holds_model", "load_runtime"]
