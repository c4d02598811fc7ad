"""A DICOM file to an X-ray.

`images.reader` imports this module only when it meets a DICOM file, since pydicom
and its decoders take half a second and most folders hold none.
"""

import io
import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread, uid

from keras_mscam.images.dicom.decode import check_compression, decode
from keras_mscam.images.dicom.frame import (
    describe_aspect,
    describe_view,
    find_exposed,
    find_spacing,
)
from keras_mscam.images.dicom.grey import to_grey
from keras_mscam.images.dicom.header import mend_header, quote, read_number, read_word
from keras_mscam.images.xray import MOST_BYTES, Frame, ImageError, XRay

#: By whether values have no types, and whether their lowest byte comes first.
_SYNTAXES: dict[Any, uid.UID] = {
    (True, True): uid.ImplicitVRLittleEndian,
    (False, True): uid.ExplicitVRLittleEndian,
    (False, False): uid.ExplicitVRBigEndian,
}
#: Projections, DR being an older name of DX; OT and SC are what secondary captures
#: (scanned films, exported screens) call themselves.
RADIOGRAPHS = ("CR", "DX", "DR", "RG", "RF", "OT", "SC")

#: An element takes two or three reads, a whole header of a radiograph a thousand.
_MOST_READS = 1_000_000


def read_dicom(data: bytes) -> XRay:
    """Decode a DICOM radiograph, and read what its header says of its pixels.

    Grey is as by `grey.to_grey`, the frame as by the functions of the module `frame`.

    Raises:
        ImageError: the file is damaged or incomplete, has no pixels, several frames,
            more than 16 bits a pixel or more than 100 million pixels, is of a modality
            other than `RADIOGRAPHS` (an empty one is let pass), or is compressed in a
            way that cannot be read.
    """
    with _reporting("is damaged: its DICOM data cannot be read"):
        dataset = _parse(data)
        _check_radiograph(dataset)
        check_compression(dataset)
        mend_header(dataset)
    with _reporting("is damaged: its pixels cannot be decoded"):
        stored, cut = decode(dataset)
        pixels, left_out = to_grey(stored, dataset)
    with _reporting("is damaged: its DICOM data cannot be read"):
        return XRay(pixels, _read_frame(dataset, pixels.shape, left_out + cut))


class _Bounded(io.BytesIO):
    """A file that pydicom can't be kept busy with, nor fill the memory from."""

    reads = 0

    def read(self, size=-1):
        self.reads += 1
        if self.reads > _MOST_READS:
            raise ImageError("is a DICOM file with too many elements")
        data = super().read(size)
        if size in (-1, None):  # to be inflated, all at once
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            if len(inflate.decompress(data, MOST_BYTES + 1)) > MOST_BYTES:
                raise ImageError(f"is, inflated, larger than {MOST_BYTES:,} bytes")
        return data


def _parse(data: bytes) -> Dataset:
    """Read a header, which may lack the part that says how the rest is written."""
    dataset = dcmread(_Bounded(data), force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        if "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
            raise ImageError("does not say how its pixels are compressed")
        dataset.file_meta.TransferSyntaxUID = _SYNTAXES[dataset.original_encoding]
    return dataset


def _read_frame(dataset: Dataset, size: tuple[int, int], grey: list[str]) -> Frame:
    millimetres, plane = find_spacing(dataset) or (None, None)
    field, cropped = find_exposed(dataset)
    said = describe_view(dataset) + describe_aspect(dataset) + cropped
    if read_word(dataset, "PresentationIntentType") == "FOR PROCESSING":
        said.append("It is raw data for processing, not for presentation.")
    said += grey
    if read_word(dataset, "LossyImageCompression") == "01":
        said.append("It was compressed with loss.")
    if read_word(dataset, "BurnedInAnnotation") == "YES":
        said.append("There is text in the image, perhaps the patient's name.")
    return Frame(size, millimetres, field, tuple(said), plane)


@contextmanager
def _reporting(reason: str) -> Iterator[None]:
    """Give a reason for any error that pydicom has with a damaged file."""
    try:
        with quiet("pydicom"), np.errstate(all="ignore"):
            yield
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(reason) from error


@contextmanager
def quiet(*libraries: str) -> Iterator[None]:
    """Keep libraries silent, whose warnings may quote the patient's name."""
    loggers = [logging.getLogger(library) for library in libraries]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check_radiograph(dataset: Dataset) -> None:
    """Refuse what is no radiograph, before its pixels are decoded."""
    if dataset.get("Manufacturer") == "keras_mscam":
        raise ImageError("is a result of keras_mscam, and no radiograph")
    if "Rows" not in dataset or "Columns" not in dataset:
        raise ImageError(_describe_content(dataset))
    modality = read_word(dataset, "Modality") or "OT"
    if modality not in RADIOGRAPHS:
        known = ", ".join(RADIOGRAPHS)
        raise ImageError(f"is of modality {quote(modality)}; radiographs are {known}")
    if not dataset.get("PixelData"):
        raise ImageError("is a DICOM file without pixels, or an incomplete one")
    frames = read_number(dataset, "NumberOfFrames") or 1
    if frames > 1:
        raise ImageError(f"has {frames:g} frames, not one")


def _describe_content(dataset: Dataset) -> str:
    """Name what a DICOM file is that has no pixels."""
    if not dataset:  # pydicom gives up what it had where a file ends too early
        return "is damaged: its DICOM data ends too early"
    if "DirectoryRecordSequence" in dataset:
        return "is a DICOMDIR, which lists other files, and no image"
    kind = uid.UID(str(dataset.get("SOPClassUID", "")))
    if kind in uid.UID_dictionary:
        return f"is a DICOM file without pixels: {kind.name.removesuffix(' Storage')}"
    return "is a DICOM file without pixels"
