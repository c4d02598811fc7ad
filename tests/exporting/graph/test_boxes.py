import cv2
import numpy as np
import pytest
import tensorflow as tf

from keras_mscam.exporting.graph.map_boxes import extract_boxes, normalize_maps
from keras_mscam.localization import boxes as by_opencv

KEPT = 6
UNKNOWN = (None, None, None)


@pytest.fixture(scope="module")
def compiled():
    """Traced once, for every size and number of levels."""

    def propose(heatmaps, levels, min_area):
        return extract_boxes(heatmaps, levels, min_area, KEPT)

    specs = [
        tf.TensorSpec(UNKNOWN, tf.float32),
        tf.TensorSpec((None, None), tf.float32),
        tf.TensorSpec((), tf.float64),
    ]
    return tf.function(propose, input_signature=specs)


def propose(heatmap, levels, min_area=0.0, max_boxes=3):
    xyxy, scores = extract_boxes(
        tf.constant(heatmap, tf.float32)[None],
        tf.constant([levels]),
        min_area,
        max_boxes,
    )
    return xyxy[0].numpy().tolist(), scores[0].numpy().tolist()


class TestNormalizeMaps:
    def test_by_hand(self):
        # From -1..3: (0 + 1) / 4 = 0.25. Each map by itself.
        maps = normalize_maps(tf.constant([[[-1.0, 0, 3]], [[-9.0, -8, -5]]]))
        np.testing.assert_array_equal(maps, [[[0, 0.25, 1]], [[0, 0.25, 1]]])

    def test_exponential_by_hand(self):
        # One unit below the maximum is exp(-1), half a unit exp(-0.5).
        cams = tf.constant([[[1.0, 3]], [[1.0, 3]]])
        maps = normalize_maps(cams, "exponential", tf.constant([2.0, 4.0]))
        expected = [[[np.exp(-1), 1]], [[np.exp(-0.5), 1]]]
        np.testing.assert_allclose(maps, expected, rtol=1e-6)

    @pytest.mark.parametrize("normalization", ["min_max", "exponential"])
    def test_equals_the_one_for_a_single_map(self, normalization):
        rng = np.random.default_rng(0)
        cams = rng.normal(size=(60, 12, 17)).astype("float32")
        cams *= 10.0 ** rng.integers(-6, 7, (60, 1, 1))
        cams += rng.normal(size=(60, 1, 1)).astype("float32")
        units = np.abs(cams).mean((1, 2)) * rng.uniform(0.01, 2, 60).astype("float32")
        found = normalize_maps(cams, normalization, tf.constant(units))
        for cam, unit, heat in zip(cams, units, found.numpy(), strict=True):
            expected = by_opencv.normalize_map(cam, normalization, unit)
            np.testing.assert_allclose(heat, expected, rtol=0, atol=3e-7)

    @pytest.mark.parametrize("normalization", ["min_max", "exponential"])
    @pytest.mark.parametrize(
        "cam",
        [[0, 0], [-7, -7], [0, np.nan], [0, np.inf], [-np.inf, 0], [np.inf, -np.inf],
         [np.nan, np.nan], [-3e38, 3e38]],
    )  # fmt: skip
    def test_maps_that_point_nowhere(self, cam, normalization):
        # The others of the batch are not touched.
        cams = tf.constant([[[1.0, 3.0]], [cam], [[1.0, 3.0]]])
        maps = normalize_maps(cams, normalization, tf.constant([2.0] * 3)).numpy()
        assert not maps[1].any()
        assert (maps[[0, 2]].max((1, 2)) == 1).all()

    @pytest.mark.parametrize("unit", [0.0, -1.0, np.nan])
    def test_without_a_unit_a_map_points_nowhere(self, unit):
        maps = normalize_maps(
            tf.constant([[[0.0, 1]]]), "exponential", tf.constant([unit])
        )
        assert not maps.numpy().any()

    def test_no_maps(self):
        assert normalize_maps(tf.zeros((0, 3, 4))).shape == (0, 3, 4)


