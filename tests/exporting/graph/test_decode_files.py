"""Files decoded in a graph against `images.reader`: both read them, or both refuse.

Pixels may differ by one grey level. Measured on these files and on noise of random
sizes: no pixel of grey files of the network's size or twice it, or where both sides
shrink by no whole number; 3% where blocks hold 9 pixels; 13% where a side grows, which
OpenCV does with weights of 11 bits; 4 to 13% in colour, of which luma is taken behind
the resizing, not in front of it.
"""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import tensorflow as tf

from keras_mscam.exporting.graph.decode_files import (
    decode_images,
    resize_images,
)
from keras_mscam.images.png_jpeg import MOST_SCANS
from keras_mscam.images.reader import read_grey
from keras_mscam.images.resize import resize_area
from keras_mscam.images.xray import ImageError

from ...images.odd_files import (
    JPEG,
    PNG,
    READABLE,
    REFUSED,
    RNG,
    SCAN,
    encode,
    make_png,
)

SIZE = (24, 36)
MOST_PIXELS = 1024 * 1024


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
def decode(image_bytes):
    return decode_images(image_bytes, SIZE, MOST_PIXELS)


def expect(data):
    """Return image, size and error by the package's other implementation."""
    try:
        grey = read_grey(data)
    except ImageError as error:
        reason = str(error).replace("PNG, JPEG or DICOM", "PNG or JPEG")
        return np.zeros(SIZE, np.uint8), (0, 0), reason
    return resize_area(grey, SIZE), grey.shape, ""


def assert_as_expected(files, most_differing=0.15):
    decoded = decode(files)
    for row, data in enumerate(files):
        image, size, error = expect(data)
        assert (decoded.errors[row].numpy() == b"") == (error == "")
        assert tuple(decoded.sizes[row].numpy()) == size
        difference = np.abs(decoded.images[row, ..., 0].numpy().astype(int) - image)
        assert difference.max() <= 1
        assert (difference > 0).mean() <= most_differing
    return decoded


def test_pixels_are_those_of_opencv():
    decoded = assert_as_expected(list(READABLE.values()))
    assert not any(decoded.errors.numpy())


@pytest.mark.parametrize("shape", [SIZE, (48, 72), (500, 333), (251, 417)])
def test_pixels_of_grey_files_are_equal(shape):
    image = RNG.integers(0, 256, shape, np.uint8)
    assert_as_expected([encode(image)], most_differing=0.002)


def test_what_cannot_be_read_says_so_and_fails_no_other():
    files = [*REFUSED.values(), PNG]
    errors = assert_as_expected(files).errors.numpy().astype(str).tolist()
    reasons = dict(zip(REFUSED, errors, strict=False))
    assert errors[-1] == ""
    assert reasons.pop("empty") == "is empty"
    for name in ("a byte", "text", "GIF", "BMP", "WebP", "TIFF", "JPEG 2000"):
        assert reasons.pop(name) == "is not a PNG or JPEG image"
    assert reasons.pop("JPEG XL") == "is not a PNG or JPEG image"
    filled = {name for name, why in reasons.items() if "a part of its JPEG" in why}
    assert filled == {
        *(name for name in REFUSED if "cut, " in name),
        "JPEG of more rows than it has",
    }
    others = {reason for name, reason in reasons.items() if name not in filled}
    assert others == {"is damaged: its pixels cannot be decoded"}


def test_none_and_none_readable():
    decoded = decode(tf.constant([], tf.string))
    assert decoded.images.shape == (0, *SIZE, 1) and decoded.images.dtype == tf.uint8
    assert decoded.sizes.shape == (0, 2) and decoded.errors.shape == (0,)
    assert_as_expected([b"", b"\x89PNG", PNG[:99], make_png(b"")])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (make_png(b"", 60_000, 50_000), "is too large: 50000x60000 pixels"),
        (make_png(b"", 1025, 1024), "is too large: 1024x1025 pixels"),
        (make_png(b"", 2**32 - 1, 2**32 - 1),
         "is too large: 4294967295x4294967295 pixels"),
        (JPEG.replace(b"\x08\0\x29\0\x42", b"\x08\xff\0\xf0\0"),
         "is too large: 65280x61440 pixels"),
        # A second frame can't undo what the first says.
        (JPEG[:2] + b"\xff\xc0\0\x0b\x08\xff\0\xff\0\x01\x01\x11\0" + JPEG[2:],
         "is damaged: its pixels cannot be decoded"),
        # These are few enough, but there are none.
        (make_png(b"", 1024, 1024), "is damaged: its pixels cannot be decoded"),
        (JPEG[:-2] + SCAN * MOST_SCANS + JPEG[-2:],
         f"has more than {MOST_SCANS} scans"),
    ],
)  # fmt: skip
def test_what_would_take_memory_or_time_is_refused_by_its_header(data, reason):
    decoded = decode([data, PNG])
    assert decoded.errors.numpy().tolist() == [reason.encode(), b""]
    assert decoded.sizes.numpy().tolist() == [[0, 0], [41, 66]]


