"""A ResNet small enough to train on two CPU cores in minutes."""

import keras
from keras import layers


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


def _convolve(x, width: int, stride: int, name: str):
    x = layers.Conv2D(
        width, 3, strides=stride, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    return _normalize(x, name)


def _normalize(x, name: str):
    return layers.BatchNormalization(epsilon=1.001e-5, name=f"{name}_bn")(x)
