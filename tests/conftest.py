"""Toy data sets in ChestX-ray14's layout, the real one, and an untrained run."""

import contextlib
import fcntl
import importlib.util
import os
import random
import resource
import signal
import socket
import struct
import zipfile
from pathlib import Path

import keras_mscam  # noqa: F401  before TensorFlow, whose kernels it chooses

# isort: split
import cv2
import keras
import numpy as np
import pytest

from keras_mscam.configs.schema import (
    Config,
    DataConfig,
    LocalizationConfig,
    ModelConfig,
)
from keras_mscam.data.preparation import prepare
from keras_mscam.errors import UserError
from keras_mscam.exporting.export_run import export, export_formats
from keras_mscam.exporting.formats.conversion import check_installed
from keras_mscam.files import compute_checksum
from keras_mscam.inference.calibrated_model import load_calibrated_model
from keras_mscam.inference.run_calibration import (
    Calibration,
    OperatingPoint,
    RunCalibration,
    write_calibration,
)
from keras_mscam.inference.run_folder import create_run, load_run
from keras_mscam.modeling import build_classifier
from keras_mscam.phantom import write_phantoms

# What a shell starts in the background ignores Ctrl-C, and so would all processes here.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).parents[2] / "shared" / "data"

LABEL_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"


#: Files that take longest: first, so that no worker is left alone with one of them.
LONGEST = (
    "test_notebooks.py", "test_convert_weights.py", "test_backends.py",
    "test_machines.py", "test_export.py", "test_runtimes.py", "test_train_run.py",
    "test_page.py",
    "test_predict_files.py", "test_checkpoint.py", "test_formats.py",
    "test_published.py", "test_evaluate.py", "test_cluster.py",
)  # fmt: skip


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run what takes long, too")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes long, and runs with --slow alone")
    if hasattr(config.option, "loadscopereorder"):  # by the number of tests
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        reason = "takes long: pytest --slow runs it, as .ci/run does"
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason=reason))
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


def find_free_port():
    """Find a port that is free, and that nothing gets which asks for any port."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_768)
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return port


def load_script(path):
    """Import a script that belongs to no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def shared():
    if not SHARED.is_dir():
        pytest.skip("needs the real ChestX-ray14 sample in ../shared/data")
    return SHARED


@pytest.fixture
def undrawn(monkeypatch):
    """Make a report's figures, but draw no pixel of them, which takes most time."""
    monkeypatch.setattr("keras_mscam.evaluation.report._draw", lambda *_, **__: b"")


@pytest.fixture
def small_files():
    """A `with` in which no file gets larger than 1000 bytes, as on a full disk.

    It ends with the block, since what pytest prints may go into a file, too.
    """

    @contextlib.contextmanager
    def limit():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)

    return limit


@pytest.fixture
def make_folder(tmp_path):
    """Write a folder in ChestX-ray14's layout: rows of (name, findings, patient)."""

    def make(rows, boxes=(), size=(40, 30)):
        folder = tmp_path / "xrays"
        (folder / "images").mkdir(parents=True)
        rng = np.random.default_rng(0)
        lines = [LABEL_HEADER]
        for image, findings, patient in rows:
            pixels = rng.integers(0, 256, size).astype("uint8")
            cv2.imwrite(str(folder / "images" / image), pixels)
            lines.append(f"{image},{findings},0,{patient},058Y,M,PA,30,40,0.1,0.1,")
        (folder / "Data_Entry_2017.csv").write_text("\n".join(lines))
        if boxes:
            lines = [",".join(map(str, box)) for box in boxes]
            text = "\n".join([BOX_HEADER, *lines])
            (folder / "BBox_List_2017.csv").write_text(text)
        return folder

    return make


@pytest.fixture
def make_patients(make_folder):
    """Twenty patients of two images; every third has a Mass, the first a box of it."""

    def make(**kwargs):
        rows = [
            (f"{p:08d}_{v:03d}.png", "Mass" if p % 3 == 0 else "No Finding", p)
            for p in range(20)
            for v in range(2)
        ]
        boxes = [("00000000_000.png", "Mass", 3.0, 4.0, 10.0, 12.0)]
        return make_folder(rows, boxes, **kwargs)

    return make


