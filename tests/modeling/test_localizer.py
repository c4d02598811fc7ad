import cv2
import keras
import numpy as np
import pytest

from keras_mscam.modeling import build_classifier, build_localizer
from keras_mscam.modeling.localizer import build_bilinear_matrix

SIZE = (64, 96)


def to_numpy(outputs):
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


def build(blocks=(2, 3, 4), **kwargs):
    keras.utils.set_random_seed(1)
    classifier = build_classifier(
        3, SIZE, backbone="small_densenet", blocks=blocks, **kwargs
    )
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(len(blocks)), size=3).T
    classifier.get_layer("block_combination").relevance_weights.assign(weights)
    for block in blocks:
        classifier.get_layer(f"head_block{block}").bias.assign(rng.normal(size=3))
    return classifier, weights.astype("float32")


IMAGE = np.random.default_rng(2).integers(0, 256, (2, *SIZE, 1)).astype("uint8")


@pytest.mark.parametrize("blocks", [(2, 3, 4), (4,), (1, 2, 3, 4)])
def test_mean_of_every_map_plus_bias_is_its_logit(blocks):
    classifier, weights = build(blocks)
    logits = to_numpy(classifier(IMAGE))
    maps = to_numpy(build_localizer(classifier)(IMAGE))
    combined = 0
    for index, block in enumerate(blocks):
        bias = keras.ops.convert_to_numpy(
            classifier.get_layer(f"head_block{block}").bias
        )
        logit = maps[f"cam_block{block}"].mean((1, 2)) + bias
        np.testing.assert_allclose(logit, logits[f"logits_block{block}"], atol=1e-5)
        combined = combined + weights[index] * logit
    np.testing.assert_allclose(combined, logits["logits"], atol=1e-5)
    np.testing.assert_allclose(
        maps["probabilities"], 1 / (1 + np.exp(-logits["logits"])), atol=1e-6
    )


def test_mean_of_the_attention_plus_merged_bias_is_the_merged_logit():
    # Bilinear enlargement repeats the outermost cells half a cell outwards and so
    # keeps the mean only of maps that are flat there: test it on such maps.
    classifier, weights = build()
    flat = np.full((1, *SIZE, 1), 128, "uint8")
    kernel_free = [classifier.get_layer(f"head_block{block}") for block in (2, 3, 4)]
    for head in kernel_free:
        head.kernel.assign(keras.ops.zeros_like(head.kernel))
    maps, logits = to_numpy(build_localizer(classifier)(flat)), classifier(flat)
    bias = sum(
        w * keras.ops.convert_to_numpy(head.bias)
        for w, head in zip(weights, kernel_free, strict=True)
    )
    np.testing.assert_allclose(
        maps["attention"].mean((1, 2)) + bias,
        keras.ops.convert_to_numpy(logits["logits"]),
        atol=1e-6,
    )


def test_attention_is_the_convex_combination_of_enlarged_maps():
    classifier, weights = build()
    maps = to_numpy(build_localizer(classifier)(IMAGE))
    # OpenCV's INTER_LINEAR has half-pixel centres and repeats the border, too.
    height, width = SIZE
    expected = sum(
        weights[index]
        * np.stack(
            [cv2.resize(cam, (width, height)) for cam in maps[f"cam_block{block}"]]
        )
        for index, block in enumerate((2, 3, 4))
    )
    assert maps["attention"].shape == (2, *SIZE, 3)
    np.testing.assert_allclose(maps["attention"], expected, atol=1e-4)


def test_maps_keep_their_sign():
    attention = to_numpy(build_localizer(build()[0])(IMAGE))["attention"]
    assert attention.min() < 0 < attention.max()


