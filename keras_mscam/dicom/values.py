"""Values of a DICOM header, which may be missing, empty, several or nonsense."""

import math

from pydicom import Dataset
from pydicom.multival import MultiValue


def read_numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return an element's finite numbers; none where one of them is no number."""
    try:
        numbers = tuple(float(value) for value in _list(dataset, keyword))
    except (TypeError, ValueError):
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()


def read_words(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return an element's code strings, in capitals and without spaces around."""
    return tuple(str(value).strip().upper() for value in _list(dataset, keyword))


def read_word(dataset: Dataset, keyword: str) -> str:
    """Return the first of an element's code strings, `""` where there is none."""
    return next(iter(read_words(dataset, keyword)), "")


def _list(dataset: Dataset, keyword: str) -> list:
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (MultiValue, list, tuple)) else [value]
