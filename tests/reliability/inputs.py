"""Every kind of file that the commands take: a small one, and what reads it."""

import gzip
import hashlib
import io
import json
import pickle
import shutil
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import imagecodecs
import keras
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)
from safetensors.numpy import save_file
from tensorflow_serving.apis import predict_pb2

from keras_mscam.batch_predict.journal import VERSION, open_folder, read_lines
from keras_mscam.configs.schema import Config, TrainingConfig, dump_config, read_config
from keras_mscam.data.archives import list_members, read_members
from keras_mscam.data.chestxray14 import read_tables
from keras_mscam.data.labels_csv import read_dataset
from keras_mscam.data.manifest import verify
from keras_mscam.data.pipeline import read_examples
from keras_mscam.data.preparation import prepare
from keras_mscam.evaluation.report import _read_history
from keras_mscam.evaluation.split_outputs import read_pathologies, read_predictions
from keras_mscam.files import read_json, write_json
from keras_mscam.images.reader import read_xray
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.contract import read_contract
from keras_mscam.inference.export_folder import verify_files, write_manifest
from keras_mscam.inference.run_calibration import load_calibration
from keras_mscam.inference.run_folder import (
    Run,
    load_run,
    write_relevance_weights,
)
from keras_mscam.modeling import build_classifier
from keras_mscam.modeling.backbones import _load_weights
from keras_mscam.modeling.pytorch_file import read_state_dict
from keras_mscam.serving.grpc_server import decode_inputs
from keras_mscam.serving.json_tensors import parse_document, read_inputs
from keras_mscam.serving.serving_error import refuse
from keras_mscam.training.checkpoint import State, read_checkpoint, write_checkpoint
from keras_mscam.training.fit import compile_trainer

from ..conftest import BOX_HEADER, LABEL_HEADER, write_pytorch, write_run
from ..images.odd_files import encode, save_dicom

SIZE = (40, 48)
#: A chest would be too large; shades, so that every decoder has something to do.
PIXELS = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, SIZE, np.uint8), (0, 0), 2
)
SPECS = {"image_bytes": tf.TensorSpec([None], "string")}
NUMBERS = {"image": tf.TensorSpec([None, None, None, 1], "float32")}


@dataclass(frozen=True)
class Input:
    """A kind of file.

    Args:
        name: of the file, in its folder.
        write: makes it there, with all that is read beside it.
        read: what the package makes of it, to be compared by `==`.
        is_request: whether it comes over a network, rather than from a disk.
    """

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], object]
    is_request: bool = False


def digest(*arrays) -> str:
    content = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    return hashlib.sha256(content).hexdigest()


def make_images() -> dict[str, bytes]:
    """Make an X-ray in every format that is read."""
    plain = save_dicom(PIXELS)
    runs = b"".join(b"\x7f" + part.tobytes() for part in np.split(PIXELS.ravel(), 15))
    frames = {
        JPEGBaseline8Bit: encode(PIXELS, ".jpg"),
        JPEGLSLossless: imagecodecs.jpegls_encode(PIXELS),
        JPEG2000Lossless: imagecodecs.jpeg2k_encode(
            PIXELS, reversible=True, level=0, codecformat="j2k", resolutions=3
        ),
        RLELossless: struct.pack("<16I", 1, 64, *[0] * 14) + runs,
    }
    files = {"png": encode(PIXELS), "jpg": encode(PIXELS, ".jpg"), "dcm": plain}
    for name, syntax in {
        "jpeg.dcm": JPEGBaseline8Bit, "jpeg-ls.dcm": JPEGLSLossless,
        "jpeg-2000.dcm": JPEG2000Lossless, "rle.dcm": RLELossless,
        "deflated.dcm": DeflatedExplicitVRLittleEndian,
    }.items():  # fmt: skip
        dataset = dcmread(io.BytesIO(plain))
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax in frames:
            dataset.PixelData = encapsulate([frames[syntax]])
            dataset["PixelData"].VR = "OB"
        file = io.BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        files[name] = file.getvalue()
    return {f"chest.{name}": data for name, data in files.items()}


def read_image(path: Path):
    xray = read_xray(path)
    return digest(xray.pixels), repr(xray.frame)


