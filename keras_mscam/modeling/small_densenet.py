"""A DenseNet small enough to train on two CPU cores in minutes."""

import keras
from keras import layers


def build_small_densenet(
    input_shape: tuple[int, int, int],
    depths: tuple[int, ...] = (2, 3, 4, 4),
    growth_rate: int = 16,
    stem_filters: int = 24,
) -> keras.Model:
    """Build the backbone of the built-in set: four dense blocks, strides 4 to 32.

    The plan is DenseNet-BC's, so that whatever is said of "block 2" holds for it as
    it does for DenseNet-121: the same strides, pre-activation bottlenecks, transitions
    that halve. Its layers carry the names that `keras.applications` gives to theirs
    (`pool2_relu` is the activated end of block 1), so one rule finds the taps of both.

    Args:
        input_shape: `(height, width, channels)`.
        depths: layers in each dense block.
        growth_rate: channels that each layer adds.
        stem_filters: channels of the stem.

    Returns:
        A functional model from `(batch, height, width, channels)` to the activated end
        of the last block, `(batch, height / 32, width / 32, features)`.

    Reference:
        Huang et al. 2017, "Densely connected convolutional networks", section 3.
    """
    inputs = keras.Input(input_shape)
    # One convolution goes down to a quarter, where DenseNet-121 takes a convolution and
    # a pooling: on a CPU, maps of half the input's size cost more than all that follows.
    x = layers.Conv2D(
        stem_filters, 8, strides=4, padding="same", use_bias=False, name="conv1_conv"
    )(inputs)
    x = _activate(x, "conv1")
    for index, depth in enumerate(depths):
        for layer in range(1, depth + 1):
            x = _dense_layer(x, growth_rate, f"conv{index + 2}_block{layer}")
        if index < len(depths) - 1:
            x = _transition(x, f"pool{index + 2}")
    x = layers.BatchNormalization(epsilon=1.001e-5, name="bn")(x)
    x = layers.ReLU(name="relu")(x)
    return keras.Model(inputs, x, name="small_densenet")


def _activate(x, name: str):
    x = layers.BatchNormalization(epsilon=1.001e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _dense_layer(x, growth_rate: int, name: str):
    y = _activate(x, f"{name}_0")
    y = layers.Conv2D(2 * growth_rate, 1, use_bias=False, name=f"{name}_1_conv")(y)
    y = _activate(y, f"{name}_1")
    y = layers.Conv2D(
        growth_rate, 3, padding="same", use_bias=False, name=f"{name}_2_conv"
    )(y)
    return layers.Concatenate(name=f"{name}_concat")([x, y])


def _transition(x, name: str):
    x = _activate(x, name)
    x = layers.Conv2D(x.shape[-1] // 2, 1, use_bias=False, name=f"{name}_conv")(x)
    return layers.AveragePooling2D(2, strides=2, name=f"{name}_pool")(x)