class TestByHand:
    def test_both_levels_by_falling_score(self):
        heatmap = np.zeros((4, 8))
        heatmap[1:3, 2:6], heatmap[1, 3] = 0.5, 1.0
        xyxy, scores = propose(heatmap, [0.25, 0.75])
        # The single pixel of 1; then 7 of 0.5 and one of 1; the last place is empty.
        assert xyxy == [[3, 1, 4, 2], [2, 1, 6, 3], [0, 0, 0, 0]]
        assert scores == [1, (7 * 0.5 + 1) / 8, 0]

    def test_a_level_must_be_exceeded(self):
        assert propose([[0.5, 0, 0.75]], [0.5])[0][:2] == [[2, 0, 3, 1], [0, 0, 0, 0]]

    def test_a_rectangle_of_both_levels_once_with_the_higher_score(self):
        heatmap = np.zeros((4, 8))
        heatmap[1:3, 2:6], heatmap[1, 2] = 1.0, 0.5
        xyxy, scores = propose(heatmap, [0.25, 0.75])
        assert xyxy == [[2, 1, 6, 3], [0, 0, 0, 0], [0, 0, 0, 0]]
        assert scores == [1, 0, 0]

    def test_equal_scores_by_top_left_bottom_right(self):
        heatmap = np.zeros((5, 6))
        heatmap[4, 0] = heatmap[2:4, 2] = heatmap[0, 5] = heatmap[2, 0] = 0.5
        xyxy, scores = propose(heatmap, [0.25], max_boxes=4)
        assert xyxy == [[5, 0, 6, 1], [0, 2, 1, 3], [2, 2, 3, 4], [0, 4, 1, 5]]
        assert scores == [0.5] * 4

    def test_equal_scores_of_two_levels_at_one_corner(self):
        # Above 0.25 all three, of mean 0.5; above 0.4375 the first and the last.
        xyxy, scores = propose([[0.5], [0.375], [0.625]], [0.25, 0.4375])
        assert xyxy == [[0, 2, 1, 3], [0, 0, 1, 1], [0, 0, 1, 3]]
        assert scores == [0.625, 0.5, 0.5]

    def test_small_regions_are_left_out(self):
        heatmap = np.zeros((4, 5))
        heatmap[0, 0], heatmap[2, 1:4] = 1, 1  # of 20 pixels 1 and 3
        assert propose(heatmap, [0.5], 0.1)[1] == [1, 0, 0]
        assert propose(heatmap, [0.5], 0.05)[1] == [1, 1, 0]

    def test_only_the_highest_scores_are_kept(self):
        xyxy, scores = propose([[0.75, 0, 0.5, 0, 1]], [0.25], max_boxes=2)
        assert xyxy == [[4, 0, 5, 1], [0, 0, 1, 1]]
        assert scores == [1, 0.75]

    def test_maps_have_levels_of_their_own(self):
        heatmaps = tf.constant([[[0.5, 0, 1]]] * 3)
        levels = tf.constant([[0.25, 1.0], [0.25, 0.75], [1.0, 1.5]])
        _, scores = extract_boxes(heatmaps, levels, 0.0, 4)
        assert scores.numpy().tolist() == [[1, 0.5, 0, 0], [1, 0.5, 0, 0], [0] * 4]

    @pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 5), (2, 4, 0), (2, 4, 5)])
    def test_nothing(self, compiled, shape):
        xyxy, scores = compiled(np.zeros(shape, "f"), np.zeros((shape[0], 2), "f"), 0)
        assert xyxy.shape == (shape[0], KEPT, 4)
        assert not xyxy.numpy().any() and not scores.numpy().any()