def mutate(data, rng):
    data = bytearray(data)
    place = rng.integers(len(data))
    match rng.integers(5):
        case 0:
            del data[place:]
        case 1:
            data[place] ^= 1 << rng.integers(8)
        case 2:
            del data[place : place + rng.integers(1, 200)]
        case 3:
            data[place:place] = rng.bytes(rng.integers(1, 50))
        case 4:
            data[rng.integers(min(len(data), 80))] = rng.integers(256)
    return bytes(data)


def test_damaged_files_harm_no_other():
    rng = np.random.default_rng(1)
    sources = list(READABLE.values())
    wanted = expect(PNG)[0]
    for _ in range(16):
        files = [mutate(sources[rng.integers(len(sources))], rng) for _ in range(24)]
        place = rng.integers(len(files))
        files.insert(place, PNG)
        decoded = decode(files)
        for row, error in enumerate(decoded.errors.numpy()):
            assert (decoded.sizes[row].numpy() > 0).all() == (error == b"")
            assert error == b"" or not decoded.images[row].numpy().any()
        assert decoded.errors[place] == b""
        np.testing.assert_allclose(decoded.images[place, ..., 0], wanted, atol=1)


def test_many_threads_get_the_same():
    files = list(READABLE.values()) + list(REFUSED.values())
    alone = decode(files)

    def decode_some(seed):
        order = np.random.default_rng(seed).permutation(len(files))[:20]
        decoded = decode([files[k] for k in order])
        for name in ("images", "sizes", "errors"):
            expected = getattr(alone, name).numpy()[order]
            np.testing.assert_array_equal(getattr(decoded, name).numpy(), expected)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(decode_some, range(6)))


def test_real_images(shared):
    paths = sorted((shared / "chestxray14-sample" / "images").glob("*.png"))
    files = [path.read_bytes() for path in paths]
    # Byte 25 is the colour type; two files are RGBA.
    chosen = [data for data in files if data[25] == 6] + files[:4]
    decoded = assert_as_expected(chosen)
    assert (decoded.sizes.numpy() == 1024).all()


def resize(images, size):
    spec = tf.TensorSpec([None, None, None, 1], images.dtype)
    run = tf.function(lambda x: resize_images(x, size), input_signature=[spec])
    return run(images).numpy()[..., 0]


@pytest.mark.parametrize(
    "shape", [(64, 96), (300, 400), (128, 192), (50, 60), (30, 200), (192, 50), (1, 1)]
)
def test_numbers_are_not_rounded(shape):
    images = RNG.uniform(0, 255, (1, *shape, 1)).astype("float32")
    shrunk = min(shape[1], 96), min(shape[0], 64)
    expected = cv2.resize(images[0, ..., 0], shrunk, interpolation=cv2.INTER_AREA)
    expected = cv2.resize(expected, (96, 64), interpolation=cv2.INTER_LINEAR)
    # OpenCV leaves out pixels of which less than a thousandth is covered.
    np.testing.assert_allclose(resize(images, (64, 96))[0], expected, atol=0.2)


def test_whole_blocks_by_hand():
    # 4 x 6 to 2 x 2 in blocks of 2 x 3: (0+1+2+6+7+8)/6 = 4, +3 to the right, +12
    # below.
    images = np.arange(24, dtype="float32").reshape(1, 4, 6, 1)
    np.testing.assert_allclose(resize(images, (2, 2))[0], [[4, 7], [16, 19]], rtol=1e-6)


@pytest.mark.parametrize("shape", [(0, 30, 20, 1), (0, 8, 9, 1), (2, 0, 5, 1)])
def test_nothing_to_resize(shape):
    resized = resize(np.zeros(shape, np.uint8), (8, 9))
    assert resized.shape == (shape[0], 8, 9) and not resized.any()
