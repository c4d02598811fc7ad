"""Backbones and their taps: where the features of each block are read."""

import os
import re
import warnings
from pathlib import Path
from typing import get_args

import keras

from keras_mscam.configs.choices import Backbone, Taps
from keras_mscam.errors import UserError
from keras_mscam.modeling.networks import NETWORKS, SMALL

_DENSENETS = {
    "densenet121": keras.applications.DenseNet121,
    "densenet169": keras.applications.DenseNet169,
    "densenet201": keras.applications.DenseNet201,
}
_RESNETS = {
    "resnet50": keras.applications.ResNet50,
    "resnet101": keras.applications.ResNet101,
    "resnet152": keras.applications.ResNet152,
}
BACKBONES = get_args(Backbone)
TAPS = get_args(Taps)
#: Mean and standard deviation of every channel, of grey values, that networks were
#: trained with: ImageNet's colours as PyTorch's libraries and the "torch" mode of
#: `keras.applications` have them; its "caffe" mode, in the order blue, green, red; -1
#: to 1 on three channels; TorchXRayVision's -1024 to 1024 on one; ours.
NORMALIZATIONS = {
    "imagenet": (
        [0.485 * 255, 0.456 * 255, 0.406 * 255],
        [0.229 * 255, 0.224 * 255, 0.225 * 255],
    ),
    "imagenet_caffe": ([103.939, 116.779, 123.68], [1.0, 1.0, 1.0]),
    "minus1_to_1": ([127.5] * 3, [127.5] * 3),
    "efficientnet_lite": ([127.0] * 3, [128.0] * 3),
    "torchxrayvision": ([127.5], [127.5 / 1024]),
    "grey": ([127.5], [64.0]),
}


def build_backbone(
    name: str,
    image_size: tuple[int, int],
    blocks: tuple[int, ...] = (2, 3, 4),
    taps: str = "activated",
    weights: str | Path | None = None,
    batch_norm_momentum: float = 0.99,
    normalization: str | None = None,
) -> keras.Model:
    """Build a backbone that gives the features at the end of each chosen block.

    Grey values go in as they are: the channels that the network wants and their
    normalization are part of the model, so training and serving cannot differ in them.

    In a DenseNet only the last block ends with a batch normalization and a ReLU of its
    own; earlier ends are raw concatenations. The taps here are `"activated"` by
    default: they share the normalization and ReLU with which the transition behind the
    block begins. That costs nothing, gives every head features of one kind (not
    negative, of unit scale before the ReLU), and has the shapes of the paper's F1 to
    F3. `"raw"` reads before them. ResNet stages: behind or before the last ReLU.

    Args:
        name: one of `BACKBONES`.
        image_size: `(height, width)`, at least 32 each. Of DenseNets they should be
            multiples of the last stride, else there is a warning.
        blocks: dense blocks (ResNet: stages) to read, rising, out of 1 to 4; strides
            4, 8, 16, 32. `(2, 3, 4)` is the paper's.
        taps: `"activated"` or `"raw"`.
        weights: `None` (Glorot), `"imagenet"` (downloaded by Keras), or a
            `.weights.h5` file of the `keras.applications` model without its top.
        batch_norm_momentum: share of the moving averages that a training step keeps.
        normalization: one of `NORMALIZATIONS`; by default that of the backbone in
            `keras.applications`, `"imagenet"` of ResNets V1.5, `"grey"` of small ones.

    Input shape:
        `(batch, height, width, 1)`, grey 0..255.

    Output shape:
        A list, one `(batch, height / stride, width / stride, features)` a block.

    Raises:
        UserError: an unknown name or tap, blocks that are none, or weights that
            cannot be had.

    Reference:
        Sedai et al. 2018, section 2 and Fig. 1.
    """
    _check(name, image_size, blocks, taps)
    mean, deviation = NORMALIZATIONS[normalization or default_normalization(name)]
    network = _build_network(name, (*image_size, len(mean)), weights)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = batch_norm_momentum
            # What published weights were trained with; Keras's own: 1.001e-5.
            layer.epsilon = 1e-3 if name == "efficientnet_lite0" else 1e-5
    features = [_tap(network, block, taps) for block in blocks]
    network = keras.Model(network.input, features, name=name)

    grey = keras.Input((*image_size, 1), name="image")
    channels = grey
    if len(mean) > 1:
        channels = keras.layers.Concatenate(name="channels")([grey] * len(mean))
    normalized = keras.layers.Normalization(
        mean=mean, variance=[value**2 for value in deviation], name="normalization"
    )(channels)
    return keras.Model(grey, keras.tree.flatten(network(normalized)), name="backbone")