def test_a_bright_spot_lights_up_where_it_is():
    # With the kernel of one block reading one feature, its map peaks at the tap's cell
    # under the spot: rows and columns are not swapped on the way.
    classifier, _ = build((2,))
    head = classifier.get_layer("head_block2")
    cells = []
    for row, column in [(12, 76), (52, 20)]:
        image = np.zeros((1, *SIZE, 1), "uint8")
        image[0, row - 4 : row + 4, column - 4 : column + 4] = 255
        head.kernel.assign(keras.ops.ones_like(head.kernel))
        spot = to_numpy(build_localizer(classifier)(image))["cam_block2"]
        dark = to_numpy(build_localizer(classifier)(image * 0))["cam_block2"]
        change = np.abs(spot - dark)[0, ..., 0]
        cells.append(np.unravel_index(change.argmax(), change.shape))
    for cell, expected in zip(cells, [(12 / 8, 76 / 8), (52 / 8, 20 / 8)], strict=True):
        assert abs(cell[0] + 0.5 - expected[0]) <= 1.5
        assert abs(cell[1] + 0.5 - expected[1]) <= 1.5


def test_shares_the_weights_of_the_classifier():
    classifier, _ = build()
    localizer = build_localizer(classifier)
    assert {id(w) for w in localizer.weights} == {id(w) for w in classifier.weights}
    before = to_numpy(localizer(IMAGE))["cam_block4"]
    head = classifier.get_layer("head_block4")
    head.kernel.assign(2 * head.kernel)
    np.testing.assert_allclose(
        to_numpy(localizer(IMAGE))["cam_block4"], 2 * before, rtol=1e-5
    )


@pytest.mark.parametrize("pooling", ["lse", "pcam"])
def test_other_poolings_have_maps_too(pooling):
    classifier, _ = build(pooling=pooling)
    maps = to_numpy(build_localizer(classifier)(IMAGE))
    assert maps["cam_block2"].shape == (2, 8, 12, 3)
    assert np.isfinite(maps["attention"]).all()


def test_other_fusion_weights_take_the_place_of_the_relevance_weights():
    classifier, weights = build()
    fusion_weights = np.random.default_rng(3).uniform(0, 5, weights.shape)
    maps = to_numpy(build_localizer(classifier, (20, 30), fusion_weights)(IMAGE))
    expected = sum(
        row * np.stack([cv2.resize(cam, (30, 20)) for cam in maps[f"cam_block{block}"]])
        for row, block in zip(fusion_weights, (2, 3, 4), strict=True)
    )
    np.testing.assert_allclose(maps["attention"], expected, atol=1e-3)
    np.testing.assert_allclose(
        maps["relevance_weights"], np.stack([weights] * len(IMAGE)), atol=1e-6
    )


def test_probabilities_are_calibrated_on_request():
    classifier, _ = build()
    slopes, intercepts = np.array([0.5, 1, 2]), np.array([-1, 0, 3])
    logits = to_numpy(classifier(IMAGE))["logits"]
    localizer = build_localizer(classifier, platt_scaling=(slopes, intercepts))
    np.testing.assert_allclose(
        to_numpy(localizer(IMAGE))["probabilities"],
        1 / (1 + np.exp(-(slopes * logits + intercepts))),
        atol=1e-6,
    )


def test_can_be_saved(tmp_path):
    classifier, weights = build()
    localizer = build_localizer(
        classifier, (16, 24), weights, (np.ones(3), np.zeros(3))
    )
    localizer.save(tmp_path / "localizer.keras")
    again = keras.saving.load_model(tmp_path / "localizer.keras")
    before, after = to_numpy(localizer(IMAGE)), to_numpy(again(IMAGE))
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_allclose(before[name], after[name], atol=1e-5)


@pytest.mark.parametrize("size, from_size", [(7, 3), (3, 7), (5, 5), (4, 1), (256, 8)])
def test_bilinear_matrix_resizes_as_keras_does(size, from_size):
    column = np.random.default_rng(0).normal(size=(1, from_size, 1, 1))
    expected = keras.ops.image.resize(
        column.astype("float32"), (size, 1), "bilinear", antialias=False
    )
    found = build_bilinear_matrix(size, from_size) @ column[0, :, :, 0]
    np.testing.assert_allclose(
        found, keras.ops.convert_to_numpy(expected)[0, :, :, 0], atol=1e-5
    )
