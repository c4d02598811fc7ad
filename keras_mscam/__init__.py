"""Multiscale class activation maps of chest pathologies, after Sedai et al. 2018."""

import os

__version__ = "0.1.0"

# TensorFlow greets every process with a page on the processor and on absent GPUs. It
# can be silenced only before its first import; whoever sets the variable is obeyed.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__all__ = ["Predictor"]


def __getattr__(name: str):
    # Imported when it is asked for: most of the package needs no TensorFlow.
    if name == "Predictor":
        from keras_mscam.inference.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
