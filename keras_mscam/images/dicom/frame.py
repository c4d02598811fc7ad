"""What a header says of the frame: millimetres, the exposed field, the view.

The models are for frontal chests; a warning says where an image is none.
"""

import math
from typing import NamedTuple

from pydicom import Dataset
from pydicom.sr.coding import Code

from keras_mscam.images.dicom.header import read_numbers, read_word, read_words
from keras_mscam.images.xray import CROPPED, CROPPED_AROUND

Box = tuple[int, int, int, int]
#: Sides of pixels that differ by less are called square.
_TOLERANCE = 0.01
#: A field with a shorter side than this part of the image's is held for an error.
_SHORTEST = 0.25
#: Longer sides of pixels than any detector's, in millimetres, are nonsense, and the
#: numbers of some would overflow.
_LONGEST = 1e6
_NONSENSE = "Its collimation makes no sense, so all of the image is looked at."
_EDGES = ("LeftVertical", "UpperHorizontal", "RightVertical", "LowerHorizontal")
#: Names of `ViewPosition`; those of DICOM, and what machines write beside them.
_POSITIONS = {
    "frontal": ("AP", "PA", "FRONTAL"),
    "lateral": (
        "LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LEFT LATERAL", "RIGHT LATERAL",
    ),
    "oblique": ("LAO", "RAO", "LPO", "RPO", "LLO", "RLO"),
    "decubitus": ("LLD", "RLD"),
}  # fmt: skip
#: Values of SNOMED CT, of which pydicom knows the older codes but one. Reference:
#: DICOM PS3.16, CID 4010.
_VIEWS = {
    # Antero-posterior, postero-anterior, the same as SRT.
    "frontal": ("399348003", "272479007", "R-10214", "399033003"),
    # Of any side, left, right, lateral-medial, medial-lateral, sagittal.
    "lateral": (
        "399067008", "399173006", "399198007", "399352003", "399260004", "30730003",
    ),
    # Of any side, left, right, left and right anterior, left and right posterior.
    "oblique": (
        "399182000", "399184004", "399236003", "399135007", "399356000", "399006002",
        "399038007",
    ),
    "axial": ("399061009",),
}  # fmt: skip
#: Planes by the axes of rows and columns: (L)eft-(R)ight, (A)nterior-(P)osterior and
#: (H)ead-(F)oot, whichever comes first.
_PLANES = {
    frozenset("RF"): "frontal",
    frozenset("PF"): "lateral",
    frozenset("RP"): "axial",
}
_AXES = {"L": "R", "R": "R", "A": "P", "P": "P", "H": "F", "F": "F"}
#: Parts of the names of `BodyPartExamined` that a chest may have; machines also write
#: what their users speak.
_CHESTS = (
    "CHEST", "THORAX", "LUNG", "RIB", "HEART", "TORAX", "TORACE", "PECHO", "BRUST",
)  # fmt: skip
_NO_PARTS = ("", "UNKNOWN", "UNDEFINED", "UNSPECIFIED", "OTHER", "NONE")
_CHEST_CODES = ("51185008", "39607008", "113197003", "80891009")  # and lungs, ribs


class Spacing(NamedTuple):
    """Millimetres between the centres of pixels, and where they were measured."""

    millimetres: tuple[float, float]  # (down, across)
    plane: str | None  # "patient", "detector" or "film"


def find_spacing(dataset: Dataset) -> Spacing | None:
    """Find the distance of pixels, as near to the patient as the file says.

    The first of these that is two positive numbers: `PixelSpacing`, which is at the
    patient unless it only repeats one of the others; `ImagerPixelSpacing`, which is at
    the detector, divided by `EstimatedRadiographicMagnificationFactor` where that is
    given; and `NominalScannedPixelSpacing`, which is on the film that was scanned. A
    chest is 5 to 20% smaller than its shadow on a detector or a film. Whether
    `PixelSpacing` alone was calibrated can't be told, so its plane is None.

    Reference: DICOM PS3.3, 10.7.1 (calibration), C.8.11.4 (detector) and C.8.6.2
    (secondary captures).
    """
    pixel, imager, scanned = (
        _read_pair(dataset, f"{kind}PixelSpacing")
        for kind in ("", "Imager", "NominalScanned")
    )
    calibrated = bool(read_word(dataset, "PixelSpacingCalibrationType"))
    if pixel and (calibrated or pixel not in (imager, scanned)):
        known = calibrated or imager or scanned
        return Spacing(pixel, "patient" if known else None)
    if imager:
        factor = read_numbers(dataset, "EstimatedRadiographicMagnificationFactor")
        if len(factor) == 1 and 1 <= factor[0] < 3:
            down, across = imager
            return Spacing((down / factor[0], across / factor[0]), "patient")
        return Spacing(imager, "detector")
    return Spacing(scanned, "film") if scanned else None


def _read_pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    """Return two positive numbers that can be sides of a pixel, or none."""
    numbers = read_numbers(dataset, keyword)
    is_pair = len(numbers) == 2 and min(numbers) > 1 / _LONGEST
    return numbers if is_pair and max(numbers) < _LONGEST else None


def compute_aspect(dataset: Dataset) -> float:
    """Return the height of a pixel over its width, 1 where the file says nothing."""
    spacing = find_spacing(dataset)
    sides = spacing.millimetres if spacing else _read_pair(dataset, "PixelAspectRatio")
    return sides[0] / sides[1] if sides else 1.0


def describe_aspect(dataset: Dataset) -> list[str]:
    """Return a warning where pixels aren't square."""
    aspect = compute_aspect(dataset)
    if abs(aspect - 1) < _TOLERANCE:
        return []
    return [f"Its pixels are not square: they are {aspect:.3g} times as high as wide."]


