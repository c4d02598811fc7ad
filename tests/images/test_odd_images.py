"""What becomes of odd and damaged image files: a reason, or these pixels."""

import io
import os
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from keras_mscam.data.shards import convert_image
from keras_mscam.images.reader import TURNED, read_grey, read_xray
from keras_mscam.images.xray import ImageError

from . import odd_files
from .odd_files import chunk, compress, interlace

GREY = np.random.default_rng(0).integers(0, 256, (40, 66), np.uint8)
SMOOTH = cv2.GaussianBlur(GREY, (0, 0), 4)
save_dicom = partial(odd_files.save_dicom, GREY)

NO_IMAGE = "is not a PNG, JPEG or DICOM image"
NO_HEADER = "is damaged: its header cannot be read"
NO_PIXELS = "is damaged: its pixels cannot be decoded"
NO_PNG_END = "is damaged: the end of its PNG data is missing"
BAD_CHECKSUM = "is damaged: a checksum of its PNG data is wrong"
NO_JPEG_END = "is damaged: the end of its JPEG data is missing"
PART_OF_JPEG = "is damaged: a part of its JPEG data is missing"


def make_png(raw, width=66, height=40, **options):
    return odd_files.make_png(raw, width, height, **options)


def save(image, format="PNG", **kwargs):
    file = io.BytesIO()
    image.save(file, format, **kwargs)
    return file.getvalue()


def save_jpeg(mode="L", **kwargs):
    return save(Image.fromarray(SMOOTH).convert(mode), "JPEG", quality=95, **kwargs)


def flip(data, position):
    return data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :]


PNG = make_png(compress(GREY))
SAVED_PNG = save(Image.fromarray(GREY))
JPEG = save_jpeg()
LEVELS = np.arange(16, dtype=np.uint8)
EXIF = Image.Exif()
EXIF[0x0112] = 6  # turned by 90 degrees
FRAMES = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
BINARY = np.where(GREY > 99, 255, 0)
PALETTE = Image.fromarray(GREY % 2, "P")
PALETTE.putpalette([10, 10, 10, 200, 200, 200])
ALPHA = np.random.default_rng(1).integers(0, 256, GREY.shape, np.uint8)
DEEP = np.arange(65536, dtype=np.uint16).reshape(256, 256)
PADDING = b"\n\0trailing"

# Name, content, and either the reason or the pixels. JPEG pixels are compared with what
# was compressed, and may differ by 8.
MID_GREY = cv2.imencode(".jpg", np.full((40, 66), 128, np.uint8))[1].tobytes()

