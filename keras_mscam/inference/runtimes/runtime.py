"""Any model file as one function of images."""

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.inference.contract import Contract
from keras_mscam.inference.export_folder import find_formats
from keras_mscam.inference.hub import fetch, is_reference
from keras_mscam.parallel.in_order import count_processors

#: What must be installed. The first is the fastest in float32 on a CPU, or not far
#: behind, with and without AVX-512: see experiments/benchmarks/README.md.
_LIBRARIES = {
    "litert": "ai_edge_litert",
    "openvino": "openvino",
    "onnx": "onnxruntime",
    "tensorflow": "tensorflow",
    "keras": "keras",
}
RUNTIMES = ("auto", *_LIBRARIES)
_OWN = ("tensorflow", "keras")  # the others are extras of this package
_SUFFIXES = {".tflite": "litert", ".onnx": "onnx", ".xml": "openvino"}


@dataclass(frozen=True, eq=False)
class Runtime:
    """A network that is ready to run."""

    name: str  # of what runs it, one of `keras_mscam.inference.runtimes.RUNTIMES`
    path: Path  # folder or file that it was loaded from
    contract: Contract  # names, sizes and thresholds
    # function of uint8 `(N, height, width)`, grey at the size of the contract; N is any
    # number from 1 on. It returns float32 arrays by name: `probabilities` `(N, C)`,
    # calibrated, and `cam_block*` and `attention` `(N, h, w, C)`, raw and signed
    run: Callable[[np.ndarray], dict[str, np.ndarray]]


def load_runtime(path: str | os.PathLike, runtime: str = "auto") -> Runtime:
    """Load a model.

    Args:
        path: the folder of a run, or where one was published, see `hub.fetch`; a file
            `.keras`, `.tflite`, `.onnx` or `.xml` (OpenVINO); or an export: a version's
            folder, a model's, or a repository with one model, of which the newest
            version is taken. Of variants of different precision in a folder, float32
            is.
        runtime: what runs it, one of `RUNTIMES`. `"auto"` takes the fastest that is
            installed of those that the path has a model for.

    Raises:
        UserError: the path holds no model, none for this runtime, or the library that
            runs it is missing.

    Example:
        >>> runtime = load_runtime("exports", "onnx")
        >>> runtime.run(np.zeros((1, 256, 256), "uint8"))["probabilities"].shape
        (1, 14)
    """
    models = find_models(path)
    name = choose_runtime(models, path, runtime)
    # Imported here: none but Keras need be there.
    place = "tensorflow_keras" if name in _OWN else "converted"
    module = importlib.import_module(f"keras_mscam.inference.runtimes.{place}")
    return getattr(module, f"load_{name}")(models[name])


def find_models(path: str | os.PathLike) -> dict[str, Path]:
    """Find what can be run at a path, see `load_runtime`: by runtime, what is loaded.

    Raises:
        UserError: there is nothing to run.
    """
    path = fetch(path)
    if not path.exists():
        raise UserError(f"There is no model at {path}.")
    if path.is_file():
        return _find_file(path)
    if (path / "config.json").is_file():
        return {"keras": path}
    if (path / "saved_model.pb").is_file():
        return {"tensorflow": path}
    models = _find_float32(path)  # a version of one format, wherever it was copied to
    if models:
        return models
    folders = find_formats(path)
    for name, folder in folders.items():
        if name == "saved_model":
            models["tensorflow"] = folder
        models |= _find_float32(folder)
    if not models:
        files = [
            file
            for folder in folders.values()
            for file in sorted(folder.iterdir())
            if file.suffix in _SUFFIXES
        ]
        if files:
            raise UserError(f"{path} holds no float32 model; give {files[0]} itself.")
        raise UserError(
            f"{path} holds {', '.join(folders)} alone, which nothing in Python runs; "
            "export the run with --formats saved_model too."
        )
    return models


def holds_model(path: str | os.PathLike) -> bool:
    """Whether something to run is at a path, or is meant by it, see `load_runtime`."""
    if is_reference(path):
        return True
    try:
        found = find_models(path)
    except UserError:
        return Path(path).suffix in (".keras", *_SUFFIXES)
    # X-rays may lie in folders of numbers, as versions do.
    return (
        found.keys() != {"tensorflow"}
        or (found["tensorflow"] / "saved_model.pb").is_file()
    )


def _find_file(path: Path) -> dict[str, Path]:
    if path.name == "saved_model.pb":
        return {"tensorflow": path.parent}
    if path.suffix in _SUFFIXES:
        return {_SUFFIXES[path.suffix]: path}
    if path.name == "model.keras" and (path.parent / "config.json").is_file():
        return {"keras": path.parent}
    if path.suffix == ".keras":
        raise UserError(
            f"{path} can't be read by itself: the thresholds are in the folder of its "
            "run. Give that folder."
        )
    raise UserError(
        f"{path} is no model: give the folder of a run, an export, or a file "
        ".tflite, .onnx or .xml."
    )


def _find_float32(folder: Path) -> dict[str, Path]:
    """Return the most exact variant in the folder of a format."""
    files = {name: folder / f"float32{suffix}" for suffix, name in _SUFFIXES.items()}
    return {name: file for name, file in files.items() if file.is_file()}


def choose_runtime(models: dict[str, Path], path, runtime: str = "auto") -> str:
    """Choose one of the runtimes that a path has models for, see `find_models`.

    Raises:
        UserError: there is no such runtime, no model for it, or its library is missing.
    """
    if runtime not in RUNTIMES:
        raise UserError(
            f"There is no runtime {runtime!r}; there are {', '.join(RUNTIMES)}."
        )
    if runtime != "auto" and runtime not in models:
        raise UserError(
            f"{path} has no model for the runtime {runtime!r}, only for "
            f"{', '.join(models)}; keras_mscam-export RUN --formats exports others."
        )
    wanted = [name for name in _LIBRARIES if name in models]
    wanted = wanted if runtime == "auto" else [runtime]
    for name in wanted:
        if _is_installed(name):
            return name
    library = _LIBRARIES[wanted[0]]
    package = library if wanted[0] in _OWN else f'"keras_mscam[{wanted[0]}]"'
    raise UserError(
        f"{path} needs {library}, which is not installed: pip install {package}."
    )


def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(_LIBRARIES[name]) is not None


@contextmanager
def explain_failure(path: Path) -> Iterator[None]:
    """Say in one sentence that a file can't be loaded, whatever its library raises."""
    try:
        yield
    except UserError:
        raise  # it is a sentence already
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{path} can't be loaded: it is damaged, or in another version of the "
            f"format ({reason})."
        ) from error


def count_cores() -> int:
    """Return how many cores this process may use, or fewer by `OMP_NUM_THREADS`."""
    cores = count_processors()
    said = os.environ.get("OMP_NUM_THREADS", "")  # Ray and Slurm set it
    return min(int(said), cores) if said.isdigit() and int(said) else cores
