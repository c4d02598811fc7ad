import cv2
import numpy as np
import pytest
import tensorflow as tf

from keras_mscam.exporting.graph.regions import find_regions

UNKNOWN = (None, None, None)
SIZES = [(1, 1), (1, 37), (37, 1), (2, 9), (40, 24), (31, 33), (64, 64)]


@pytest.fixture(scope="module")
def compiled():
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
    return sorted(rows, key=lambda row: (row[1], row[0], row[3], row[2]))


def assert_equal(found, masks, heat):
    maps, xyxy, areas, scores = (values.numpy() for values in found)
    assert (np.diff(maps) >= 0).all()
    for index, mask in enumerate(masks):
        here = maps == index
        expected = regions_by_opencv(mask, heat[index])
        assert xyxy[here].tolist() == [list(row[:4]) for row in expected]
        assert areas[here].tolist() == [row[4] for row in expected]
        assert scores[here].tolist() == [row[5] for row in expected]


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


class TestByHand:
    def test_diagonal_neighbours_are_one_region(self):
        masks = np.array([[[1, 0, 0, 0], [0, 1, 0, 1]]], bool)
        heat = np.array([[[0.5, 0, 0, 0], [0, 1, 0, 0.25]]], "float32")
        regions = find_regions(masks, heat)
        # The first is of (0.5 + 1) / 2.
        assert regions.maps.numpy().tolist() == [0, 0]
        assert regions.xyxy.numpy().tolist() == [[0, 0, 2, 2], [3, 1, 4, 2]]
        assert regions.areas.numpy().tolist() == [2, 1]
        assert regions.scores.numpy().tolist() == [0.75, 0.25]

    def test_by_map_then_top_then_left(self):
        masks = np.zeros((2, 4, 6), bool)
        masks[0, 0, 5] = masks[0, 2:, 0] = masks[0, 1:, 2] = True
        masks[1, 3, 3] = masks[1, 0, 0] = True
        regions = find_regions(masks, masks.astype("float32"))
        assert regions.maps.numpy().tolist() == [0, 0, 0, 1, 1]
        assert regions.xyxy.numpy().tolist() == [
            [5, 0, 6, 1], [2, 1, 3, 4], [0, 2, 1, 4], [0, 0, 1, 1], [3, 3, 4, 4],
        ]  # fmt: skip

    def test_left_is_that_of_the_region_not_of_its_first_row(self):
        # Both begin in row 0; the second one's run is further right, its box is not.
        masks = np.array([[[0, 1, 0, 0, 1], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]]], bool)
        regions = find_regions(masks, masks.astype("float32"))
        assert regions.xyxy.numpy().tolist() == [[0, 0, 5, 3], [1, 0, 2, 1]]

    def test_neither_rows_nor_maps_run_into_one_another(self):
        # The last column and the first of the next row; the last row and the first of
        # the next map.
        masks = np.zeros((2, 3, 4), bool)
        masks[0, 0, 3] = masks[0, 1, 0] = masks[0, 2, 2:] = masks[1, 0] = True
        regions = find_regions(masks, masks.astype("float32"))
        assert regions.xyxy.numpy().tolist() == [
            [3, 0, 4, 1], [0, 1, 1, 2], [2, 2, 4, 3], [0, 0, 4, 1],
        ]  # fmt: skip

    def test_masks_may_share_a_map(self):
        masks = np.array([[[1, 1]], [[0, 1]], [[1, 0]], [[1, 1]]], bool)
        heat = np.array([[[0.25, 0.75]], [[0.5, 1.0]]], "float32")
        regions = find_regions(masks, heat)
        assert regions.scores.numpy().tolist() == [0.5, 0.75, 0.5, 0.75]

    @pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 5), (2, 4, 0), (2, 4, 5)])
    def test_nothing(self, compiled, shape):
        regions = compiled(np.zeros(shape, bool), np.zeros(shape, "float32"))
        assert regions.maps.shape == (0,)
        assert regions.xyxy.shape == (0, 4)


class TestAgainstOpenCV:
    @pytest.mark.parametrize("size", SIZES)
    def test_shapes(self, compiled, size):
        masks = np.stack([draw(size) for draw in SHAPES.values()])
        masks = np.concatenate([masks, ~masks])
        heat = np.random.default_rng(0).random(masks.shape, "float32")
        assert_equal(compiled(masks, heat), masks, heat)

    def test_random_masks(self, compiled):
        rng = np.random.default_rng(0)
        for _ in range(40):
            shape = (25, *rng.integers(1, 40, 2))
            masks = rng.random(shape) < rng.random((25, 1, 1))
            heat = rng.random(shape, "float32")
            assert_equal(compiled(masks, heat), masks, heat)

    def test_heat_outside_the_regions_leaves_no_trace(self, compiled):
        # From 1 down to 1e-30, all of them summed on the way to a region.
        rng = np.random.default_rng(0)
        heat = np.exp(-70 * rng.random((20, 30, 50))).astype("float32")
        masks = heat > 2e-4
        assert_equal(compiled(masks, heat), masks, heat)


def test_a_spiral_is_one_line():
    # What the drawing is for: one region, and no pixel of it has three neighbours.
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], "uint8")
    for pitch in (2, 3):
        mask = draw_spiral((40, 24), pitch)
        assert len(regions_by_opencv(mask, mask)) == 1
        count = cv2.filter2D(mask.astype("uint8"), -1, cross, borderType=0)
        assert count[mask].max() == 3  # itself and two


def test_in_a_saved_model(compiled, tmp_path):
    module = tf.Module()
    module.find_regions = compiled
    tf.saved_model.save(module, str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    masks = np.stack([draw((40, 24)) for draw in SHAPES.values()])
    heat = np.random.default_rng(0).random(masks.shape, "float32")
    assert_equal(loaded.find_regions(masks, heat), masks, heat)
