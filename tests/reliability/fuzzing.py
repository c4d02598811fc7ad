"""Files with random faults, for every reader; each is known by its number."""

import io
import json
import signal
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import tensorflow as tf
from pydicom import dcmread

from keras_mscam.batch_predict.journal import read_lines
from keras_mscam.configs.schema import Config, dump_config, read_config
from keras_mscam.data.csv_table import name_columns, read_rows
from keras_mscam.data.manifest import Manifest
from keras_mscam.errors import UserError
from keras_mscam.images.png_jpeg import PNG_START, _read_jpeg, _strip_png
from keras_mscam.images.reader import read_grey
from keras_mscam.inference.contract import read_contract
from keras_mscam.inference.export_folder import verify_files
from keras_mscam.inference.keras_file import load_network
from keras_mscam.inference.run_calibration import read_calibration
from keras_mscam.inference.runtimes.saved_model_ops import check_operations
from keras_mscam.serving.serving_error import ServingError

from . import inputs

#: Numbers that are at an edge of something, in every width.
_EDGES = [-(2**31), -(2**15), -129, -2, -1, 0, 1, 2, 127, 128, 255, 256, 32767, 32768,
          65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1]  # fmt: skip
_WORDS = [
    b"null", b"true", b"NaN", b"Infinity", b"-1", b"1e999", b"0.5", b'"', b"[", b"]",
    b"{", b"}", b":", b",", b";", b"\t", b"\n", b"\r\n", b"\\u0000", b"\xef\xbb\xbf",
    b"\xff\xfe", b"\0", b"\x1f\x8b", b"b64", b"instances", b"../", b"/dev/zero",
    b"9" * 400, b"[" * 3000, b'{"a":' * 2000, b"\xed\xa0\x80", "é".encode("latin-1"),
]  # fmt: skip
_SECONDS = 20


class Slow(BaseException):
    """A reader is not done with a small file after a time that is long for it."""


@dataclass(frozen=True)
class Reader:
    """What reads a kind of file.

    Args:
        seeds: good files.
        read: of the content.
        finish: brings checksums and the like up to date, so that faults get further
            than these; every other file is left as it is.
    """

    seeds: tuple[bytes, ...]
    read: Callable[[bytes], object]
    finish: Callable[[bytes], bytes] | None = None
    forks: bool = True  # what runs TensorFlow waits for ever in a process that forked


def mutate(rng: Random, seeds: tuple[bytes, ...]) -> bytes:
    """Make one to six changes to one of the seeds."""
    data = bytearray(rng.choice(seeds))
    for _ in range(1 + int(rng.expovariate(1)) % 6):
        at = rng.randrange(len(data) + 1)
        size = min(int(rng.paretovariate(0.7)), 200)
        kind = rng.randrange(9)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            del data[at : at + size]
        elif kind == 2:
            data[at:at] = rng.randbytes(size)
        elif kind == 3:
            data[at:at] = data[at : at + size] * rng.randrange(1, 4)
        elif kind == 4:
            data[at : at + size] = rng.randbytes(size)
        elif kind == 5:
            data[at:at] = rng.choice(_WORDS)
        elif kind == 6:
            other = rng.choice(seeds)
            data[at:] = other[rng.randrange(len(other) + 1) :]
        elif kind == 7:
            width, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
            edge = rng.choice(_EDGES) % 256**width
            data[at : at + width] = edge.to_bytes(width, order)
        elif at < len(data):
            data[at] ^= 1 << rng.randrange(8)
    return bytes(data)


def make_file(reader: Reader, seed: int, number: int) -> bytes:
    """Return a file by its number."""
    rng = Random(f"{seed} {number}")
    data = mutate(rng, reader.seeds)
    if reader.finish is not None and rng.randrange(4):
        data = reader.finish(data)
    return data


