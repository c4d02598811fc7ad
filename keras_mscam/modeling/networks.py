"""Networks that `keras.applications` hasn't: small ones, and others of PyTorch's."""

from functools import partial

import keras
from keras import layers

#: Channels of the stem of both small networks.
_STEM = 24
#: Layers in each dense block of the small DenseNet, and channels that each adds.
_DENSE_BLOCKS = ((1, 16), (4, 32), (4, 32), (3, 32))
#: Residual blocks in each stage of the small ResNet, and their features; in the first,
#: as many as the stem has.
_STAGES = ((1, _STEM), (1, 48), (2, 80), (2, 112))


def build_small_densenet(input_shape: tuple[int, int, int]) -> keras.Model:
    """Build the backbone of the built-in set: four dense blocks, strides 4 to 32.

    The strides are DenseNet-121's, so that whatever is said of "block 2" holds for
    both, and so do the transitions that halve the channels. What differs is there for
    the speed of a CPU, where memory traffic costs more than arithmetic: one convolution
    as the stem, no bottlenecks, and little in block 1, whose maps are the largest.

    Its layers carry the names that `keras.applications` gives to theirs (`pool2_relu`
    is the activated end of block 1), so one rule finds the taps of both.

    Args:
        input_shape: `(height, width, channels)`.

    Returns:
        A functional model from `(batch, height, width, channels)` to the activated end
        of the last block, `(batch, height / 32, width / 32, features)`.

    Reference:
        Huang et al. 2017, "Densely connected convolutional networks", section 3.
    """
    inputs = keras.Input(input_shape)
    x = layers.ReLU(name="conv1_relu")(_convolve(inputs, _STEM, 4, "conv1", size=8))
    for index, (depth, growth_rate) in enumerate(_DENSE_BLOCKS, start=2):
        for layer in range(1, depth + 1):
            x = _dense_layer(x, growth_rate, f"conv{index}_block{layer}")
        if index <= len(_DENSE_BLOCKS):
            x = _transition(x, f"pool{index}")
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.ReLU(name="relu")(x)
    return keras.Model(inputs, x, name="small_densenet")


def _activate(x, name: str):
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
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


def build_small_resnet(input_shape: tuple[int, int, int]) -> keras.Model:
    """Build the residual backbone of the built-in set: four stages, strides 4 to 32.

    What `build_small_densenet` is to DenseNet-121, this is to ResNet-50: the strides
    and stages are the same, the size is for a CPU (one convolution as the stem, no
    bottlenecks, little in stage 1).

    Its layers carry the names that `keras.applications` gives to theirs
    (`conv3_block1_out` is the activated end of the first block of stage 2), so one
    rule finds the taps of both.

    Args:
        input_shape: `(height, width, channels)`.

    Returns:
        A functional model from `(batch, height, width, channels)` to the activated end
        of the last stage, `(batch, height / 32, width / 32, features)`.

    Reference:
        He et al. 2016, "Deep residual learning for image recognition", section 3.3 and
        Fig. 5, left.
    """
    inputs = keras.Input(input_shape)
    x = layers.ReLU(name="conv1_relu")(_convolve(inputs, _STEM, 4, "conv1", size=8))
    for stage, (depth, width) in enumerate(_STAGES, start=2):
        for block in range(1, depth + 1):
            stride = 2 if stage > 2 and block == 1 else 1
            x = _residual_block(x, width, stride, f"conv{stage}_block{block}")
    return keras.Model(inputs, x, name="small_resnet")


def _residual_block(x, width: int, stride: int, name: str):
    shortcut = x
    if stride > 1:
        shortcut = _convolve(x, width, stride, f"{name}_0", size=1)
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
    return layers.BatchNormalization(name=f"{name}_bn")(x)


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


def build_efficientnet_lite0(input_shape: tuple[int, int, int]) -> keras.Model:
    """Build EfficientNet-Lite0: 3.4 million weights, 14 times fewer products than
    DenseNet-121, and 8-bit integers lose little of it.

    It is EfficientNet-B0 without squeeze-and-excitation and with ReLU6. Stages are
    counted by stride, so that "block 2" ends at stride 8 as in a DenseNet, and layers
    are named to match: the expansion with which a stage begins is the transition of the
    stage before (`pool3_conv`, `pool3_bn`, `pool3_relu` end block 2). Inverted
    residuals end linear and narrow; behind the expansion, features are activated and
    six times as many.

    Args:
        input_shape: `(height, width, channels)`.

    Returns:
        A functional model from `(batch, height, width, channels)` to the activated end
        of the last block, `(batch, height / 32, width / 32, 1280)`.

    Reference:
        Sandler et al. 2018, "MobileNetV2: inverted residuals and linear bottlenecks",
        section 3; Tan and Le 2019, "EfficientNet", table 1. The Lite variants are
        described with their weights by the authors of EfficientNet, without a paper.
    """
    inputs = keras.Input(input_shape)
    x = layers.ReLU(6.0, name="conv1_relu")(_convolve(inputs, 32, 2, "conv1"))
    for stage, inverted_residuals in enumerate(_EFFICIENTNET_LITE0, start=2):
        for block, (kernel, width, stride) in enumerate(inverted_residuals, start=1):
            name = f"conv{stage}_block{block}"
            x = _inverted_residual(
                x,
                width,
                kernel,
                stride,
                name,
                expansion=f"pool{stage - 1}" if stage > 2 and block == 1 else name,
            )
    x = layers.Conv2D(1280, 1, use_bias=False, name="conv5_conv")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.ReLU(6.0, name="relu")(x)
    return keras.Model(inputs, x, name="efficientnet_lite0")


#: Kernel, features and stride of every inverted residual, by stage.
_EFFICIENTNET_LITE0 = (
    ((3, 16, 1), (3, 24, 2), (3, 24, 1)),
    ((5, 40, 2), (5, 40, 1)),
    ((3, 80, 2), (3, 80, 1), (3, 80, 1), (5, 112, 1), (5, 112, 1), (5, 112, 1)),
    ((5, 192, 2), (5, 192, 1), (5, 192, 1), (5, 192, 1), (3, 320, 1)),
)


def _inverted_residual(x, width, kernel, stride, name: str, expansion: str):
    y = x
    if name != "conv2_block1":
        y = _convolve(x, 6 * x.shape[-1], 1, expansion, size=1)
        y = layers.ReLU(6.0, name=f"{expansion}_relu")(y)
    y = layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, name=f"{name}_2_depthwise"
    )(y)
    y = layers.ReLU(6.0, name=f"{name}_2_relu")(_normalize(y, f"{name}_2"))
    y = _convolve(y, width, 1, f"{name}_3", size=1)
    if stride == 1 and x.shape[-1] == width:
        y = layers.Add(name=f"{name}_add")([x, y])
    return y


SMALL = {"small_densenet": build_small_densenet, "small_resnet": build_small_resnet}
#: By the name of the backbone.
NETWORKS = {
    **SMALL,
    "efficientnet_lite0": build_efficientnet_lite0,
    "resnet50_v1_5": partial(build_resnet_v1_5, depths=(3, 4, 6, 3)),
    "resnet101_v1_5": partial(build_resnet_v1_5, depths=(3, 4, 23, 3)),
    "resnet152_v1_5": partial(build_resnet_v1_5, depths=(3, 8, 36, 3)),
}
