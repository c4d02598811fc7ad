"""Image files to grey pixels of one size inside a TensorFlow graph.

What `data.images.decode_grey` and `resize_area` do in Python, in TensorFlow's own
operations: the same pixels (a CMYK JPEG may differ by 2 levels), and the same reasons
where a file is refused. DICOM is left to Python.
"""

from typing import NamedTuple

import tensorflow as tf

from keras_mscam.exporting.graph.headers import (
    PNG_START,
    check_file,
    find_last,
    find_markers,
    starts_with,
)
from keras_mscam.exporting.graph.resizing import resize_images
from keras_mscam.images.xray import MOST_PIXELS

__all__ = ["Decoded", "decode_images", "resize_images"]
#: Images decoded at the same time, each with its pixels in memory.
PARALLEL = 4
_NO_PIXELS = "is damaged: its pixels cannot be decoded"
_PART_OF_JPEG = "is damaged: a part of its JPEG data is missing"
# OpenCV's luma: 0.299 R + 0.587 G + 0.114 B in units of 2 ** -15.
_LUMA = (9798, 19235, 3735)
_LUMA_BITS = 15
_ROWS = 256  # of which luma is computed at a time, to save memory


class Decoded(NamedTuple):
    """Images of one size and what became of each.

    Args:
        images: `(N, height, width, 1)`, 0 where unreadable.
        sizes: `(N, 2)` int32, height and width of the file's image, 0 where unreadable.
        errors: `(N,)` string, empty or a sentence that goes on behind the file's name.
    """

    images: tf.Tensor
    sizes: tf.Tensor
    errors: tf.Tensor


def decode_images(
    image_bytes: tf.Tensor,
    image_size: tuple[int, int],
    most_pixels: int = MOST_PIXELS,
) -> Decoded:
    """Decode PNG and JPEG files to grey images of one size.

    No file fails the others. A decoder that can't read a file fails the graph that it
    is in, so every file gets a graph of its own: an element of a `tf.data.Dataset`,
    which leaves out what fails. Hence only what shows without decoding has a reason
    of its own.

    Args:
        image_bytes: string `(N,)`, contents of files; N may be 0.
        image_size: (height, width) of the result, known beforehand.
        most_pixels: larger images are refused by what their header says.

    Returns:
        uint8 images, their original sizes, and errors.
    """
    count = tf.size(image_bytes)

    @tf.autograph.experimental.do_not_convert
    def read(index, data):
        return index, *_read(data, image_size, most_pixels)

    # An empty one, which doesn't fail, comes last: there must be a result to take.
    files = tf.concat([image_bytes, [b""]], axis=0)
    dataset = (
        tf.data.Dataset.from_tensor_slices((tf.range(count + 1), files))
        .map(read, num_parallel_calls=PARALLEL, deterministic=True)
        .ignore_errors(log_warning=False)
        .batch(tf.cast(count + 1, tf.int64))
        .with_options(_options())
    )
    index, images, sizes, errors = dataset.get_single_element()
    index = index[:, None]
    shape = tf.concat([[count + 1], tf.shape(images)[1:]], axis=0)
    errors = tf.tensor_scatter_nd_update(
        tf.fill([count + 1], _NO_PIXELS), index, errors
    )
    return Decoded(
        images=tf.ensure_shape(
            tf.scatter_nd(index, images, shape)[:-1], (None, *image_size, 1)
        ),
        sizes=tf.ensure_shape(
            tf.scatter_nd(index, sizes, [count + 1, 2])[:-1], (None, 2)
        ),
        errors=errors[:-1],
    )


def _options() -> tf.data.Options:
    """Leave nothing to be tuned: a dataset is built anew for every request."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return options


def _read(data: tf.Tensor, image_size: tuple[int, int], most_pixels: int):
    """Read one file: image, original size, and what is wrong."""
    problem = check_file(data, most_pixels)
    grey, problem = tf.cond(
        problem == "",
        lambda: _decode_grey(data),
        lambda: (tf.zeros([0, 0], tf.uint8), problem),
    )
    grey = tf.cond(problem == "", lambda: grey, lambda: tf.zeros([0, 0], tf.uint8))
    image = tf.cast(resize_images(grey[None, ..., None], image_size)[0], tf.uint8)
    return image, tf.shape(grey), problem


def _decode_grey(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.cond(
        starts_with(data, PNG_START),
        lambda: (_decode_png(data), tf.constant("")),
        lambda: _decode_jpeg(data),
    )


def _decode_png(data: tf.Tensor) -> tf.Tensor:
    depth = tf.io.decode_raw(tf.strings.substr(data, 24, 1), tf.uint8)[0]

    def decode(dtype):
        return _convert_to_grey(tf.io.decode_png(data, channels=0, dtype=dtype))

    return tf.cond(depth == 16, lambda: decode(tf.uint16), lambda: decode(tf.uint8))


def _decode_jpeg(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    image = _decode_pixels(data)
    # Where pixels are missing, the decoder fills up with mid-grey: then it would read
    # more if there were more.
    problem = tf.cond(
        tf.reduce_all(image[-1, -1] == 128),
        lambda: _check_filling(data, image),
        lambda: tf.constant(""),
    )
    return _convert_to_grey(image), problem


def _check_filling(data: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    end = find_last(*find_markers(tf.io.decode_raw(data, tf.uint8)))
    start = tf.strings.substr(data, 0, end)
    more = _decode_pixels(tf.strings.join([start, b"\x55" * 64 + b"\xff\xd9"]))
    return tf.where(tf.reduce_all(image == more), "", _PART_OF_JPEG)


def _decode_pixels(data: tf.Tensor) -> tf.Tensor:
    # As OpenCV does; TensorFlow's default is the fast transform.
    return tf.io.decode_jpeg(
        data, channels=0, dct_method="INTEGER_ACCURATE", fancy_upscaling=True
    )


def _convert_to_grey(image: tf.Tensor) -> tf.Tensor:
    """Turn 1 to 4 channels of 8 or 16 bits into 8 bits of grey, `(height, width)`."""
    return tf.cond(
        tf.shape(image)[2] < 3,
        lambda: _keep_upper_byte(image[..., 0]),
        lambda: _compute_luma(image),
    )


def _compute_luma(image: tf.Tensor) -> tf.Tensor:
    size = tf.shape(image)
    steps = (size[0] + _ROWS - 1) // _ROWS
    grey = tf.TensorArray(
        tf.uint8, steps, infer_shape=False, element_shape=(None, None)
    )

    def convert(step, grey):
        rows = tf.cast(image[step * _ROWS : (step + 1) * _ROWS], tf.int32)
        luma = sum(weight * rows[..., k] for k, weight in enumerate(_LUMA))
        luma = tf.bitwise.right_shift(luma + 2 ** (_LUMA_BITS - 1), [_LUMA_BITS])
        luma = _keep_upper_byte(tf.cast(luma, image.dtype))
        return step + 1, grey.write(step, luma)

    _, grey = tf.while_loop(lambda step, grey: step < steps, convert, (0, grey))
    return grey.concat()


def _keep_upper_byte(grey: tf.Tensor) -> tf.Tensor:
    if grey.dtype == tf.uint8:
        return grey
    return tf.cast(tf.bitwise.right_shift(grey, tf.constant(8, tf.uint16)), tf.uint8)