def write_hospital(folder: Path) -> None:
    rows = [f"{p}.png,p{p},5{p},F,{'train' if p < 4 else 'test'},{p % 2},0,"
            for p in range(6)]  # fmt: skip
    header = "path,patient,age,sex,split,Mass,Nodule,Lung Opacity"
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "boxes.csv").write_text(
        "path,pathology,x_min,y_min,x_max,y_max\n1.png,Mass,3,4,20,30\n"
    )
    for p in range(6):
        (folder / f"{p}.png").write_bytes(encode(PIXELS))


def read_any(source: Path) -> str:
    return repr(read_dataset(source, progress=False))


def write_nih(folder: Path) -> None:
    rows = [f"0000000{p}_000.png,{'Mass' if p % 2 else 'No Finding'},0,{p},058Y,M,PA,"
            "2500,2048,0.1,0.1," for p in range(6)]  # fmt: skip
    text = "\n".join([LABEL_HEADER, *rows]) + "\n"
    (folder / "Data_Entry_2017.csv").write_text(text)
    with gzip.open(folder / "Data_Entry_2017.gz", "wt") as file:
        file.write(text)
    box = "00000001_000.png,Mass,3,4,20.5,30,,,"
    (folder / "BBox_List_2017.csv").write_text(f"{BOX_HEADER}\n{box}\n")
    names = [f"0000000{p}_000.png" for p in range(6)]
    (folder / "train_val_list.txt").write_text("\n".join(names[:4]))
    (folder / "test_list.txt").write_text("\n".join(names[4:]))


def write_zipped_table(folder: Path) -> None:
    write_nih(folder)
    (folder / "Data_Entry_2017.csv").unlink()
    (folder / "Data_Entry_2017.gz").rename(folder / "Data_Entry_2017.csv.gz")


def write_archives(folder: Path) -> None:
    with (
        tarfile.open(folder / "images_001.tar.gz", "w:gz") as tar,
        zipfile.ZipFile(folder / "images_001.zip", "w") as zipped,
    ):
        for number in range(4):
            data = encode(PIXELS + np.uint8(number))
            info = tarfile.TarInfo(f"images/{number}.png")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            zipped.writestr(info.name, data)


def read_archive(path: Path):
    members = list_members(path)
    contents = list(read_members(path, [member.position for member in members]))
    return [member.path for member in members], list(map(str, contents))


@cache
def make_records() -> Path:
    """Prepare records, once, in a folder of the whole session."""
    folder = Path(tempfile.mkdtemp())
    write_hospital(folder)
    prepare(
        folder, folder / "records", image_size=(32, 32), split="csv", progress=False
    )
    # Of one length on every machine, so that what is damaged is the same.
    path = folder / "records" / "manifest.json"
    write_json(path, {**read_json(path), "versions": {"x": "x" * 123}})
    return folder / "records"


@cache
def make_run() -> Path:
    folder = Path(tempfile.mkdtemp()) / "run"
    write_run_with_all(folder)
    return folder


def copy(make: Callable[[], Path]) -> Callable[[Path], None]:
    return lambda folder: shutil.copytree(make(), folder, dirs_exist_ok=True)


def read_records(path: Path):
    examples = read_examples(path.parent, "train")
    return [(e.name, e.patient, digest(e.image), digest(e.labels)) for e in examples]


def write_run_with_all(folder: Path) -> None:
    run = write_run(folder)
    write_relevance_weights(
        run, ["Effusion", "Mass", "Nodule"], (2, 3, 4), np.full((3, 3), 1 / 3).T
    )
    (folder / "history.csv").write_text("epoch,loss,val_loss\n1,0.5,0.6\n2,0.4,0.5\n")


def read_model(path: Path):
    return digest(*load_classifier(Run(path.parent, Config())).get_weights())


@cache
def make_trainer(is_read: bool = False):
    """Make a trainer that is written, or the other that it is read into."""
    keras.utils.set_random_seed(0)
    classifier = build_classifier(2, (32, 32), "small_densenet", (4,))
    return compile_trainer(classifier, (0.5, 0.5), TrainingConfig())


def write_epoch(folder: Path) -> None:
    state = State(1, 0, [], [], [{"epoch": 1, "loss": 0.5, "val_loss": 0.6}])
    write_checkpoint(folder / "epoch-001.npz", make_trainer(), state)


