"""Values of a DICOM header, which may be missing, empty, several or nonsense."""

import math
import re

from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import JPEG2000TransferSyntaxes

from keras_mscam.images.xray import ImageError, check_size

#: How many samples a pixel has, by photometric interpretation.
_SAMPLES = dict.fromkeys(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"), 1) | (
    dict.fromkeys(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"), 3)
)
#: Colours that JPEG 2000 makes and undoes by itself; elsewhere they would stay.
_OF_JPEG_2000 = ("YBR_RCT", "YBR_ICT")
_CODE = re.compile("[A-Z][A-Z0-9_ ]{0,15}")
_NUMBERS = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")


def read_numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return an element's finite numbers; none where one of them is no number."""
    try:
        numbers = tuple(float(value) for value in _list(dataset, keyword))
    except (TypeError, ValueError):
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()


def read_number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first of an element's values; `None` where it is no finite number."""
    try:
        number = float(next(iter(_list(dataset, keyword)), math.nan))
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def read_words(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return an element's code strings, in capitals and without spaces around."""
    return tuple(str(value).strip().upper() for value in _list(dataset, keyword))


def read_word(dataset: Dataset, keyword: str) -> str:
    """Return the first of an element's code strings, `""` where there is none."""
    return next(iter(read_words(dataset, keyword)), "")


def is_given(dataset: Dataset, keyword: str) -> bool:
    """Whether an element has a value, be it nonsense."""
    if keyword not in dataset:
        return False
    value = dataset.get_item(keyword).value
    if isinstance(value, bytes):  # not asked for before
        value = value.strip(b" \0").decode("latin-1")
    return value not in (None, "", [])


def _list(dataset: Dataset, keyword: str) -> list:
    try:
        value = dataset.get(keyword)
    except Exception:  # of any kind, where a value is not of its type
        return []
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (MultiValue, list, tuple)) else [value]


def mend_header(dataset: Dataset) -> None:
    """Write what decoders ask for as the standard spells it, in place.

    Files have it in lower case, several times, as text, or not at all. What can't be
    anything else is filled in (samples of a pixel, one frame), as dcmtk does; without a
    high bit, the stored bits are the lowest. Else it is an `ImageError`.
    """
    numbers = {keyword: _read_whole(dataset, keyword) for keyword in _NUMBERS}
    check_size(numbers["Rows"], numbers["Columns"])
    if numbers["BitsAllocated"] not in (8, 16):
        bits = numbers["BitsAllocated"]
        raise ImageError(f"has {bits}-bit pixels; 8 and 16 bits can be read")
    for keyword, number in numbers.items():
        _replace(dataset, keyword, number)
    high = read_number(dataset, "HighBit")
    if high is None or high != int(high):
        high = numbers["BitsStored"] - 1
    _replace(dataset, "HighBit", int(high))
    _replace(dataset, "NumberOfFrames", 1)
    _mend_colours(dataset)


def _mend_colours(dataset: Dataset) -> None:
    kind = read_word(dataset, "PhotometricInterpretation")
    if not kind:
        raise ImageError("is damaged: its header has no PhotometricInterpretation")
    if kind not in _SAMPLES:
        raise ImageError(f"has pixels of an unknown kind: {quote(kind)}")
    syntax = dataset.file_meta.TransferSyntaxUID
    if kind in _OF_JPEG_2000 and syntax not in JPEG2000TransferSyntaxes:
        raise ImageError(f"has pixels of a kind that only JPEG 2000 has: {kind}")
    samples = read_number(dataset, "SamplesPerPixel") or _SAMPLES[kind]
    if samples != _SAMPLES[kind]:
        raise ImageError(
            f"is damaged: its header says {samples:g} samples per pixel, and "
            f"{kind}, which has {_SAMPLES[kind]}"
        )
    if samples == 3 and read_number(dataset, "PlanarConfiguration") not in (0, 1):
        if not syntax.is_compressed:
            raise ImageError("is damaged: its header has no valid PlanarConfiguration")
        # The compressed data says it, and decoders ask nevertheless.
        _replace(dataset, "PlanarConfiguration", 0)
    _replace(dataset, "PhotometricInterpretation", kind)
    _replace(dataset, "SamplesPerPixel", int(samples))


def _read_whole(dataset: Dataset, keyword: str) -> int:
    number = read_number(dataset, keyword)
    if number is None or number != int(number) or number < 0:
        raise ImageError(f"is damaged: its header has no valid {keyword}")
    return int(number)


def _replace(dataset: Dataset, keyword: str, value: int | str) -> None:
    """Set an element in the type that it should have."""
    dataset.pop(keyword, None)
    setattr(dataset, keyword, value)


def quote(value: str) -> str:
    """Return a code string, which has no place for anything of the patient."""
    return value if _CODE.fullmatch(value) else "an unknown one"
