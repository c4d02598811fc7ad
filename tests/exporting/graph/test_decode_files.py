"""Files decoded in a graph against `images.reader`: both read them, or both refuse.

Pixels may differ by one grey level. Measured on these files and on noise of random
sizes: no pixel of grey files of the network's size or twice it, or where both sides
shrink by no whole number; 3% where blocks hold 9 pixels; 13% where a side grows, which
OpenCV does with weights of 11 bits; 4 to 13% in colour, of which luma is taken behind
the resizing, not in front of it.
"""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import imagecodecs
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mscam.exporting.graph.decode_files import (
    decode_images,
    resize_images,
)
from keras_mscam.images.png_jpeg import JPEG_FILLINGS, MOST_SCANS
from keras_mscam.images.reader import read_grey
from keras_mscam.images.resize import resize_area
from keras_mscam.images.xray import ImageError

SIZE = (24, 36)
MOST_PIXELS = 1024 * 1024
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (41, 66, 4), np.uint8)
GREY = NOISE[..., 0]
COLOUR = np.ascontiguousarray(NOISE[..., :3])
SMOOTH = cv2.GaussianBlur(COLOUR, (0, 0), 3)
DEEP = RNG.integers(0, 65536, (41, 66, 4), np.uint16)


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


def chunk(kind, data):
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def make_png(
    raw, width=66, height=41, depth=8, colour=0, interlaced=0, extra=b"", after=b""
):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return b"".join([
        b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), extra, chunk(b"IDAT", raw), after,
        chunk(b"IEND", b""),
    ])  # fmt: skip


def make_noisy(extra=b"", after=b"", colour=0):
    """Make a PNG of `GREY`, or of its indices into a palette of four."""
    return make_png(
        compress(GREY % 4 if colour else GREY), colour=colour, extra=extra, after=after
    )


def spoil(part):
    """Make the last byte of a checksum another one."""
    return part[:-1] + bytes([part[-1] ^ 1])


def make_text(kind, content):
    """Make a chunk of compressed text or of a colour profile."""
    ahead = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[kind]
    return chunk(kind, ahead + zlib.compress(content, 1))


def compress(rows):
    return zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))


def interlace(image):
    """List the rows of the seven passes of Adam7."""
    starts = [(0, 0), (0, 4), (4, 0), (0, 2), (2, 0), (0, 1), (1, 0)]
    steps = [(8, 8), (8, 8), (8, 4), (4, 4), (4, 2), (2, 2), (2, 1)]
    return [
        row
        for (top, left), (down, right) in zip(starts, steps, strict=True)
        for row in image[top::down, left::right]
    ]


def encode(image, extension=".png", *options):
    return cv2.imencode(extension, image, options)[1].tobytes()


def save(image, format, **kwargs):
    file = io.BytesIO()
    image.save(file, format, **kwargs)
    return file.getvalue()


def make_palette(transparent):
    image = Image.fromarray(GREY % 16, "P")
    image.putpalette(RNG.integers(0, 256, 48, np.uint8).tobytes())
    return save(image, "PNG", **({"transparency": 3} if transparent else {}))


PNG = encode(GREY)
JPEG = encode(SMOOTH[..., 0], ".jpg")
COMMENT = chunk(b"tEXt", b"Comment\0a text of some length")
PIXELS = compress(GREY)
DEEP_ROWS = compress(DEEP[..., 0].astype(">u2").view(np.uint8).reshape(41, -1))
LONG = bytes(3_000_000)  # decoders with a limit take 1 MB, or 8
RANDOM = RNG.bytes(9_000_000)
PLTE = chunk(b"PLTE", bytes(np.repeat([0, 60, 200, 17], 3).astype("uint8")))
FRAMES = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
ANIMATED = {"save_all": True, "append_images": [FRAMES[1], FRAMES[0].transpose(1)]}
NO_FRAMES = chunk(b"acTL", bytes(8))
FALSE_FRAME = chunk(b"acTL", b"\0\0\0\1" + bytes(4)) + chunk(
    b"fcTL", struct.pack(">IIIIIHHBB", 0, 500, 500, 99, 99, 1, 1, 0, 0)
)
# Colours that differ, and black in places.
CMYK = save(
    Image.fromarray(np.dstack([SMOOTH, 255 - SMOOTH[..., 0]]), "CMYK"), "JPEG",
    quality=90,
)  # fmt: skip
RESTARTS = save(Image.fromarray(SMOOTH), "JPEG", restart_marker_blocks=1)
#: Where the third and the fourth restart is.
THIRD, FOURTH = RESTARTS.index(b"\xff\xd2"), RESTARTS.index(b"\xff\xd3")
PROGRESSIVE = save(Image.fromarray(SMOOTH[..., 0]), "JPEG", progressive=True)
SECOND_SCAN = PROGRESSIVE.index(b"\xff\xda", PROGRESSIVE.index(b"\xff\xda") + 2)
SCAN = JPEG[JPEG.index(b"\xff\xda") : -2]
END = b"\xff\xd9"


