"""From outputs to boxes, with maps of 2 x 3 cells in which every number is known."""

import numpy as np
import pytest

from keras_mscam.inference.contract import Contract
from keras_mscam.inference.find_boxes import find_boxes, find_positives, fuse_positives

# Each block has its hottest cell: above on the left, below on the right.
FIRST, SECOND = np.zeros((2, 2, 3), "float32")
FIRST[0, 0], SECOND[1, 2] = 1, 1


def make_contract(**changes):
    arguments = {
        "name": "toy", "pathologies": ("Mass", "Nodule"), "blocks": (3, 4),
        "image_size": (2, 3), "attention_size": (2, 3),
        "relevance_weights": ((0.5, 0.5), (0.5, 0.5)),
        "fusion_weights": ((1.0, 0.8), (0.0, 0.4)),
        "slopes": (1.0, 1.0), "intercepts": (0.0, 0.0),
        "probability_thresholds": (0.5, 0.25), "normalization": "min_max",
        "map_scales": (1.0, 1.0), "shown_threshold": 0.4, "shown_min_area": 0.0,
        "shown_max_area": 1.0, "shown_max_boxes": 2,
    }  # fmt: skip
    return Contract(**{**arguments, **changes})


def make_outputs(probabilities):
    images = len(probabilities)
    return {
        "probabilities": np.array(probabilities, "float32"),
        "cam_block3": np.tile(FIRST[None, ..., None], (images, 1, 1, 2)),
        "cam_block4": np.tile(SECOND[None, ..., None], (images, 1, 1, 2)),
    }


SIZES = np.array([[20, 30], [4, 9]])
# A cell of the first image is 10 x 10 pixels, of the second 2 high and 3 wide.
MASS, NODULE = (0, 0, 3, 2), [(0, 0, 10, 10), (20, 10, 30, 20)]


def test_boxes_of_what_is_positive():
    # The first image shows a Nodule alone: 0.8 and 0.4, or 1 and a half once scaled.
    # The second shows a Mass alone, whose map is the first block's.
    outputs = make_outputs([[0.4, 0.5], [0.8, 0.2]])
    boxes, scores = find_boxes(make_contract(), outputs, SIZES)
    assert boxes.shape == (2, 2, 2, 4) and scores.shape == (2, 2, 2)
    assert boxes.dtype == scores.dtype == np.float32
    assert boxes[0, 1].tolist() == [list(box) for box in NODULE]
    np.testing.assert_allclose(scores[0], [[0, 0], [0.5 * 1, 0.5 * 0.5]])
    assert boxes[1, 0].tolist() == [list(MASS), [0, 0, 0, 0]]
    np.testing.assert_allclose(scores[1], [[0.8, 0], [0, 0]])
    assert not boxes[0, 0].any() and not boxes[1, 1].any()


def test_no_more_boxes_than_the_contract_has():
    outputs = make_outputs([[0.4, 0.5]])
    boxes, scores = find_boxes(make_contract(shown_max_boxes=1), outputs, SIZES)
    assert boxes[0, 1].tolist() == [list(NODULE[0])]
    assert scores[0, 1].tolist() == [0.5]


def test_regions_smaller_than_the_least_are_none():
    outputs = make_outputs([[0.4, 0.5]])
    for least, found in ((1 / 6, 2), (0.2, 0)):  # of 6 cells
        _, scores = find_boxes(make_contract(shown_min_area=least), outputs, SIZES)
        assert (scores > 0).sum() == found


def test_maps_that_are_given_are_taken():
    outputs = make_outputs([[0.4, 0.5]])
    boxes, scores = find_boxes(make_contract(), outputs, SIZES, {(0, 0): SECOND})
    assert boxes[0, 0, 0].tolist() == list(NODULE[1])
    assert scores[0, 0, 0] == pytest.approx(0.4) and not scores[0, 1].any()


def test_a_threshold_is_reached_and_none_never():
    contract = make_contract(probability_thresholds=(0.5, None))
    found = find_positives(contract, np.array([[0.5, 1.0], [0.49, 1.0]]))
    assert found.tolist() == [[True, False], [False, False]]


def test_maps_are_fused_where_they_are_wanted_and_scaled():
    contract = make_contract(normalization="exponential", map_scales=(0.5, 2.0))
    fused = fuse_positives(contract, make_outputs([[0.5, 0.2], [0.9, 0.25]]))
    assert sorted(fused) == [(0, 0), (1, 0), (1, 1)]
    # exp((value - highest) / scale): Mass has 1 and 0, Nodule 0.8, 0.4 and 0.
    far = np.exp(-1 / 0.5)
    np.testing.assert_allclose(fused[1, 0], [[1, far, far], [far] * 3], rtol=1e-6)
    near, zero = np.exp(-0.4 / 2), np.exp(-0.8 / 2)
    expected = [[1, zero, zero], [zero, zero, near]]
    np.testing.assert_allclose(fused[1, 1], expected, rtol=1e-6)
    assert fused[1, 1].dtype == np.float32
