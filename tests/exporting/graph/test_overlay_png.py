import io

import matplotlib
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mscam.exporting.graph.overlay_png import draw_overlays
from keras_mscam.images.reader import read_grey
from keras_mscam.images.resize import resize_area

H, W = 48, 64
CYAN, BLACK = (0, 255, 255), (0, 0, 0)
# Grey 50 to 200, so that neither colour of a line occurs.
XRAY = np.random.default_rng(0).integers(50, 201, (H, W), np.uint8)


@tf.function(
    input_signature=[
        tf.TensorSpec([None, None, None, 1], tf.uint8),
        tf.TensorSpec([None, None, None]),
        tf.TensorSpec([None, 2], tf.int32),
        tf.TensorSpec([None, None, 4]),
        tf.TensorSpec([None, None]),
    ],
    autograph=False,
)
def draw_all(images, heatmaps, original_sizes, boxes, scores):
    return draw_overlays(images, heatmaps, original_sizes, boxes, scores)


def draw(image=XRAY, heat=0.0, size=None, boxes=(), scores=None):
    """Draw one; return its pixels, `(height, width, 3)`."""
    boxes = np.reshape(np.array(boxes, "float32"), (1, -1, 4))
    scores = np.ones(boxes.shape[:2]) if scores is None else [scores]
    heat = np.broadcast_to(np.asarray(heat, "float32"), image.shape)[None]
    size = image.shape if size is None else size
    (data,) = draw_all(image[None, ..., None], heat, [size], boxes, scores).numpy()
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "PNG" and picture.mode == "RGB"
    return np.asarray(picture)


def is_colour(picture, colour):
    return (picture == colour).all(axis=-1)


def make_mask(*slices):
    mask = np.zeros((H, W), bool)
    for rows, columns in slices:
        mask[rows, columns] = True
    return mask


def test_where_nothing_is_the_xray_is_left_as_it_is():
    np.testing.assert_array_equal(draw(), np.dstack([XRAY] * 3))


def test_the_hottest_place_has_the_last_colour():
    # 60% of the colour and 40% of the grey.
    last = np.array(matplotlib.colormaps["inferno"](1.0)[:3]) * 255
    expected = 0.6 * last + 0.4 * XRAY[..., None]
    assert np.abs(draw(heat=1.0) - expected).max() <= 0.51


