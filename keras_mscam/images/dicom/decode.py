"""Stored values of DICOM pixels, in whatever way they are compressed."""

import struct
from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np
from pydicom import Dataset, uid
from pydicom.encaps import generate_frames
from pydicom.pixels import convert_color_space, get_decoder, pixel_array

from keras_mscam.images.dicom.jpeg2000 import check_jpeg_2000
from keras_mscam.images.png_jpeg import lengthen_jpeg
from keras_mscam.images.xray import ImageError

#: Spectral selection and full progression: retired, but found in old archives.
_PROGRESSIVE = ("1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55")
#: libjpeg-turbo and CharLS read these in all their depths and end no process, as GDCM
#: may, which pydicom would ask.
_JPEGS = (
    uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGExtended12Bit, *_PROGRESSIVE,
    *uid.JPEGLSTransferSyntaxes,
)  # fmt: skip
#: Whom to ask among pydicom's decoders, which it would try one after the other.
_PLUGINS = {
    uid.JPEGBaseline8Bit: "pillow",
    **dict.fromkeys(uid.JPEG2000TransferSyntaxes, "pylibjpeg"),
}
#: Markers of a frame header, of JPEG (0xffc4, c8 and cc mean others) and JPEG-LS.
_FRAMES = {*range(0xFFC0, 0xFFD0), 0xFFF7} - {0xFFC4, 0xFFC8, 0xFFCC}
_END = b"\xff\xd9"
#: Bytes that a run-length coder may have written behind the pixels.
_PADDING = 1024
_OTHER_SIZE = "is damaged: its pixels are not as many as its header says"


def check_compression(dataset: Dataset) -> None:
    """Refuse pixels of a transfer syntax that can't be read, with an `ImageError`."""
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        readable = syntax in _JPEGS or get_decoder(syntax).is_available
    except NotImplementedError:
        readable = False
    if not readable:
        name = syntax.name if syntax.name[:1].isalpha() else "unknown to DICOM"
        raise ImageError(f"is compressed in a way that cannot be read: {name}")


def decode(dataset: Dataset) -> tuple[np.ndarray, list[str]]:
    """Return stored values `(height, width)`, or colour `(height, width, 3)` as RGB.

    Values are signed where the header says so, without what the bits above or below the
    stored ones hold. Where grey values are larger than their header says, there is a
    warning too: what is above the stored bits is left out, as in every viewer. Old
    files keep overlays there, and say so; in others it belongs to the values, and the
    picture is wrong. Of signed values, the sign should be there; in JPEG they aren't
    looked at.

    Raises:
        ImageError: they are not as many, or not as deep, as the header says. Anything
            else where the data is damaged.
    """
    bits = dataset.BitsStored
    below = max(dataset.HighBit + 1 - bits, 0)
    if bits < 1 or bits + below > dataset.BitsAllocated:
        raise ImageError("is damaged: its pixels have more bits than its header says")
    syntax = dataset.file_meta.TransferSyntaxUID
    colour = dataset.SamplesPerPixel == 3
    if syntax in _JPEGS or (syntax == uid.JPEGBaseline8Bit and not colour):
        pixels, is_cut = _decode_jpeg(dataset, bits + below)
    else:
        if syntax in uid.JPEG2000TransferSyntaxes:
            sides = dataset.Rows, dataset.Columns, dataset.SamplesPerPixel
            check_jpeg_2000(_get_only_frame(dataset), *sides)
        elif syntax == uid.RLELossless:
            _check_runs(dataset)
        elif syntax == uid.JPEGBaseline8Bit:
            # It has markers of its own, which Pillow knows; but it also fills up.
            _decode_libjpeg(_get_frame(dataset), {})
        pixels, is_cut = _decode_others(dataset, bits + below)
    if pixels.shape[:2] != (dataset.Rows, dataset.Columns):
        raise ImageError(_OTHER_SIZE)
    said = ["Its values are larger than its header says, so they are cut."]
    is_cut = is_cut and not _has_overlays(dataset)
    return (pixels >> below if below else pixels), said if is_cut else []


def _decode_others(dataset: Dataset, bits: int) -> tuple[np.ndarray, bool]:
    """Return stored values, and whether anything else was above them."""
    syntax, stored = dataset.file_meta.TransferSyntaxUID, dataset.BitsStored
    # JPEG 2000 says itself how many bits it has.
    is_cut_here = (
        dataset.SamplesPerPixel == 1
        and bits < dataset.BitsAllocated
        and syntax not in uid.JPEG2000TransferSyntaxes
    )
    # pydicom takes the highest of the stored bits for the sign's.
    dataset.BitsStored = dataset.BitsAllocated if is_cut_here else bits
    plugin = _PLUGINS.get(syntax, "")
    try:
        pixels = pixel_array(dataset, decoding_plugin=plugin, allow_excess_frames=False)
    finally:
        dataset.BitsStored = stored
    if not is_cut_here:
        return pixels, False
    values = _cut(pixels, bits, dataset)
    return values, not np.array_equal(values, pixels)


