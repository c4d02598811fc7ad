"""What runs a network: Keras, TensorFlow, or what else a model was exported for."""

from keras_mscam.runtimes.choice import RUNTIMES
from keras_mscam.runtimes.runtime import Runtime, load_runtime

__all__ = ["RUNTIMES", "Runtime", "load_runtime"]
