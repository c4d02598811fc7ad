"""One X-ray, in whatever form it comes."""

from dataclasses import dataclass

import numpy as np

from keras_mscam.errors import UserError
from keras_mscam.images.resize import resize_area

#: More pixels than any radiograph has; decoding as many takes a second and 100 MB.
MOST_PIXELS = 100_000_000
#: Of a file: 100 million pixels of 16 bits take 200 million.
MOST_BYTES = 2**28
#: Of a field that a DICOM header gives.
CROPPED = "Only the part that its collimation left open is looked at."
CROPPED_AROUND = (
    "Only the rectangle around what its collimation left open is looked at."
)


class ImageError(UserError):
    """An image file can't be used; the message goes on behind its name: "is empty"."""


@dataclass(frozen=True)
class Frame:
    """What a file says of its pixels."""

    size: tuple[int, int]  # `(height, width)` of the image, in pixels
    # millimetres between the centres of pixels, `(down, across)`; `None` where the file
    # doesn't say
    pixel_spacing: tuple[float, float] | None = None
    # the exposed part, half-open xyxy in pixels, which alone is looked at; `None` for
    # all of it
    field: tuple[int, int, int, int] | None = None
    # sentences on what a reader should know, as of a lateral view
    warnings: tuple[str, ...] = ()
    # where those millimetres were measured, `"patient"`, or `"detector"` or `"film"`,
    # where a chest is 5 to 20% larger; `None` where the file doesn't say
    spacing_plane: str | None = None

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """The part that is looked at, half-open xyxy in pixels."""
        return self.field or (0, 0, self.size[1], self.size[0])


@dataclass(frozen=True, eq=False)
class XRay:
    """Grey pixels and their frame."""

    pixels: np.ndarray  # uint8 (height, width), dark for air and bright for bone
    frame: Frame

    def resize(self, size: tuple[int, int]) -> np.ndarray:
        """Return the field as a network takes it, uint8 `(height, width)`."""
        left, top, right, bottom = self.frame.corners
        return resize_area(self.pixels[top:bottom, left:right], size)


def check_size(height: int, width: int) -> None:
    """Refuse, with an `ImageError`, what could fill the memory once decoded."""
    if height * width < 1:
        raise ImageError(f"has no pixels: its size is {height}x{width}")
    if height * width > MOST_PIXELS:
        raise ImageError(f"is too large: {height}x{width} pixels")
