import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from keras_mscam.configs.schema import AugmentationConfig
from keras_mscam.data.augmentation import adjust_grey, augment, draw

NONE = AugmentationConfig()
FULL = AugmentationConfig(
    rotation=10, shift=0.1, zoom=0.25, brightness=20, contrast=0.2, noise=5, flip=True
)


def draw_images(count=4, size=(24, 40)):
    return np.random.default_rng(0).integers(0, 256, (count, *size, 1), np.uint8)


def change(images, **values):
    """Change grey levels of images by values that are the same for all of them."""
    draws = draw(NONE, len(images), (0, 0))
    values = {name: tf.fill([len(images)], float(v)) for name, v in values.items()}
    images = tf.cast(images, tf.float32)
    return adjust_grey(images, dataclasses.replace(draws, **values)).numpy()


def test_all_zero_is_the_identity():
    images = draw_images()
    same = augment(images, draw(NONE, 4, (1, 2)), (24, 40))
    assert same.dtype == tf.uint8
    np.testing.assert_array_equal(same, images)


def test_brightness():
    images = draw_images()
    np.testing.assert_allclose(change(images, brightness=7), images + 7.0)


def test_contrast():
    # A mean of (10 + 20 + 30 + 100) / 4 = 40 stays; distances from it of -30, -20,
    # -10 and 60 become half.
    image = np.array([10, 20, 30, 100], np.uint8).reshape(1, 2, 2, 1)
    changed = change(image, contrast=0.5).ravel()
    assert changed.tolist() == [25, 30, 35, 70]


def test_brightness_goes_behind_contrast():
    # 40 + 2 * (10 - 40) + 5 = -15, and so on.
    image = np.array([10, 20, 30, 100], np.uint8).reshape(1, 2, 2, 1)
    changed = change(image, contrast=2, brightness=5).ravel()
    assert changed.tolist() == [-15, 5, 25, 165]


def test_noise_has_its_deviation_and_differs_between_images():
    images = np.full((3, 100, 100, 1), 128, np.uint8)
    noise = change(images, noise=6) - 128
    # Of 10,000 pixels, the mean has a deviation of 6 / 100 and the deviation one of
    # 6 / sqrt(2 * 10,000) = 0.042.
    for image in noise:
        assert abs(image.mean()) < 5 * 0.06
        assert abs(image.std() - 6) < 5 * 0.042
    # Uncorrelated: 1 / sqrt(10,000) is the deviation of a correlation of 0.
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 5 * 0.01


def test_results_are_rounded_and_clipped():
    images = np.array([0, 100, 255, 45], np.uint8).reshape(1, 2, 2, 1)
    draws = draw(NONE, 1, (0, 0))
    # A mean of 100 and 1.5 times the distance: -50, 100, 332.5 and 17.5; 0.7 brighter.
    draws = dataclasses.replace(
        draws, contrast=tf.constant([1.5]), brightness=tf.constant([0.7])
    )
    changed = augment(images, draws, (2, 2)).numpy().ravel()
    assert changed.tolist() == [0, 101, 255, 18]


def test_draws_are_uniform_within_their_limits():
    draws = draw(FULL, 20000, (3, 4))
    limits = {
        "rotation": (draws.rotation, -math.radians(10), math.radians(10)),
        "down": (draws.shift[:, 0], -0.1, 0.1),
        "right": (draws.shift[:, 1], -0.1, 0.1),
        "log scale": (tf.math.log(draws.scale), -math.log(1.25), math.log(1.25)),
        "brightness": (draws.brightness, -20, 20),
        "contrast": (draws.contrast, 0.8, 1.2),
        "noise": (draws.noise, 0, 5),
    }
    for name, (values, low, high) in limits.items():
        values = (values.numpy() - low) / (high - low)
        assert values.min() >= -1e-6 and values.max() <= 1 + 1e-6, name
        # Deciles of 2000 each, with a deviation of sqrt(20,000 * 0.1 * 0.9) = 42.
        counts = np.histogram(values, 10, (-1e-6, 1 + 1e-6))[0]
        assert abs(counts - 2000).max() < 5 * 42, name
    # Half of them, with a deviation of 0.5 / sqrt(20,000) = 0.0035.
    assert abs(draws.flip.numpy().mean() - 0.5) < 5 * 0.0035


def test_a_part_of_the_draws_is_that_of_all():
    images = draw_images(8)
    whole = augment(images, draw(FULL, 8, (1, 2)), (24, 40)).numpy()
    part = slice(2, 4)
    own = augment(images[part], draw(FULL, 8, (1, 2), part), (24, 40)).numpy()
    np.testing.assert_array_equal(own, whole[part])


def test_one_change_leaves_the_draws_of_others():
    alone = draw(AugmentationConfig(rotation=10), 8, (1, 2))
    np.testing.assert_array_equal(alone.rotation, draw(FULL, 8, (1, 2)).rotation)


def test_the_seed_determines_everything_also_within_tf_data():
    images = draw_images()

    def run(seed, number):
        return augment(images, draw(FULL, 4, (seed, number)), (20, 30))

    numbers = tf.data.Dataset.range(-3, 0)
    mapped = numbers.map(lambda number: run(5, number))
    assert mapped.element_spec.shape.as_list() == [4, 20, 30, 1]
    mapped = list(mapped.as_numpy_iterator())
    for number, expected in zip((-3, -2, -1), mapped, strict=True):
        found = run(5, tf.constant(number, tf.int64)).numpy().astype(int)
        # Compiled and not, sums of the mean may be rounded apart.
        assert abs(found - expected).max() <= 1
    assert (mapped[0] != mapped[1]).any()
    assert (run(6, tf.constant(-3, tf.int64)).numpy() != mapped[0]).any()


@pytest.mark.parametrize("name", ["rotation", "shift", "zoom", "flip"])
def test_pixels_move_and_keep_their_grey(name):
    config = AugmentationConfig(**{name: True if name == "flip" else 0.9})
    images = np.full((6, 24, 40, 1), 77, np.uint8)
    changed = augment(images, draw(config, 6, (0, 0)), (24, 40)).numpy()
    # The centre of a shift by less than half stays, of all others in any case.
    middle = changed[:, 12, 20, 0]
    assert set(middle.tolist()) <= {0, 77}
    assert changed.max() == 77