def read_epoch(path: Path):
    trainer = make_trainer(is_read=True)
    _forget(trainer.variables)
    state = read_checkpoint(path, trainer)
    return state, digest(*map(keras.ops.convert_to_numpy, trainer.variables))


TENSORS = {f"features.{n}.weight": np.full((3, n, 2), n, "f4") for n in range(1, 5)}


def write_weights(folder: Path) -> None:
    save_file(TENSORS, folder / "weights.safetensors")
    write_pytorch(folder / "weights.pt", TENSORS)
    _write_legacy(folder / "weights.pth")
    make_dense().save_weights(folder / "dense.weights.h5")


def _write_legacy(path: Path) -> None:
    """Write what PyTorch wrote before 1.6, of one tensor of four numbers."""

    def text(word):
        return b"X" + struct.pack("<i", len(word)) + word.encode()

    storage = text("storage") + b"ctorch\nFloatStorage\n" + text("7") + text("cpu")
    content = b"\x80\x02}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n(("
    content += storage + b"K\x04NtQK\0(K\x04t(K\x01t\x89}tRs."
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    with path.open("wb") as file:
        file.write(b"".join(pickle.dumps(part, 2) for part in parts) + content)
        file.write(pickle.dumps(["7"], 2) + struct.pack("<q", 4))
        file.write(np.arange(4, dtype="<f4").tobytes())


@cache
def make_dense(is_read: bool = False):
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="dense")])


def read_weights(path: Path):
    tensors, _ = read_state_dict(path)
    return sorted((name, digest(array)) for name, array in tensors.items())


def _forget(variables) -> None:
    """What is not read from the file is 0 then."""
    for variable in variables:
        variable.assign(keras.ops.zeros_like(variable))


def read_h5(path: Path):
    network = make_dense(is_read=True)
    _forget(network.variables)
    _load_weights(network, path)
    return digest(*network.get_weights())


CONTRACT = """{
 "format": "keras_mscam contract 2", "name": "keras_mscam", "pathologies": ["Mass"],
 "blocks": [4], "image_size": [32, 32], "attention_size": [8, 8],
 "relevance_weights": [[1.0]], "fusion_weights": [[1.0]], "slopes": [0.5],
 "intercepts": [0.1], "probability_thresholds": [0.5], "normalization": "min_max",
 "map_scales": [1.0], "shown_threshold": 0.25, "shown_min_area": 0.0,
 "shown_max_area": 0.5, "shown_max_boxes": 3, "most_pixels": 100000000
}
"""


def write_export(folder: Path) -> None:
    (folder / "contract.json").write_text(CONTRACT)
    (folder / "float32.tflite").write_bytes(bytes(range(256)) * 40)
    write_manifest(folder, "0" * 64, {}, {})


def read_export(path: Path):
    verify_files(path.parent, "contract.json", "float32.*")
    return repr(read_contract(path))


def write_predictions(folder: Path) -> None:
    (folder / "predictions.json").write_text(
        '{"format": "keras_mscam predictions 1", "pathologies": ["Mass"], '
        '"blocks": [4], "image_size": [32, 32], "relevance_weights": [[1.0]]}\n'
    )
    np.savez_compressed(
        folder / "part-00000.npz",
        names=np.array(["a", "b"]), patients=np.array(["a", "b"]),
        labels=np.ones((2, 1), "f4"), logits=np.ones((2, 1), "f4"),
        block_logits=np.ones((2, 1, 1), "f4"), original_sizes=np.full((2, 2), 32),
        box_rows=np.zeros(1, int), box_columns=np.zeros(1, int),
        box_xyxy=np.ones((1, 4)),
        cam_block4=np.arange(128, dtype="f2").reshape(2, 8, 8, 1),
    )  # fmt: skip


def read_stored(path: Path):
    found = read_predictions(path.parent)
    maps = [cams for _, parts in found.read_maps() for cams in parts]
    return found.pathologies, found.image_size, digest(found.logits, *maps)


PLAN = {"model": "1", VERSION: "1"}
LINES = (
    '{"path": "a.png", "status": "read", "stamp": [1, 2], "name": "a", "positives": '
    '["Mass"], "probabilities": {"Mass": 0.75}, "boxes": [], "original_size": [32, 32],'
    ' "warnings": [], "files": {}}\n'
    '{"path": "b.png", "status": "refused", "stamp": [1, 2], "error": "is empty"}\n'
)


