import math

import numpy as np
import pytest
import tensorflow as tf

from keras_mscam.data.augmentation import Draws, build_matrices, warp
from keras_mscam.data.records import Box

SIZE = (60, 90)


def build(rotation=0.0, shift=(0.0, 0.0), scale=1.0, flip=False, size=SIZE, to=None):
    """Return the matrix of one image; rotation in degrees."""
    draws = Draws(
        tf.constant([math.radians(rotation)], tf.float64),
        tf.constant([shift], tf.float64),
        tf.constant([scale], tf.float64),
        tf.constant([flip]),
        *[None] * 4,  # of grey values
    )
    return build_matrices(draws, size, to or size)


def move(image, matrix, to=None):
    return warp(image[None, ..., None], matrix, to or image.shape).numpy()[0, ..., 0]


def move_box(xyxy, matrix, size):
    """Return the upright rectangle around a box's moved corners, inside an image."""
    left, top, right, bottom = xyxy
    corners = np.array([[left, right, left, right], [top, top, bottom, bottom]])
    moved = matrix[:2, :2] @ corners + matrix[:2, 2:]
    sides = *moved.min(axis=1), *moved.max(axis=1)
    return Box("", tuple(map(float, sides))).clip(size)


def draw_image(size=SIZE):
    return np.random.default_rng(0).integers(0, 256, size, np.uint8)


def test_nothing():
    np.testing.assert_array_equal(move(draw_image(), build()), draw_image())


def test_flip():
    np.testing.assert_array_equal(
        move(draw_image(), build(flip=True)), draw_image()[:, ::-1]
    )


def test_shift_is_down_and_right_with_black_behind():
    # 0.1 of 60 is 6 pixels, 0.2 of 90 is 18.
    expected = np.zeros(SIZE)
    expected[6:, 18:] = draw_image()[:-6, :-18]
    moved = move(draw_image(), build(shift=(0.1, 0.2)))
    np.testing.assert_allclose(moved, expected, atol=0.01)


def test_half_a_turn_is_both_flips():
    np.testing.assert_allclose(
        move(draw_image(), build(rotation=180)), draw_image()[::-1, ::-1], atol=0.01
    )


def test_a_quarter_turn_is_clockwise_and_keeps_lengths():
    # The square in the middle of an image that isn't square turns into itself, if
    # angles are angles in pixels.
    moved = move(draw_image(), build(rotation=90))
    middle = slice(0, 60), slice(15, 75)
    np.testing.assert_allclose(
        moved[middle], np.rot90(draw_image()[middle], k=-1), atol=0.02
    )


def test_half_the_size_is_the_mean_of_four():
    # Centres of the output are at corners between four pixels.
    image = draw_image()
    expected = image.reshape(30, 2, 45, 2).mean(axis=(1, 3))
    moved = move(image, build(to=(30, 45)), to=(30, 45))
    np.testing.assert_allclose(moved, expected, atol=0.01)


def test_a_linear_ramp_keeps_its_half_pixel_centres():
    # Of 288 pixels to 256: pixel k of the output is centred at (k + 0.5) * 1.125.
    ramp = np.tile(np.arange(288, dtype=np.float32) + 0.5, (288, 1))
    matrix = build(size=(288, 288), to=(256, 256))
    moved = move(ramp, matrix, to=(256, 256))
    np.testing.assert_allclose(moved[7], (np.arange(256) + 0.5) * 1.125, atol=0.01)


def test_twice_as_large_about_the_centre():
    image = np.zeros(SIZE, np.uint8)
    image[25:35, 40:50] = 255  # 10 x 10 in the middle becomes 20 x 20
    moved = move(image, build(scale=2.0))
    ys, xs = np.nonzero(moved > 127)
    assert (ys.min(), ys.max() + 1, xs.min(), xs.max() + 1) == (20, 40, 35, 55)
    assert moved.sum() == pytest.approx(255 * 400, rel=0.01)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"rotation": 25.0},
        {"shift": (0.13, -0.2)},
        {"scale": 1.2},
        {"rotation": -40.0, "shift": (-0.1, 0.05), "scale": 0.8},
        {"rotation": 12.0, "shift": (0.05, 0.1), "to": (45, 80)},
        {"rotation": 15.0, "shift": (0.3, 0.3)},  # partly outside unless flipped
    ],
)
def test_a_painted_rectangle_lands_in_its_moved_box(change, flip):
    left, top, right, bottom = 50, 12, 74, 27  # off the centre both ways
    image = np.zeros(SIZE, np.uint8)
    image[top:bottom, left:right] = 255
    to = change.get("to", SIZE)
    matrix = build(**change, flip=flip)
    moved = move(image, matrix, to)
    box = move_box((left, top, right, bottom), matrix[0].numpy(), to)
    # A pixel's centre is lit by half or more if it is inside the painted rectangle.
    if box.clip((to[0] - 1, to[1] - 1)) == box:
        ys, xs = np.nonzero(moved > 127)
        found = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
        # The extreme pixel of a turned corner, not lit by half, may be 2 short.
        tolerance = 2.0 if "rotation" in change else 1.0
        np.testing.assert_allclose(found, box.xyxy, atol=tolerance)
    inside = np.zeros(to, bool)
    x0, y0, x1, y1 = box.xyxy
    inside[math.floor(y0) : math.ceil(y1), math.floor(x0) : math.ceil(x1)] = True
    assert (moved > 127).any() and not (moved > 127)[~inside].any()


def test_a_box_by_hand():
    # A quarter turn clockwise about (45, 30) takes (x, y) to (45 - (y - 30),
    # 30 + (x - 45)) = (75 - y, x - 15): corners (50, 12) and (74, 27) to (63, 35) and
    # (48, 59).
    box = move_box((50, 12, 74, 27), build(rotation=90)[0].numpy(), SIZE)
    assert box.xyxy == pytest.approx((48, 35, 63, 59))
