"""Batch normalization in training: faster, and with statistics that hold."""

from collections.abc import Callable
from functools import partial

import keras
import numpy as np

from keras_mscam.modeling.classifier import find_leaves


class BatchNormStatistics(keras.callbacks.Callback):
    """Estimate batch-norm statistics on training images before every validation.

    The moving averages of training are over the last few batches, each seen by other
    weights. With small batches that makes the validation loss jump from epoch to epoch
    while the training loss falls ("precise BN").

    Args:
        network: the model that is trained; its layers' statistics are replaced.
        batches: images `(batch, height, width, 1)` of the training split, not
            augmented: an iterable that can be read again and again. Every batch counts
            alike.
        after_batch: called after each, as it takes a while until all are looked at.

    Reference:
        Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3.
    """

    def __init__(
        self,
        network: keras.Model,
        batches,
        after_batch: Callable[[], None] = lambda: None,
    ):
        super().__init__()
        self.network = _TrainingMode(network)
        self.layers = find_batch_norms(network)
        self.batches = batches
        self.after_batch = after_batch

    def on_test_begin(self, logs=None):
        momenta = [layer.momentum for layer in self.layers]
        for layer in self.layers:
            layer.momentum = 0.0  # a layer then holds the statistics of its last batch
        means, squares = [], []
        try:
            for images in self.batches:
                self.network.predict_on_batch(np.asarray(images))
                found = [
                    (_to_numpy(layer.moving_mean), _to_numpy(layer.moving_variance))
                    for layer in self.layers
                ]
                means.append([mean for mean, _ in found])
                squares.append([variance + mean**2 for mean, variance in found])
                self.after_batch()
        finally:
            for layer, momentum in zip(self.layers, momenta, strict=True):
                layer.momentum = momentum
        for layer, mean, square in zip(
            self.layers, zip(*means, strict=True), zip(*squares, strict=True),
            strict=True,
        ):  # fmt: skip
            mean = np.mean(mean, axis=0)
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(np.mean(square, axis=0) - mean**2)


class SynchronizedBatchNorm(keras.callbacks.Callback):
    """Let TensorFlow's devices normalize by the whole batch, not each by its part.

    JAX's do so by themselves. Layers are synchronized within steps alone: a network
    that is saved so could not be read on JAX.
    """

    def __init__(self, network: keras.Model):
        super().__init__()
        self.layers = find_batch_norms(network)

    def on_train_batch_begin(self, batch, logs=None):
        self._synchronize(True)

    def on_train_batch_end(self, batch, logs=None):
        self._synchronize(False)

    def _synchronize(self, on: bool) -> None:
        for layer in self.layers:
            layer.synchronized = on


def fuse_batch_norm(network: keras.Model) -> None:
    """Let a single operation of TensorFlow normalize in training.

    Keras computes the same by twenty small ones, which each read and write all of the
    features: with it, a step of DenseNet-121 takes 0.77 times as long on a CPU, see
    experiments/benchmarks. What is saved of the network doesn't change.
    """
    for layer in find_batch_norms(network):
        if layer.scale and layer.center and layer.axis in (-1, 3):
            layer.call = partial(_normalize, layer)


def _normalize(layer, inputs, training=None, mask=None):
    """Do what `keras.layers.BatchNormalization.call` does."""
    if not (training and layer.trainable) or layer.synchronized or mask is not None:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    import tensorflow as tf

    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=layer.gamma.value,
        offset=layer.beta.value,
        mean=[],
        variance=[],
        epsilon=layer.epsilon,
    )
    # TensorFlow divides by one less than the count, Keras by the count.
    count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), variance.dtype)
    variance *= (count - 1) / count
    for average, value in (
        (layer.moving_mean, mean),
        (layer.moving_variance, variance),
    ):
        average.assign(average * layer.momentum + value * (1 - layer.momentum))
    return outputs


class _TrainingMode(keras.Model):
    """A network that normalizes by its batch also in `predict`."""

    def __init__(self, network: keras.Model):
        super().__init__(name="training_mode")
        self.network = network

    def call(self, images):
        return self.network(images, training=True)["logits"]


def find_batch_norms(network: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Return the layers of batch normalization that are trained, at any depth."""
    return [
        layer
        for layer in find_leaves(network).values()
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]


def _to_numpy(variable) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable).astype("float64")
