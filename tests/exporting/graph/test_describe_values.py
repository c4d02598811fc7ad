"""Warnings of the graph against those of `images.grey_values`."""

import numpy as np
import tensorflow as tf

from keras_mscam.exporting.graph.describe_values import describe_values
from keras_mscam.images import grey_values
from keras_mscam.phantom import render_phantom, sample_anatomy, sample_visit

SPEC = tf.TensorSpec((None, None, None, 1), tf.uint8)
SPREADS = [(0, 255), (0, 100), (0, 4), (140, 255), (100, 140), (255, 0), (20, 0)]


def draw_images():
    visit = sample_visit(8, 3, 0)
    chest = render_phantom(sample_anatomy(8, 3), visit, (96, 64)).image
    images = [low + chest / 255.0 * (high - low) for low, high in SPREADS]
    images += [np.where(chest < np.median(chest), 0, 255), np.full_like(chest, 40)]
    return np.rint(images).astype("uint8")[..., None]


def test_sentences_are_those_of_python():
    images = draw_images()
    say = tf.function(describe_values, input_signature=[SPEC], autograph=False)
    said = [text.decode().splitlines() for text in say(images).numpy()]
    assert said == [grey_values.describe_values(image[..., 0]) for image in images]
    assert {sentence for sentences in said for sentence in sentences} == {
        grey_values.UNIFORM, grey_values.CLIPPED, grey_values.DARK,
        grey_values.BRIGHT, grey_values.FLAT, grey_values.INVERTED,
    }  # fmt: skip
    assert say(images[:0]).shape == (0,)


def test_numbers_that_are_none_of_grey():
    chest = draw_images()[:1] / 255.0
    assert describe_values(tf.constant(chest, tf.float32)).numpy() == [
        grey_values.DARK.encode()
    ]
