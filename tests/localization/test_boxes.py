import numpy as np
import pytest
from scipy import ndimage

from keras_mscam.localization.boxes import (
    find_boxes,
    normalize_map,
    propose_boxes,
    scale_boxes,
)


def boxes_by_scipy(mask):
    """Another implementation: label by SciPy, rectangles by its slices."""
    labelled, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    return sorted(
        (s[1].start, s[0].start, s[1].stop, s[0].stop)
        for s in ndimage.find_objects(labelled)
    )


class TestNormalizeMap:
    def test_by_hand(self):
        # From -1..3: (0 + 1) / 4 = 0.25
        np.testing.assert_allclose(normalize_map([[-1, 0, 3]]), [[0, 0.25, 1]])

    def test_all_negative_maps_keep_their_shape(self):
        np.testing.assert_allclose(normalize_map([[-9, -8, -5]]), [[0, 0.25, 1]])

    @pytest.mark.parametrize(
        "cam",
        [np.zeros((3, 4)), np.full((3, 4), -7.0), [[0, np.nan]], [[0, np.inf]]],
    )
    def test_maps_that_point_nowhere(self, cam):
        normalized = normalize_map(cam)
        assert (normalized == 0).all()
        assert len(find_boxes(normalized, 0.0)) == 0

    def test_no_overflow(self):
        np.testing.assert_allclose(
            normalize_map(np.array([[-3e38, 0, 3e38]], "float32")), [[0, 0.5, 1]]
        )


class TestFindBoxes:
    def test_by_hand(self):
        heatmap = np.zeros((5, 8))
        heatmap[1:3, 2:6] = 0.9  # rows 1 and 2, columns 2 to 5
        assert find_boxes(heatmap, 0.5).tolist() == [[2, 1, 6, 3]]

    def test_diagonal_neighbours_are_one_region(self):
        assert find_boxes(np.eye(4), 0.5).tolist() == [[0, 0, 4, 4]]

    def test_a_threshold_must_be_exceeded(self):
        heatmap = np.array([[0.5, 0.0, 0.6]])
        assert find_boxes(heatmap, 0.5).tolist() == [[2, 0, 3, 1]]

    @pytest.mark.parametrize("density", [0.02, 0.3, 0.6, 0.98])
    def test_equals_another_implementation(self, density):
        rng = np.random.default_rng(int(density * 100))
        for _ in range(50):
            mask = rng.random((rng.integers(1, 40), rng.integers(1, 40))) < density
            assert sorted(map(tuple, find_boxes(mask, 0.5))) == boxes_by_scipy(mask)

    def test_whole_map(self):
        assert find_boxes(np.ones((3, 7)), 0.5).tolist() == [[0, 0, 7, 3]]

    def test_nothing(self):
        assert find_boxes(np.zeros((3, 7)), 0.0).shape == (0, 4)


def test_scaling_keeps_the_axes_apart():
    # Height 10 to 30, width 20 to 50: x by 2.5, y by 3.
    assert scale_boxes([[2, 1, 6, 3]], (10, 20), (30, 50)).tolist() == [[5, 3, 15, 9]]
    assert scale_boxes(np.zeros((0, 4)), (10, 20), (30, 50)).shape == (0, 4)


def test_proposals_of_both_levels_in_the_original_frame():
    cam = np.full((4, 8), -1.0)
    cam[1:3, 2:6] = 0.0  # 127.5 of 255: above 60 alone
    cam[1, 3] = 1.0  # 255: above both
    boxes = propose_boxes(cam, (8, 8))
    assert sorted(map(tuple, boxes)) == [(2, 2, 6, 6), (3, 2, 4, 4)]


def test_a_rectangle_of_both_levels_is_proposed_once():
    cam = np.zeros((4, 8))
    cam[1:3, 2:6] = 1.0
    assert propose_boxes(cam, (4, 8)).tolist() == [[2, 1, 6, 3]]


def test_no_proposals_from_a_flat_map():
    assert propose_boxes(np.ones((4, 4)), (8, 8)).shape == (0, 4)