def write_results(folder: Path) -> None:
    with open_folder(folder, PLAN):
        (folder / "predictions.jsonl").write_text(LINES)


def read_results(path: Path):
    with open_folder(path.parent, PLAN):
        return list(read_lines(path.parent))


def read_rest_bytes(data: bytes, specs=None):
    arrays, _ = read_inputs(parse_document(data), specs or SPECS)
    return {name: array.tolist() for name, array in arrays.items()}


def read_rest(path: Path):
    return read_rest_bytes(path.read_bytes())


def read_numbers(path: Path):
    return read_rest_bytes(path.read_bytes(), NUMBERS)


def read_grpc_bytes(data: bytes):
    try:  # as `grpc_server` does
        request = predict_pb2.PredictRequest.FromString(data)
    except DecodeError as error:
        raise refuse("The message of the request cannot be parsed.") from error
    arrays = decode_inputs(request.inputs, 2**20)
    return {name: array.tolist() for name, array in arrays.items()}


def read_grpc(path: Path):
    return read_grpc_bytes(path.read_bytes())


def write_requests(folder: Path) -> None:
    (folder / "request.json").write_text('{"instances": [{"b64": "aGVsbG8="}, "x"]}')
    (folder / "numbers.json").write_text('{"instances": [[[[1], [2.5]], [[3], [4]]]]}')
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "keras_mscam"
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(np.ones((2, 3), "f4")))
    (folder / "request.pb").write_bytes(request.SerializeToString())


def _write_image(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data)


def _write_config(folder: Path) -> None:
    # Not the environment of this machine, whose length would decide what a flip meets.
    content = json.loads(dump_config(Config())) | {
        "environment": {"platform": "x" * 400}
    }
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")


IMAGES = [Input(n, _write_image(n, d), read_image) for n, d in make_images().items()]
TABLES = [
    Input("labels.csv", write_hospital, read_any),
    Input("boxes.csv", write_hospital, lambda p: read_any(p.parent)),
    *(
        Input(name, write, lambda p: read_tables(p.parent))
        for name, write in {
            "Data_Entry_2017.csv": write_nih,
            "Data_Entry_2017.csv.gz": write_zipped_table,
            "BBox_List_2017.csv": write_nih,
            "train_val_list.txt": write_nih,
        }.items()
    ),
]  # fmt: skip
RECORDS = [
    Input(name, copy(make_records), lambda p: repr(verify(p.parent, progress=False)))
    for name in ("manifest.json", "train-00000-of-00001.tfrecord", "rejected.csv")
]
SHARDS = [Input("train-00000-of-00001.tfrecord", copy(make_records), read_records)]
ARCHIVES = [
    Input(name, write_archives, read_archive)
    for name in ("images_001.tar.gz", "images_001.zip")
]
RUNS = [
    Input("model.keras", copy(make_run), read_model),
    Input(
        "calibration.json", copy(make_run),
        lambda p: repr(load_calibration(Run(p.parent, Config()))),
    ),
    Input(
        "relevance_weights.csv", copy(make_run),
        lambda p: read_pathologies(Run(p.parent, Config())),
    ),
    Input(
        "history.csv", copy(make_run),
        lambda p: repr(_read_history(Run(p.parent, Config()))),
    ),
    Input("config.json", _write_config, lambda p: load_run(p.parent).config),
    Input(
        "settings.json",
        lambda f: (f / "settings.json").write_text(dump_config(Config())),
        lambda p: read_config(p, Config()),
    ),
    Input("epoch-001.npz", write_epoch, read_epoch),
    Input("predictions.json", write_predictions, read_stored),
    Input("part-00000.npz", write_predictions, read_stored),
]  # fmt: skip
WEIGHTS = [
    Input(name, write_weights, read_weights)
    for name in ("weights.safetensors", "weights.pt", "weights.pth")
] + [Input("dense.weights.h5", write_weights, read_h5)]
EXPORTS = [
    Input(name, write_export, read_export)
    for name in ("contract.json", "float32.tflite", "manifest.json")
]
RESULTS = [
    Input(name, write_results, read_results)
    for name in ("predictions.jsonl", "plan.json")
]
REQUESTS = [
    Input("request.json", write_requests, read_rest, True),
    Input("numbers.json", write_requests, read_numbers, True),
    Input("request.pb", write_requests, read_grpc, True),
]
