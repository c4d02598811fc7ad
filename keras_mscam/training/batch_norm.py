"""Batch-norm statistics that hold for the weights as they are."""

from collections.abc import Callable

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
