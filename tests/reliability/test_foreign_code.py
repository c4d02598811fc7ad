"""Files that run code, or reach for other files, where they are loaded carelessly.

Each has a file that it touches, or one that it reads: it must do neither.
"""

import json
import pickle
import shutil
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf

from keras_mscam.configs.schema import Config
from keras_mscam.errors import UserError
from keras_mscam.evaluation.split_outputs import read_predictions
from keras_mscam.inference.calibrated_model import load_classifier
from keras_mscam.inference.run_folder import Run, load_run
from keras_mscam.inference.runtimes.saved_model_ops import check_operations
from keras_mscam.modeling.backbones import _load_weights
from keras_mscam.modeling.pytorch_file import read_state_dict
from keras_mscam.training.checkpoint import read_checkpoint

from .inputs import make_dense, make_run, make_trainer, write_predictions


class Touch:
    """Touches a file when a pickle of it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture
def canary(tmp_path):
    """Give a file that must not be there in the end."""
    path = tmp_path / "touched"
    yield path
    assert not path.exists()


@pytest.fixture
def model(tmp_path):
    return shutil.copytree(make_run(), tmp_path / "run") / "model.keras"


def edit_zip(path, **files):
    """Replace files of an archive, or add some; None leaves one out."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content |= {name.replace("__", "."): data for name, data in files.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            if data is not None:
                archive.writestr(name, data)


def read_config(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))


def call(place, name, **config):
    return {
        "module": place, "class_name": name, "config": config,
        "registered_name": name, "build_config": {"input_shape": None},
    }  # fmt: skip


#: The tricks of CVE-2024-3660, 2025-1550, 2025-8747, 2025-9905 and 2025-9906, and their
#: like: what a configuration asks to be made.
MADE = {
    "a function of Python": lambda p: call("os", "system", command=f"touch {p}"),
    "a function by name": lambda p: {
        "module": "builtins", "class_name": "function", "config": "open",
        "registered_name": "function",
    },
    "a function of Keras that downloads": lambda p: call(
        "keras.utils", "get_file", fname="touched", origin=f"file://{p}",
        cache_dir=str(p.parent),
    ),
    "a function of Keras that saves": lambda p: call(
        "keras.saving", "save_model", filepath=str(p)
    ),
    "a setting that allows code": lambda p: call(
        "keras.config", "enable_unsafe_deserialization"
    ),
    "a layer that is a function": lambda p: call(
        "keras.layers", "Lambda", function={
            "class_name": "__lambda__", "config": {"code": "4wEAAAA="},
        },
    ),
    "a layer of a SavedModel": lambda p: call(
        "keras.layers", "TFSMLayer", filepath=str(p.parent)
    ),
    "a module of PyTorch": lambda p: call(
        "keras.layers", "TorchModuleWrapper", module=str(p)
    ),
    "a layer that reads a vocabulary": lambda p: call(
        "keras.layers", "StringLookup", vocabulary="/etc/passwd"
    ),
    "a registered name": lambda p: call(None, "os>system", command=f"touch {p}"),
    "a class of this package": lambda p: call(
        "keras_mscam.inference.hub", "fetch", path="hf://somebody/something"
    ),
    "a partial function": lambda p: call("functools", "partial", func="os.system"),
    "a name with dots": lambda p: call("keras.layers", "Layer.__init__.__globals__"),
}  # fmt: skip


@pytest.mark.parametrize("place", ["the network", "a layer", "an initializer"])
@pytest.mark.parametrize("kind", MADE)
def test_a_network_of_something_else(model, canary, kind, place):
    config = read_config(model)
    if place == "the network":
        config = MADE[kind](canary)
    elif place == "a layer":
        config["config"]["layers"][1] |= MADE[kind](canary)
    else:
        find_convolution(config)["config"]["kernel_initializer"] = MADE[kind](canary)
    edit_zip(model, config__json=json.dumps(config))
    with pytest.raises(UserError, match=r"model\.keras is refused: it holds "):
        load_classifier(Run(model.parent, Config()))


def find_convolution(config):
    """Return the first convolution, which lies in the network inside."""
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "Conv2D":
            return layer
        if layer["class_name"] == "Functional":
            return find_convolution(layer)
    raise LookupError


def test_an_optimizer_is_not_made(model, canary):
    config = read_config(model)
    config["compile_config"] = {"optimizer": call("os", "system", command=str(canary))}
    edit_zip(model, config__json=json.dumps(config))
    with pytest.raises(UserError, match=r"it holds os\.system"):
        load_classifier(Run(model.parent, Config()))


@pytest.mark.parametrize("name", ["../touched", "assets/x", "model.weights.npz"])
def test_other_parts_of_a_network(model, canary, name):
    edit_zip(model, **{name.replace(".", "__"): b"x"})
    with pytest.raises(UserError, match="holds other files than"):
        load_classifier(Run(model.parent, Config()))


