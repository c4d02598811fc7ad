import numpy as np
import pytest

from keras_mscam.images.resize import choose_shape, shrink


@pytest.mark.parametrize(
    ("size", "spacing", "side", "shape"),
    [
        ((60, 40), None, None, (60, 40)),
        ((60, 40), None, 30, (30, 20)),
        ((60, 40), None, 100, (60, 40)),  # never enlarged
        ((60, 40), (0.1, 0.1), None, (60, 40)),
        # Pixels twice as tall as wide: the width halves, 60 mm x 20 mm.
        ((60, 40), (1.0, 0.5), None, (60, 20)),
        ((60, 40), (0.5, 1.0), None, (30, 40)),
        ((60, 40), (0.5, 1.0), 20, (15, 20)),
        ((5000, 3), None, 512, (512, 1)),
        ((1, 1), None, 1, (1, 1)),
    ],
)
def test_shapes(size, spacing, side, shape):
    assert choose_shape(size, spacing, side) == shape


def test_shrink_is_by_area():
    pixels = np.array([[0, 20], [40, 60]], "uint8")
    assert shrink(pixels, (1, 1)).tolist() == [[30]]
    assert shrink(pixels, (2, 2)) is pixels
