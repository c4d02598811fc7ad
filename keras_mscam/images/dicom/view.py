"""From where a radiograph looks at what: the models are for frontal chests."""

from pydicom import Dataset
from pydicom.sr.coding import Code

from keras_mscam.images.dicom.header import read_word, read_words

#: Names of `ViewPosition`; those of DICOM, and what machines write beside them.
_POSITIONS = dict.fromkeys(("AP", "PA", "FRONTAL"), "frontal")
_POSITIONS |= dict.fromkeys(("LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT"), "lateral")
_POSITIONS |= dict.fromkeys(("LEFT LATERAL", "RIGHT LATERAL"), "lateral")
_POSITIONS |= dict.fromkeys(("LAO", "RAO", "LPO", "RPO", "LLO", "RLO"), "oblique")
_POSITIONS |= dict.fromkeys(("LLD", "RLD"), "decubitus")


#: Values of SNOMED CT, of which pydicom knows the older codes but one. Reference:
#: DICOM PS3.16, CID 4010.
_CODES = {
    "399348003": "frontal",  # antero-posterior
    "272479007": "frontal",  # postero-anterior
    "R-10214": "frontal",  # the same, as SRT
    "399033003": "frontal",
    "399067008": "lateral",
    "399173006": "lateral",  # left
    "399198007": "lateral",  # right
    "399352003": "lateral",  # lateral-medial
    "399260004": "lateral",  # medial-lateral
    "30730003": "lateral",  # sagittal
    "399182000": "oblique",
    "399184004": "oblique",  # left
    "399236003": "oblique",  # right
    "399135007": "oblique",  # left anterior
    "399356000": "oblique",  # right anterior
    "399006002": "oblique",  # left posterior
    "399038007": "oblique",  # right posterior
    "399061009": "axial",
}
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
_CHESTS = ("CHEST", "THORAX", "LUNG", "RIB", "HEART")


_CHESTS += ("TORAX", "TORACE", "PECHO", "BRUST")


_NO_PARTS = ("", "UNKNOWN", "UNDEFINED", "UNSPECIFIED", "OTHER", "NONE")
_CHEST_CODES = ("51185008", "39607008", "113197003", "80891009")  # and lungs, ribs


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

    Returns:
        `"frontal"`, `"lateral"`, `"oblique"`, `"axial"`, `"decubitus"` (lying on a
        side), or `""` where the file doesn't say: the first that is known of
        `ViewPosition`, `ViewCodeSequence` and `PatientOrientation`.
    """
    position = _POSITIONS.get(read_word(dataset, "ViewPosition"), "")
    return position or _find_coded(dataset) or _find_plane(dataset)


def _find_coded(dataset: Dataset) -> str:
    return next(
        (_CODES[c] for c in _read_codes(dataset, "ViewCode") if c in _CODES), ""
    )


def _read_codes(dataset: Dataset, name: str) -> list[str]:
    """Return the values of a sequence of codes, in SNOMED CT where it has them."""
    codes = []
    for item in dataset.get(f"{name}Sequence") or []:
        value = str(item.get("CodeValue", ""))
        older = Code(value, "SRT", "")  # as SNM3, and 99SDM
        same = (c for c in (*_CODES, *_CHEST_CODES) if Code(c, "SCT", "") == older)
        codes.append(next(same, value))
    return codes


def _read_orientation(dataset: Dataset) -> str:
    """Return the main directions of rows and columns, as `"LF"`: `""` if unknown."""
    words = read_words(dataset, "PatientOrientation")
    main = "".join(word[:1] for word in words)
    return main if len(main) == 2 and set(main) <= set(_AXES) else ""


def _find_plane(dataset: Dataset) -> str:
    axes = frozenset(_AXES[main] for main in _read_orientation(dataset))
    return _PLANES.get(axes, "")


def _shows_other_part(dataset: Dataset) -> bool:
    part = read_word(dataset, "BodyPartExamined")
    if part not in _NO_PARTS:
        return not any(chest in part for chest in _CHESTS)
    codes = _read_codes(dataset, "AnatomicRegion")
    return bool(codes) and not set(codes) & set(_CHEST_CODES)
