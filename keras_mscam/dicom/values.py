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
    """Whether an element is there with a value, if it be nonsense."""
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
