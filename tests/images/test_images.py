import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_mscam.data.shards import convert_image
from keras_mscam.errors import UserError
from keras_mscam.images.png_jpeg import encode_png
from keras_mscam.images.reader import read_grey
from keras_mscam.images.resize import resize_area
from keras_mscam.images.xray import ImageError

GREY = np.random.default_rng(0).integers(0, 256, (20, 33), np.uint8)


def save(path, image, format="PNG", **kwargs):
    image.save(path, format, **kwargs)
    return path


def make_png(width, height, raw, depth=8, colour=0):
    """Put a PNG together by hand, so that its header may lie."""

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_equal_channels_are_read_as_they_are(tmp_path, mode):
    path = save(tmp_path / "x.png", Image.fromarray(GREY).convert(mode))
    grey = read_grey(path)
    assert grey.dtype == np.uint8
    np.testing.assert_array_equal(grey, GREY)


def test_alpha_is_dropped_not_blended(tmp_path):
    alpha = np.random.default_rng(1).integers(0, 256, GREY.shape, np.uint8)
    pixels = np.stack([GREY, GREY, GREY, alpha], axis=-1)
    np.testing.assert_array_equal(
        read_grey(save(tmp_path / "x.png", Image.fromarray(pixels))), GREY
    )


def test_colour_becomes_luma(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (*GREY.shape, 3), np.uint8)
    # Pillow's own conversion, ITU-R 601, is the reference; each rounds its own way.
    expected = np.asarray(Image.fromarray(pixels).convert("L"), int)
    grey = read_grey(save(tmp_path / "x.png", Image.fromarray(pixels)))
    assert np.abs(grey.astype(int) - expected).max() <= 1
    red = Image.new("RGB", (20, 20), (255, 0, 0))
    # 0.299 * 255 = 76.2, and not blue's 0.114 * 255 = 29.1.
    assert read_grey(save(tmp_path / "red.png", red))[0, 0] == 76


def test_a_palette_is_looked_up(tmp_path):
    image = Image.fromarray((GREY % 2).astype(np.uint8), "P")
    image.putpalette([10, 10, 10, 200, 200, 200])
    grey = read_grey(save(tmp_path / "x.png", image))
    np.testing.assert_array_equal(grey, np.where(GREY % 2, 200, 10))


def test_one_bit_becomes_black_and_white(tmp_path):
    image = Image.fromarray(GREY > 99)
    grey = read_grey(save(tmp_path / "x.png", image))
    np.testing.assert_array_equal(grey, np.where(GREY > 99, 255, 0))


def test_of_sixteen_bits_the_upper_ones(tmp_path):
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    path = tmp_path / "x.png"
    cv2.imwrite(str(path), every)
    # Row i holds 256 i to 256 i + 255.
    np.testing.assert_array_equal(read_grey(path), np.indices((256, 256))[0])


def test_sixteen_bit_colour(tmp_path):
    path = tmp_path / "x.png"
    cv2.imwrite(str(path), np.full((16, 16, 3), 200 * 257, np.uint16))
    assert (read_grey(path) == 200).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_whatever_its_name(tmp_path, mode):
    smooth = cv2.GaussianBlur(GREY, (0, 0), 4)
    path = tmp_path / "really_a_jpeg.png"
    save(path, Image.fromarray(smooth).convert(mode), "JPEG", quality=95)
    difference = read_grey(path).astype(int) - smooth
    assert np.abs(difference).max() <= 8


def test_a_rotation_in_the_metadata_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer would turn it by 90 degrees
    path = save(tmp_path / "x.jpg", Image.fromarray(GREY), "JPEG", exif=exif)
    assert read_grey(path).shape == GREY.shape


def test_of_an_animation_the_first_frame(tmp_path):
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    path = tmp_path / "x.png"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_grey(path), GREY)


def encoded(format):
    file = io.BytesIO()
    Image.fromarray(np.tile(GREY, (8, 8))).save(file, format)
    return file.getvalue()


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("keep", [0.01, 0.1, 0.5, 0.9, 0.99, 0.9999])
def test_truncated_wherever(tmp_path, format, keep):
    data = encoded(format)
    path = tmp_path / "x"
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ImageError):
        read_grey(path)


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_bytes_behind_the_end_do_no_harm(tmp_path, format):
    path = tmp_path / "x"
    path.write_bytes(encoded(format) + b"\n\0trailing")
    assert read_grey(path).shape == (160, 264)


def test_a_flipped_bit_anywhere_in_a_png(tmp_path):
    data = encoded("PNG")
    path = tmp_path / "x.png"
    for position in np.linspace(8, len(data) - 5, 40).astype(int):
        damaged = bytearray(data)
        damaged[position] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(ImageError):
            read_grey(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"hello", "is not a PNG, JPEG or DICOM"),
        (b"\0" * 1000, "is not a PNG, JPEG or DICOM"),
        (b"GIF89a" + b"\0" * 100, "is not a PNG, JPEG or DICOM"),
        (b"\x89PNG\r\n\x1a\n", "header"),
        (b"\xff\xd8\xff\xe0", "end of its JPEG data is missing"),
        (make_png(0, 20, b""), "has no pixels: its size is 20x0"),
        (make_png(100_000, 100_000, b"\0"), "100000x100000"),
        (make_png(12_000, 9_000, b"\0"), "9000x12000"),
        (make_png(20, 20, b"\0" * 21), "cannot be decoded"),  # one row of twenty
        (make_png(20, 20, b"\0" * 420, depth=3), "."),  # no such depth
    ],
)
def test_reasons(tmp_path, content, reason):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        read_grey(path)
    assert convert_image(path, (8, 8)) == str(caught.value)


