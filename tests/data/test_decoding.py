import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_mscam.configs.schema import AugmentationConfig
from keras_mscam.data.manifest import Manifest
from keras_mscam.data.pipeline import make_dataset, make_training_dataset, read_examples
from keras_mscam.data.preparation import prepare
from keras_mscam.data.tfrecords import choose_warped_size, decode_to_size
from keras_mscam.errors import UserError
from keras_mscam.images.png_jpeg import encode_png
from keras_mscam.images.resize import resize_area


def draw_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


@pytest.mark.parametrize(
    "size", [(20, 34), (10, 17), (9, 13), (30, 50), (10, 50), (45, 7)]
)
@pytest.mark.parametrize("own_size", [True, False])
def test_resizing_is_that_of_preparation(size, own_size):
    image = draw_image(20, 34)
    stored = None if own_size else image.shape
    resized = decode_to_size(encode_png(image), stored, size).numpy()[..., 0]
    # Preparation rounds twice where one side shrinks and the other grows: by up to
    # half a grey level behind each step, and OpenCV's linear step is in fixed point.
    difference = resized.astype(int) - resize_area(image, size)
    assert resized.shape == size and resized.dtype == np.uint8
    assert abs(difference).max() <= 1


def test_jpeg():
    smooth = cv2.GaussianBlur(draw_image(40, 64), (0, 0), 4)
    file = io.BytesIO()
    Image.fromarray(smooth).save(file, "JPEG", quality=90)
    image = decode_to_size(file.getvalue(), None, (40, 64)).numpy()[..., 0]
    expected = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), 0)
    # Decoders differ in the rounding of their cosine transform.
    assert abs(image.astype(int) - expected).max() <= 2


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ((288, 288), (288, 288)),
        ((256, 320), (256, 320)),
        ((512, 512), (512, 512)),
        ((513, 512), (256, 256)),  # bilinear would leave out pixels
        ((255, 288), (256, 256)),  # and fade out at the border
        (None, (256, 256)),
    ],
)
def test_size_at_which_images_are_warped(stored, expected):
    manifest = Manifest((), stored, "paper", 0, {}, {}, {}, {})
    assert choose_warped_size(manifest, (256, 256)) == expected


class TestOwnSizes:
    """Records whose images each have the size of their file."""

    @pytest.fixture
    def prepared(self, toy, tmp_path):
        folder = toy()
        for number, path in enumerate(sorted((folder / "images").iterdir())):
            cv2.imwrite(str(path), draw_image(20 + number, 50 - number, number))
        prepare(folder, tmp_path / "records", image_size=None, progress=False)
        assert (
            json.loads((tmp_path / "records/manifest.json").read_text())["image_size"]
            is None
        )
        return tmp_path / "records"

    def test_a_size_is_needed(self, prepared):
        with pytest.raises(UserError, match="sizes of their own"):
            make_dataset(prepared, "test", batch_size=2)
        with pytest.raises(UserError, match="sizes of their own"):
            make_training_dataset(prepared, batch_size=2, seed=0, epochs=1)
        with pytest.raises(UserError, match="sizes of their own"):
            next(read_examples(prepared, "test"))

    def test_examples_are_the_resized_files(self, prepared, tmp_path):
        for example in read_examples(prepared, "test", image_size=(16, 24)):
            file = tmp_path / "toy" / "images" / example.name
            pixels = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
            difference = example.image.astype(int) - resize_area(pixels, (16, 24))
            assert abs(difference).max() <= 1
            assert example.original_size == pixels.shape

    @pytest.mark.parametrize("cache", ["memory", "disk", "none"])
    def test_training_batches(self, prepared, cache):
        options = {"batch_size": 28, "seed": 0, "epochs": 1, "image_size": (16, 24)}
        ((images, _),) = make_training_dataset(prepared, **options, cache=cache)
        examples = read_examples(prepared, "train", image_size=(16, 24))
        expected = sorted(example.image.tobytes() for example in examples)
        assert sorted(image.numpy().tobytes() for image in images) == expected
        changed = make_training_dataset(
            prepared, **options, cache=cache, augmentation=AugmentationConfig(shift=0.1)
        )
        assert changed.element_spec[0].shape.as_list() == [28, 16, 24, 1]
