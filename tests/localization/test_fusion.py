import keras
import numpy as np
import pytest

from keras_mscam.localization.fusion import build_fusion, fuse_maps, measure_deviations
from keras_mscam.modeling import build_classifier, build_localizer
from keras_mscam.modeling.localizer import get_cams


def test_relevance_keeps_the_learned_weights():
    fusion = build_fusion("relevance", np.array([[0.25], [0.75]]), np.array([[2], [4]]))
    np.testing.assert_allclose(fusion.weights, [[0.25], [0.75]])
    np.testing.assert_allclose(fusion.scale, [0.25 * 2 + 0.75 * 4])


def test_standardized_divides_every_block_by_its_own_deviation():
    fusion = build_fusion(
        "standardized", np.array([[0.25], [0.75]]), np.array([[2.0], [4.0]])
    )
    np.testing.assert_allclose(fusion.weights, [[1 / 4], [1 / 8]])
    np.testing.assert_allclose(fusion.scale, [1])


def test_a_map_that_never_varies_has_no_say():
    fusion = build_fusion("standardized", np.ones((2, 1)) / 2, np.array([[0.0], [2.0]]))
    np.testing.assert_allclose(fusion.weights, [[0], [0.25]])


def test_deviations_over_parts_are_those_over_all_images():
    rng = np.random.default_rng(0)
    first, second = rng.normal(3, 2, (5, 4, 6, 2)), rng.normal(-1, 1, (3, 4, 6, 2))
    deviations = measure_deviations([[first], [second]])
    together = np.concatenate([first, second]).std(axis=(0, 1, 2))
    np.testing.assert_allclose(deviations, together[None])


def test_deviations_leave_out_maps_that_are_not_finite():
    maps = np.random.default_rng(0).normal(size=(4, 3, 3, 2))
    broken = maps.copy()
    broken[1, 0, 0, 0] = np.nan
    expected = [maps[[0, 2, 3], ..., 0].std(), maps[..., 1].std()]
    np.testing.assert_allclose(measure_deviations([[broken]]), [expected])


@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_fused_maps_are_those_of_the_localizer(size):
    """Equation 3 of the paper twice: by Keras in the model, by OpenCV from maps."""
    keras.utils.set_random_seed(0)
    classifier = build_classifier(3, size, "small_densenet")
    combination = classifier.get_layer("block_combination")
    weights = np.array([[0.2, 0.5, 0], [0.3, 0.5, 0], [0.5, 0, 1]], "float32")
    combination.relevance_weights.assign(weights)
    images = np.random.default_rng(0).uniform(0, 255, (2, *size, 1))
    expected = keras.ops.convert_to_numpy(
        build_localizer(classifier)(images)["attention"]
    )
    cams = keras.Model(classifier.input, get_cams(classifier))(images)
    cams = [keras.ops.convert_to_numpy(cam) for cam in cams.values()]
    for row in range(2):
        fused = fuse_maps([cam[row] for cam in cams], weights, size)
        np.testing.assert_allclose(
            np.moveaxis(fused, 0, -1), expected[row], atol=1e-5 * np.ptp(expected)
        )


def test_one_pathology_keeps_its_axis():
    fused = fuse_maps([np.ones((2, 2, 1))], np.array([[2.0]]), (4, 6))
    assert fused.shape == (1, 4, 6)
    np.testing.assert_allclose(fused, 2)