def end_with(grey):
    """Make a PNG that ends like a JPEG that was filled up."""
    image = GREY.copy()
    image[-1, -1] = grey
    return encode(image)


def insert(segment):
    """Put bytes behind the start of a JPEG."""
    return JPEG[:2] + segment + JPEG[2:]


EXIF = Image.Exif()
EXIF[0x0112] = 6  # a viewer would turn it by 90 degrees
SAMPLING = cv2.IMWRITE_JPEG_SAMPLING_FACTOR

READABLE = {
    "grey": PNG,
    "grey of 16 bits": encode(DEEP[..., 0]),
    "grey and alpha": save(Image.fromarray(NOISE[..., :2]), "PNG"),
    "colour": encode(COLOUR),
    "colour of 16 bits": encode(np.ascontiguousarray(DEEP[..., :3])),
    "colour and alpha": encode(NOISE),
    "colour and alpha of 16 bits": encode(DEEP),
    "colour of many rows": encode(np.tile(COLOUR, (13, 1, 1))),
    "palette": make_palette(transparent=False),
    "transparent palette": make_palette(transparent=True),
    "1 bit": save(Image.fromarray(GREY > 99), "PNG"),
    "2 bits": make_png(compress(NOISE[:8, :9, 0]), 36, 8, depth=2),
    "4 bits": make_png(compress(NOISE[:8, :9, 0]), 18, 8, depth=4),
    "a transparent grey": make_png(
        compress(GREY), extra=chunk(b"tRNS", struct.pack(">H", 17))
    ),
    "interlaced": make_png(compress(interlace(GREY)), interlaced=1),
    "a pixel": encode(GREY[:1, :1]),
    "a row": encode(GREY[:1]),
    "a column": encode(GREY[:, :1]),
    "large, in many chunks": encode(np.tile(GREY, (15, 14))),
    **{f"last pixel of {grey}": end_with(grey) for grey in JPEG_FILLINGS},
    "comment": make_png(compress(GREY), extra=COMMENT),
    "comment of a wrong checksum": make_noisy(spoil(COMMENT)),
    "comment of a wrong checksum behind": make_noisy(after=spoil(COMMENT)),
    "long comment": make_noisy(chunk(b"tEXt", b"a\0" + RANDOM)),
    "long compressed comment": make_noisy(make_text(b"zTXt", LONG)),
    "long international comment": make_noisy(make_text(b"iTXt", LONG)),
    "long comment behind the pixels": make_noisy(after=make_text(b"iTXt", LONG)),
    "many comments": make_noisy(2000 * chunk(b"tEXt", b"a\0b")),
    "long colour profile": make_noisy(make_text(b"iCCP", RANDOM)),
    "colour profile of nonsense": make_noisy(chunk(b"iCCP", b"a\0\0nonsense")),
    "long EXIF": make_noisy(chunk(b"eXIf", RANDOM)),
    "EXIF with a rotation": save(FRAMES[0], "PNG", exif=EXIF),
    "long unknown chunk": make_noisy(chunk(b"prVt", RANDOM)),
    "reserved chunk": make_noisy(chunk(b"text", b"abc")),
    "gamma": make_noisy(chunk(b"gAMA", struct.pack(">I", 100_000))),
    "gamma of 0": make_noisy(chunk(b"gAMA", bytes(4))),
    "gamma of a wrong checksum": make_noisy(spoil(chunk(b"gAMA", bytes(4)))),
    "significant bits": make_noisy(chunk(b"sBIT", b"\5")),
    "12 significant bits of 16": make_png(
        DEEP_ROWS, depth=16, extra=chunk(b"sBIT", b"\x0c")
    ),
    "background": make_noisy(chunk(b"bKGD", b"\0\7")),
    "transparency of a wrong checksum": make_noisy(spoil(chunk(b"tRNS", b"\0\7"))),
    "a transparent grey of 16 bits": make_png(
        DEEP_ROWS, depth=16, extra=chunk(b"tRNS", b"\0\7")
    ),
    "palette of grey": make_noisy(PLTE),
    "palette too long for its bits": make_png(
        compress(NOISE[:8, :9, 0]), 72, 8, depth=1, colour=3, extra=PLTE
    ),
    "transparency in front of its palette": make_noisy(
        chunk(b"tRNS", b"\1\2") + PLTE, colour=3
    ),
    "animation": save(FRAMES[0], "PNG", **ANIMATED),
    # OpenCV would read the second picture, which browsers animate.
    "animation of others": save(FRAMES[0], "PNG", default_image=True, **ANIMATED),
    "animation of no frame": make_noisy(NO_FRAMES),
    "animation of a false frame": make_noisy(FALSE_FRAME),
    "pixels in parts": make_png(PIXELS[:500], after=chunk(b"IDAT", PIXELS[500:])),
    "pixels again behind a comment": make_noisy(
        after=COMMENT + chunk(b"IDAT", compress(255 - GREY))
    ),
    "too many rows": make_png(compress([*GREY, *GREY])),
    "end with content": PNG[:-12] + chunk(b"IEND", b"xx"),
    "bytes behind the end": PNG + b"\n\0trailing",
    "another behind the end": PNG + encode(255 - GREY),
    "JPEG": JPEG,
    "JPEG in colour": encode(SMOOTH, ".jpg"),
    "JPEG of noise": encode(COLOUR, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 40),
    "JPEG 4:4:4": encode(SMOOTH, ".jpg", SAMPLING, 0x111111),
    "JPEG 4:2:2": encode(SMOOTH, ".jpg", SAMPLING, 0x211111),
    "JPEG 4:4:0": encode(SMOOTH, ".jpg", SAMPLING, 0x121111),
    "JPEG progressive": save(Image.fromarray(SMOOTH), "JPEG", progressive=True),
    "JPEG with a rotation": save(Image.fromarray(SMOOTH), "JPEG", exif=EXIF),
    "JPEG with padding": JPEG[:2] + b"\xff" * 5 + JPEG[2:],
    "JPEG with bytes behind its end": JPEG + b"\n\0trailing",
    "JPEG with a scan behind its end": JPEG + b"\xff\xda\xff",
    "JPEG in front of another": JPEG + encode(255 - SMOOTH, ".jpg"),
    "JPEG of mid-grey": encode(np.full((40, 66), 128, np.uint8), ".jpg"),
    "JPEG with a long colour profile": save(
        FRAMES[0], "JPEG", icc_profile=RANDOM[:3_000_000]
    ),
    "JPEG with EXIF of nonsense": insert(b"\xff\xe1\0\x0cExif\0\0II*\0"),
    "JPEG with a picture in its EXIF": insert(
        b"\xff\xe1" + struct.pack(">H", 10 + len(JPEG)) + b"Exif\0\0II" + JPEG
    ),
    "JPEG with a short JFIF": insert(b"\xff\xe0\0\7JFIF\0"),
    "JPEG with a short Adobe": insert(b"\xff\xee\0\7Adobe"),
    "JPEG with a segment of no length": insert(b"\xff\xfe\0\0"),
    "JPEG in one of three scans": PROGRESSIVE[:SECOND_SCAN] + END,
    "JPEG with restarts": RESTARTS,
    "JPEG without a restart": RESTARTS[:THIRD] + RESTARTS[FOURTH:],
    "JPEG with another restart": RESTARTS.replace(b"\xff\xd2", b"\xff\xd7", 1),
    "JPEG in RGB": imagecodecs.jpeg8_encode(
        SMOOTH, colorspace="rgb", outcolorspace="rgb"
    ),
    "JPEG in CMYK": CMYK,
    "JPEG in CMYK, not Adobe's": CMYK.replace(b"Adobe", b"Other"),
    "JPEG in YCCK": imagecodecs.jpeg8_encode(
        np.dstack([SMOOTH, SMOOTH[..., 0]]), colorspace="cmyk", outcolorspace="ycck"
    ),
    # Bytes that are no arithmetic code are nevertheless decoded.
    "JPEG with arithmetic coding": JPEG.replace(b"\xff\xc0", b"\xff\xc9"),
}  # fmt: skip

