"""Image files to grey pixels of one size inside a TensorFlow graph.

What `images.reader.read_grey` and `images.resize.resize_area` do in Python, in
TensorFlow's own operations. Pixels differ by one grey level at most where sizes differ
by a factor that is no power of 2, from rounding. DICOM is left to Python.
"""

import functools
from typing import NamedTuple

import tensorflow as tf

from keras_mscam.data.tfrecords import resize
from keras_mscam.images.png_jpeg import JPEG_FILLINGS, JPEG_START, MOST_SCANS, PNG_START
from keras_mscam.images.xray import MOST_PIXELS

#: Images decoded at the same time, each with its pixels in memory.
PARALLEL = 4
#: Segments of a JPEG file at most: a long colour profile has 255, a scan three.
_MOST_SEGMENTS = 10_000
_EOI, _SOS = 0xD9, 0xDA
_NO_PIXELS = "is damaged: its pixels cannot be decoded"
_NO_PART = "is damaged: a part of its JPEG data is missing"
# OpenCV's luma: 0.299 R + 0.587 G + 0.114 B in multiples of 2 ** -15.
_LUMA = (9798 / 2**15, 19235 / 2**15, 3735 / 2**15)


class Decoded(NamedTuple):
    """Images of one size and what became of each."""

    images: tf.Tensor  # `(N, height, width, 1)`, 0 where unreadable
    # `(N, 2)` int32, height and width of the file's image, 0 where unreadable
    sizes: tf.Tensor
    # `(N,)` string, empty or a sentence that goes on behind the file's name
    errors: tf.Tensor


def decode_images(
    image_bytes: tf.Tensor, image_size: tuple[int, int], most_pixels: int = MOST_PIXELS
) -> Decoded:
    """Decode PNG and JPEG files to grey images of one size.

    A decoder that can't read a file fails the graph that it is in. So every file gets a
    graph of its own, an element of a `tf.data.Dataset`, which leaves out what fails.
    TensorFlow's decoders refuse files that are cut short, have impossible headers or
    wrong checksums of pixels; what they would read, but must not, `_find_problem`
    finds.

    Args:
        image_bytes: string `(N,)`, contents of files; N may be 0.
        image_size: (height, width) of the result, known beforehand.
        most_pixels: larger images are refused by what their header says.
    """
    count = tf.size(image_bytes)

    @tf.autograph.experimental.do_not_convert
    def read(index, data):
        return index, *_read(data, image_size, most_pixels)

    # Nothing is to be tuned: a dataset is built anew for every request.
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    # An empty one, which doesn't fail, comes last: there must be a result to take.
    files = tf.concat([image_bytes, [b""]], axis=0)
    dataset = (
        tf.data.Dataset.from_tensor_slices((tf.range(count + 1), files))
        .map(read, num_parallel_calls=PARALLEL, deterministic=True)
        .ignore_errors(log_warning=False)
        .batch(tf.cast(count + 1, tf.int64))
        .with_options(options)
    )
    index, images, sizes, errors = dataset.get_single_element()
    index = index[:, None]
    images = tf.scatter_nd(index, images, [count + 1, *image_size, 1])
    sizes = tf.scatter_nd(index, sizes, [count + 1, 2])
    errors = tf.tensor_scatter_nd_update(
        tf.fill([count + 1], _NO_PIXELS), index, errors
    )
    return Decoded(images[:-1], sizes[:-1], errors[:-1])


def _read(data: tf.Tensor, image_size: tuple[int, int], most_pixels: int):
    """Read one file: image, original size, and what is wrong; or fail."""
    is_png = tf.strings.substr(data, 0, len(PNG_START)) == PNG_START
    problem = _find_problem(data, is_png, most_pixels)

    def give_up(problem):
        return tf.zeros([*image_size, 1], tf.uint8), tf.zeros([2], tf.int32), problem

    def finish(pixels):
        return (
            _shrink_to_grey(pixels, image_size),
            tf.shape(pixels)[:2],
            tf.constant(""),
        )

    def read_jpeg():
        file, scans = _walk_jpeg(data)
        return tf.cond(
            scans > MOST_SCANS,
            lambda: give_up(tf.constant(f"has more than {MOST_SCANS} scans")),
            lambda: read_scans(file),
        )

    def read_scans(file):
        pixels = _decode_jpeg(file)
        return tf.cond(
            _is_filled(file, pixels),
            lambda: give_up(tf.constant(_NO_PART)),
            lambda: finish(pixels),
        )

    def read():  # of 16 bits the upper 8
        return tf.cond(is_png, lambda: finish(tf.io.decode_png(data)), read_jpeg)

    return tf.cond(problem == "", read, lambda: give_up(problem))


# As OpenCV does; TensorFlow's default is the fast transform.
_decode_jpeg = functools.partial(tf.io.decode_jpeg, dct_method="INTEGER_ACCURATE")