def default_normalization(name: str) -> str:
    """Return how the ImageNet weights of a backbone want grey values normalized."""
    if name in SMALL:
        return "grey"
    if name == "efficientnet_lite0":
        return "efficientnet_lite"
    return "imagenet_caffe" if name in _RESNETS else "imagenet"


def _build_network(name, input_shape, weights) -> keras.Model:
    if name in NETWORKS:
        if weights == "imagenet":
            raise UserError(f"Keras has no ImageNet weights of {name}.")
        network = NETWORKS[name](input_shape)
    else:
        network = _build_application(name, input_shape, weights == "imagenet")
    if weights not in (None, "imagenet"):
        _load_weights(network, Path(weights))
    return network


def _build_application(name: str, input_shape, pretrained: bool) -> keras.Model:
    if pretrained and input_shape[-1] != 3:
        raise UserError(
            "The ImageNet weights take three channels: choose another --normalization."
        )
    try:
        return {**_DENSENETS, **_RESNETS}[name](
            include_top=False,
            input_shape=input_shape,
            weights="imagenet" if pretrained else None,
        )
    except Exception as error:  # whatever a download may end in
        if not pretrained:
            raise
        folder = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
        raise UserError(
            f"The ImageNet weights of {name} can't be downloaded ({error}). Without a "
            f"network, put {name}_weights_tf_dim_ordering_tf_kernels_notop.h5 of "
            f"keras.applications into {folder}, or give a file by --weights FILE."
        ) from error


def check_weights_file(path: Path) -> None:
    """Raise a `UserError` where a weights file is not there."""
    if not path.is_file():
        raise UserError(f"There is no weights file, and no folder of a run, {path}.")


def _load_weights(network: keras.Model, path: Path) -> None:
    check_weights_file(path)
    try:
        network.load_weights(path)
    except Exception as error:  # a damaged file ends in any of them
        raise UserError(f"{path} does not fit {network.name}: {error}") from error


def _tap(network: keras.Model, block: int, taps: str):
    if "resnet" in network.name:
        names = [layer.name for layer in network.layers]
        end = [n for n in names if n.startswith(f"conv{block + 1}_block")][-1]
        layer = network.get_layer(end)
        return layer.output if taps == "activated" else layer.input
    prefix = "" if block == 4 else f"pool{block + 1}_"
    if taps == "raw":
        return network.get_layer(f"{prefix}bn").input
    return network.get_layer(f"{prefix}relu").output


def _check(name, image_size, blocks, taps) -> None:
    if name not in BACKBONES:
        raise UserError(
            f"Unknown backbone {name!r}; choose one of {', '.join(BACKBONES)}."
        )
    if taps not in TAPS:
        raise UserError(f"Unknown taps {taps!r}; choose 'activated' or 'raw'.")
    if min(image_size) < 32:
        raise UserError(
            f"The image size {tuple(image_size)} is too small; both sides need "
            "32 pixels, the stride of the last block."
        )
    if not blocks or list(blocks) != sorted(set(blocks) & {1, 2, 3, 4}):
        raise UserError(
            f"blocks must be rising numbers out of 1, 2, 3, 4, but are {tuple(blocks)}."
        )
    stride = 2 ** (blocks[-1] + 1)
    if "densenet" in name and any(side % stride for side in image_size):
        height, width = image_size
        warnings.warn(
            f"The image size {height}x{width} is no multiple of {stride}: the maps of "
            f"{name} have no cells for the rest, and are stretched over it.",
            stacklevel=4,
        )


def find_block(path: str) -> int | None:
    """Return the block of a backbone that a variable belongs to, by its path.

    What normalizes the end of a block, and its transition, belong to it.

    Returns:
        0 for the stem, 1 to 4 for blocks; `None` outside of a backbone.

    Example:
        >>> find_block("conv3_block2_1_conv/kernel"), find_block("pool3_bn/gamma")
        (2, 2)
    """
    name = path.split("/")[-2]
    if name == "bn":
        return 4
    match = re.match(r"(?:conv|pool)(\d)_", name)
    return int(match[1]) - 1 if match else None
