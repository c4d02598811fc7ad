"""DICOM radiographs to grey pixels, as a viewer shows them.

`images` imports this module only when it meets a DICOM file, since pydicom and its
decoders take half a second and most folders hold none.
"""

import io
import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.multival import MultiValue
from pydicom.pixels import (
    apply_color_lut,
    apply_modality_lut,
    apply_voi,
    get_decoder,
    pixel_array,
)
from pydicom.uid import (
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from keras_mscam.data.images import ImageError, check_size

#: Projections, DR being an older name of DX; OT and SC are what secondary captures
#: (scanned films, exported screens) call themselves.
RADIOGRAPHS = ("CR", "DX", "DR", "RG", "RF", "OT", "SC")

#: Left to itself, pydicom tries all decoders in turn: GDCM first, which prints to
#: standard error about damaged JPEG and JPEG 2000, and alone knows lossless JPEG.
_PLUGINS = dict.fromkeys(JPEG2000TransferSyntaxes, "pylibjpeg")
_PLUGINS |= dict.fromkeys(JPEGLSTransferSyntaxes, "gdcm")
_PLUGINS |= dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit), "pillow")

_JPEGS = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes)
#: Markers of a frame header, of JPEG (0xffc4, c8 and cc mean others) and JPEG-LS.
_JPEG_FRAMES = {*range(0xFFC0, 0xFFD0), 0xFFF7} - {0xFFC4, 0xFFC8, 0xFFCC}

_COLOURS = ("RGB", "YBR", "PALETTE")  # each the start of some names


def read_dicom(data: bytes) -> np.ndarray:
    """Decode a DICOM radiograph to 8-bit grey, dark for air and bright for bone.

    Stored values go through the modality LUT or rescale, then through the first VOI LUT
    or else the first window (linear, linear exact or sigmoid). Without either, values
    of up to 8 bits are taken as they are, and deeper ones are stretched from their
    minimum to their maximum, pixel padding left out. A window in which every pixel of
    the image is equal counts as none. `MONOCHROME1` is inverted; colour becomes luma.
    Overlays are not drawn, and a presentation LUT is not applied.

    Args:
        data: content of the file, DICM behind a preamble of 128 bytes.

    Returns:
        uint8 of shape `(height, width)`.

    Raises:
        ImageError: the file is damaged or incomplete, has no pixels, several frames,
            more than 16 bits a pixel or more than 100 million pixels, is of a modality
            other than `RADIOGRAPHS` (an empty one is let pass), or is compressed in a
            way that cannot be read, as 12-bit lossy JPEG is.
    """
    with _reporting("is damaged: its DICOM data cannot be read"):
        dataset = dcmread(io.BytesIO(data))
        _check(dataset)
    with _reporting("is damaged: its pixels cannot be decoded"):
        pixels = _decode(dataset)
        if dataset.PhotometricInterpretation.startswith(_COLOURS):
            return _to_luma(pixels, dataset)
        return _to_grey(pixels, dataset)


@contextmanager
def _reporting(reason: str) -> Iterator[None]:
    """Raise whatever pydicom makes of a damaged file, which is anything, as a reason.

    Its warnings are about files that are read nevertheless.
    """
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(reason) from error
    finally:
        logger.setLevel(level)


def _read_size(dataset: Dataset) -> tuple[int, int]:
    if "Rows" not in dataset or "Columns" not in dataset:
        raise ImageError("is a DICOM file without pixels")
    height, width = int(dataset.Rows), int(dataset.Columns)
    check_size(height, width)
    return height, width


def _check(dataset: Dataset) -> None:
    """Refuse what is no radiograph, before its pixels are decoded."""
    _read_size(dataset)
    if "PixelData" not in dataset:
        raise ImageError("is a DICOM file without pixels, or an incomplete one")
    modality = dataset.get("Modality") or "OT"
    if modality not in RADIOGRAPHS:
        known = ", ".join(RADIOGRAPHS)
        raise ImageError(f"is of modality {modality}; radiographs are {known}")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ImageError(f"has {frames} frames, not one")
    if dataset.BitsAllocated > 16:
        raise ImageError(f"has {dataset.BitsAllocated} bits a pixel, more than 16")
    photometric = dataset.PhotometricInterpretation
    if not photometric.startswith(("MONOCHROME", *_COLOURS)):
        raise ImageError(f"has pixels of an unknown kind: {photometric}")
    _check_compression(dataset)


