"""Multiscale class activation maps of chest pathologies, after Sedai et al. 2018."""

import importlib
import os

__version__ = "0.1.0"

# TensorFlow greets every process with a page on the processor and on absent GPUs. It
# can be silenced only before its first import; whoever sets the variable is obeyed.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# It turns oneDNN on by itself only on processors with AVX-512. Others train faster with
# it, too, see `experiments/benchmarks/README.md`.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Memory of a GPU is taken as it is needed, not all at once.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

_PLACES = {
    "Predictor": "inference.predictor",
    "build_classifier": "modeling.classifier",
    "build_localizer": "modeling.localizer",
    "load_run": "inference.run_folder",
}
__all__ = list(_PLACES)


def __getattr__(name: str):
    # Imported when it is asked for: most of the package needs no TensorFlow.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
