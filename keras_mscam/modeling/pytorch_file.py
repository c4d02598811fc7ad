"""Tensors of a PyTorch or safetensors file, read without PyTorch."""

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file

from keras_mscam.errors import UserError

#: Under one of these a training script stores the model beside its optimizer.
_MODEL_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGE_TYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
#: Steps of pickles that no file of PyTorch has: text of protocol 0, whose numbers can
#: make dictionaries slow, and memory of a size that the file only claims.
_REFUSED_STEPS = (
    pickle.PUT, pickle.GET, pickle.PERSID, pickle.INST, pickle.INT, pickle.LONG,
    pickle.FLOAT, pickle.STRING, pickle.UNICODE, pickle.EXT1, pickle.EXT2, pickle.EXT4,
    pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER,
)  # fmt: skip
#: Entries of dictionaries that are made of others.
_MOST_COPIED = 1_000_000
#: Arguments of a call, and axes of a tensor, as many as NumPy has.
_MOST_ARGUMENTS, _MOST_AXES = 100, 64
#: Modules and tensors of a network, and letters of their names, which are those of all
#: around them.
_MOST_MODULES, _LONGEST = 10_000, 1000
_SHOWN = 100  # letters of a name, in a message
#: How often a file's bytes may be tensors: weights may be tied.
_MOST_SHARED = 8
#: Libraries whose objects lie in checkpoints; of all others none is needed.
_LIBRARIES = (
    "torch", "torchvision", "torchxrayvision", "timm", "pytorch_lightning", "lightning",
    "numpy", "argparse", "pathlib", "collections", "copyreg", "copy_reg", "_codecs",
    "__main__", "model", "models",
)  # fmt: skip


def read_state_dict(path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None]:
    """Read the tensors of a model.

    A file of PyTorch is a pickle, which may call any function. Here it can't: tensors
    and dictionaries are made by the functions below, every other class of PyTorch and
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
    except _RefusedError as error:
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


class _RefusedError(Exception):
    """A file is well-formed and not taken; the message goes on behind its name."""


@dataclass
class _Storage:
    dtype: np.dtype
    numel: int
    data: bytes = b""


@dataclass
class _Tensor:
    """A view into a storage, whose bytes may be read later."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def to_array(self) -> np.ndarray:
        flat = np.frombuffer(self.storage.data, self.storage.dtype)
        if 0 in self.shape:
            return np.zeros(self.shape, flat.dtype)
        steps = [(n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)]
        last = self.offset + sum(steps)
        # The file says where a tensor ends; beyond its storage is foreign memory.
        if min(self.offset, *steps, 0) < 0 or max(
            last + 1, math.prod(self.shape)
        ) > len(flat):
            raise ValueError("a tensor lies outside of its storage")
        strides = [step * flat.itemsize for step in self.strides]
        view = np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides)
        return view.copy()


class _Inert:
    """In place of any other object: it holds its attributes and does nothing."""

    def __new__(cls, *_, **__):
        return object.__new__(cls)

    def __init__(self, *_, **__):
        pass

    def __setstate__(self, state):
        if isinstance(state, dict):
            self.__dict__ = state  # not a copy: many objects may have one state

    def __setitem__(self, key, value):
        pass

    def append(self, value):
        pass

    add = append


def _limit_arguments(load: Callable) -> Callable:
    def load_few(self):
        given = [x for x in self.stack[-2:] if hasattr(x, "__len__")]
        if any(len(x) > _MOST_ARGUMENTS for x in given):
            raise ValueError("something in it has too many arguments")
        load(self)

    return load_few