@pytest.mark.parametrize("kind", ["h5", "pickle", "zip of a pickle", "yaml"])
def test_another_format_under_its_name(model, canary, kind):
    """Keras tells a file of its older format by its content, where code may be."""
    if kind == "h5":
        with h5py.File(model, "w") as file:
            config = {"class_name": "Lambda", "config": {"function": ["4wEAAA=="]}}
            file.attrs["model_config"] = json.dumps(config)
            file.create_group("model_weights")
    elif kind == "yaml":
        model.write_text(f"!!python/object/apply:os.system ['touch {canary}']")
    else:
        model.write_bytes(pickle.dumps(Touch(canary)))
        if kind != "pickle":
            content = model.read_bytes()
            with zipfile.ZipFile(model, "w") as archive:
                archive.writestr("data.pkl", content)
    with pytest.raises(UserError, match=r"model\.keras is (damaged|refused)"):
        load_classifier(Run(model.parent, Config()))


def link_elsewhere(file, name, path):
    """Put a link to another file in the place of an array, and storage in another."""
    shape = file[name].shape
    del file[name]
    if path.suffix == ".h5":
        file[name] = h5py.ExternalLink(path.name, "secret")
    else:
        size = 4 * int(np.prod(shape))
        file.create_dataset(name, shape, "f4", external=[(str(path), 0, size)])


@pytest.mark.parametrize("suffix", ["h5", "txt"])
def test_weights_that_lie_in_another_file(model, tmp_path, suffix):
    secret = tmp_path / "run" / f"secret.{suffix}"
    if suffix == "h5":
        with h5py.File(secret, "w") as file:
            file["secret"] = np.ones(3)
    else:
        secret.write_bytes(b"a secret that is long enough for any array" * 1000)
    weights = tmp_path / "weights.h5"
    with zipfile.ZipFile(model) as archive:
        weights.write_bytes(archive.read("model.weights.h5"))
    with h5py.File(weights, "r+") as file:
        names = []
        file.visititems(
            lambda name, x: names.append(name) if isinstance(x, h5py.Dataset) else None
        )
        link_elsewhere(file, names[0], secret)
    edit_zip(model, **{"model__weights__h5": weights.read_bytes()})
    with pytest.raises(UserError, match=r"model\.keras is damaged"):
        load_classifier(Run(model.parent, Config()))


def test_a_weights_file_that_lies_in_another(tmp_path):
    path, secret = tmp_path / "x.weights.h5", tmp_path / "secret.txt"
    secret.write_bytes(b"a secret that is long enough" * 10)
    make_dense().save_weights(path)
    before = make_dense().get_weights()
    with h5py.File(path, "r+") as file:
        link_elsewhere(file, "layers/dense/vars/0", secret)
    with pytest.raises(UserError, match="does not fit"):
        _load_weights(make_dense(), path)
    for one, other in zip(before, make_dense().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_pickles_in_arrays(canary, tmp_path):
    objects = np.array([Touch(canary)], object)
    path = tmp_path / "epoch-001.npz"
    np.savez(path, objects, state=objects)
    with pytest.raises(UserError, match="is damaged"):
        read_checkpoint(path, make_trainer())
    write_predictions(tmp_path)
    np.savez_compressed(tmp_path / "part-00000.npz", names=objects)
    with pytest.raises(UserError, match="is damaged"):
        read_predictions(tmp_path)
    path.write_bytes(pickle.dumps(Touch(canary)))
    with pytest.raises(UserError, match="is damaged"):
        read_checkpoint(path, make_trainer())


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_pickles_as_weights(canary, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(pickle.dumps({"state_dict": Touch(canary)}, 2))
    with pytest.raises(UserError, match=r"weights\.\w+ is (refused|damaged)"):
        read_state_dict(path)


def test_a_configuration_is_no_code(canary, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(f"!!python/object/apply:os.system ['touch {canary}']")
    with pytest.raises(UserError, match="Cannot read the configuration"):
        load_run(tmp_path)


GRAPHS = {
    "WriteFile": lambda x, p: tf.io.write_file(p, tf.strings.as_string(x[0])),
    "ReadFile": lambda x, p: tf.io.read_file("/etc/passwd"),
    "MatchingFiles": lambda x, p: tf.io.matching_files("/etc/*"),
    "PrintV2": lambda x, p: tf.print(x, output_stream=f"file://{p}"),
    "EagerPyFunc": lambda x, p: tf.py_function(lambda: open(p, "w").close(), [], []),
    "SaveV2": lambda x, p: tf.raw_ops.SaveV2(
        prefix=p, tensor_names=["x"], shape_and_slices=[""], tensors=[x]
    ),
    "TextLineDataset": lambda x, p: tf.data.TextLineDataset("/etc/passwd").reduce(
        tf.constant(0), lambda n, _: n + 1
    ),
}


@pytest.mark.parametrize("operation", GRAPHS)
def test_a_graph_that_reaches_for_files(tmp_path, canary, operation):
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([1], "float32")])
    def serve(x):
        GRAPHS[operation](x, str(canary))
        return {"y": x}

    module.serve = serve
    folder = tmp_path / "model"
    tf.saved_model.save(module, str(folder), {"serving_default": serve})
    with pytest.raises(UserError, match="has the operation"):
        check_operations(folder)


def test_a_graph_that_computes(tmp_path):
    module = tf.Module()
    module.variable = tf.Variable([2.0])

    @tf.function(input_signature=[tf.TensorSpec([1], "float32")])
    def serve(x):
        return {"y": x * module.variable}

    module.serve = serve
    tf.saved_model.save(module, str(tmp_path), {"serving_default": serve})
    check_operations(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 9)
    with pytest.raises(UserError, match="is damaged"):
        check_operations(tmp_path)
