import keras
import numpy as np
import pytest

from keras_mscam.modeling import build_classifier
from keras_mscam.training.batch_norm import (
    BatchNormStatistics,
    find_batch_norms,
    fuse_batch_norm,
)

RNG = np.random.default_rng(0)
BATCHES = [RNG.integers(0, 256, (4, 32, 32, 1)).astype("uint8") for _ in range(3)]


def build():
    keras.utils.set_random_seed(0)
    return build_classifier(2, (32, 32), "small_densenet", (1, 2))


def test_statistics_are_those_of_all_images():
    classifier = build()
    BatchNormStatistics(classifier, BATCHES).on_test_begin()
    backbone = classifier.get_layer("backbone")
    network = backbone.get_layer("small_densenet")
    before = keras.Model(network.input, network.get_layer("conv1_conv").output)
    normalize = backbone.get_layer("normalization")
    features = np.array(before(normalize(np.concatenate(BATCHES))))
    first = network.get_layer("conv1_bn")
    # All batches are of one size, so the mean square over them is that over all images.
    np.testing.assert_allclose(
        first.moving_mean, features.mean((0, 1, 2)), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        first.moving_variance, features.var((0, 1, 2)), rtol=1e-4
    )


def test_nothing_else_changes_and_training_goes_on_as_before():
    classifier = build()
    momenta = [layer.momentum for layer in find_batch_norms(classifier)]
    weights = [np.array(weight) for weight in classifier.trainable_weights]
    callback = BatchNormStatistics(classifier, BATCHES)
    callback.on_test_begin()
    first = [np.array(weight) for weight in classifier.weights]
    callback.on_test_begin()  # whatever the statistics were before, they come out equal
    for a, b in zip(first, classifier.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for a, b in zip(weights, classifier.trainable_weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert momenta == [layer.momentum for layer in find_batch_norms(classifier)]
    assert set(momenta) == {0.99}


def test_frozen_layers_keep_theirs():
    classifier = build()
    frozen = classifier.get_layer("backbone")
    frozen.trainable = False
    before = [np.array(weight) for weight in classifier.weights]
    BatchNormStatistics(classifier, BATCHES).on_test_begin()
    for a, b in zip(before, classifier.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def differentiate(layer, images):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = layer(images, training=True)
        loss = tf.reduce_sum(tf.cast(outputs, "float32") ** 3)
    gradients = tape.gradient(
        loss, [images, *(v.value for v in layer.trainable_variables)]
    )
    return [*gradients, outputs, *(v.value for v in layer.variables)]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("shape", [(4, 5, 7, 3), (1, 1, 1, 3)])
def test_the_fused_operation_computes_what_keras_does(policy, shape):
    import tensorflow as tf

    images = np.random.default_rng(0).normal(3.0, 2.0, shape).astype("float32")
    found = []
    for fuse in (False, True):
        inputs = keras.Input(shape[1:])
        layer = keras.layers.BatchNormalization(
            momentum=0.7, epsilon=1e-5, dtype=policy
        )
        network = keras.Model(inputs, layer(inputs))
        if fuse:
            fuse_batch_norm(network)
        dtype = layer.compute_dtype
        found.append(differentiate(layer, tf.constant(images, dtype)))
    tolerance = {"float32": 1e-4, "mixed_bfloat16": 0.1, "mixed_float16": 0.02}[policy]
    for kerass, fused in zip(*found, strict=True):
        assert kerass.dtype == fused.dtype
        np.testing.assert_allclose(
            np.array(kerass, "float32"), np.array(fused, "float32"),
            rtol=tolerance, atol=tolerance,
        )  # fmt: skip


def test_what_is_frozen_or_synchronized_is_left_to_keras(monkeypatch):
    import tensorflow as tf

    inputs = keras.Input((4, 4, 2))
    layer = keras.layers.BatchNormalization()
    network = keras.Model(inputs, layer(inputs))
    fuse_batch_norm(network)
    monkeypatch.setattr(tf.raw_ops, "FusedBatchNormV3", None)
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 2)).astype("float32")
    with pytest.raises(TypeError):
        layer(images, training=True)
    layer(images, training=False)
    layer.synchronized = True
    layer(images, training=True)
    layer.synchronized, layer.trainable = False, False
    layer(images, training=True)