def _decode_jpeg(dataset: Dataset, bits: int) -> tuple[np.ndarray, bool]:
    """Return stored values, and whether anything else was above them."""
    frame = _get_frame(dataset)
    if dataset.file_meta.TransferSyntaxUID in uid.JPEGLSTransferSyntaxes:
        pixels = imagecodecs.jpegls_decode(frame)
    else:
        # From and to the same: by itself it takes for YBR what no marker calls RGB.
        space = "rgb" if dataset.SamplesPerPixel == 3 else "grayscale"
        pixels = _decode_libjpeg(frame, {"colorspace": space, "outcolorspace": space})
    if pixels.ndim == 3:
        ybr = dataset.PhotometricInterpretation.startswith("YBR")
        return convert_color_space(pixels, "YBR_FULL", "RGB") if ybr else pixels, False
    values = _cut(pixels, bits, dataset)
    is_cut = not np.array_equal(values, pixels)
    return values, is_cut and not dataset.PixelRepresentation


def _cut(pixels: np.ndarray, bits: int, dataset: Dataset) -> np.ndarray:
    """Leave out what is above the stored bits, of which the highest may be a sign."""
    values = pixels.astype(np.int32) & (2**bits - 1)
    if dataset.PixelRepresentation:
        values -= values >> (bits - 1) << bits
    return values


def _get_frame(dataset: Dataset) -> bytes:
    """Return the JPEG or JPEG-LS file that is inside, whose header says the same.

    Both headers are compared before memory is filled by what only one of them says.
    """
    frame = _get_only_frame(dataset)
    # Without it, CharLS may take seconds to find that something is missing.
    if _END not in frame:  # neither can be inside
        raise ImageError("is damaged: the end of its JPEG data is missing")
    bits, *inside = _read_frame_header(frame)
    if inside != [dataset.Rows, dataset.Columns, dataset.SamplesPerPixel]:
        raise ImageError(_OTHER_SIZE)
    if bits > dataset.BitsAllocated:
        raise ImageError("is damaged: its pixels have more bits than its header says")
    return frame


def _get_only_frame(dataset: Dataset) -> bytes:
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


def _read_frame_header(frame: bytes) -> tuple[int, int, int, int]:
    """Return bits, height, width and samples, as a JPEG or JPEG-LS gives them."""
    start, marker, length = 2, 0, 0
    while marker not in _FRAMES:
        start += length
        marker, length = struct.unpack_from(">HH", frame, start)
        if marker < 0xFF00:
            raise ImageError("is damaged: its JPEG header cannot be read")
        start += 2
    return struct.unpack_from(">BHHB", frame, start + 2)


def _check_runs(dataset: Dataset) -> None:
    """Refuse runs of more values than the header says: a byte may stand for 64.

    Reference: DICOM PS3.5, annex G.
    """
    frame = _get_only_frame(dataset)
    count, *starts = struct.unpack_from("<16I", frame)
    size = dataset.Rows * dataset.Columns
    for start, end in pairwise([*starts[:count], len(frame)]):
        try:
            imagecodecs.packbits_decode(frame[start:end], out=size + _PADDING)
        except imagecodecs.PackbitsError as error:
            if "TOO_SMALL" in str(error):
                raise ImageError(_OTHER_SIZE) from error


def _decode_libjpeg(frame: bytes, spaces: dict[str, Any]) -> np.ndarray:
    """Decode between colour spaces, and refuse what libjpeg would make up."""
    pixels = imagecodecs.jpeg8_decode(frame, **spaces)
    more = imagecodecs.jpeg8_decode(lengthen_jpeg(frame), **spaces)
    if not np.array_equal(pixels, more):
        raise ImageError("is damaged: a part of its JPEG data is missing")
    return pixels


def _has_overlays(dataset: Dataset) -> bool:
    """Whether old files say that bits beside the stored ones are overlays.

    Reference: DICOM PS3.3-2004, C.9.2.
    """
    overlays = (dataset.get((group, 0x0102)) for group in range(0x6000, 0x6020, 2))
    return any(position and position.value for position in overlays)