def find_exposed(dataset: Dataset) -> tuple[Box | None, list[str]]:
    """Find the field that shutter and collimator left open; half-open xyxy in pixels.

    It is None for all of the image; warnings come with it. Each device may have several
    shapes, and open is what is inside of all of them. Of circles and polygons the
    rectangle around them is taken, as a network takes rectangles: what is shut in its
    corners stays. Shapes may reach out of the image. A shutter that is a bitmap is not
    followed.

    Reference: DICOM PS3.3, C.7.6.11 (display shutter) and C.8.7.3 (collimator).
    """
    height, width = int(dataset.Rows), int(dataset.Columns)
    left, top, right, bottom = whole = 0, 0, width, height
    said = CROPPED
    for device in ("Shutter", "Collimator"):
        for shape in read_words(dataset, f"{device}Shape"):
            if shape not in _SHAPES:
                continue
            box = _SHAPES[shape](dataset, device)
            if box is None:
                return None, [_NONSENSE]
            left, top = max(left, box[0]), max(top, box[1])
            right, bottom = min(right, box[2]), min(bottom, box[3])
            said = said if shape == "RECTANGULAR" else CROPPED_AROUND
    if (left, top, right, bottom) == whole:
        return None, []
    if right - left < _SHORTEST * width or bottom - top < _SHORTEST * height:
        return None, [_NONSENSE]
    return (left, top, right, bottom), [said]


def _find_rectangle(dataset: Dataset, device: str) -> Box | None:
    # Its edges are counted from 1, and belong to it.
    edges = [read_numbers(dataset, f"{device}{edge}Edge") for edge in _EDGES]
    if any(len(edge) != 1 for edge in edges):
        return None
    left, top, right, bottom = (int(edge[0]) for edge in edges)
    return left - 1, top - 1, right, bottom


def _surround_circle(dataset: Dataset, device: str) -> Box | None:
    # The radius is counted along a row: pixels that aren't square make an ellipse.
    centre = read_numbers(dataset, f"CenterOfCircular{device}")
    radius = read_numbers(dataset, f"RadiusOfCircular{device}")
    if len(centre) != 2 or len(radius) != 1:
        return None
    (row, column), across = centre, radius[0]
    down = across / compute_aspect(dataset)
    return (
        math.floor(column - 0.5 - across),
        math.floor(row - 0.5 - down),
        math.ceil(column - 0.5 + across),
        math.ceil(row - 0.5 + down),
    )


def _surround_polygon(dataset: Dataset, device: str) -> Box | None:
    # Vertices are counted from 1, and belong to it.
    numbers = read_numbers(dataset, f"VerticesOfThePolygonal{device}")
    if len(numbers) < 6 or len(numbers) % 2:
        return None
    rows, columns = numbers[::2], numbers[1::2]
    left, top = int(min(columns)) - 1, int(min(rows)) - 1
    return left, top, int(max(columns)), int(max(rows))


_SHAPES = {
    "RECTANGULAR": _find_rectangle,
    "CIRCULAR": _surround_circle,
    "POLYGONAL": _surround_polygon,
}


def describe_view(dataset: Dataset) -> list[str]:
    """Return warnings on what is no upright, frontal chest."""
    found = []
    view = find_view(dataset)
    if view == "decubitus":
        found.append("The patient lay on one side (lateral decubitus).")
    elif view not in ("frontal", ""):
        found.append(f"The view is {view}; the model is for frontal views.")
    elif _find_plane(dataset) == "frontal" and _read_orientation(dataset) != "LF":
        found.append("The image is mirrored or turned.")
    if _shows_other_part(dataset):
        found.append("It shows another part of the body than the chest.")
    return found


def find_view(dataset: Dataset) -> str:
    """Find the direction of view.

    `"frontal"`, `"lateral"`, `"oblique"`, `"axial"`, `"decubitus"` (lying on a side),
    or `""` where the file doesn't say: the first that is known of `ViewPosition`,
    `ViewCodeSequence` and `PatientOrientation`.
    """
    position = read_word(dataset, "ViewPosition")
    codes = _read_codes(dataset, "ViewCode", sum(_VIEWS.values(), ()))
    named = (view for view, names in _POSITIONS.items() if position in names)
    coded = (v for code in codes for v, known in _VIEWS.items() if code in known)
    return next(named, "") or next(coded, "") or _find_plane(dataset)


def _read_codes(dataset: Dataset, name: str, known: tuple[str, ...]) -> list[str]:
    """Return the values of a sequence of codes, in SNOMED CT where they are known."""
    codes = []
    for item in dataset.get(f"{name}Sequence") or []:
        value = str(item.get("CodeValue", ""))
        older = Code(value, "SRT", "")  # as SNM3, and 99SDM
        same = (code for code in known if Code(code, "SCT", "") == older)
        codes.append(next(same, value))
    return codes


def _read_orientation(dataset: Dataset) -> str:
    """Return the main directions of rows and columns, as `"LF"`: `""` if unknown."""
    main = "".join(word[:1] for word in read_words(dataset, "PatientOrientation"))
    return main if len(main) == 2 and set(main) <= set(_AXES) else ""


def _find_plane(dataset: Dataset) -> str:
    axes = frozenset(_AXES[main] for main in _read_orientation(dataset))
    return _PLANES.get(axes, "")


def _shows_other_part(dataset: Dataset) -> bool:
    part = read_word(dataset, "BodyPartExamined")
    if part not in _NO_PARTS:
        return not any(chest in part for chest in _CHESTS)
    codes = _read_codes(dataset, "AnatomicRegion", _CHEST_CODES)
    return bool(codes) and not set(codes) & set(_CHEST_CODES)