def _check_compression(dataset: Dataset) -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        readable = get_decoder(syntax).is_available
    except NotImplementedError:
        readable = False
    # No decoder under a permissive licence takes 12 bits from pydicom.
    if syntax == JPEGExtended12Bit and dataset.BitsStored > 8:
        readable = False
    if not readable:
        raise ImageError(f"is compressed in a way that cannot be read: {syntax.name}")


def _decode(dataset: Dataset) -> np.ndarray:
    """Return stored values `(height, width)`, or colour `(height, width, 3)`."""
    plugin = _PLUGINS.get(dataset.file_meta.TransferSyntaxUID, "")
    if dataset.file_meta.TransferSyntaxUID in _JPEGS:
        _check_jpeg(dataset)
    pixels = pixel_array(dataset, decoding_plugin=plugin, allow_excess_frames=False)
    if pixels.shape[:2] != _read_size(dataset):
        raise ImageError("is damaged: its pixels are not as many as its header says")
    return pixels


def _check_jpeg(dataset: Dataset) -> None:
    """Compare both headers: where they differ, GDCM may end the whole process."""
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    start, marker, length = 2, 0, 0
    while marker not in _JPEG_FRAMES:
        start += length
        marker, length = struct.unpack_from(">HH", frame, start)
        start += 2
    bits, height, width, samples = struct.unpack_from(">BHHB", frame, start + 2)
    inside = (height, width, samples)
    if inside != (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel):
        raise ImageError("is damaged: its pixels are not as many as its header says")
    if bits > dataset.BitsAllocated or dataset.BitsStored > dataset.BitsAllocated:
        raise ImageError("is damaged: its pixels have more bits than its header says")


def _to_luma(pixels: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Turn colour, which pydicom gives as RGB, to grey as `images` does."""
    bits = dataset.BitsStored
    if dataset.PhotometricInterpretation.startswith("PALETTE"):
        pixels = apply_color_lut(pixels, dataset)
        bits = pixels.dtype.itemsize * 8
    pixels = (pixels[..., :3] >> max(bits - 8, 0)).astype(np.uint8)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def _to_grey(pixels: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Look every stored value up in a table: no pixel is computed twice."""
    pixels = pixels.astype(np.int32)
    first, last = int(pixels.min()), int(pixels.max())
    if dataset.BitsStored <= 8:
        lowest = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
        first = min(first, lowest)
        last = max(last, lowest + 2**dataset.BitsStored - 1)
        stored = np.arange(first, last + 1)
        actual = np.ones(stored.shape, bool)
    else:
        stored = np.arange(first, last + 1)
        counted = np.bincount(pixels.ravel() - first) > 0
        actual = counted & ~_find_padding(stored, dataset)
        actual = actual if actual.any() else counted
    grey = _present(apply_modality_lut(stored, dataset), actual, dataset)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 1 - grey
    return np.floor(255 * grey + 0.5).astype(np.uint8)[pixels - first]


def _find_padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Mark the values, one or a range, which fill up what was not exposed."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = dataset.get("PixelPaddingRangeLimit", value)
    return (stored >= min(value, limit)) & (stored <= max(value, limit))


def _present(values: np.ndarray, actual: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Scale values to 0..1; `actual` marks those that the image has."""
    if dataset.get("VOILUTSequence"):
        bits = dataset.VOILUTSequence[0].LUTDescriptor[2]
        # pydicom takes 16-bit integers here, and rescaled values are neither.
        values = np.clip(np.rint(values), -(2**15), 2**16 - 1).astype(int)
        grey = np.clip(apply_voi(values, dataset) / (2**bits - 1), 0, 1)
    else:
        grey = _apply_window(values, dataset)
    if grey is None or np.ptp(grey[actual]) == 0:
        grey = _stretch(values, values[actual].min(), values[actual].max())
    return grey


def _apply_window(values: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Apply the first window; none without a centre and a width above 0.

    Reference: DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3.
    """
    centre = _get_first(dataset.get("WindowCenter"))
    width = _get_first(dataset.get("WindowWidth"))
    if centre in (None, "") or not width or width <= 0:
        return None
    centre, width = float(centre), float(width)
    function = dataset.get("VOILUTFunction") or "LINEAR"
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - centre) / width))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return _stretch(values, centre - width / 2, centre + width / 2)


def _get_first(value):
    return value[0] if isinstance(value, MultiValue) else value


def _stretch(values: np.ndarray, low: float, high: float) -> np.ndarray:
    # A window of width 1 is a step behind its centre.
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1)
