"""Names and shapes of layers: in PyTorch's libraries, and in Keras."""

import re
from pathlib import Path

import numpy as np

from keras_mscam.errors import UserError

#: Layers in each dense block, bottlenecks in each stage.
_DEPTHS = {
    "densenet121": (6, 12, 24, 16),
    "densenet169": (6, 12, 32, 32),
    "densenet201": (6, 12, 48, 32),
    "resnet50_v1_5": (3, 4, 6, 3),
    "resnet101_v1_5": (3, 4, 23, 3),
    "resnet152_v1_5": (3, 8, 36, 3),
}
#: Of the last block.
FEATURES = {
    "densenet121": 1024,
    "densenet169": 1664,
    "densenet201": 1920,
    **{name: 2048 for name in _DEPTHS if name.startswith("resnet")},
    "efficientnet_lite0": 1280,
}
#: Inverted residuals of EfficientNet-Lite0 in each stage as timm counts them, and ours.
_TIMM_STAGES, _STAGES = (1, 2, 2, 3, 3, 4, 1), (3, 2, 6, 5)
#: What `efficientnet_pytorch` calls the layers of one.
_INVERTED_RESIDUAL = (
    "_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"
)  # fmt: skip
#: What it calls the layers before and after, by timm's name.
_TIMM_ENDS = {
    "conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"
}  # fmt: skip
#: Parts of a layer by the last word of its name in Keras.
KINDS = {
    "conv": ("weight",),
    "depthwise": ("weight",),
    "bn": ("weight", "bias", "running_mean", "running_var"),
}
#: Children of a torchvision ResNet by number, as `nn.Sequential` names them.
_NUMBERED = {
    "0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"
}  # fmt: skip


def find_layout(tensors, path: Path) -> tuple[bool, dict[str, str]]:
    """Find a file's names for those of torchvision, or of `efficientnet_pytorch`.

    Returns:
        Whether the network is a list of its children, and the names.
    """
    for stem, numbered in (
        ("denseblock1.denselayer1.conv1.weight", False),
        ("denseblock1.denselayer1.conv.1.weight", False),
        ("layer1.0.conv1.weight", False),
        ("4.0.conv1.weight", True),
        ("_blocks.0._depthwise_conv.weight", False),
        ("blocks.0.0.conv_dw.weight", False),
    ):
        found = [name for name in tensors if f".{name}".endswith(f".{stem}")]
        if found:
            prefix = found[0].removesuffix(stem)
            to_canonical = _from_timm if stem.startswith("blocks") else _to_torchvision
            # RadImageNet's is the first of a list, or such a list itself.
            return numbered or prefix.split(".")[-2:-1] == ["0"], {
                to_canonical(name.removeprefix(prefix), numbered): name
                for name in tensors
                if name.startswith(prefix)
            }
    raise UserError(
        f"{path} is no DenseNet, ResNet or EfficientNet as PyTorch's libraries name "
        f"their layers: its first tensors are {', '.join(list(tensors)[:3])}. Known "
        f"are {', '.join(FEATURES)}."
    )


def _to_torchvision(name: str, numbered: bool) -> str:
    if numbered:
        child, _, rest = name.partition(".")
        return f"{_NUMBERED.get(child, child)}.{rest}"
    # Until PyTorch 0.4, names could hold dots: "denselayer1.norm.1.weight".
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name)


def _from_timm(name: str, _) -> str:
    """Name a tensor of timm's EfficientNet as `efficientnet_pytorch` does."""
    match = re.match(r"blocks\.(\d+)\.(\d+)\.(\w+)\.(.+)", name)
    if match is None:
        layer, dot, part = name.partition(".")
        return f"{_TIMM_ENDS.get(layer, layer)}{dot}{part}"
    stage, block = int(match[1]), int(match[2])
    layers = ("conv_dw", "bn1", "conv_pw", "bn2")  # stage 0 expands nothing
    if stage:
        layers = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
    of = dict(zip(layers, _INVERTED_RESIDUAL[-len(layers) :], strict=True))
    number = sum(_TIMM_STAGES[:stage]) + block
    return f"_blocks.{number}.{of.get(match[3], match[3])}.{match[4]}"


