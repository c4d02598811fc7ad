"""Multiscale class activation maps of chest pathologies, after Sedai et al. 2018."""

import importlib
import os
import sys
import warnings
from pathlib import Path

__version__ = "0.1.0"

# TensorFlow greets every process with a page on the processor and on absent GPUs. It
# can be silenced only before its first import; whoever sets the variable is obeyed.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _lacks_onednn(processor: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether TensorFlow runs without oneDNN, and it is too late to turn it on."""
    if "tensorflow" not in sys.modules or "TF_ENABLE_ONEDNN_OPTS" in os.environ:
        return False
    flags = processor.read_text("utf-8") if processor.exists() else ""
    return "avx2" in flags and "vnni" not in flags


# TensorFlow turns oneDNN on by itself only on processors with VNNI, such as most with
# AVX-512. Others train up to twice as fast with it: experiments/benchmarks/README.md.
if _lacks_onednn():
    warnings.warn(
        "TensorFlow was imported before keras_mscam, and so without oneDNN: training "
        "takes up to twice as long on this processor. Import keras_mscam first, or set "
        "TF_ENABLE_ONEDNN_OPTS=1.",
        stacklevel=2,
    )
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
