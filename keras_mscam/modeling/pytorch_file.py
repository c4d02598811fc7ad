"""Tensors of a PyTorch or safetensors file, read without PyTorch."""

import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from keras_mscam.errors import UserError
from keras_mscam.modeling.pytorch_pickle import (
    SHOWN,
    Inert,
    RefusedError,
    Tensor,
    Unpickler,
)

#: Under one of these a training script stores the model beside its optimizer.
_MODEL_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
#: Modules and tensors of a network, and letters of their names, which are those of all
#: around them.
_MOST_MODULES, _LONGEST = 10_000, 1000
#: How often a file's bytes may be tensors: weights may be tied.
_MOST_SHARED = 8


def read_state_dict(path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None]:
    """Read the tensors of a model.

    A file of PyTorch is a pickle, which may call any function. Here it can't: tensors
    and dictionaries are made by `pytorch_pickle`, every other class of PyTorch and
    of the libraries around it is replaced by an object that only holds what the file
    says of it, and what else the pickle names is refused before anything is called.

    Args:
        path: a `.safetensors` file, or one that `torch.save` wrote: a `state_dict`, a
            dictionary around one, or a whole module; of PyTorch 0.2 or later.

    Returns:
        The tensors by name, float arrays as float32; and the names of the outputs where
        the file has them, as a module of TorchXRayVision does.

    Raises:
        UserError: the file is missing or damaged, holds no model, or names code.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    if path.suffix == ".safetensors":
        try:
            return _to_float32(load_file(path)), None
        except Exception as error:  # some types of numbers end in others
            raise UserError(f"{path} is damaged: {error}.") from error
    try:
        content = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        tensors = _find_tensors(content)
        arrays = _make_arrays(tensors, _MOST_SHARED * path.stat().st_size)
    except RefusedError as error:
        raise UserError(f"{path} {error}.") from None
    except UserError:
        raise
    except Exception as error:  # a damaged pickle ends in any of them
        raise UserError(
            f"{path} is damaged, or no file of PyTorch or safetensors "
            f"({type(error).__name__}: {error})."
        ) from error
    if not arrays:
        raise UserError(f"{path} holds no tensors of a model.")
    return _to_float32(arrays), _find_names(content)


def _read_zip(path: Path):
    """Read what PyTorch writes since 1.6: a zip with one file for each storage."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.split("/")[1:] == ["data.pkl"]]
        if not pickles:
            raise RefusedError("is a zip, but not one that torch.save wrote")
        if len(pickles) > 1:
            raise RefusedError("holds several data.pkl, of which any may be meant")
        if any(entry.compress_type for entry in archive.infolist()):
            raise RefusedError("is compressed, which torch.save does not do")
        sizes = (max(x.file_size, x.compress_size) for x in archive.infolist())
        if sum(sizes) > path.stat().st_size:
            raise ValueError("its parts are larger than itself")
        folder = pickles[0].split("/")[0]
        if f"{folder}/byteorder" in names:
            order = archive.read(f"{folder}/byteorder")
            if order != b"little":
                raise RefusedError("was written on a big-endian machine; save it again")
        storages = {}
        with archive.open(pickles[0]) as file:
            content = Unpickler(file, storages).load()
        for key, storage in storages.items():
            storage.data = archive.read(f"{folder}/data/{key}")
    return content


def _read_legacy(path: Path):
    """Read what PyTorch wrote before 1.6: pickles, then every storage's bytes."""
    file = io.BytesIO(path.read_bytes())  # which gives no more than there is
    if file.read(1) != b"\x80":
        raise RefusedError("is neither a file of PyTorch nor of safetensors")
    file.seek(0)
    storages = {}
    if Unpickler(file, {}).load() != _LEGACY_MAGIC:
        raise RefusedError("is a pickle, but not one that torch.save wrote")
    Unpickler(file, {}).load()  # version of the protocol
    Unpickler(file, {}).load()  # of the machine
    content = Unpickler(file, storages).load()
    for key in Unpickler(file, {}).load():
        (numel,) = struct.unpack("<q", file.read(8))
        storage = storages[key]
        size = numel * storage.dtype.itemsize
        storage.data = file.read(size)
        if len(storage.data) != size:
            raise ValueError("its last tensors are cut off")
    return content


def _find_tensors(content) -> dict[str, Tensor]:
    """Return the tensors of a `state_dict`, in whatever it is wrapped."""
    if isinstance(content, Inert):
        return _walk_module(content)
    if not isinstance(content, Mapping):
        raise RefusedError("holds no state_dict")
    found = {k: value for k, value in content.items() if isinstance(value, Tensor)}
    if found:
        return found
    for key in _MODEL_KEYS:
        if isinstance(content.get(key), (Mapping, Inert)):
            return _find_tensors(content[key])
    keys = ", ".join(key[:SHOWN] for key in list(content)[:8])
    raise RefusedError(
        f"holds no state_dict, nor one under {', '.join(_MODEL_KEYS)}: its entries are "
        f"{keys or 'none'}"
    )


def _make_arrays(
    tensors: Mapping[str, Tensor], most_bytes: int
) -> dict[str, np.ndarray]:
    arrays, total = {}, 0
    for name, tensor in tensors.items():
        arrays[name] = tensor.to_array()
        total += arrays[name].nbytes
        if total > most_bytes:
            raise ValueError("its tensors are much larger than itself")
    return arrays


def _walk_module(module: Inert) -> dict[str, Tensor]:
    """Return what `state_dict()` of a module would hold."""
    found, modules = {}, [("", module)]
    for prefix, parent in modules:  # which grow meanwhile
        for kind in ("_parameters", "_buffers"):
            for name, value in _entries(parent, kind):
                if isinstance(value, Tensor):
                    found[f"{prefix}{name}"] = value
        for name, child in _entries(parent, "_modules"):
            if isinstance(child, Inert):
                modules.append((f"{prefix}{name}.", child))
        if max(len(modules), len(found)) > _MOST_MODULES or len(prefix) > _LONGEST:
            raise ValueError("its modules lie in each other without an end")
    return found


def _entries(module: Inert, kind: str):
    entries = vars(module).get(kind)
    return entries.items() if isinstance(entries, Mapping) else ()


def _find_names(content) -> tuple[str, ...] | None:
    for attribute in ("targets", "pathologies"):
        names = getattr(content, attribute, None)
        if isinstance(names, (list, tuple)) and all(isinstance(n, str) for n in names):
            return tuple(names)
    return None


def _to_float32(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name: array if array.dtype.kind in "iub" else array.astype("float32")
        for name, array in arrays.items()
    }
