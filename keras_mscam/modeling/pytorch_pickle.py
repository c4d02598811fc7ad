"""Pickles of PyTorch: tensors and dictionaries, and nothing that a file could call."""

import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

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
#: Letters of a name, in a message.
SHOWN = 100
#: Libraries whose objects lie in checkpoints; of all others none is needed.
_LIBRARIES = (
    "torch", "torchvision", "torchxrayvision", "timm", "pytorch_lightning", "lightning",
    "numpy", "argparse", "pathlib", "collections", "copyreg", "copy_reg", "_codecs",
    "__main__", "model", "models",
)  # fmt: skip


class RefusedError(Exception):
    """A file is well-formed and not taken; the message goes on behind its name."""


@dataclass
class Storage:
    dtype: np.dtype
    numel: int
    data: bytes = b""


@dataclass
class Tensor:
    """A view into a storage, whose bytes may be read later."""

    storage: Storage
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


class Inert:
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


class Unpickler(pickle._Unpickler):
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

    def __init__(self, file, storages: dict[str, Storage]):
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
        self.append(Inert())

    dispatch[pickle.EMPTY_SET[0]] = load_set

    def load_frozenset(self):
        self.pop_mark()
        self.append(Inert())

    dispatch[pickle.FROZENSET[0]] = load_frozenset

    def load_build(self):
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, Inert):
            Inert.__setstate__(made, state)
        elif not isinstance(made, OrderedDict):  # of which the entries are enough
            raise RefusedError("is refused: it would change what is no object of it")

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
        return self.storages.setdefault(key, Storage(dtype, numel))

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return self.make_dict
        if module in ("torch", "torch.cuda") and name in _STORAGE_TYPES:
            return _STORAGE_TYPES[name]
        if module == "torch._utils":
            return _REBUILD.get(name, Inert)
        if module in ("builtins", "__builtin__") and name in ("set", "dict", "list"):
            return self.make_dict if name == "dict" else Inert
        if module in ("copyreg", "copy_reg") and name == "_reconstructor":
            return lambda made, *_: made()
        if module.split(".")[0] in _LIBRARIES:
            return Inert
        called = f"{module}.{name}"[:SHOWN]
        raise RefusedError(
            f"is refused: it would call {called} when it is loaded, which no "
            "weights need"
        )


def _rebuild_tensor(storage, offset, size, stride, *_):
    numbers = (offset, *_take_axes(size), *_take_axes(stride))
    if not all(isinstance(n, int) and abs(n) < 2**62 for n in numbers):
        raise ValueError("the shape of a tensor holds something else than numbers")
    return Tensor(storage, offset, size, stride)


def _take_axes(sizes) -> tuple:
    if not isinstance(sizes, tuple) or len(sizes) > _MOST_AXES:
        raise ValueError("a tensor has no shape, or too many axes")
    return sizes


_REBUILD = {
    "_rebuild_tensor": _rebuild_tensor,
    "_rebuild_tensor_v2": _rebuild_tensor,
    "_rebuild_parameter": lambda data, *_: data,
}
