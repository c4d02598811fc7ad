import io

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_mscam.data.images import (
    ImageError,
    decode_grey,
    encode_png,
    read_grey,
    resize_area,
)

GREY = np.random.default_rng(0).integers(0, 256, (20, 30)).astype("uint8")


def encode(image, format="PNG", **kwargs):
    buffer = io.BytesIO()
    image.save(buffer, format, **kwargs)
    return buffer.getvalue()


def test_grey_is_kept():
    np.testing.assert_array_equal(decode_grey(encode(Image.fromarray(GREY))), GREY)


@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_alpha_means_nothing(alpha):
    rgba = np.dstack([GREY, GREY, GREY, np.full_like(GREY, alpha)])
    np.testing.assert_array_equal(decode_grey(encode(Image.fromarray(rgba))), GREY)
    la = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(rgba[..., 3])])
    np.testing.assert_array_equal(decode_grey(encode(la)), GREY)


def test_sixteen_bits_are_scaled():
    wide = (GREY.astype("uint16") << 8) + 77
    content = cv2.imencode(".png", wide)[1].tobytes()
    np.testing.assert_array_equal(decode_grey(content), GREY)


def test_colour_becomes_luminance():
    # ITU-R 601: 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2
    colour = np.full((4, 6, 3), (200, 100, 50), "uint8")
    assert abs(int(decode_grey(encode(Image.fromarray(colour)))[0, 0]) - 124) <= 1


def test_palette():
    image = Image.fromarray(GREY).convert("P")
    np.testing.assert_array_equal(
        decode_grey(encode(image)), np.asarray(image.convert("L"))
    )


def test_jpeg():
    smooth = np.tile(np.arange(0, 240, 8, dtype="uint8"), (20, 1))
    decoded = decode_grey(encode(Image.fromarray(smooth), "JPEG", quality=95))
    assert np.abs(decoded.astype(int) - smooth).max() <= 6


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_files_are_found(format, share):
    content = encode(Image.fromarray(np.tile(GREY, (20, 20))), format)
    with pytest.raises(ImageError):
        decode_grey(content[: int(len(content) * share)])


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_no_image(content):
    with pytest.raises(ImageError):
        decode_grey(content)


def test_flipped_bytes():
    content = bytearray(encode(Image.fromarray(np.tile(GREY, (20, 20)))))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(ImageError, match="damaged"):
        decode_grey(bytes(content))


def test_a_bomb_is_not_decoded():
    content = encode(Image.new("1", (30_000, 30_000)))
    with pytest.raises(ImageError, match="pixels"):
        decode_grey(content)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "no.png", tmp_path):
        with pytest.raises(ImageError, match="cannot be opened"):
            read_grey(path)


def test_resize_averages_areas():
    # 4x2 to 2x1: each result is the mean of a 2x2 area.
    image = np.array([[0, 10], [20, 30], [100, 100], [200, 200]], "uint8")
    np.testing.assert_array_equal(resize_area(image, (2, 1)), [[15], [150]])


@pytest.mark.parametrize("size", [(7, 11), (64, 48), (20, 30), (1, 1)])
def test_resize_to_any_size(size):
    assert resize_area(GREY, size).shape == size


def test_one_pixel():
    assert decode_grey(encode(Image.fromarray(GREY[:1, :1]))).shape == (1, 1)
    assert resize_area(GREY[:1, :1], (4, 5)).tolist() == [[GREY[0, 0]] * 5] * 4


def test_png_round_trip():
    np.testing.assert_array_equal(decode_grey(encode_png(GREY)), GREY)
