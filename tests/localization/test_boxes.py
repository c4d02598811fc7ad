import numpy as np
import pytest
from scipy import ndimage

from keras_mscam.localization.boxes import (
    PredictedBoxes,
    extract_boxes,
    find_boxes,
    find_peak,
    normalize_map,
    scale_boxes,
    select_shown,
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
        assert len(find_boxes(normalized, 0.0).xyxy) == 0

    def test_no_overflow(self):
        np.testing.assert_allclose(
            normalize_map(np.array([[-3e38, 0, 3e38]], "float32")), [[0, 0.5, 1]]
        )


class TestFindBoxes:
    def test_by_hand(self):
        heatmap = np.zeros((5, 8))
        heatmap[1:3, 2:6] = 0.9  # rows 1 and 2, columns 2 to 5
        assert find_boxes(heatmap, 0.5).xyxy.tolist() == [[2, 1, 6, 3]]

    def test_diagonal_neighbours_are_one_region(self):
        assert find_boxes(np.eye(4), 0.5).xyxy.tolist() == [[0, 0, 4, 4]]

    def test_a_threshold_must_be_exceeded(self):
        heatmap = np.array([[0.5, 0.0, 0.6]])
        assert find_boxes(heatmap, 0.5).xyxy.tolist() == [[2, 0, 3, 1]]

    @pytest.mark.parametrize("density", [0.02, 0.3, 0.6, 0.98])
    def test_equals_another_implementation(self, density):
        rng = np.random.default_rng(int(density * 100))
        for _ in range(50):
            mask = rng.random((rng.integers(1, 40), rng.integers(1, 40))) < density
            found = find_boxes(mask.astype(float), 0.5).xyxy
            assert sorted(map(tuple, found)) == boxes_by_scipy(mask)

    def test_whole_map(self):
        assert find_boxes(np.ones((3, 7)), 0.5).xyxy.tolist() == [[0, 0, 7, 3]]

    def test_nothing(self):
        assert find_boxes(np.zeros((3, 7)), 0.0).xyxy.shape == (0, 4)


def test_scaling_keeps_the_axes_apart():
    # Height 10 to 30, width 20 to 50: x by 2.5, y by 3.
    assert scale_boxes([[2, 1, 6, 3]], (10, 20), (30, 50)).tolist() == [[5, 3, 15, 9]]
    assert scale_boxes(np.zeros((0, 4)), (10, 20), (30, 50)).shape == (0, 4)


class TestExponential:
    def test_by_hand(self):
        # One unit below the maximum is exp(-1), the maximum itself 1.
        heatmap = normalize_map([[1.0, 3.0]], "exponential", scale=2.0)
        np.testing.assert_allclose(heatmap, [[np.exp(-1), 1]], rtol=1e-6)

    def test_the_unit_is_the_maps_own_deviation_by_default(self):
        # Of -1 and 3 the deviation is 2: two of them below the maximum.
        heatmap = normalize_map([[-1.0, 3.0]], "exponential")
        np.testing.assert_allclose(heatmap, [[np.exp(-2), 1]], rtol=1e-6)

    def test_a_contrast_far_beyond_the_unit_does_not_overflow(self):
        heatmap = normalize_map([[-1e30, 1e30]], "exponential", scale=1e-3)
        np.testing.assert_array_equal(heatmap, [[0, 1]])

    @pytest.mark.parametrize("unit", [0.0, np.nan])
    def test_without_a_unit_a_map_points_nowhere(self, unit):
        assert not normalize_map([[0.0, 1.0]], "exponential", unit).any()


class TestScores:
    def test_mean_heat_of_the_region_not_of_the_rectangle(self):
        heatmap = np.zeros((3, 4))
        heatmap[0, 0], heatmap[1, 1] = 0.6, 0.8  # diagonal: the rectangle is 2 by 2
        predicted = find_boxes(heatmap, 0.5)
        np.testing.assert_allclose(predicted.scores, [0.7])

    def test_small_regions_are_left_out(self):
        heatmap = np.zeros((4, 5))
        heatmap[0, 0], heatmap[2, 1:4] = 1, 1  # of 20 pixels 1 and 3
        assert find_boxes(heatmap, 0.5, min_area=0.1).xyxy.tolist() == [[1, 2, 4, 3]]
        assert len(find_boxes(heatmap, 0.5, min_area=0.05).xyxy) == 2

    def test_only_the_highest_scores_are_kept(self):
        heatmap = np.array([[0.9, 0, 0.7, 0, 0.8]])
        predicted = extract_boxes(heatmap, (1, 5), (0.5,), max_boxes=2)
        assert predicted.xyxy.tolist() == [[0, 0, 1, 1], [4, 0, 5, 1]]
        np.testing.assert_allclose(predicted.scores, [0.9, 0.8])


class TestFindPeak:
    def test_centre_of_the_pixel_in_the_original_frame(self):
        cam = np.full((4, 8), -5.0)
        cam[3, 1] = -1.0  # centre (1.5, 3.5); scaled by 2 in x and 10 in y
        assert find_peak(cam, (40, 16)) == (3.0, 35.0)

    def test_the_first_of_equals(self):
        assert find_peak([[0.0, 1, 1]], (1, 3)) == (1.5, 0.5)

    @pytest.mark.parametrize("cam", [np.ones((2, 2)), [[np.nan, 1]], [[np.inf, 1]]])
    def test_nowhere(self, cam):
        assert find_peak(cam, (8, 8)) is None


def test_proposals_of_both_levels_in_the_original_frame():
    heatmap = np.zeros((4, 8))
    heatmap[1:3, 2:6] = 0.5  # 127.5 of 255: above 60 alone
    heatmap[1, 3] = 1.0  # 255: above both
    predicted = extract_boxes(heatmap, (8, 8))
    # The higher score first: the single pixel of 1, then 7 of 0.5 and one of 1.
    assert predicted.xyxy.tolist() == [[3, 2, 4, 4], [2, 2, 6, 6]]
    np.testing.assert_allclose(predicted.scores, [1, (7 * 0.5 + 1) / 8])


def test_a_rectangle_of_both_levels_is_proposed_once_with_the_higher_score():
    heatmap = np.zeros((4, 8))
    heatmap[1:3, 2:6] = 1.0
    heatmap[1, 2] = 0.5  # the corner is above 60 alone: the same rectangle, less heat
    predicted = extract_boxes(heatmap, (4, 8))
    assert predicted.xyxy.tolist() == [[2, 1, 6, 3]]
    np.testing.assert_allclose(predicted.scores, [1])


def test_no_proposals_from_a_flat_map():
    assert extract_boxes(np.zeros((4, 4)), (8, 8)).xyxy.shape == (0, 4)


@pytest.mark.parametrize(
    "xyxy, kept",
    [
        ([[2, 2, 4, 4], [0, 0, 9, 9]], [0]),  # around a hotter one
        ([[0, 0, 9, 9], [2, 2, 4, 4]], [0]),  # in a hotter one
        ([[0, 0, 9, 5], [0, 0, 5, 9]], [0, 1]),  # they overlap
        ([[0, 0, 4, 4], [4, 0, 8, 4]], [0, 1]),  # they touch
        ([[0, 0, 4, 4], [0, 0, 8, 4], [5, 0, 6, 1]], [0]),  # the last in the second
        ([], []),
    ],
)
def test_of_nested_boxes_the_one_of_the_highest_score_stays(xyxy, kept):
    xyxy = np.array(xyxy, float).reshape(-1, 4)
    scores = np.linspace(1, 0.5, len(xyxy))
    found = select_shown(PredictedBoxes(xyxy, scores), (9, 9), 1.0, 3)
    assert found.xyxy.tolist() == xyxy[kept].tolist()
    assert found.scores.tolist() == scores[kept].tolist()


def test_a_map_with_a_box_over_most_of_it_points_nowhere():
    # Of 8 x 10 pixels: 40, just half; and 2.
    xyxy = np.array([[7, 2, 8, 4], [0, 0, 5, 8]])
    boxes = PredictedBoxes(xyxy, np.array([0.75, 0.5]))
    assert select_shown(boxes, (8, 10), 0.5, 3).scores.tolist() == [0.75, 0.5]
    # The large one counts even if it isn't among the highest scores.
    for most in (1, 3):
        assert select_shown(boxes, (8, 10), 0.49, most).xyxy.shape == (0, 4)
    assert select_shown(boxes, (8, 10), 0.5, 1).scores.tolist() == [0.75]


@pytest.mark.parametrize("normalization", ["min_max", "exponential"])
@pytest.mark.parametrize("cam", [np.eye(2), np.zeros((2, 3)), np.full((2, 3), np.nan)])
def test_every_normalized_map_is_float32(cam, normalization):
    assert normalize_map(cam, normalization, 1.0).dtype == np.float32


def test_scores_that_only_float64_tells_apart_are_in_the_order_of_places():
    heatmap = np.zeros((3, 3))
    heatmap[0, 0], heatmap[2, 2] = 0.5, 0.5 + 1e-9
    found = extract_boxes(heatmap, (3, 3), (0.25,))
    assert found.xyxy.tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
