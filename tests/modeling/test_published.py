import os
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from keras_mscam.modeling import build_classifier
from keras_mscam.modeling.backbones import NORMALIZATIONS
from keras_mscam.modeling.published import read_published

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
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """What PyTorch's libraries saved and computed, in a Python that has them."""
    python = os.environ.get("KERAS_MSCAM_TORCH_PYTHON", sys.executable)
    check = "import torch, torchvision, timm, torchxrayvision"
    if subprocess.run([python, "-c", check], capture_output=True).returncode:
        pytest.skip(
            "needs torch, torchvision, timm and torchxrayvision, in the Python of "
            "KERAS_MSCAM_TORCH_PYTHON"
        )
    folder = tmp_path_factory.mktemp("published")
    images = Path(__file__).parents[3] / "shared" / "data" / "chestxray14-sample"
    real = sorted(images.rglob("*.png"))
    if real:
        pixels = cv2.imread(str(real[0]), cv2.IMREAD_GRAYSCALE)
        image = cv2.resize(pixels, (256, 256), interpolation=cv2.INTER_AREA)
    else:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype("uint8")
        image = cv2.resize(noise, (256, 256))
    np.save(folder / "image.npy", image)
    script = Path(__file__).with_name("save_published.py")
    subprocess.run([python, script, folder / "image.npy", folder], check=True)
    return folder


@pytest.mark.parametrize("name", LAYOUTS)
def test_it_computes_what_pytorch_computes(saved, name):
    backbone, normalization, outputs = LAYOUTS[name]
    published = read_published(saved / name)
    published.check_matched()
    assert published.backbone == backbone
    assert published.normalization == normalization
    expected = np.load(saved / f"{name.split('.')[0]}.npz")
    size = expected["pixels"].shape
    image = expected["pixels"][None, ..., None]
    names = [f"output {i}" for i in range(outputs or 1)]
    classifier = build_classifier(
        len(names), size, backbone, (1, 2, 3, 4),
        normalization=NORMALIZATIONS[normalization],
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


def assert_close(found, expected):
    found = keras.ops.convert_to_numpy(found)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