CASES = [
    ("empty", b"", "is empty"),
    ("one byte", b"\x89", NO_IMAGE),
    ("zeros", bytes(1000), NO_IMAGE),
    ("text", "Grüße, kein Bild\n".encode(), NO_IMAGE),
    ("web page of an error", b"<!DOCTYPE html><title>404</title>", NO_IMAGE),
    ("Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\n", NO_IMAGE),
    ("zip", b"PK\x03\x04" + bytes(100), NO_IMAGE),
    # PNG
    ("PNG signature", PNG[:8], NO_HEADER),
    ("PNG cut in its header", PNG[:20], NO_HEADER),
    ("PNG header only", PNG[:33], NO_PNG_END),
    ("PNG cut in its pixels", PNG[: len(PNG) // 2], NO_PNG_END),
    ("PNG cut before its end", PNG[:-12], NO_PNG_END),
    ("PNG cut by a byte", PNG[:-1], NO_PNG_END),
    ("PNG through text mode", PNG.replace(b"\r\n", b"\n"), NO_IMAGE),
    ("PNG header checksum", flip(PNG, 19), NO_HEADER),
    ("PNG pixel checksum", flip(PNG, 200), BAD_CHECKSUM),
    (
        "PNG of no width",
        make_png(b"", width=0),
        "has no pixels: its size is 40x0",
    ),
    (
        "PNG bomb",
        make_png(compress([b""]), width=60_000, height=60_000),
        "is too large: 60000x60000 pixels",
    ),
    ("PNG with few rows", make_png(compress(GREY[:9])), NO_PIXELS),
    ("PNG with garbage in IDAT", make_png(GREY.tobytes()), NO_PIXELS),
    ("PNG with empty IDAT", make_png(b""), NO_PIXELS),
    ("PNG of 3 bits", make_png(compress(GREY), depth=3), NO_PIXELS),
    ("PNG palette missing", make_png(compress(GREY), colour=3), NO_PIXELS),
    ("PNG of one pixel", make_png(compress([[17]]), 1, 1), [[17]]),
    ("PNG of one row", make_png(compress(GREY[:1]), 66, 1), GREY[:1]),
    ("PNG of one column", make_png(compress(GREY[:, :1]), 1, 40), GREY[:, :1]),
    ("PNG with too many rows", make_png(compress([*GREY, *GREY])), GREY),
    ("PNG with bytes behind its end", PNG + PADDING, GREY),
    ("PNG of 16 bits", cv2.imencode(".png", DEEP)[1].tobytes(), DEEP >> 8),
    ("PNG of 1 bit", save(Image.fromarray(GREY > 99)), BINARY),
    # 0 1 2 3 in one byte, each times 255 / 3.
    (
        "PNG of 2 bits",
        make_png(compress([[0b00011011]]), 4, 1, depth=2),
        [[0, 85, 170, 255]],
    ),
    # Two levels a byte, each times 255 / 15.
    (
        "PNG of 4 bits",
        make_png(compress([LEVELS[::2] * 16 + LEVELS[1::2]]), 16, 1, depth=4),
        [LEVELS * 17],
    ),
    ("PNG palette", save(PALETTE), np.where(GREY % 2, 200, 10)),
    ("PNG grey and alpha", save(Image.fromarray(np.dstack([GREY, ALPHA]))), GREY),
    ("PNG RGBA", save(Image.fromarray(np.dstack([GREY] * 3 + [ALPHA]))), GREY),
    (
        "PNG with a transparent grey",
        make_png(compress(GREY), extra=chunk(b"tRNS", b"\0\x11")),
        GREY,
    ),
    ("PNG interlaced", make_png(compress(interlace(GREY)), interlaced=1), GREY),
    ("PNG animated", save(FRAMES[0], save_all=True, append_images=FRAMES[1:]), GREY),
    # JPEG
    ("JPEG signature", JPEG[:4], NO_JPEG_END),
    ("JPEG cut in its header", JPEG[:100], NO_JPEG_END),
    ("JPEG cut in its pixels", JPEG[:-90], NO_JPEG_END),
    ("JPEG cut by a byte", JPEG[:-1], NO_JPEG_END),
    ("JPEG cut, then closed", JPEG[:-90] + b"\xff\xd9", PART_OF_JPEG),
    ("JPEG", JPEG, SMOOTH),
    ("JPEG in colour", save_jpeg("RGB"), SMOOTH),
    ("JPEG CMYK", save_jpeg("CMYK"), SMOOTH),
    ("JPEG progressive", save_jpeg(progressive=True), SMOOTH),
    ("JPEG with a rotation", save_jpeg(exif=EXIF), SMOOTH),
    ("JPEG with bytes behind its end", JPEG + PADDING, SMOOTH),
    ("JPEG of mid-grey", MID_GREY, np.full((40, 66), 128)),
    (
        "JPEG of mid-grey with fill bytes before its end",
        MID_GREY[:-2] + b"\xff" * 5 + MID_GREY[-2:],
        np.full((40, 66), 128),
    ),
    (
        "JPEG of 12 bits",
        JPEG.replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x0c"),
        "is a JPEG of 12 bits; those of 8 can be read",
    ),
    # Others
    ("GIF", save(FRAMES[0], "GIF"), NO_IMAGE),
    ("BMP", save(FRAMES[0], "BMP"), NO_IMAGE),
    ("TIFF", save(FRAMES[0], "TIFF"), NO_IMAGE),
    ("WebP", save(FRAMES[0], "WEBP"), NO_IMAGE),
    ("JPEG 2000", cv2.imencode(".jp2", GREY)[1].tobytes(), NO_IMAGE),
    # DICOM
    ("DICOM", save_dicom(), GREY),
    (
        "DICOM preamble",
        bytes(128) + b"DICM",
        "is damaged: its DICOM data ends too early",
    ),
    ("DICOM without preamble", save_dicom()[132:], GREY),
    (
        "DICOM without pixels",
        save_dicom(PixelData=None),
        "is a DICOM file without pixels, or an incomplete one",
    ),
    ("DICOM cut in its pixels", save_dicom()[:-1000], NO_PIXELS),
    (
        "DICOM CT",
        Path(get_testdata_file("CT_small.dcm", download=False)).read_bytes(),
        "is of modality CT; radiographs are CR, DX, DR, RG, RF, OT, SC",
    ),
    ("DICOM of frames", save_dicom(NumberOfFrames=2), "has 2 frames, not one"),
    (
        "DICOM bomb",
        save_dicom(Rows=60_000, Columns=60_000),
        "is too large: 60000x60000 pixels",
    ),
]


@pytest.mark.parametrize(
    ("content", "outcome"),
    [pytest.param(*case[1:], id=case[0]) for case in CASES],
)
def test_outcome(tmp_path, content, outcome):
    path = tmp_path / "whatever.png"
    path.write_bytes(content)
    if isinstance(outcome, str):
        with pytest.raises(ImageError) as caught:
            read_grey(path)
        reason = str(caught.value)
        assert reason == outcome
        assert convert_image(path, (8, 8)) == convert_image(content, None) == reason
        return
    grey = read_grey(path)
    assert grey.dtype == np.uint8 and grey.shape == np.shape(outcome)
    tolerance = 8 if content.startswith(b"\xff\xd8") else 0
    assert np.abs(grey.astype(int) - outcome).max() <= tolerance
    stored, size, _ = convert_image(content, None)
    assert size == grey.shape
    np.testing.assert_array_equal(read_grey(stored), grey)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", [None, 0, 1, 2, 8, 9])  # 2 to 8 turn or mirror
def test_a_rotation_that_is_not_followed_is_said(kind, orientation):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    content = odd_files.save(Image.fromarray(SMOOTH), kind, exif=exif)
    said = (TURNED,) if orientation in (2, 8) else ()
    assert read_xray(content).frame.warnings == said
    assert (TURNED in convert_image(content, (8, 8))[2]) == bool(said)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_exif_of_nonsense_is_passed_over(kind):
    content = odd_files.save(Image.fromarray(SMOOTH), kind, exif=b"Exif\0\0nonsense")
    assert read_xray(content).frame.warnings == ()


KEPT = {
    "PNG of one pixel",
    "PNG of one row",
    "PNG of one column",
    "PNG with too many rows",
    "PNG with bytes behind its end",
    "PNG interlaced",
    "JPEG",
    "JPEG progressive",
    "JPEG with a rotation",
    "JPEG with bytes behind its end",
    "JPEG of mid-grey",
    "JPEG of mid-grey with fill bytes before its end",
}


@pytest.mark.parametrize(
    ("name", "content"),
    [case[:2] for case in CASES if not isinstance(case[2], str)],
)
def test_what_is_grey_already_is_kept_at_its_own_size(name, content):
    stored, *_ = convert_image(content, None)
    assert (stored == content) == (name in KEPT)
    if name not in KEPT:
        # Width and height, 8 bits, grey, not interlaced.
        assert stored[:8] == PNG[:8] and stored[24:29] == b"\x08\0\0\0\0"


def test_a_folder_in_place_of_a_file(tmp_path):
    assert convert_image(tmp_path, None) == "cannot be opened: Is a directory"


def test_a_link_to_nothing(tmp_path):
    path = tmp_path / "x.png"
    path.symlink_to(tmp_path / "gone.png")
    assert convert_image(path, None) == "cannot be opened: No such file or directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(PNG)
    path.chmod(0)
    assert convert_image(path, None) == "cannot be opened: Permission denied"