def _walk_jpeg(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return a JPEG up to its end, and how many scans it has; fail where it has no end.

    What is behind the end, and segments such as EXIF data, may hold anything, another
    JPEG too.
    """
    values = tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int32)
    following = values[1:]  # among pixels, 0x00 follows 0xff
    is_restart = (following >= 0xD0) & (following <= 0xD7)
    is_marker = (values[:-1] == 0xFF) & (following >= 0xC0) & (following < 0xFF)
    markers = tf.cast(tf.where(is_marker & ~is_restart)[:, 0], tf.int32)
    values = tf.pad(values, [[0, 2]])

    def skip(at, scans, _):
        found = markers[tf.searchsorted(markers, at[None])[0]]
        marker = values[found + 1]
        length = tf.maximum(256 * values[found + 2] + values[found + 3], 2)
        end = found + 2 + tf.where(marker == _EOI, 0, length)
        return end, scans + tf.cast(marker == _SOS, tf.int32), marker

    end, scans, marker = tf.while_loop(
        lambda end, scans, marker: marker != _EOI, skip, [2, 0, 0],
        maximum_iterations=_MOST_SEGMENTS,
    )  # fmt: skip
    # Of too many segments nothing is left, which can't be decoded.
    return tf.strings.substr(data, 0, tf.where(marker == _EOI, end, 0)), scans


def _is_filled(data: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Whether what was cut off in front of a JPEG's end marker is filled up.

    See `images.png_jpeg.lengthen_jpeg`.
    """

    def lengthen():
        values = tf.io.decode_raw(data, tf.uint8)
        scan = tf.cast(tf.where(values[:-2] != 0xFF)[-1, 0] + 1, tf.int32)
        parts = tf.strings.substr(data, 0, scan), b"\x55" * 64 + b"\xff\xd9"
        return tf.reduce_any(_decode_jpeg(tf.strings.join(parts)) != pixels)

    may_be = tf.reduce_any([tf.reduce_all(pixels[-1, -1] == g) for g in JPEG_FILLINGS])
    return tf.cond(may_be, lengthen, lambda: tf.constant(False))


def _find_problem(data: tf.Tensor, is_png: tf.Tensor, most_pixels: int) -> tf.Tensor:
    """Say what is wrong with a file that could be decoded, or "".

    TensorFlow would take GIFs for PNGs, and give all the memory that an image asks for
    in its header.
    """
    is_jpeg = tf.strings.substr(data, 0, len(JPEG_START)) == JPEG_START
    height, width = tf.case(
        [(is_png, lambda: _read_png_size(data)),
         (is_jpeg, lambda: _read_jpeg_size(data))],
        default=lambda: (tf.constant(0.0, tf.float64),) * 2,
    )  # fmt: skip
    sides = [tf.strings.as_string(side, precision=0) for side in (height, width)]
    too_large = tf.strings.join(["is too large: ", sides[0], "x", sides[1], " pixels"])
    return tf.case(
        [
            (data == b"", lambda: tf.constant("is empty")),
            (~(is_png | is_jpeg), lambda: tf.constant("is not a PNG or JPEG image")),
            (height * width > most_pixels, lambda: too_large),
        ],
        default=lambda: tf.constant(""),
    )


def _read_png_size(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return height and width, float64; 0 where the decoder refuses the header."""
    is_header = tf.strings.substr(data, 12, 4) == b"IHDR"
    sides = tf.where(is_header, tf.strings.substr(data, 16, 8), b"\0" * 8)
    header = tf.strings.join([sides, b"\0" * 8])
    places = tf.constant([2.0**24, 2.0**16, 2.0**8, 1], tf.float64)
    values = tf.cast(tf.io.decode_raw(header, tf.uint8), tf.float64)
    return tf.tensordot(values[4:8], places, 1), tf.tensordot(values[:4], places, 1)


def _read_jpeg_size(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    size = tf.cast(tf.image.extract_jpeg_shape(data)[:2], tf.float64)
    return size[0], size[1]


def _shrink_to_grey(pixels: tf.Tensor, image_size: tuple[int, int]) -> tf.Tensor:
    """Turn 1 to 4 channels into 1; luma is computed of the small image only."""
    small = resize(pixels, image_size)
    grey = tf.cond(
        tf.shape(pixels)[2] < 3,
        lambda: small[..., :1],
        # In float64 a sum of equal parts is what they are, to the last bit.
        lambda: tf.cast(
            tf.tensordot(
                tf.cast(small[..., :3], tf.float64), tf.constant(_LUMA, tf.float64), 1
            )[..., None],
            tf.float32,
        ),
    )
    return tf.cast(_round(grey), tf.uint8)


def resize_images(images: tf.Tensor, image_size: tuple[int, int]) -> tf.Tensor:
    """Resize by area averaging, and by interpolation along a side that grows.

    A uint8 image differs from that of `images.resize.resize_area` by one grey level at
    most, where OpenCV rounds otherwise.

    Args:
        images: uint8 or float32 `(N, H, W, 1)`, none of the sizes known beforehand.
        image_size: (height, width) wanted.

    Returns:
        float32 `(N, height, width, 1)`; whole numbers if `images` are uint8. Zeros
        where H or W is 0.
    """
    resized = tf.cond(
        tf.reduce_any(tf.shape(images) == 0),
        lambda: tf.zeros([tf.shape(images)[0], *image_size, 1]),
        lambda: resize(images, image_size),
    )
    resized = tf.ensure_shape(resized, (None, *image_size, 1))
    return _round(resized) if images.dtype == tf.uint8 else resized


def _round(values: tf.Tensor) -> tf.Tensor:
    """Round halves up, as OpenCV does where it averages 2 x 2 pixels."""
    return tf.floor(values + 0.5)