def test_what_is_hotter_hides_more():
    heat = np.linspace(0, 1, W, dtype="float32")
    dark, bright = (np.full((H, W), level, np.uint8) for level in (50, 200))
    # Of the 150 levels between two X-rays, 1 - alpha are left.
    left = (draw(bright, heat)[0].astype(float) - draw(dark, heat)[0]).mean(axis=-1)
    assert (np.diff(left) <= 0.7).all()
    assert left[0] == 150 and left[-1] == pytest.approx(60, abs=1)
    # In the middle alpha is half of its maximum.
    assert left[W // 2] == pytest.approx(105, abs=3)


@pytest.mark.parametrize("heat", [np.nan, -np.inf, -3.0, np.inf])
def test_heat_that_is_none_is_cold(heat):
    np.testing.assert_array_equal(draw(heat=heat), np.dstack([XRAY] * 3))


def test_a_box_has_a_line_inside_and_a_rim_outside():
    # Of an original of twice the size: 20 to 60 becomes 10 to 30, 16 to 64 8 to 32.
    picture = draw(size=(2 * H, 2 * W), boxes=[[20, 16, 60, 64]])
    box, within = make_mask(np.s_[8:32, 10:30]), make_mask(np.s_[9:31, 11:29])
    around = make_mask(np.s_[7:33, 9:31])
    np.testing.assert_array_equal(is_colour(picture, CYAN), box & ~within)
    np.testing.assert_array_equal(is_colour(picture, BLACK), around & ~box)
    untouched = within | ~around
    np.testing.assert_array_equal(picture[untouched], np.dstack([XRAY] * 3)[untouched])


def test_boxes_may_overlap_or_hold_each_other():
    slices = np.s_[4:30, 4:40], np.s_[10:20, 10:20], np.s_[15:44, 30:60]
    boxes = [[x.start, y.start, x.stop, y.stop] for y, x in slices]
    lines = np.zeros((H, W), bool)
    for y, x in slices:
        lines |= make_mask((y, x)) & ~make_mask(
            (slice(y.start + 1, y.stop - 1), slice(x.start + 1, x.stop - 1))
        )
    np.testing.assert_array_equal(is_colour(draw(boxes=boxes), CYAN), lines)


def test_a_box_without_a_score_is_none():
    boxes = [[5, 5, 20, 20], [0, 0, 0, 0], [30, 30, 40, 40]]
    picture = draw(boxes=boxes, scores=[0.5, 0, 0])
    np.testing.assert_array_equal(picture, draw(boxes=boxes[:1]))


def test_boxes_at_and_beyond_the_border():
    picture = draw(boxes=[[0, 0, W, H]])
    np.testing.assert_array_equal(
        is_colour(picture, CYAN), ~make_mask(np.s_[1 : H - 1, 1 : W - 1])
    )
    outside = [[-50, -50, 2 * W, 2 * H], [W + 9, H + 9, W + 20, H + 20]]
    np.testing.assert_array_equal(draw(boxes=outside), draw())


def test_a_box_of_no_width_is_still_seen():
    picture = draw(boxes=[[20, 20, 20.2, 20.2]])
    assert np.argwhere(is_colour(picture, CYAN)).tolist() == [[20, 20]]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_boxes_that_are_no_numbers(number):
    assert draw(boxes=[[number, 3, 20, 20], [4, 5, 6, number]]).shape == (H, W, 3)


@pytest.mark.parametrize(
    ("original", "shape"),
    [
        ((480, 640), (48, 64)),
        ((1024, 1024), (64, 64)),
        ((2500, 2000), (64, 51)),  # 64 * 2000 / 2500 = 51.2
        ((30, 1000), (2, 64)),  # 64 * 30 / 1000 = 1.92
        ((1, 30_000), (1, 64)),
        ((1, 1), (64, 64)),
        ((0, 0), (48, 64)),
        ((0, 700), (48, 64)),
        ((65_535, 65_535), (64, 64)),
    ],
)
def test_a_picture_has_the_shape_of_the_original(original, shape):
    # A box around the right half of the original is around that of the picture.
    height, width = np.maximum(original, 1)
    picture = draw(size=original, boxes=[[width / 2, 0, width, height]])
    assert picture.shape == (*shape, 3)
    if 0 not in original and min(shape) > 4:
        columns = np.flatnonzero(is_colour(picture, CYAN).all(axis=0))
        assert columns.tolist() == [round(shape[1] / 2 + 1e-9), shape[1] - 1]


def test_several_and_none():
    heat = np.random.default_rng(1).random((3, H, W), "float32")
    images = np.stack([XRAY, XRAY[::-1], XRAY[:, ::-1]])[..., None]
    sizes = np.array([[H, W], [W, H], [100, 100]])
    boxes = np.array([[[1, 2, 30, 40]]] * 3, "float32")
    drawn = draw_all(images, heat, sizes, boxes, np.ones((3, 1))).numpy()
    for row, data in enumerate(drawn):
        alone = draw(images[row, ..., 0], heat[row], sizes[row], boxes[row])
        np.testing.assert_array_equal(Image.open(io.BytesIO(data)), alone)
    none = draw_all(images[:0], heat[:0], sizes[:0], boxes[:0], np.ones((0, 1)))
    assert none.shape == (0,) and none.dtype == tf.string


def test_lines_are_wider_in_large_pictures():
    xray = np.full((512, 400), 99, np.uint8)
    picture = draw(xray, boxes=[[100, 100, 300, 300]])
    across = is_colour(picture, CYAN)[200], is_colour(picture, BLACK)[200]
    assert np.flatnonzero(across[0]).tolist() == [100, 101, 298, 299]
    assert np.flatnonzero(across[1]).tolist() == [98, 99, 300, 301]


def test_a_real_picture_is_small(shared):
    paths = sorted((shared / "chestxray14-sample" / "images").glob("*.png"))[:3]
    images = np.stack([resize_area(read_grey(path), (256, 256)) for path in paths])
    y, x = np.mgrid[:256, :256] / 256
    heat = np.exp(-((x - 0.3) ** 2 + (y - 0.6) ** 2) / 0.05).astype("float32")
    boxes = np.array([[[100, 400, 500, 800]]] * 3, "float32")
    drawn = draw_all(
        images[..., None], np.stack([heat] * 3), [[1024, 1024]] * 3, boxes,
        np.ones((3, 1)),
    )  # fmt: skip
    assert max(map(len, drawn.numpy())) < 100_000