class _Unpickler(pickle._Unpickler):
    """Makes tensors, dictionaries, and inert objects of the libraries' classes.

    It is the one in Python, whose steps can be replaced: of a place in its memory
    beyond all others, the one in C would fill the gap, with up to 64 GB. Nor may a few
    bytes keep it busy for ever: keys other than text, such as tuples of tuples of one
    tuple, are left out, and what may be copied again and again is short.
    """

    stack: Any  # of the base class, as are `pop_mark` and `append`
    pop_mark: Any
    append: Any
    dispatch: ClassVar[dict] = {
        step: load
        for step, load in pickle._Unpickler.dispatch.items()
        if step not in {refused[0] for refused in _REFUSED_STEPS}
    }

    def __init__(self, file, storages: dict[str, _Storage]):
        super().__init__(file, encoding="latin1")
        self.storages = storages
        self.copied = 0

    def load_setitems(self):
        items = self.pop_mark()
        self._set(self.stack[-1], items)

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def load_setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        self._set(self.stack[-1], [key, value])

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_dict(self):
        items, made = self.pop_mark(), {}
        self._set(made, items)
        self.append(made)

    dispatch[pickle.DICT[0]] = load_dict

    def load_set(self):
        self.append(_Inert())

    dispatch[pickle.EMPTY_SET[0]] = load_set

    def load_frozenset(self):
        self.pop_mark()
        self.append(_Inert())

    dispatch[pickle.FROZENSET[0]] = load_frozenset

    def load_build(self):
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, _Inert):
            _Inert.__setstate__(made, state)
        elif not isinstance(made, OrderedDict):  # of which the entries are enough
            raise _RefusedError("is refused: it would change what is no object of it")

    dispatch[pickle.BUILD[0]] = load_build

    dispatch.update(
        {
            step[0]: _limit_arguments(pickle._Unpickler.dispatch[step[0]])
            for step in (pickle.REDUCE, pickle.NEWOBJ, pickle.NEWOBJ_EX)
        }
    )

    @staticmethod
    def _set(made, items: list) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str):
                made[key] = value

    def make_dict(self, pairs=()):
        """Make a dictionary, of pairs where Python 2 wrote it."""
        pairs = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
        self.copied += len(pairs)
        if self.copied > _MOST_COPIED:
            raise ValueError("it copies too much")
        return OrderedDict((k, v) for k, v in pairs if isinstance(k, str))

    def persistent_load(self, pid):
        if not isinstance(pid, tuple) or not 4 <= len(pid) <= 6:
            raise ValueError("something in it is stored elsewhere")
        if pid[0] == "module":  # a class, and the source code that made it
            return pid[1]
        _, dtype, key, _, numel, *_ = pid
        if not (isinstance(dtype, np.dtype) and isinstance(key, str)):
            raise ValueError("the numbers of a tensor are of no known type")
        return self.storages.setdefault(key, _Storage(dtype, numel))

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return self.make_dict
        if module in ("torch", "torch.cuda") and name in _STORAGE_TYPES:
            return _STORAGE_TYPES[name]
        if module == "torch._utils":
            return _REBUILD.get(name, _Inert)
        if module in ("builtins", "__builtin__") and name in ("set", "dict", "list"):
            return self.make_dict if name == "dict" else _Inert
        if module in ("copyreg", "copy_reg") and name == "_reconstructor":
            return lambda made, *_: made()
        if module.split(".")[0] in _LIBRARIES:
            return _Inert
        called = f"{module}.{name}"[:_SHOWN]
        raise _RefusedError(
            f"is refused: it would call {called} when it is loaded, which no "
            "weights need"
        )


def _rebuild_tensor(storage, offset, size, stride, *_):
    numbers = (offset, *_take_axes(size), *_take_axes(stride))
    if not all(isinstance(n, int) and abs(n) < 2**62 for n in numbers):
        raise ValueError("the shape of a tensor holds something else than numbers")
    return _Tensor(storage, offset, size, stride)


def _take_axes(sizes) -> tuple:
    if not isinstance(sizes, tuple) or len(sizes) > _MOST_AXES:
        raise ValueError("a tensor has no shape, or too many axes")
    return sizes


_REBUILD = {
    "_rebuild_tensor": _rebuild_tensor,
    "_rebuild_tensor_v2": _rebuild_tensor,
    "_rebuild_parameter": lambda data, *_: data,
}


