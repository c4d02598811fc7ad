"""What is no radiograph, told by its header."""

from pydicom import Dataset
from pydicom.uid import UID, UID_dictionary

from keras_mscam.data.images import ImageError, check_size
from keras_mscam.dicom.decoding import check_compression
from keras_mscam.dicom.grey import COLOURS
from keras_mscam.dicom.values import read_word

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
    check_size(int(dataset.Rows), int(dataset.Columns))
    modality = read_word(dataset, "Modality") or "OT"
    if modality not in RADIOGRAPHS:
        known = ", ".join(RADIOGRAPHS)
        raise ImageError(f"is of modality {_quote(modality)}; radiographs are {known}")
    if "PixelData" not in dataset:
        raise ImageError("is a DICOM file without pixels, or an incomplete one")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ImageError(f"has {frames} frames, not one")
    if dataset.BitsAllocated not in (8, 16):
        bits = dataset.BitsAllocated
        raise ImageError(f"has {bits}-bit pixels; 8 and 16 bits can be read")
    photometric = dataset.PhotometricInterpretation
    if not photometric.startswith(("MONOCHROME", *COLOURS)):
        raise ImageError(f"has pixels of an unknown kind: {_quote(photometric)}")
    check_compression(dataset)


def _describe_content(dataset: Dataset) -> str:
    """Name what a DICOM file is that has no pixels."""
    if "DirectoryRecordSequence" in dataset:
        return "is a DICOMDIR, which lists other files, and no image"
    uid = UID(str(dataset.get("SOPClassUID", "")))
    if uid in UID_dictionary:
        return f"is a DICOM file without pixels: {uid.name.removesuffix(' Storage')}"
    return "is a DICOM file without pixels"


def _quote(value: str) -> str:
    """Return a code string, which has no place for anything of the patient."""
    plain = value.replace("_", "").replace(" ", "").isalnum()
    return value if plain and len(value) <= 16 else "an unknown one"
