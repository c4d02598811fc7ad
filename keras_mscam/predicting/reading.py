"""One file to what the network takes: the work of one worker process."""

from dataclasses import dataclass

import numpy as np

from keras_mscam.data.images import ImageError
from keras_mscam.picture_shape import choose_shape, shrink
from keras_mscam.predicting.finding import explain_no_stamp, stamp
from keras_mscam.xray import Frame, read_xray

DIED = "is damaged: its decoder crashed on it"


@dataclass(frozen=True, eq=False)
class Read:
    """An X-ray that has been read.

    Args:
        stamp: of the file, before it was read.
        image: uint8 `(height, width)`, as the network takes it.
        frame: what the file says of its pixels.
        picture: uint8, the X-ray at the size it is drawn at; `None` if not wanted.
    """

    stamp: tuple[int, int]
    image: np.ndarray
    frame: Frame
    picture: np.ndarray | None


@dataclass(frozen=True)
class Refused:
    """A file that can't be used, and why; the reason goes on behind its name."""

    stamp: tuple[int, int] | None
    reason: str


def read(
    path: str, size: tuple[int, int], longest_side: int | None, crop_borders: bool
) -> Read | Refused:
    """Read and resize one X-ray.

    Args:
        path: the file.
        size: `(height, width)` that the network takes.
        longest_side: of the picture, in pixels; `None` for no picture.
        crop_borders: see `read_xray`.
    """
    found = stamp(path)
    try:
        if found is None:
            raise ImageError(f"cannot be opened: {explain_no_stamp(path)}")
        xray = read_xray(path, crop_borders=crop_borders)
    except ImageError as error:
        return Refused(found, " ".join(str(error).split()))
    picture = None
    if longest_side is not None:
        frame = xray.frame
        shape = choose_shape(frame.size, frame.pixel_spacing, longest_side)
        picture = shrink(xray.pixels, shape)
    return Read(found, xray.resize(size), xray.frame, picture)
