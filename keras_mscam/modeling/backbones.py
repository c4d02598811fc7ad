"""Backbones and their taps: where the features of each block are read."""

import os
import re
from functools import partial
from pathlib import Path
from typing import get_args

import keras
from keras import layers

from keras_mscam.configs.choices import Backbone, Taps
from keras_mscam.errors import UserError

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
        image_size: `(height, width)`, at least 32 each.
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
    mean, deviation = NORMALIZATIONS[normalization or _default_normalization(name)]
    network = _build_network(name, (*image_size, len(mean)), weights)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = batch_norm_momentum
            layer.epsilon = 1e-5  # PyTorch's, whose weights may come; Keras's: 1.001e-5
    features = [_tap(network, block, taps) for block in blocks]
    network = keras.Model(network.input, features, name=name)

    grey = keras.Input((*image_size, 1), name="image")
    channels = grey
    if len(mean) > 1:
        channels = keras.layers.Concatenate(name="channels")([grey] * len(mean))
    normalized = keras.layers.Normalization(
        mean=mean, variance=[value**2 for value in deviation], name="normalization"
    )(channels)
    return keras.Model(grey, as_list(network(normalized)), name="backbone")


def _default_normalization(name: str) -> str:
    if name in _SMALL:
        return "grey"
    return "imagenet_caffe" if name in _RESNETS else "imagenet"


def _build_network(name, input_shape, weights) -> keras.Model:
    if name in _OURS:
        if weights == "imagenet":
            raise UserError(f"Keras has no ImageNet weights of {name}.")
        network = _OURS[name](input_shape)
    else:
        network = _build_application(name, input_shape, weights == "imagenet")
    if weights not in (None, "imagenet"):
        _load_weights(network, Path(weights))
    return network


def _build_application(name: str, input_shape, pretrained: bool) -> keras.Model:
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


def _load_weights(network: keras.Model, path: Path) -> None:
    if not path.is_file():
        raise UserError(f"There is no weights file, and no folder of a run, {path}.")
    try:
        network.load_weights(path)
    except (ValueError, OSError) as error:
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


def as_list(outputs) -> list:
    """Return the outputs of a model, which Keras does not wrap where there is one."""
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def build_small_densenet(
    input_shape: tuple[int, int, int],
    depths: tuple[int, ...] = (1, 4, 4, 3),
    growth_rates: tuple[int, ...] = (16, 32, 32, 32),
    stem_filters: int = 24,
) -> keras.Model:
    """Build the backbone of the built-in set: four dense blocks, strides 4 to 32.

    The strides are DenseNet-121's, so that whatever is said of "block 2" holds for
    both, and so do the transitions that halve the channels. What differs is there for
    the speed of a CPU, where memory traffic costs more than arithmetic: one convolution
    as the stem, no bottlenecks, and little in block 1, whose maps are the largest.

    Its layers carry the names that `keras.applications` gives to theirs (`pool2_relu`
    is the activated end of block 1), so one rule finds the taps of both.

    Args:
        input_shape: `(height, width, channels)`.
        depths: layers in each dense block.
        growth_rates: channels that each layer of a block adds.
        stem_filters: channels of the stem.

    Returns:
        A functional model from `(batch, height, width, channels)` to the activated end
        of the last block, `(batch, height / 32, width / 32, features)`.

    Reference:
        Huang et al. 2017, "Densely connected convolutional networks", section 3.
    """
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(
        stem_filters, 8, strides=4, padding="same", use_bias=False, name="conv1_conv"
    )(inputs)
    x = _activate(x, "conv1")
    for index, (depth, growth_rate) in enumerate(
        zip(depths, growth_rates, strict=True), start=2
    ):
        for layer in range(1, depth + 1):
            x = _dense_layer(x, growth_rate, f"conv{index}_block{layer}")
        if index <= len(depths):
            x = _transition(x, f"pool{index}")
    x = layers.BatchNormalization(epsilon=1.001e-5, name="bn")(x)
    x = layers.ReLU(name="relu")(x)
    return keras.Model(inputs, x, name="small_densenet")


