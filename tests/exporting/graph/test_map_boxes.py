"""Maps to boxes in a graph against NumPy and OpenCV, to the last bit."""

import cv2
import numpy as np
import pytest
import tensorflow as tf
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from keras_mscam.exporting.graph.map_boxes import (
    connect,
    extract_boxes,
    find_regions,
    normalize_maps,
)
from keras_mscam.localization import boxes as by_opencv

KEPT = 6
UNKNOWN = (None, None, None)
SIZES = [(1, 1), (1, 37), (37, 1), (2, 9), (40, 24), (31, 33), (64, 64)]


@pytest.fixture(scope="module")
def compiled():
    """Traced once, for every size and threshold."""

    def find(heatmaps, threshold, min_area, max_area):
        return extract_boxes(heatmaps, threshold, min_area, max_area, KEPT)

    specs = [
        tf.TensorSpec(UNKNOWN, tf.float32),
        tf.TensorSpec((), tf.float32),
        tf.TensorSpec((), tf.float64),
        tf.TensorSpec((), tf.float64),
    ]
    return tf.function(find, input_signature=specs)


def find(heatmap, threshold, min_area=0.0, max_area=1.0, max_boxes=3):
    heatmaps = tf.constant(heatmap, tf.float32)[None]
    xyxy, scores = extract_boxes(heatmaps, threshold, min_area, max_area, max_boxes)
    return xyxy[0].numpy().tolist(), scores[0].numpy().tolist()


@pytest.fixture(scope="module")
def regions_compiled():
    """Traced once, for every size."""
    specs = [tf.TensorSpec(UNKNOWN, tf.bool), tf.TensorSpec(UNKNOWN, tf.float32)]
    return tf.function(find_regions, input_signature=specs)


def regions_by_opencv(mask, heat):
    """Another implementation: rows of left, top, right, bottom, area and mean heat."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype("uint8"), connectivity=8
    )
    rows = []
    for label in range(1, count):
        x, y, width, height, area = stats[label].tolist()
        mean = np.float32(heat[labels == label].astype("float64").mean())
        rows.append((x, y, x + width, y + height, area, mean))
    return sorted(rows)


def assert_equal(found, masks, heat):
    found = [values.numpy() for values in found]
    for index, mask in enumerate(masks):
        here = found[0] == index
        xyxy, areas, scores = (values[here].tolist() for values in found[1:])
        rows = [(*box, *rest) for box, *rest in zip(xyxy, areas, scores, strict=True)]
        assert sorted(rows) == regions_by_opencv(mask, heat[index])


def draw_spiral(size, pitch=2):
    """One line from the corner to the middle, `pitch - 1` pixels from itself."""
    mask = np.zeros(size, bool)
    edge = 0
    while 2 * edge < min(size):
        top, left, bottom, right = edge, edge, size[0] - edge, size[1] - edge
        mask[top, max(left - pitch, 0) : right] = True  # comes from the ring around
        mask[top:bottom, right - 1] = True
        mask[bottom - 1, left:right] = True
        mask[min(top + pitch, bottom - 1) : bottom, left] = True
        edge += pitch
    return mask


def draw_arms(size, arms, turns):
    """`arms` spirals, one inside the other."""
    y, x = np.indices(size) - (np.array(size)[:, None, None] - 1) / 2
    phase = turns * np.hypot(x, y) / max(size) + arms * np.arctan2(y, x) / (2 * np.pi)
    return phase % 1 < 0.4


def draw_comb(size):
    """Teeth that only the last row connects."""
    mask = np.zeros(size, bool)
    mask[:, ::2] = True
    mask[-1] = True
    return mask


def draw_fractal(size):
    """Sierpinski's triangle: joined at single pixels, at every scale."""
    y, x = np.indices(size)
    return (x & y) == 0


SHAPES = {
    "nothing": lambda size: np.zeros(size, bool),
    "everything": lambda size: np.ones(size, bool),
    "spiral": draw_spiral,
    "wide spiral": lambda size: draw_spiral(size, 3),
    "nested spirals": lambda size: draw_arms(size, 2, 12),
    "five nested spirals": lambda size: draw_arms(size, 5, 8),
    "checkerboard": lambda size: np.indices(size).sum(0) % 2 == 0,
    "odd checkerboard": lambda size: np.indices(size).sum(0) % 2 == 1,
    "isolated pixels": lambda size: (np.indices(size) % 2 == 0).all(0),
    "columns": lambda size: np.indices(size)[1] % 2 == 0,
    "rows": lambda size: np.indices(size)[0] % 2 == 0,
    "comb": draw_comb,
    "hanging comb": lambda size: draw_comb(size)[::-1],
    "lying comb": lambda size: draw_comb(size[::-1]).T,
    "diagonals": lambda size: (np.indices(size).sum(0) % 3) == 0,
    "other diagonals": lambda size: (np.subtract(*np.indices(size)) % 3) == 0,
    "triangles": draw_fractal,
    "inverse triangles": lambda size: ~draw_fractal(size),
    "rings": lambda size: draw_arms(size, 0, 14),
}