def draw_maps(rng, count, size):
    """Heat maps of many kinds: smooth, noisy, in steps, sparse, full, flat."""
    height, width = size
    y, x = np.indices(size)
    stripes = [
        (y + x) % 2,
        (y + x) % 3 == 0,
        (y - x) % 3 == 0,
        x % 2,
        y % 2,
        y & x == 0,
    ]
    angle, radius = np.arctan2(y - height / 2, x - width / 2), np.hypot(*(y, x))
    maps = []
    for index in range(count):
        noise = rng.random(size, "float32")
        coarse = rng.random((rng.integers(1, 9), rng.integers(1, 9)), "float32")
        smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
        stripe = stripes[rng.integers(len(stripes))] * np.float32(rng.random())
        kind = index % 10
        if kind == 0:
            heat = smooth
        elif kind == 1:
            heat = noise
        elif kind == 2:  # steps of a fifth: regions tie, pixels are at the level
            heat = rng.integers(0, 6, size) / 5
        elif kind == 3:  # steps of 1 / 255, smooth
            heat = np.rint(255 * smooth) / 255
        elif kind == 4:
            heat = (noise < rng.random()) * rng.random()
        elif kind == 5:
            heat = stripe
        elif kind == 6:  # broken stripes
            heat = np.where(noise < 0.1, noise, stripe)
        elif kind == 7:  # what exponential normalization gives: most is tiny
            heat = np.exp((smooth - smooth.max()) / 0.03)
        elif kind == 8:  # spirals, one inside the other
            turns = rng.integers(1, 4) * angle / (2 * np.pi) + radius * rng.random()
            heat = np.where(turns % 1 < 0.5, smooth, 0)
        else:
            heat = np.full(size, rng.choice([0, 0.2, 0.5, 1]))
        maps.append(heat)
    return np.stack(maps).astype("float32")


def test_ten_thousand_maps_equal_opencv(compiled):
    """Every box, every score and their order, to the last bit."""
    rng = np.random.default_rng(0)
    grid = [60 / 255, 180 / 255, 0.2, 0.4, 0.6, 0.05, 0.9, 1.0]
    differ = found = 0
    for _ in range(100):
        size = tuple(rng.integers(1, 48, 2).tolist())
        heatmaps = draw_maps(rng, 100, size)
        levels = rng.choice(grid, (100, rng.integers(1, 4)))
        min_area = float(rng.choice([0.0, 0.01, 0.05]))
        xyxy, scores = compiled(heatmaps, levels.astype("float32"), min_area)
        for index, heatmap in enumerate(heatmaps):
            cut = tuple(levels[index].tolist())
            expected = by_opencv.extract_boxes(heatmap, size, cut, min_area, KEPT)
            count = len(expected.scores)
            boxes = np.zeros((KEPT, 4), "float32")
            boxes[:count] = expected.xyxy
            heats = np.zeros(KEPT, "float32")
            heats[:count] = expected.scores
            equal = (xyxy[index].numpy() == boxes).all()
            differ += not (equal and (scores[index].numpy() == heats).all())
            found += count
    assert differ == 0
    assert found > 15_000  # the comparison is not of nothing


def test_maps_of_no_use_have_no_boxes():
    cams = np.random.default_rng(0).normal(size=(6, 20, 30)).astype("float32")
    cams[1] = 3
    cams[2, 4, 5] = np.nan
    cams[3, 4, 5] = np.inf
    cams[4, 4, 5] = -np.inf
    levels = tf.constant([[0.0, 0.5]] * 6)
    _, scores = extract_boxes(normalize_maps(tf.constant(cams)), levels, 0.0, 4)
    assert (scores.numpy() > 0).any(1).tolist() == [
        True,
        False,
        False,
        False,
        False,
        True,
    ]


def test_in_a_saved_model(compiled, tmp_path):
    module = tf.Module()
    module.extract_boxes = compiled
    tf.saved_model.save(module, str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    heatmaps = draw_maps(np.random.default_rng(0), 40, (31, 45))
    arguments = heatmaps, np.full((40, 1), 0.3, "float32"), 0.01
    for found, expected in zip(
        loaded.extract_boxes(*arguments), compiled(*arguments), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