def try_files(
    reader: Reader, seed: int, numbers: Iterable[int]
) -> tuple[Counter, dict]:
    """Read files.

    Returns:
        How many were read and refused, and by number what else happened.
    """

    def stop(*_):
        raise Slow

    counts, faults = Counter(), {}
    before = signal.signal(signal.SIGALRM, stop)
    try:
        for number in numbers:
            data = make_file(reader, seed, number)
            signal.alarm(_SECONDS)
            try:
                reader.read(data)
                counts["read"] += 1
            except (UserError, ServingError):
                counts["refused"] += 1
            except (Exception, Slow) as error:
                counts["fault"] += 1
                faults[number] = f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return counts, faults


def _sum_png(data: bytes) -> bytes:
    """Bring the checksums of a PNG up to date."""
    done, at = [PNG_START], len(PNG_START)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        body = data[at + 4 : at + 8 + length]
        checksum = struct.pack(">I", zlib.crc32(body))
        done += [data[at : at + 4], body, checksum]
        at += 12 + length
    return b"".join(done)


def _read_headers(data: bytes) -> object:
    return _strip_png(data) if data.startswith(PNG_START) else _read_jpeg(data)


@cache
def _folder() -> Path:
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))


def of_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Turn what reads a file into what reads its content."""

    def read_bytes(data):
        path = _folder() / name
        path.write_bytes(data)
        return read(path)

    return read_bytes


def _seeds_of(kinds: Iterable[inputs.Input]) -> tuple[bytes, ...]:
    found = []
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            kind.write(Path(folder))
            found.append((Path(folder) / kind.name).read_bytes())
    return tuple(found)


def _zip(name: str, **others: bytes) -> Callable[[bytes], bytes]:
    def write(data):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(name, data)
            for other, content in others.items():
                archive.writestr(other.replace("__", "/"), content)
        return file.getvalue()

    return write


def _unzip(data: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(name)


@cache
def find_reader(name: str) -> Reader:
    """Return a reader by its name, one of `READERS`."""
    return _MAKERS[name]()


def _make_dicom() -> Reader:
    seeds = [data for name, data in inputs.make_images().items() if "dcm" in name]
    dataset = dcmread(io.BytesIO(seeds[0]))
    dataset.WindowCenter, dataset.WindowWidth = "100", "50"
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-10"
    dataset.PixelSpacing, dataset.ShutterShape = ["0.2", "0.1"], "RECTANGULAR"
    dataset.ShutterLeftVerticalEdge = dataset.ShutterUpperHorizontalEdge = "2"
    dataset.ShutterRightVerticalEdge, dataset.ShutterLowerHorizontalEdge = "40", "36"
    dataset.ViewPosition = "PA"
    dataset.add_new("PixelPaddingValue", "US", 3)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return Reader((*seeds, file.getvalue()), read_grey)


def _make_images() -> Reader:
    images = inputs.make_images()
    seeds = images["chest.png"], images["chest.jpg"]
    return Reader(
        seeds, read_grey, lambda d: _sum_png(d) if d.startswith(PNG_START) else d
    )


def _make_headers() -> Reader:
    reader = _make_images()
    return Reader(reader.seeds, _read_headers, reader.finish)


def _make_tables() -> Reader:
    def read(path):
        return name_columns(path, read_rows(path), known=("path", "Image Index"))

    return Reader(_seeds_of(inputs.TABLES), of_file("table.csv", read))


def _make_settings() -> Reader:
    kinds = (*inputs.EXPORTS, *inputs.RUNS[1:2], inputs.RECORDS[0])
    seeds = [s for s in _seeds_of(kinds) if s.startswith(b"{")]

    def read(path):
        # Whatever it was made for, each of them may be given it.
        refused = 0
        for reader in (
            lambda: read_contract(path),
            lambda: read_config(path, Config()),
            lambda: Manifest.read(path.parent),
            lambda: read_calibration(path),
            lambda: verify_files(path.parent, "contract.json"),
        ):
            try:
                reader()
            except UserError:
                refused += 1
        if refused == 5:
            raise UserError("by all of them")

    def read_all(data):
        (_folder() / "manifest.json").write_bytes(data)
        return of_file("contract.json", read)(data)

    return Reader((*seeds, dump_config(Config()).encode()), read_all)


def _make_pickles() -> Reader:
    weights = _seeds_of(inputs.WEIGHTS[1:3])
    content = _unzip(weights[0], "archive/data.pkl")
    wrap = _zip(
        "archive/data.pkl",
        **{f"archive__data__{k}": bytes(3 * (k + 1) * 2 * 4) for k in range(4)},
    )
    return Reader((content, weights[1]), of_file("w.pt", inputs.read_weights), wrap)


def _make_safetensors() -> Reader:
    read = of_file("w.safetensors", inputs.read_weights)
    return Reader(_seeds_of(inputs.WEIGHTS[:1]), read)


def _make_archives() -> Reader:
    tar, zipped = _seeds_of(inputs.ARCHIVES)
    plain = zlib.decompress(tar, wbits=31)
    read = {
        kind: of_file(f"images{kind}", inputs.read_archive)
        for kind in (".tar", ".tar.gz", ".zip")
    }

    def read_any(data):
        is_zip, is_gzip = data.startswith(b"PK"), data.startswith(b"\x1f\x8b")
        return read[".zip" if is_zip else ".tar.gz" if is_gzip else ".tar"](data)

    return Reader((plain, plain, tar, zipped), read_any)


def _make_graphs() -> Reader:
    module = tf.Module()
    module.variable = tf.Variable([2.0])

    @tf.function(input_signature=[tf.TensorSpec([None], "float32")])
    def serve(x):
        return {"y": tf.cond(x[0] > 0, lambda: x * module.variable, lambda: x)}

    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, {"serving_default": serve})
        seed = (Path(folder) / "saved_model.pb").read_bytes()
    read = of_file("saved_model.pb", lambda path: check_operations(path.parent))
    return Reader((seed,), read)


def _make_networks() -> Reader:
    (model,) = _seeds_of(inputs.RUNS[:1])
    names = ("metadata.json", "model.weights.h5")
    others = {name: _unzip(model, name) for name in names}
    wrap = _zip("config.json", **others)
    config = _unzip(model, "config.json")
    return Reader((config,), of_file("model.keras", load_network), wrap, False)


def _make_journals() -> Reader:
    read = of_file("predictions.jsonl", lambda path: list(read_lines(path.parent)))
    return Reader((inputs.LINES.encode(),), read)


def _make_checkpoints() -> Reader:
    read = of_file("part-00000.npz", inputs.read_stored)
    described, stored = _seeds_of(inputs.RUNS[-2:])

    def read_both(data):
        (_folder() / "predictions.json").write_bytes(described)
        return read(data)

    return Reader((stored,), read_both)


def _make_rest() -> Reader:
    def read(data):
        try:
            inputs.read_rest_bytes(data)
        except ServingError:
            inputs.read_rest_bytes(data, inputs.NUMBERS)

    bodies = _seeds_of(inputs.REQUESTS[:2])
    more = json.dumps({"signature_name": "boxes", "inputs": {"image_bytes": ["é"]}})
    return Reader((*bodies, more.encode()), read)


_MAKERS = {
    "rest": _make_rest,
    "grpc": lambda: Reader(_seeds_of(inputs.REQUESTS[2:]), inputs.read_grpc_bytes),
    "tables": _make_tables,
    "image headers": _make_headers,
    "images": _make_images,
    "dicom": _make_dicom,
    "settings": _make_settings,
    "pickles": _make_pickles,
    "safetensors": _make_safetensors,
    "archives": _make_archives,
    "networks": _make_networks,
    "graphs": _make_graphs,
    "journals": _make_journals,
    "stored arrays": _make_checkpoints,
}
READERS = tuple(_MAKERS)