@tf.function(input_signature=[tf.TensorSpec(s, tf.int32) for s in ([None], [None], [])])
def connect_compiled(first, second, count):
    return connect(first, second, count)


def path_edges(count):
    return np.stack([np.arange(count - 1), np.arange(1, count)], axis=1)


class TestConnect:
    def test_by_hand(self):
        # 0-3, 3-1 and 2-4 are connected, 5 is alone.
        roots = connect_compiled([0, 2, 3], [3, 4, 1], 6)
        assert roots.numpy().tolist() == [0, 0, 2, 0, 2, 5]

    def test_nothing(self):
        assert connect_compiled([], [], 3).numpy().tolist() == [0, 1, 2]
        assert connect_compiled([], [], 0).shape == (0,)

    def test_equals_another_implementation(self):
        rng = np.random.default_rng(0)
        for _ in range(50):
            count = rng.integers(2, 60)
            edges = rng.integers(0, count, (rng.integers(1, 90), 2))
            roots = connect_compiled(*edges.T, count).numpy()
            matrix = coo_array((np.ones(len(edges)), edges.T), (count, count))
            _, expected = connected_components(matrix, directed=False)
            # The same partition: each label of one goes with one label of the other.
            pairs = set(zip(roots.tolist(), expected.tolist(), strict=True))
            assert len(pairs) == len(set(roots.tolist())) == expected.max() + 1

    def test_long_paths_in_any_order(self):
        rng = np.random.default_rng(0)
        for names in (np.arange(4096), rng.permutation(4096)):
            first, second = names[path_edges(4096)].T
            assert not connect_compiled(first, second, 4096).numpy().any()


class TestRegionsByHand:
    def test_diagonal_neighbours_are_one_region(self):
        masks = np.array([[[1, 0, 0, 0], [0, 1, 0, 1]]], bool)
        heat = np.array([[[0.5, 0, 0, 0], [0, 1, 0, 0.25]]], "float32")
        regions = find_regions(masks, heat)
        # The first is of (0.5 + 1) / 2.
        assert regions.masks.numpy().tolist() == [0, 0]
        assert regions.xyxy.numpy().tolist() == [[0, 0, 2, 2], [3, 1, 4, 2]]
        assert regions.areas.numpy().tolist() == [2, 1]
        assert regions.scores.numpy().tolist() == [0.75, 0.25]

    def test_neither_rows_nor_maps_run_into_one_another(self):
        # The last column and the first of the next row; the last row and the first of
        # the next map.
        masks = np.zeros((2, 3, 4), bool)
        masks[0, 0, 3] = masks[0, 1, 0] = masks[0, 2, 2:] = masks[1, 0] = True
        regions = find_regions(masks, masks.astype("float32"))
        assert sorted(regions.xyxy.numpy().tolist()) == [
            [0, 0, 4, 1], [0, 1, 1, 2], [2, 2, 4, 3], [3, 0, 4, 1],
        ]  # fmt: skip