@pytest.fixture(scope="session")
def make_once(tmp_path_factory):
    """Make files that all workers read: the first to want them does, others wait."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def make(name, write):
        done = base / f"{name}.done"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                done.write_text(str(write(base / name)))
        return Path(done.read_text())

    return make


@pytest.fixture(scope="session")
def phantom_records(make_once):
    """Records of 120 small phantoms, not square."""

    def write(folder):
        write_phantoms(folder / "xrays", 120, size=SIZE, workers=1, progress=False)
        prepare(folder / "xrays", folder / "records", image_size=SIZE, progress=False)
        return folder / "records"

    return make_once("phantom", write)


def write_pytorch(path, tensors):
    """Write what `torch.save` writes of a `state_dict` of float32, by hand."""

    def text(word):
        return b"X" + struct.pack("<i", len(word)) + word.encode()

    def numbers(*values):
        return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"

    content = b"\x80\x02}("
    with zipfile.ZipFile(path, "w") as archive:
        for key, (name, tensor) in enumerate(tensors.items()):
            archive.writestr(f"archive/data/{key}", tensor.astype("<f4").tobytes())
            strides = [stride // tensor.itemsize for stride in tensor.strides]
            storage = text("storage") + b"ctorch\nFloatStorage\n" + text(str(key))
            storage += text("cpu") + b"J" + struct.pack("<i", tensor.size)
            content += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(("
            content += storage + b"tQK\0" + numbers(*tensor.shape) + numbers(*strides)
            content += b"\x89}tR"
        archive.writestr("archive/data.pkl", content + b"u.")
        archive.writestr("archive/byteorder", "little")


SIZE = (64, 96)
NAMES = ("Effusion", "Mass", "Nodule")


#: Other than Latin letters, and all that is special in paths and formats of text.
ODD_NAMES = ("Nodule/Mass", "Nodule Mass", "\u80ba\u708e <b>|&\"'$\\x$")


def write_run(path, localization=None, precision="float32", names=NAMES, **model):
    """Write a run: Effusion is always positive, Mass is half the time, Nodule never."""
    keras.utils.set_random_seed(4)
    model = ModelConfig(backbone="small_densenet", **model)
    config = Config(
        DataConfig(image_size=SIZE, phantoms=100), model,
        localization=localization or LocalizationConfig(),
    )  # fmt: skip
    run = create_run(path, config)
    keras.config.set_dtype_policy(precision)
    try:
        classifier = build_classifier(
            len(names), SIZE, model.backbone, model.blocks, batch_norm_momentum=0.9
        )
    finally:
        keras.config.set_dtype_policy("float32")
    rng = np.random.default_rng(4)
    for layer in classifier.layers:
        if layer.name.startswith("head_"):
            layer.kernel.assign(rng.normal(size=layer.kernel.shape))
    classifier.save(run.model_path)
    points = [OperatingPoint(probability_threshold=t) for t in (0.0, 0.5)]
    points.append(OperatingPoint(reason="no threshold is better than chance"))
    calibration = RunCalibration(
        compute_checksum(run.model_path),
        {name: Calibration(0.5, 0.1 * i) for i, name in enumerate(names)},
        dict(zip(names, points, strict=True)),
        rng.uniform(0.5, 2, (len(model.blocks), len(names))),
    )
    write_calibration(run.calibration_path, calibration)
    return run


@pytest.fixture
def make_run(tmp_path):
    return lambda **kwargs: write_run(tmp_path / "run", **kwargs)


@pytest.fixture(scope="session")
def run(make_once):
    return load_run(make_once("run", lambda folder: write_run(folder).path))


@pytest.fixture(scope="session")
def calibrated_model(run):
    return load_calibrated_model(run)


@pytest.fixture(scope="session")
def exported(run, make_once):
    """Version 1 of the run in a repository, through all its checks."""
    return make_once("models", lambda path: export(run.path, path, progress=False))


@pytest.fixture(scope="session")
def converted(run, make_once):
    """Give version 1 of the run in a format, made when first asked for."""

    def convert(kind):
        try:
            check_installed(kind)
        except UserError as error:
            pytest.skip(str(error))

        def write(folder):
            return export_formats(run.path, folder, [kind], progress=False)[kind]

        return make_once(f"formats-{kind}", write)

    return convert
