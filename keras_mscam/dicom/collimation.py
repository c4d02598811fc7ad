"""The exposed part of a radiograph, as its header gives it."""

from pydicom import Dataset

from keras_mscam.dicom.values import read_numbers, read_words

Box = tuple[int, int, int, int]

#: A field with a shorter side than this part of the image's is held for an error.
_SHORTEST = 0.25


def find_exposed(dataset: Dataset) -> tuple[Box | None, list[str]]:
    """Find what shutter and collimator left open, where they are rectangles.

    Their edges are columns and rows counted from 1, and belong to the field. They may
    lie outside of the image.

    Reference: DICOM PS3.3, C.7.6.11 (display shutter) and C.8.7.3 (collimator).

    Returns:
        The field, half-open xyxy in pixels, None for all of the image; and warnings.
    """
    height, width = int(dataset.Rows), int(dataset.Columns)
    left, top, right, bottom = 0, 0, width, height
    for device in ("Shutter", "Collimator"):
        if "RECTANGULAR" in read_words(dataset, f"{device}Shape"):
            edges = _read_edges(dataset, device)
            if edges is None:
                return None, [_NONSENSE]
            left, top = max(left, edges[0]), max(top, edges[1])
            right, bottom = min(right, edges[2]), min(bottom, edges[3])
    if (left, top, right, bottom) == (0, 0, width, height):
        return None, []
    if right - left < _SHORTEST * width or bottom - top < _SHORTEST * height:
        return None, [_NONSENSE]
    return (left, top, right, bottom), [_CROPPED]


_NONSENSE = "Its collimation makes no sense, so all of the image is looked at."
_CROPPED = "Only the part that its collimation left open is looked at."


def _read_edges(dataset: Dataset, device: str) -> Box | None:
    """Return the half-open xyxy of one device."""
    edges = []
    for edge in ("LeftVertical", "UpperHorizontal", "RightVertical", "LowerHorizontal"):
        numbers = read_numbers(dataset, f"{device}{edge}Edge")
        if len(numbers) != 1:
            return None
        edges.append(int(numbers[0]))
    left, top, right, bottom = edges
    return left - 1, top - 1, right, bottom
