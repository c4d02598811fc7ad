"""Kinds of damage to a file, and what the package says of it."""

import functools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.images.xray import ImageError
from keras_mscam.serving.serving_error import ServingError

from . import inputs
from .inputs import Input

REFUSED, ALIKE, OTHERWISE = "refused", "read alike", "read otherwise"
COUNTED = "counted"
_SECONDS = 30
_RNG = np.random.default_rng(0)


def cut(part: float) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(
        path.read_bytes()[: int(part * path.stat().st_size)]
    )


def cut_last(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(part: float, bit: int = 0) -> Callable[[Path], None]:
    def write(path):
        data = bytearray(path.read_bytes())
        data[int(part * (len(data) - 1))] ^= 1 << bit
        path.write_bytes(data)

    return write


def put(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(300_000_000)


def replace(path: Path, make: Callable[[Path], None]) -> None:
    path.unlink()
    make(path)


def edit(function: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(function(path.read_bytes()))


CONTENT = {
    "empty": put(b""),
    "cut after a tenth": cut(0.1),
    "cut in the middle": cut(0.5),
    "cut near the end": cut(0.95),
    "without its last byte": cut_last,
    "a bit flipped near the start": flip(0.02, 1),
    "a bit flipped in the middle": flip(0.5, 1),
    "a bit flipped near the end": flip(0.97, 1),
    "random bytes": put(_RNG.bytes(4000)),
    "zeros": edit(lambda data: bytes(len(data))),
    "a web page": put(b"<!DOCTYPE html><html><title>Log in</title></html>\n"),
    "a picture": put(inputs.make_images()["chest.png"]),
    "twice, one behind the other": edit(lambda data: data + data),
}
FILES = {
    "missing": Path.unlink,
    "a folder": lambda path: replace(path, Path.mkdir),
    "a pipe": lambda path: replace(path, os.mkfifo),
    "a device": lambda path: replace(path, lambda p: p.symlink_to("/dev/zero")),
    "a link to nothing": lambda path: replace(path, lambda p: p.symlink_to("none")),
    "300 MB longer": lengthen,
}
JSON = {
    "a list": edit(lambda data: b"[" + data + b"]"),
    "a name twice": edit(lambda data: b'{"x": 1, "x": 2, ' + data.strip()[1:]),
    "a name of a newer version": edit(lambda data: b'{"x": 1, ' + data.strip()[1:]),
    "a number that is not one": edit(lambda data: b'{"x": NaN, ' + data.strip()[1:]),
    "an infinite number": edit(lambda data: b'{"x": 1e999, ' + data.strip()[1:]),
    "nested a million deep": put(b'{"x": ' + b"[" * 1_000_000),
}
GROUPS = {
    "image": inputs.IMAGES,
    "table": inputs.TABLES,
    "archive": inputs.ARCHIVES,
    "records, verified": inputs.RECORDS,
    "records, read": inputs.SHARDS,
    "run": inputs.RUNS,
    "weights": inputs.WEIGHTS,
    "export": inputs.EXPORTS,
    "results": inputs.RESULTS,
    "request": inputs.REQUESTS,
}


_LAST, _TWICE = "without its last byte", "twice, one behind the other"
_START, _MIDDLE, _END = (
    f"a bit flipped {where}"
    for where in ("near the start", "in the middle", "near the end")
)
_GONE = ("missing", "a folder", "a pipe", "a device", "a link to nothing")
_PICTURE, _NEWER = "a picture", "a name of a newer version"
_CUTS = ("cut after a tenth", "cut in the middle", "cut near the end")
_PLAIN = {
    _START: ALIKE,
    _MIDDLE: OTHERWISE,
    _END: OTHERWISE,
    _PICTURE: ALIKE,
    _TWICE: ALIKE,
}
_JPEG = _PLAIN | {_PICTURE: OTHERWISE}
_PADDED = {_LAST: ALIKE}
#: What is not refused. There, "read otherwise" says that nothing in the format tells:
#: a JPEG, a DICOM, a table and a list have no checksum. Of the rest, the reason:
EXPECTED: dict[tuple[str, str], dict[str, str]] = {
    # A picture is one under any name; what follows its end is none of its own.
    ("image", "chest.png"): {_PICTURE: ALIKE, _TWICE: ALIKE},
    ("image", "chest.jpg"): _JPEG,
    # The start is the preamble; the last byte fills up to an even number of them.
    ("image", "chest.dcm"): _PLAIN,
    ("image", "chest.jpeg.dcm"): _JPEG | _PADDED,
    ("image", "chest.jpeg-ls.dcm"): {_START: ALIKE, _PICTURE: ALIKE, _TWICE: ALIKE}
    | _PADDED,
    ("image", "chest.jpeg-2000.dcm"): _PLAIN | _PADDED,
    ("image", "chest.rle.dcm"): _PLAIN | _PADDED,
    ("image", "chest.deflated.dcm"): _PLAIN | _PADDED,
    # The last byte is a line feed.
    ("table", "labels.csv"): {_LAST: ALIKE},
    ("table", "boxes.csv"): {
        _LAST: ALIKE,
        _CUTS[2]: OTHERWISE,
        _END: OTHERWISE,
        "missing": OTHERWISE,
    },
    # In columns that aren't read.
    ("table", "Data_Entry_2017.csv"): {_LAST: ALIKE, _MIDDLE: ALIKE, _END: ALIKE},
    ("table", "Data_Entry_2017.csv.gz"): {_START: ALIKE},
    ("table", "BBox_List_2017.csv"): {
        _LAST: ALIKE,
        _MIDDLE: ALIKE,
        _END: ALIKE,
        _CUTS[1]: OTHERWISE,
        _CUTS[2]: OTHERWISE,
        "missing": OTHERWISE,
    },
    # Names without a label row are counted.
    ("table", "train_val_list.txt"): dict.fromkeys(
        (_CUTS[2], _LAST, _START, _MIDDLE, _END, _TWICE), COUNTED
    )
    | {"missing": OTHERWISE, _CUTS[1]: OTHERWISE},
    ("archive", "images_001.tar.gz"): {_TWICE: ALIKE},
    ("archive", "images_001.zip"): {
        _START: COUNTED,
        _MIDDLE: COUNTED,
        _END: COUNTED,
        _TWICE: ALIKE,
    },
    # A manifest has the checksums of all but itself.
    ("records, verified", "manifest.json"): {
        _LAST: ALIKE,
        _NEWER: ALIKE,
        _START: OTHERWISE,
        _END: OTHERWISE,
    },
    # Zip archives are found from their end.
    ("run", "model.keras"): {_TWICE: ALIKE},
    ("run", "epoch-001.npz"): {_TWICE: ALIKE},
    ("run", "part-00000.npz"): {_TWICE: ALIKE, _START: ALIKE, _END: ALIKE},
    ("run", "calibration.json"): {_LAST: ALIKE, _NEWER: ALIKE, _END: OTHERWISE},
    # Its numbers aren't read again; without it, names come from the calibration. Their
    # number is compared with the outputs of the model.
    ("run", "relevance_weights.csv"): dict.fromkeys(
        (*_GONE, _LAST, _MIDDLE, _END, _CUTS[2]), ALIKE
    )
    | {_CUTS[1]: OTHERWISE},
    # A report is without the losses then, or without the last epoch's.
    ("run", "history.csv"): dict.fromkeys((*_GONE, _CUTS[2]), OTHERWISE)
    | {_LAST: ALIKE},
    ("run", "config.json"): {_LAST: ALIKE, _END: ALIKE},
    ("run", "settings.json"): {},
    ("run", "predictions.json"): {
        _LAST: ALIKE,
        _NEWER: ALIKE,
        _START: ALIKE,
        _END: ALIKE,
    },
    ("weights", "weights.safetensors"): {_START: OTHERWISE, _END: OTHERWISE},
    ("weights", "weights.pt"): {_END: ALIKE, _TWICE: ALIKE},
    ("weights", "weights.pth"): {
        _MIDDLE: ALIKE,
        _END: OTHERWISE,
        _TWICE: ALIKE,
        "300 MB longer": ALIKE,
    },
    ("weights", "dense.weights.h5"): dict.fromkeys(
        (_START, _MIDDLE, _END, _TWICE, "300 MB longer"), ALIKE
    ),
    ("export", "manifest.json"): {
        _LAST: ALIKE,
        _START: ALIKE,
        _MIDDLE: ALIKE,
        _NEWER: ALIKE,
        "missing": ALIKE,
    },
    # What is lost is done again.
    ("results", "predictions.jsonl"): dict.fromkeys(
        ("empty", *_CUTS, _LAST, _END, "zeros", _TWICE, "missing", "a link to nothing"),
        OTHERWISE,
    )
    | {"300 MB longer": ALIKE},
    ("results", "plan.json"): {_LAST: ALIKE, _NEWER: ALIKE},
    # As TensorFlow Serving: the last of two names counts, others are passed over.
    ("request", "request.json"): {"a name twice": ALIKE, _NEWER: ALIKE},
    ("request", "numbers.json"): {"a name twice": ALIKE, _NEWER: ALIKE},
    ("request", "request.pb"): {_TWICE: ALIKE, "empty": OTHERWISE, _END: OTHERWISE},
}


def find_expected(group: str, kind: Input, damage: str) -> str:
    return EXPECTED.get((group, kind.name), {}).get(damage, REFUSED)


def list_cells() -> Iterator[tuple[str, Input, str, Callable[[Path], None]]]:
    """Give group, input, name of the damage and the damage of every cell."""
    for group, kinds in GROUPS.items():
        for kind in kinds:
            damages = CONTENT | ({} if kind.is_request else FILES)
            if kind.name.endswith(".json"):
                damages = damages | JSON
            if (
                kind.name == "images_001.tar.gz"
            ):  # padding, which takes a minute to skip
                del damages["300 MB longer"]
            for name, damage in damages.items():
                yield group, kind, name, damage


@contextmanager
def limit_seconds() -> Iterator[None]:
    """End with an error what doesn't end by itself."""

    def stop(*_):
        raise KeyboardInterrupt(f"it is not done after {_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def find_outcome(
    group: str, kind: Input, damage: Callable[[Path], None], folder: Path
) -> tuple[str, str]:
    """Damage a file in an empty folder, and read it.

    Returns:
        The outcome, and the sentence if it is refused. Whatever else is raised, or
        written, is a fault.
    """
    expected = _read_whole(group, kind)
    folder.mkdir(exist_ok=True)
    kind.write(folder)
    path = folder / kind.name
    damage(path)
    before = list_files(folder)
    try:
        with limit_seconds():
            found = str(kind.read(path)).replace(str(folder), "")
    except ServingError as error:
        return REFUSED, error.message
    except UserError as error:
        sentence = str(error)
        if not isinstance(error, ImageError):  # whose sentence goes on behind the name
            assert path.name in sentence or str(folder) in sentence, sentence
        assert list_files(folder) == before
        return REFUSED, sentence
    if found == expected:
        return ALIKE, ""
    is_counted = "inside of its archive" in found or "without a label row" in found
    return (COUNTED if is_counted else OTHERWISE), ""


@functools.cache
def _read_whole(group: str, kind: Input) -> str:
    folder = Path(tempfile.mkdtemp())
    try:
        kind.write(folder)
        return str(kind.read(folder / kind.name)).replace(str(folder), "")
    finally:
        shutil.rmtree(folder)


def list_files(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*") if path.name != ".lock")
