import keras
import numpy as np

from keras_mscam.modeling import build_classifier
from keras_mscam.training.batch_norm import BatchNormStatistics, find_batch_norms

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
