"""Image files to grey pixels, and to the size that is stored."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

#: More pixels than any radiograph has: a damaged header, or a bomb.
LARGEST_AREA = 100_000_000


class ImageError(Exception):
    """A file that is no usable image; the message says why, without its name."""


def read_grey(path: Path) -> np.ndarray:
    """Read a PNG or JPEG file as 8-bit grey.

    Colours become luma, `0.299 R + 0.587 G + 0.114 B`. An alpha channel is dropped,
    not blended: the RGBA files of ChestX-ray14, about 519, carry one that means
    nothing. 16 bits become their upper 8; a file that uses only 12 of its 16 comes out
    dark. A rotation in EXIF data is ignored: boxes are in the stored frame.

    Args:
        path: the file. Its content decides on its format, not its name.

    Returns:
        `uint8` array `(height, width)`.

    Raises:
        ImageError: the file is missing, empty, truncated, damaged, of another format
            or of more than 100 million pixels.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be opened: {error.strerror}") from error
    return decode_grey(content)


def decode_grey(content: bytes) -> np.ndarray:
    """Decode an encoded X-ray; see `read_grey`."""
    if not content:
        raise ImageError("is empty")
    # Pillow, since OpenCV gives the upper part of a truncated file without a word.
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > LARGEST_AREA:
                raise ImageError(f"has {image.width}x{image.height} pixels")
            image.load()
            return _to_grey(image)
    except UnidentifiedImageError as error:
        raise ImageError("is neither PNG nor JPEG") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"has more than {LARGEST_AREA} pixels") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"is damaged: {error}") from error


def resize_area(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize by area averaging, to exactly the size asked for.

    The ratio of the sides is not kept: ChestX-ray14 itself was stored as squares of
    1024 pixels from originals that were not square, and a model sees what its training
    data looked like. Along a side that grows, where there is nothing to average,
    interpolation is linear with half-pixel centres.

    Args:
        image: `uint8` array `(height, width)`.
        size: `(height, width)` wanted.

    Returns:
        `uint8` array of that size.

    Example:
        >>> resize_area(np.array([[0, 20], [40, 60]], np.uint8), (1, 1))
        array([[30]], dtype=uint8)
    """
    height, width = size
    shrunk = min(image.shape[1], width), min(image.shape[0], height)
    image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def encode_png(image: np.ndarray) -> bytes:
    """Encode `uint8` `(height, width)` as a grey PNG, fast rather than small."""
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _to_grey(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype("uint32")
        return (wide.clip(0, 65535) >> 8).astype("uint8")
    if image.mode in ("LA", "RGBA", "PA"):
        image = image.convert("RGBA").convert("RGB")
    return np.asarray(image.convert("L"))
