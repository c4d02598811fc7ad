import os
import pickle
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from keras_mscam.errors import UserError
from keras_mscam.modeling.published import read_published
from keras_mscam.modeling.pytorch_file import read_state_dict


class Code:
    """An object that touches a file when a pickle of it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def write_zip(path, content, compression=zipfile.ZIP_STORED, **files):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        for name, data in files.items():
            archive.writestr(f"archive/{name}", data)


def pickle_tensor(offset, size, stride):
    """Return the pickle of a `state_dict` with one tensor, opcode by opcode."""

    def text(word):
        return b"X" + len(word).to_bytes(4, "little") + word.encode()

    def whole(*numbers):
        digits = b"".join(b"J" + n.to_bytes(4, "little", signed=True) for n in numbers)
        return b"(" + digits + b"t"

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0")
    storage += text("cpu") + whole(6)[1:-1] + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage
    tensor += whole(offset)[1:-1] + whole(*size) + whole(*stride) + b"\x89}tR"
    return b"\x80\x02}" + text("w") + tensor + b"s."


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("wrap", [lambda code: code, lambda code: {"state_dict": code}])
def test_code_in_a_pickle_is_not_called(tmp_path, wrap, legacy):
    content = pickle.dumps(wrap(Code(tmp_path / "touched")), 2)
    path = tmp_path / "model.pth"
    path.write_bytes(content) if legacy else write_zip(path, content)
    with pytest.raises(UserError, match=r"would call posix\.system when it is loaded"):
        read_state_dict(path)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("name", ["eval", "getattr", "__import__", "open"])
def test_no_builtin_is_called(tmp_path, name):
    path = tmp_path / "model.pth"
    write_zip(path, b"\x80\x02cbuiltins\n" + name.encode() + b"\n(X\x01\0\0\x001tR.")
    with pytest.raises(UserError, match=rf"would call builtins\.{name}"):
        read_state_dict(path)


def test_other_objects_of_pytorch_do_nothing(tmp_path):
    path = tmp_path / "model.pth"
    write_zip(path, b"\x80\x02ctorch.hub\nload\n(X\x01\0\0\x001tR.")
    with pytest.raises(UserError, match="holds no tensors of a model"):
        read_state_dict(path)


def test_a_tensor_is_a_view_of_its_storage(tmp_path):
    path = tmp_path / "model.pth"
    values = np.arange(6, dtype="<f4")
    write_zip(path, pickle_tensor(1, (2, 2), (1, 3)), **{"data/0": values.tobytes()})
    # Element (i, j) lies at 1 + i + 3 j.
    np.testing.assert_array_equal(read_state_dict(path)[0]["w"], [[1, 4], [2, 5]])


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (7,), (1,)),  # 7 of 6 numbers
        (5, (2,), (1,)),
        (-1, (2,), (1,)),
        (5, (6,), (-1,)),
        (0, (2, 2), (1, 5)),  # up to number 6, counted from 0
        (0, (2**30,), (0,)),  # 4 GB of one number
    ],
)
def test_a_tensor_outside_of_its_storage_is_refused(tmp_path, offset, size, stride):
    path = tmp_path / "model.pth"
    content = pickle_tensor(offset, size, stride)
    write_zip(path, content, **{"data/0": bytes(24)})
    with pytest.raises(UserError, match="a tensor lies outside of its storage"):
        read_state_dict(path)


def test_a_compressed_archive_is_refused(tmp_path):
    path = tmp_path / "model.pth"
    write_zip(path, pickle_tensor(0, (1,), (1,)), zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="is compressed"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is neither a file of PyTorch nor of safetensors"),
        (b"<!DOCTYPE html>", "is neither a file of PyTorch nor of safetensors"),
        (pickle.dumps([1, 2], 2), "is a pickle, but not one that torch.save wrote"),
        (b"\x80\x02", "is damaged"),
    ],
)
def test_other_files_are_refused(tmp_path, content, said):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_state_dict(path)


def test_other_zips_are_refused(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(UserError, match=r"not one that torch\.save wrote"):
        read_state_dict(path)


def test_a_dictionary_without_weights_names_its_entries(tmp_path):
    path = tmp_path / "model.pth"
    write_zip(path, pickle.dumps(OrderedDict(epoch=3, args={"lr": 1}), 2))
    with pytest.raises(UserError, match="its entries are epoch, args"):
        read_state_dict(path)


def test_half_precision_becomes_single(tmp_path):
    path = tmp_path / "model.safetensors"
    values = np.array([1, 0.5, -2])
    save_file(
        {"a": values.astype("float16"), "b": values.astype(ml_dtypes.bfloat16)}, path
    )
    tensors, _ = read_state_dict(path)
    for name in "ab":
        assert tensors[name].dtype == "float32"
        np.testing.assert_array_equal(tensors[name], values)


def test_another_architecture_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"blocks.0.attn.qkv.weight": np.zeros((3, 3), "float32")}, path)
    with pytest.raises(UserError, match="no DenseNet, ResNet or EfficientNet"):
        read_published(path)
    names = [f"layer{i}.{j}.conv1.weight" for i in range(1, 5) for j in range(2)]
    save_file({name: np.zeros((1, 1, 1, 1), "float32") for name in names}, path)
    with pytest.raises(UserError, match="is a ResNet with 2, 2, 2, 2 layers"):
        read_published(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="There is no file"):
        read_state_dict(tmp_path / "none.pth")
    with pytest.raises(UserError, match="There is no file"):
        read_state_dict(tmp_path)
