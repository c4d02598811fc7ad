"""What is odd about grey values, on images of which it is known.

On all 2,144 real X-rays of `../shared/data` (1,854 of them at 320x320), at 256x256, and
on 200 synthetic radiographs, these are the extremes:

| | real | synthetic | limit |
| --- | --- | --- | --- |
| part of pixels from 128 up, least | 0.165 | 0.29 | 0.02 |
| part of pixels below 128, least | 0.047 | 0.12 | 0.02 |
| part within 2 levels of black or white, most | 0.645 | 0.08 | 0.8 |
| standard deviation, least | 26.5 | 46 | 16 |
| correlation with a chest, least | -0.138 | 0.70 | -0.3 |

So none has a warning. Of the real ones inverted 2,122 have one, with 8 to 15 bits in 16
all, and all that a window of 10 levels was put on.
"""

import numpy as np
import pytest

from keras_mscam.images.grey_values import (
    BRIGHT,
    CLIPPED,
    DARK,
    FLAT,
    INVERTED,
    UNIFORM,
    describe_values,
)
from keras_mscam.images.reader import read_grey
from keras_mscam.images.resize import resize_area
from keras_mscam.phantom import render_phantom, sample_anatomy, sample_visit


@pytest.fixture(scope="module")
def chest():
    phantom = render_phantom(sample_anatomy(8, 3), sample_visit(8, 3, 0), (128, 128))
    return phantom.image


def scale(image, low, high):
    return np.rint(low + image / 255.0 * (high - low)).astype("uint8")


def test_a_chest_is_fine_at_every_size(chest):
    for size in [(128, 128), (64, 48), (33, 40), (8, 8)]:
        assert describe_values(resize_area(chest, size)) == []


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15])
def test_fewer_bits_than_16_are_dark(chest, bits):
    stored = (chest.astype(int) * 257) >> (16 - bits)
    assert describe_values((stored >> 8).astype("uint8")) in ([DARK], [UNIFORM])


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [(0, 120, DARK), (0, 3, DARK), (135, 255, BRIGHT), (252, 255, BRIGHT)],
)
def test_half_of_the_range(chest, low, high, sentence):
    assert describe_values(scale(chest, low, high)) == [sentence]


def test_hardly_any_contrast(chest):
    assert describe_values(scale(chest, 110, 150)) == [FLAT]


def test_a_narrow_window(chest):
    middle = np.median(chest)
    windowed = np.where(chest < middle, 0, 255).astype("uint8")
    assert describe_values(windowed)[0] == CLIPPED


def test_a_marker_as_white_as_can_be_hides_nothing(chest):
    dark = scale(chest, 0, 15)
    dark[4:14, 4:18] = 255  # 0.9% of the pixels
    assert describe_values(dark)[0] == DARK


def test_bones_that_are_dark(chest):
    assert describe_values(255 - chest) == [INVERTED]
    # Both can be wrong.
    assert describe_values(scale(255 - chest, 0, 15)) == [DARK, INVERTED]


@pytest.mark.parametrize("value", [0, 17, 128, 255])
def test_one_grey_value(value):
    assert describe_values(np.full((32, 24), value, "uint8")) == [UNIFORM]


def test_real_x_rays_have_no_warning(shared):
    folders = ("chestxray14-sample/images", "chestxray14-boxed/images")
    for folder in folders:
        for path in sorted((shared / folder).glob("*.png"))[:40]:
            image = resize_area(read_grey(path), (256, 256))
            assert describe_values(image) == [], path.name
            assert describe_values(scale(image, 0, 15))[0] == DARK