def identify(names, path: Path) -> str:
    """Return the backbone that has layers of these names.

    Raises:
        UserError: it is none of `FEATURES`.
    """
    if "_conv_stem.weight" in names:
        numbers = {name.split(".")[1] for name in names if name.startswith("_blocks.")}
        if len(numbers) == sum(_TIMM_STAGES):
            return "efficientnet_lite0"
        raise UserError(
            f"{path} is an EfficientNet with {len(numbers)} inverted residuals; known "
            f"is efficientnet_lite0, with {sum(_TIMM_STAGES)}."
        )
    depths = []
    for block in range(1, 5):
        pattern = rf"(?:denseblock{block}\.denselayer|layer{block}\.)(\d+)\."
        depths.append(len({m[1] for name in names if (m := re.match(pattern, name))}))
    dense = any(name.startswith("denseblock1.") for name in names)
    for backbone, expected in _DEPTHS.items():
        if expected == tuple(depths) and backbone.startswith("densenet") == dense:
            return backbone
    family = "DenseNet" if dense else "ResNet"
    raise UserError(
        f"{path} is a {family} with {', '.join(map(str, depths))} layers in its "
        f"blocks; known are {', '.join(_DEPTHS)}."
    )


def pair_layers(backbone: str):
    """Yield every layer's name in PyTorch's library and in Keras."""
    if backbone == "efficientnet_lite0":
        yield from _pair_efficientnet()
        return
    depths = enumerate(_DEPTHS[backbone], start=1)
    if backbone.startswith("densenet"):
        yield from [("conv0", "conv1_conv"), ("norm0", "conv1_bn"), ("norm5", "bn")]
        for block, depth in depths:
            for layer in range(1, depth + 1):
                of = f"denseblock{block}.denselayer{layer}"
                to = f"conv{block + 1}_block{layer}"
                for part, name in (
                    ("norm1", "0_bn"), ("conv1", "1_conv"),
                    ("norm2", "1_bn"), ("conv2", "2_conv"),
                ):  # fmt: skip
                    yield f"{of}.{part}", f"{to}_{name}"
            if block < 4:
                yield f"transition{block}.norm", f"pool{block + 1}_bn"
                yield f"transition{block}.conv", f"pool{block + 1}_conv"
        return
    yield from [("conv1", "conv1_conv"), ("bn1", "conv1_bn")]
    for stage, depth in depths:
        for block in range(depth):
            of, to = f"layer{stage}.{block}", f"conv{stage + 1}_block{block + 1}"
            for number in (1, 2, 3):
                yield f"{of}.conv{number}", f"{to}_{number}_conv"
                yield f"{of}.bn{number}", f"{to}_{number}_bn"
        yield f"layer{stage}.0.downsample.0", f"conv{stage + 1}_block1_0_conv"
        yield f"layer{stage}.0.downsample.1", f"conv{stage + 1}_block1_0_bn"


def _pair_efficientnet():
    yield from [("_conv_stem", "conv1_conv"), ("_bn0", "conv1_bn")]
    yield from [("_conv_head", "conv5_conv"), ("_bn1", "bn")]
    number = 0
    for stage, depth in enumerate(_STAGES, start=2):
        for block in range(1, depth + 1):
            to = f"conv{stage}_block{block}"
            expansion = f"pool{stage - 1}" if stage > 2 and block == 1 else to
            names = (
                f"{expansion}_conv", f"{expansion}_bn", f"{to}_2_depthwise",
                f"{to}_2_bn", f"{to}_3_conv", f"{to}_3_bn",
            )  # fmt: skip
            for of, name in zip(_INVERTED_RESIDUAL, names, strict=True):
                if number or of not in _INVERTED_RESIDUAL[:2]:
                    yield f"_blocks.{number}.{of}", name
            number += 1


def to_keras(tensor: np.ndarray, layer: str) -> np.ndarray:
    """Convolutions go from (out, in, height, width) to (height, width, in, out)."""
    if tensor.ndim != 4:
        return tensor
    # Depthwise ones have one input channel, and in Keras one output channel, each.
    return tensor.transpose((2, 3, 0, 1) if layer == "depthwise" else (2, 3, 1, 0))
