"""What is no radiograph, told by its header."""

from pydicom import Dataset
from pydicom.uid import UID, UID_dictionary

from keras_mscam.data.images import ImageError
from keras_mscam.dicom.header import quote
from keras_mscam.dicom.values import read_number, read_word

#: Projections, DR being an older name of DX; OT and SC are what secondary captures
#: (scanned films, exported screens) call themselves.
RADIOGRAPHS = ("CR", "DX", "DR", "RG", "RF", "OT", "SC")


def check_radiograph(dataset: Dataset) -> None:
    """Refuse what is no radiograph, before its pixels are decoded.

    Raises:
        ImageError: it says why.
    """
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
    uid = UID(str(dataset.get("SOPClassUID", "")))
    if uid in UID_dictionary:
        return f"is a DICOM file without pixels: {uid.name.removesuffix(' Storage')}"
    return "is a DICOM file without pixels"