class TestRegionsAgainstOpenCV:
    @pytest.mark.parametrize("size", SIZES)
    def test_shapes(self, regions_compiled, size):
        masks = np.stack([draw(size) for draw in SHAPES.values()])
        masks = np.concatenate([masks, ~masks])
        heat = np.random.default_rng(0).random(masks.shape, "float32")
        assert_equal(regions_compiled(masks, heat), masks, heat)

    def test_random_masks(self, regions_compiled):
        rng = np.random.default_rng(0)
        for _ in range(20):
            shape = (25, *rng.integers(1, 40, 2))
            masks = rng.random(shape) < rng.random((25, 1, 1))
            heat = rng.random(shape, "float32")
            assert_equal(regions_compiled(masks, heat), masks, heat)

    def test_heat_outside_the_regions_leaves_no_trace(self, regions_compiled):
        # From 1 down to 1e-30, all of them summed on the way to a region.
        rng = np.random.default_rng(0)
        heat = np.exp(-70 * rng.random((20, 30, 50))).astype("float32")
        masks = heat > 2e-4
        assert_equal(regions_compiled(masks, heat), masks, heat)


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
    def test_regions_by_falling_score(self):
        heatmap = np.zeros((4, 8))
        heatmap[1:3, 2:6], heatmap[1, 3], heatmap[3, 7] = 0.5, 1.0, 0.75
        xyxy, scores = find(heatmap, 0.25)
        # The single pixel; then 7 of 0.5 and one of 1; the last place is empty.
        assert xyxy == [[7, 3, 8, 4], [2, 1, 6, 3], [0, 0, 0, 0]]
        assert scores == [0.75, (7 * 0.5 + 1) / 8, 0]

    def test_a_threshold_must_be_exceeded(self):
        assert find([[0.5, 0, 0.75]], 0.5)[0][:2] == [[2, 0, 3, 1], [0, 0, 0, 0]]

    def test_a_region_inside_of_another_s_rectangle(self):
        heatmap = np.zeros((5, 5))
        heatmap[[0, 4]], heatmap[:, [0, 4]], heatmap[2, 2] = 0.5, 0.5, 1
        xyxy, scores = find(heatmap, 0.25)  # the ring is left out
        assert xyxy == [[2, 2, 3, 3], [0, 0, 0, 0], [0, 0, 0, 0]]
        assert scores == [1, 0, 0]

    def test_no_gap_where_one_is_left_out(self):
        heatmap = np.zeros((5, 7))
        heatmap[[0, 4], :5], heatmap[:, [0, 4]], heatmap[2, 2] = 0.75, 0.75, 0.625
        heatmap[0, 6] = 0.5
        xyxy, scores = find(heatmap, 0.25)
        assert xyxy == [[0, 0, 5, 5], [6, 0, 7, 1], [0, 0, 0, 0]]
        assert scores == [0.75, 0.5, 0]

    def test_equal_scores_by_top_left_bottom_right(self):
        heatmap = np.zeros((5, 6))
        heatmap[4, 0] = heatmap[2:4, 2] = heatmap[0, 5] = heatmap[2, 0] = 0.5
        xyxy, scores = find(heatmap, 0.25, max_boxes=4)
        assert xyxy == [[5, 0, 6, 1], [0, 2, 1, 3], [2, 2, 3, 4], [0, 4, 1, 5]]
        assert scores == [0.5] * 4

    def test_small_regions_are_left_out(self):
        heatmap = np.zeros((4, 5))
        heatmap[0, 0], heatmap[2, 1:4] = 1, 1  # of 20 pixels 1 and 3
        assert find(heatmap, 0.5, 0.1)[1] == [1, 0, 0]
        assert find(heatmap, 0.5, 0.05)[1] == [1, 1, 0]

    def test_a_map_with_a_box_over_most_of_it_points_nowhere(self):
        heatmap = np.zeros((4, 4))
        heatmap[0, :], heatmap[:2, 0], heatmap[3, 3] = 0.5, 0.5, 1  # 8 pixels and 1
        assert find(heatmap, 0.25, max_area=0.5)[1] == [1, 0.5, 0]
        assert find(heatmap, 0.25, max_area=0.49)[1] == [0, 0, 0]
        # It counts even if it isn't among the highest scores.
        assert find(heatmap, 0.25, max_area=0.49, max_boxes=1)[1] == [0]

    def test_only_the_highest_scores_are_kept(self):
        xyxy, scores = find([[0.75, 0, 0.5, 0, 1]], 0.25, max_boxes=2)
        assert xyxy == [[4, 0, 5, 1], [0, 0, 1, 1]]
        assert scores == [1, 0.75]

    def test_every_map_has_its_own_boxes(self):
        heatmaps = tf.constant([[[0.5, 0, 1.0]], [[0, 0, 0]], [[0, 0.75, 0]]])
        xyxy, scores = extract_boxes(heatmaps, 0.25, 0.0, 1.0, 2)
        assert scores.numpy().tolist() == [[1, 0.5], [0, 0], [0.75, 0]]
        assert xyxy[2, 0].numpy().tolist() == [1, 0, 2, 1]

    @pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 5), (2, 4, 0), (2, 4, 5)])
    def test_nothing(self, compiled, shape):
        xyxy, scores = compiled(np.zeros(shape, "f"), 0.0, 0, 1)
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
        threshold = float(np.float32(rng.choice(grid)))
        min_area = float(rng.choice([0.0, 0.01, 0.05]))
        max_area = float(rng.choice([0.25, 0.5, 1.0]))
        outputs = compiled(heatmaps, threshold, min_area, max_area)
        xyxy, scores = (values.numpy() for values in outputs)
        for index, heatmap in enumerate(heatmaps):
            expected = by_opencv.extract_boxes(heatmap, size, (threshold,), min_area)
            expected = by_opencv.select_shown(expected, size, max_area, KEPT)
            count = len(expected.scores)
            boxes = np.zeros((KEPT, 4), "float32")
            boxes[:count] = expected.xyxy
            heats = np.zeros(KEPT, "float32")
            heats[:count] = expected.scores
            equal = (xyxy[index] == boxes).all()
            differ += not (equal and (scores[index] == heats).all())
            found += count
    assert differ == 0
    assert found > 8_000  # the comparison is not of nothing


def test_maps_of_no_use_have_no_boxes():
    cams = np.random.default_rng(0).normal(size=(6, 20, 30)).astype("float32")
    cams[1] = 3
    cams[2, 4, 5] = np.nan
    cams[3, 4, 5] = np.inf
    cams[4, 4, 5] = -np.inf
    _, scores = extract_boxes(normalize_maps(tf.constant(cams)), 0.0, 0.0, 1.0, 4)
    assert (scores.numpy() > 0).any(1).tolist() == [
        True,
        False,
        False,
        False,
        False,
        True,
    ]