def test_one_pixel(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(make_png(1, 1, b"\0\x11"))
    assert read_grey(path).tolist() == [[0x11]]


def test_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "nothing.png", tmp_path):
        with pytest.raises(ImageError, match="cannot be opened"):
            read_grey(path)


def test_resize_averages_whole_blocks():
    # 4 x 6 to 2 x 2 in blocks of 2 x 3: (0+1+2+6+7+8)/6 = 4, +3 to the right,
    # +12 below.
    image = np.arange(24, dtype=np.uint8).reshape(4, 6)
    assert resize_area(image, (2, 2)).tolist() == [[4, 7], [16, 19]]


def test_resize_takes_height_first_and_averages_parts_of_pixels():
    image = np.random.default_rng(2).integers(0, 256, (21, 50), np.uint8)
    resized = resize_area(image, (8, 15))
    assert resized.shape == (8, 15)
    # Another implementation: repeat each pixel 8 by 15 times, then average blocks of
    # 21 by 50 of these.
    fine = np.repeat(np.repeat(image, 8, axis=0), 15, axis=1).astype(float)
    expected = fine.reshape(8, 21, 15, 50).mean(axis=(1, 3))
    assert np.abs(resized - expected).max() <= 0.51


def test_resize_to_the_same_size_changes_nothing():
    np.testing.assert_array_equal(resize_area(GREY, GREY.shape), GREY)


def test_resize_grows_by_interpolation_and_shrinks_along_the_other_side():
    image = np.tile(np.array([[0, 100]], np.uint8), (6, 1))
    # Half-pixel centres: positions -0.25, 0.25, 0.75, 1.25 between the two values.
    assert resize_area(image, (3, 4)).tolist() == [[0, 25, 75, 100]] * 3
    assert resize_area(np.full((16, 16), 7, np.uint8), (64, 1)).tolist() == [[7]] * 64


def test_convert_stores_the_resized_pixels_and_tells_the_original_size(tmp_path):
    path = save(tmp_path / "x.png", Image.fromarray(GREY))
    png, original_size, _ = convert_image(path, (10, 11))
    assert original_size == (20, 33)
    stored = np.asarray(Image.open(io.BytesIO(png)))
    np.testing.assert_array_equal(stored, resize_area(GREY, (10, 11)))
    assert encode_png(stored) == png


@pytest.mark.parametrize("size", [None, (10, 11)])
def test_convert_takes_content_like_a_file(tmp_path, size):
    path = save(tmp_path / "x.png", Image.fromarray(np.dstack([GREY] * 3)))
    converted = convert_image(path.read_bytes(), size)
    assert converted == convert_image(path, size)
    png, original_size, _ = converted
    assert original_size == (20, 33)
    expected = GREY if size is None else resize_area(GREY, size)
    np.testing.assert_array_equal(Image.open(io.BytesIO(png)), expected)


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_convert_keeps_what_is_grey_at_its_own_size(format):
    data = encoded(format)
    assert convert_image(data, None) == (data, (160, 264), [])


def test_convert_checks_what_it_keeps():
    data = encoded("PNG")
    assert convert_image(data[:-1], None) == (
        "is damaged: the end of its PNG data is missing"
    )


def test_a_jpeg_that_was_cut_and_closed():
    data = encoded("JPEG")
    for keep in (0.2, 0.5, 0.9):
        cut = data[: int(len(data) * keep)] + b"\xff\xd9"
        assert convert_image(cut, None) == (
            "is damaged: a part of its JPEG data is missing"
        )


def test_the_value_of_white_is_given():
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    png = cv2.imencode(".png", every)[1].tobytes()
    # 255 v / 4095 = v / 16.06, to the nearest whole number; white from 4095 up.
    expected = np.minimum(np.floor(every / (4095 / 255) + 0.5), 255)
    np.testing.assert_array_equal(read_grey(png, 4095), expected)
    np.testing.assert_array_equal(read_grey(every, 4095), expected)
    # Rows 0 to 255 of colour become luma first.
    colour = cv2.imencode(".png", np.dstack([every] * 3))[1].tobytes()
    np.testing.assert_array_equal(read_grey(colour, 4095), expected)
    # Of what is above in every image, nothing becomes of it.
    np.testing.assert_array_equal(read_grey(GREY, 4095), GREY)
    np.testing.assert_array_equal(read_grey(png, 65535), read_grey(png))
    # 8 bits may use fewer, too: 255 / 51 = 5.
    assert read_grey(np.array([[0, 17, 51, 90]], np.uint8), 51).tolist() == [
        [0, 85, 255, 255]
    ]
    with pytest.raises(UserError, match="max value must be 1 or more, not 0"):
        read_grey(GREY, 0)


def test_numbers_that_are_no_grey_say_what_to_do():
    with pytest.raises(ImageError, match=r"float64.* scale other numbers to 0\.\.255"):
        read_grey(np.linspace(0, 1, 12).reshape(3, 4))