def _activate(x, name: str):
    x = layers.BatchNormalization(epsilon=1.001e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _dense_layer(x, growth_rate: int, name: str):
    y = _activate(x, f"{name}_0")
    y = layers.Conv2D(
        growth_rate, 3, padding="same", use_bias=False, name=f"{name}_1_conv"
    )(y)
    return layers.Concatenate(name=f"{name}_concat")([x, y])


def _transition(x, name: str):
    x = _activate(x, name)
    x = layers.Conv2D(x.shape[-1] // 2, 1, use_bias=False, name=f"{name}_conv")(x)
    return layers.AveragePooling2D(2, strides=2, name=f"{name}_pool")(x)


def build_small_resnet(
    input_shape: tuple[int, int, int],
    depths: tuple[int, ...] = (1, 1, 2, 2),
    widths: tuple[int, ...] = (24, 48, 80, 112),
) -> keras.Model:
    """Build the residual backbone of the built-in set: four stages, strides 4 to 32.

    What `build_small_densenet` is to DenseNet-121, this is to ResNet-50: the strides
    and stages are the same, the size is for a CPU (one convolution as the stem, no
    bottlenecks, little in stage 1).

    Its layers carry the names that `keras.applications` gives to theirs
    (`conv3_block1_out` is the activated end of the first block of stage 2), so one
    rule finds the taps of both.

    Args:
        input_shape: `(height, width, channels)`.
        depths: residual blocks in each stage.
        widths: features of each stage.

    Returns:
        A functional model from `(batch, height, width, channels)` to the activated end
        of the last stage, `(batch, height / 32, width / 32, features)`.

    Reference:
        He et al. 2016, "Deep residual learning for image recognition", section 3.3 and
        Fig. 5, left.
    """
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(
        widths[0], 8, strides=4, padding="same", use_bias=False, name="conv1_conv"
    )(inputs)
    x = layers.ReLU(name="conv1_relu")(_normalize(x, "conv1"))
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), start=2):
        for block in range(1, depth + 1):
            stride = 2 if stage > 2 and block == 1 else 1
            x = _residual_block(x, width, stride, f"conv{stage}_block{block}")
    return keras.Model(inputs, x, name="small_resnet")


def _residual_block(x, width: int, stride: int, name: str):
    shortcut = x
    if stride > 1:
        shortcut = layers.Conv2D(
            width, 1, strides=stride, use_bias=False, name=f"{name}_0_conv"
        )(x)
        shortcut = _normalize(shortcut, f"{name}_0")
    y = _convolve(x, width, stride, f"{name}_1")
    y = layers.ReLU(name=f"{name}_1_relu")(y)
    y = _convolve(y, width, 1, f"{name}_2")
    y = layers.Add(name=f"{name}_add")([shortcut, y])
    return layers.ReLU(name=f"{name}_out")(y)


def _convolve(x, width: int, stride: int, name: str, size: int = 3, pad: int = 0):
    if pad:
        x = layers.ZeroPadding2D(pad, name=f"{name}_pad")(x)
    x = layers.Conv2D(
        width,
        size,
        strides=stride,
        padding="valid" if pad else "same",
        use_bias=False,
        name=f"{name}_conv",
    )(x)
    return _normalize(x, name)


def _normalize(x, name: str):
    return layers.BatchNormalization(epsilon=1.001e-5, name=f"{name}_bn")(x)


def build_resnet_v1_5(
    input_shape: tuple[int, int, int], depths: tuple[int, ...]
) -> keras.Model:
    """Build a ResNet V1.5: what PyTorch's libraries mean by ResNet-50, 101 and 152.

    `keras.applications` has V1, as in the paper of He et al.: there a stage halves its
    size in the 1x1 convolution with which its first bottleneck begins, here in the 3x3
    convolution after that. Weights fit both; their results are right in one.

    Convolutions are padded alike on all sides, as PyTorch does; Keras's own "same"
    leaves out the top and left where a stride of 2 meets an even size. Layers are named
    as in `keras.applications`.

    Args:
        input_shape: `(height, width, channels)`.
        depths: bottlenecks in each of the four stages.

    Returns:
        A functional model from `(batch, height, width, channels)` to the activated end
        of the last stage, `(batch, height / 32, width / 32, 2048)`.

    Reference:
        He et al. 2016, "Deep residual learning for image recognition", Fig. 5, right;
        Goyal et al. 2017, "Accurate, large minibatch SGD", section 5.1, for the place
        of the stride.
    """
    inputs = keras.Input(input_shape)
    x = _convolve(inputs, 64, 2, "conv1", size=7, pad=3)
    x = layers.ReLU(name="conv1_relu")(x)
    # Zeros are no larger than what a ReLU gives.
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    for stage, depth in enumerate(depths, start=2):
        for block in range(1, depth + 1):
            stride = 2 if stage > 2 and block == 1 else 1
            width = 64 * 2 ** (stage - 2)
            x = _bottleneck(x, width, stride, f"conv{stage}_block{block}")
    return keras.Model(inputs, x, name="resnet_v1_5")


def _bottleneck(x, width: int, stride: int, name: str):
    shortcut = x
    if x.shape[-1] != 4 * width:
        shortcut = _convolve(x, 4 * width, stride, f"{name}_0", size=1)
    y = layers.ReLU(name=f"{name}_1_relu")(_convolve(x, width, 1, f"{name}_1", size=1))
    y = _convolve(y, width, stride, f"{name}_2", pad=1)
    y = layers.ReLU(name=f"{name}_2_relu")(y)
    y = _convolve(y, 4 * width, 1, f"{name}_3", size=1)
    y = layers.Add(name=f"{name}_add")([shortcut, y])
    return layers.ReLU(name=f"{name}_out")(y)


_SMALL = {"small_densenet": build_small_densenet, "small_resnet": build_small_resnet}
_OURS = {
    **_SMALL,
    "resnet50_v1_5": partial(build_resnet_v1_5, depths=(3, 4, 6, 3)),
    "resnet101_v1_5": partial(build_resnet_v1_5, depths=(3, 4, 23, 3)),
    "resnet152_v1_5": partial(build_resnet_v1_5, depths=(3, 8, 36, 3)),
}
