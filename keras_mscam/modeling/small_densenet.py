"""A DenseNet small enough to train on two CPU cores in minutes."""

import keras
from keras import layers


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