REFUSED = {
    "empty": b"",
    "a byte": b"\x89",
    "text": b"<!DOCTYPE html><title>404</title>",
    "GIF": save(Image.fromarray(GREY), "GIF"),
    "BMP": encode(GREY, ".bmp"),
    "signature": PNG[:8],
    "cut in the header": PNG[:20],
    "header only": PNG[:33],
    "head of the pixels only": PNG[:41],
    "cut in the pixels": PNG[:1000],
    "cut before the end": PNG[:-12],
    "cut by a byte": PNG[:-1],
    "checksum of the header": PNG[:19] + b"\x01" + PNG[20:],
    "checksum of the end": PNG[:-1] + b"\x83",
    "no width": make_png(b"", width=0),
    "3 bits": make_png(compress(GREY), depth=3),
    "colour of 4 bits": make_png(compress(GREY), depth=4, colour=2),
    "few rows": make_png(compress(GREY[:9])),
    "garbage for pixels": make_png(GREY.tobytes()),
    "no pixels": make_png(b""),
    "palette missing": make_png(compress(GREY), colour=3),
    "palette of no colour": make_noisy(chunk(b"PLTE", b""), colour=3),
    "palette of 11 bytes": make_noisy(chunk(b"PLTE", bytes(11)), colour=3),
    "palette of a wrong checksum": make_noisy(spoil(PLTE), colour=3),
    "two palettes": make_noisy(PLTE + PLTE, colour=3),
    "two headers": PNG[:33] + PNG[8:],
    "a comment ahead of the header": PNG[:8] + COMMENT + PNG[8:],
    "a chunk of Apple's ahead of the header": PNG[:8] + chunk(b"CgBI", b"") + PNG[8:],
    "header of 14 bytes": PNG[:8] + chunk(b"IHDR", PNG[16:29] + b"\0") + PNG[33:],
    "unknown compression": PNG[:8] + chunk(b"IHDR", PNG[16:26] + b"\1\0\0") + PNG[33:],
    "unknown interlacing": PNG[:8] + chunk(b"IHDR", PNG[16:28] + b"\2") + PNG[33:],
    "unknown necessary chunk": make_noisy(chunk(b"QRST", b"")),
    "chunk without a name": make_noisy(chunk(b"te\0t", b"")),
    "pixels around a comment": make_png(
        PIXELS[:500], after=COMMENT + chunk(b"IDAT", PIXELS[500:])
    ),
    "checksum of the pixels": make_png(spoil(PIXELS)),
    "unknown filter": make_png(zlib.compress(41 * (b"\7" + bytes(66)))),
    "a million columns": make_png(
        compress(np.zeros((1, 1_000_001), "uint8")), 1_000_001, 1
    ),
    "WebP": save(FRAMES[0], "WEBP"),
    "TIFF": save(FRAMES[0], "TIFF"),
    "JPEG 2000": encode(GREY, ".jp2"),
    "JPEG signature": JPEG[:3],
    "JPEG cut in its header": JPEG[:100],
    "JPEG cut in its pixels": JPEG[:-90],
    "JPEG of 12 bits": JPEG.replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x0c"),
    "JPEG without a frame": JPEG.replace(b"\xff\xc0", b"\xff\xfe"),
    "JPEG without height": JPEG.replace(b"\x0b\x08\0\x29", b"\x0b\x08\0\0"),
    "JPEG of more rows than it has": JPEG.replace(b"\x08\0\x29", b"\x08\0\x59"),
    "JPEG cut by a byte": JPEG[:-1],
    "JPEG without its end": JPEG[:-2],
    "JPEG cut in front of another": JPEG[:-90] + JPEG,
    "JPEG cut, then closed": JPEG[:-90] + END,
    "JPEG in colour cut, then closed": encode(SMOOTH, ".jpg")[:-90] + END,
    "JPEG in CMYK cut, then closed": CMYK[:-90] + END,
    "JPEG of other CMYK cut, then closed": CMYK.replace(b"Adobe", b"Other")[:-90] + END,
    "JPEG cut, closed and filled": JPEG[:-90] + b"\xff\xff" + END,
    "JPEG cut, closed, with bytes behind": JPEG[:-90] + END + b"xx" + END,
    "JPEG progressive cut": PROGRESSIVE[:-90],
    "JPEG twice": JPEG[:2] + JPEG,
    "JPEG without a scan": JPEG[: JPEG.index(b"\xff\xda")] + END,
    "JPEG of two scans": JPEG[:-2] + SCAN + END,
    "JPEG with an unknown marker": JPEG[:-90] + b"\xff\x2a" + JPEG[-90:],
    "JPEG with a segment that is too long": insert(b"\xff\xfe\xff\xff"),
    "JPEG without quantization": JPEG.replace(b"\xff\xdb", b"\xff\xfe"),
    "JPEG lossless": imagecodecs.ljpeg_encode(GREY),
    "JPEG lossless by its frame": JPEG.replace(b"\xff\xc0", b"\xff\xc3"),
    "JPEG hierarchical": JPEG.replace(b"\xff\xc0", b"\xff\xc5"),
    "JPEG-LS": imagecodecs.jpegls_encode(GREY),
    "JPEG XL": imagecodecs.jpegxl_encode(GREY),
}


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
