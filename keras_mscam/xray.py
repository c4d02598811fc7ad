"""One X-ray, in whatever form it comes."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_mscam.borders import find_field
from keras_mscam.data.images import (
    ImageError,
    decode_grey,
    find_format,
    read_bytes,
    resize_area,
)

#: A file, its content, or its grey pixels.
Image = str | os.PathLike | bytes | np.ndarray


@dataclass(frozen=True)
class Frame:
    """What a file says of its pixels.

    Args:
        size: `(height, width)` of the image, in pixels.
        pixel_spacing: millimetres between the centres of pixels, `(down, across)`;
            `None` where the file doesn't say.
        field: the exposed part, half-open xyxy in pixels, which alone is looked at;
            `None` for all of it.
        warnings: sentences on what a reader should know, as of a lateral view.
        spacing_plane: where those millimetres were measured, `"patient"`, or
            `"detector"` or `"film"`, where a chest is 5 to 20% larger; `None` where
            the file doesn't say.
    """

    size: tuple[int, int]
    pixel_spacing: tuple[float, float] | None = None
    field: tuple[int, int, int, int] | None = None
    warnings: tuple[str, ...] = ()
    spacing_plane: str | None = None

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """The part that is looked at, half-open xyxy in pixels."""
        return self.field or (0, 0, self.size[1], self.size[0])


@dataclass(frozen=True, eq=False)
class XRay:
    """Grey pixels and their frame.

    Args:
        pixels: uint8 `(height, width)`, dark for air and bright for bone.
        frame: what the file says of them.
    """

    pixels: np.ndarray
    frame: Frame

    def resize(self, size: tuple[int, int]) -> np.ndarray:
        """Return the field as a network takes it, uint8 `(height, width)`."""
        left, top, right, bottom = self.frame.corners
        return resize_area(self.pixels[top:bottom, left:right], size)


def read_xray(image: Image, crop_borders: bool = False) -> XRay:
    """Read one X-ray.

    Args:
        image: a PNG, JPEG or DICOM file, its bytes, or grey pixels, uint8 or uint16
            `(height, width)`, of which the upper 8 bits are taken.
        crop_borders: look only at what lies inside of uniform borders, where no DICOM
            header gives the field, see `borders.find_field`. The images of
            ChestX-ray14 have theirs, so models trained on them are used to borders.

    Returns:
        All of its pixels, and their frame. What a DICOM header says of the geometry is
        in the frame, see `dicom.reading.read_dicom`.

    Raises:
        ImageError: it can't be used; the message goes on behind its name.
    """
    xray = _read(image)
    field = find_field(xray.pixels) if crop_borders and not xray.frame.field else None
    if field is None:
        return xray
    said = (*xray.frame.warnings, "Only the part inside of its borders is looked at.")
    return replace(xray, frame=replace(xray.frame, field=field, warnings=said))


def _read(image: Image) -> XRay:
    if isinstance(image, np.ndarray):
        pixels = check_pixels(image)
    else:
        data = image if isinstance(image, bytes) else read_bytes(Path(image))
        if find_format(data) == "dicom":
            from keras_mscam.dicom.reading import read_dicom  # slow to import

            return read_dicom(data)
        pixels = decode_grey(data)
    return XRay(pixels, Frame(pixels.shape))


def check_pixels(image: np.ndarray) -> np.ndarray:
    """Return grey pixels `(height, width)` as uint8.

    Raises:
        ImageError: they are of another shape or type.
    """
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim != 2 or image.dtype not in ("uint8", "uint16") or not image.size:
        raise ImageError(
            f"has shape {image.shape} and type {image.dtype}: it must be "
            "(height, width) of uint8 or uint16"
        )
    return image if image.dtype == np.uint8 else (image >> 8).astype("uint8")


def describe_image(image: Image) -> str:
    """Return what to call an image in a sentence."""
    if isinstance(image, (bytes, np.ndarray)):
        return "The image"
    return str(image)
