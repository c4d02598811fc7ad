import io

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_mscam.batch_predict.outputs import encode_png
from keras_mscam.images.reader import read_grey


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (37, 61), (300, 200)])
def test_two_decoders_agree(shape):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    data = encode_png(picture)
    assert (np.asarray(Image.open(io.BytesIO(data))) == picture).all()
    decoded = cv2.imdecode(np.frombuffer(data, "uint8"), cv2.IMREAD_UNCHANGED)
    assert (decoded[..., ::-1] == picture).all()
    assert read_grey(data).shape == shape  # which compares checksums


def test_part_of_an_array():
    picture = np.arange(8 * 8 * 3, dtype="uint8").reshape(8, 8, 3)[::2, ::-1]
    assert (np.asarray(Image.open(io.BytesIO(encode_png(picture)))) == picture).all()
