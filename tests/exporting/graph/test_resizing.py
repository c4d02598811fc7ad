import cv2
import numpy as np
import pytest
import tensorflow as tf

from keras_mscam.exporting.graph.resizing import resize_images
from keras_mscam.images.resize import resize_area


def make(size, dtype):
    spec = tf.TensorSpec([None, None, None, 1], dtype)
    return tf.function(
        lambda images: resize_images(images, size),
        input_signature=[spec],
        autograph=False,
    )


@pytest.mark.parametrize("size", [(64, 96), (7, 5), (1, 1)])
def test_bytes_are_those_of_opencv(size):
    resize = make(size, tf.uint8)
    rng = np.random.default_rng(0)
    shapes = [(64, 96), (128, 192), (192, 192), (256, 480), (50, 192), (1, 1), (70, 97)]
    shapes += rng.integers(1, 400, (30, 2)).tolist()
    for height, width in shapes:
        images = rng.integers(0, 256, (2, height, width, 1), np.uint8)
        resized = resize(images)
        assert resized.dtype == tf.float32 and resized.shape == (2, *size, 1)
        for image, ours in zip(images[..., 0], resized[..., 0], strict=True):
            np.testing.assert_array_equal(ours, resize_area(image, size))


@pytest.mark.parametrize(
    "shape", [(64, 96), (300, 400), (128, 192), (50, 60), (30, 200), (192, 50), (1, 1)]
)
def test_numbers_are_not_rounded(shape):
    images = np.random.default_rng(0).uniform(0, 255, (1, *shape, 1)).astype("float32")
    shrunk = min(shape[1], 96), min(shape[0], 64)
    expected = cv2.resize(images[0, ..., 0], shrunk, interpolation=cv2.INTER_AREA)
    expected = cv2.resize(expected, (96, 64), interpolation=cv2.INTER_LINEAR)
    resized = make((64, 96), tf.float32)(images)[0, ..., 0]
    np.testing.assert_allclose(resized, expected, atol=1e-3)


def test_whole_blocks_by_hand():
    # 4 x 6 to 2 x 2 in blocks of 2 x 3: (0+1+2+6+7+8)/6 = 4, +3 to the right, +12
    # below.
    images = np.arange(24, dtype="float32").reshape(1, 4, 6, 1)
    resized = resize_images(tf.constant(images), (2, 2))[0, ..., 0]
    np.testing.assert_allclose(resized, [[4, 7], [16, 19]], rtol=1e-6)


@pytest.mark.parametrize("dtype", [tf.uint8, tf.float32])
def test_the_same_size_changes_nothing(dtype):
    images = tf.cast(np.random.default_rng(0).uniform(0, 255, (3, 8, 9, 1)), dtype)
    np.testing.assert_array_equal(make((8, 9), dtype)(images), images)


@pytest.mark.parametrize("shape", [(0, 30, 20, 1), (0, 8, 9, 1), (2, 0, 5, 1)])
def test_nothing_to_resize(shape):
    resized = make((8, 9), tf.uint8)(np.zeros(shape, np.uint8))
    assert resized.shape == (shape[0], 8, 9, 1) and not resized.numpy().any()