def _read_zip(path: Path):
    """Read what PyTorch writes since 1.6: a zip with one file for each storage."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.split("/")[1:] == ["data.pkl"]]
        if not pickles:
            raise _RefusedError("is a zip, but not one that torch.save wrote")
        if len(pickles) > 1:
            raise _RefusedError("holds several data.pkl, of which any may be meant")
        if any(entry.compress_type for entry in archive.infolist()):
            raise _RefusedError("is compressed, which torch.save does not do")
        sizes = (max(x.file_size, x.compress_size) for x in archive.infolist())
        if sum(sizes) > path.stat().st_size:
            raise ValueError("its parts are larger than itself")
        folder = pickles[0].split("/")[0]
        if f"{folder}/byteorder" in names:
            order = archive.read(f"{folder}/byteorder")
            if order != b"little":
                raise _RefusedError(
                    "was written on a big-endian machine; save it again"
                )
        storages = {}
        with archive.open(pickles[0]) as file:
            content = _Unpickler(file, storages).load()
        for key, storage in storages.items():
            storage.data = archive.read(f"{folder}/data/{key}")
    return content


def _read_legacy(path: Path):
    """Read what PyTorch wrote before 1.6: pickles, then every storage's bytes."""
    file = io.BytesIO(path.read_bytes())  # which gives no more than there is
    if file.read(1) != b"\x80":
        raise _RefusedError("is neither a file of PyTorch nor of safetensors")
    file.seek(0)
    storages = {}
    if _Unpickler(file, {}).load() != _LEGACY_MAGIC:
        raise _RefusedError("is a pickle, but not one that torch.save wrote")
    _Unpickler(file, {}).load()  # version of the protocol
    _Unpickler(file, {}).load()  # of the machine
    content = _Unpickler(file, storages).load()
    for key in _Unpickler(file, {}).load():
        (numel,) = struct.unpack("<q", file.read(8))
        storage = storages[key]
        size = numel * storage.dtype.itemsize
        storage.data = file.read(size)
        if len(storage.data) != size:
            raise ValueError("its last tensors are cut off")
    return content


def _find_tensors(content) -> dict[str, _Tensor]:
    """Return the tensors of a `state_dict`, in whatever it is wrapped."""
    if isinstance(content, _Inert):
        return _walk_module(content)
    if not isinstance(content, Mapping):
        raise _RefusedError("holds no state_dict")
    found = {k: value for k, value in content.items() if isinstance(value, _Tensor)}
    if found:
        return found
    for key in _MODEL_KEYS:
        if isinstance(content.get(key), (Mapping, _Inert)):
            return _find_tensors(content[key])
    keys = ", ".join(key[:_SHOWN] for key in list(content)[:8])
    raise _RefusedError(
        f"holds no state_dict, nor one under {', '.join(_MODEL_KEYS)}: its entries are "
        f"{keys or 'none'}"
    )


def _make_arrays(
    tensors: Mapping[str, _Tensor], most_bytes: int
) -> dict[str, np.ndarray]:
    arrays, total = {}, 0
    for name, tensor in tensors.items():
        arrays[name] = tensor.to_array()
        total += arrays[name].nbytes
        if total > most_bytes:
            raise ValueError("its tensors are much larger than itself")
    return arrays


def _walk_module(module: _Inert) -> dict[str, _Tensor]:
    """Return what `state_dict()` of a module would hold."""
    found, modules = {}, [("", module)]
    for prefix, parent in modules:  # which grow meanwhile
        for kind in ("_parameters", "_buffers"):
            for name, value in _entries(parent, kind):
                if isinstance(value, _Tensor):
                    found[f"{prefix}{name}"] = value
        for name, child in _entries(parent, "_modules"):
            if isinstance(child, _Inert):
                modules.append((f"{prefix}{name}.", child))
        if max(len(modules), len(found)) > _MOST_MODULES or len(prefix) > _LONGEST:
            raise ValueError("its modules lie in each other without an end")
    return found


def _entries(module: _Inert, kind: str):
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
