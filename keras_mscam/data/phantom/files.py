"""The files of a ChestX-ray14 folder: images and the rows of both tables."""

from pathlib import Path

import cv2

from keras_mscam.data.phantom.lesions import Lesion
from keras_mscam.data.phantom.render import Phantom
from keras_mscam.errors import UserError
from keras_mscam.pathologies import NO_FINDING

# NIH's own headers: bracketed names fall into two columns when read as CSV, and the
# label file of 2017 ends every line with a comma.
_ENTRY_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
_BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
_BOX_NAMES = {"Infiltration": "Infiltrate"}


def save_visit(
    folder: Path, phantom: Phantom, patient: int, number: int, person: tuple[str, ...]
) -> tuple[str, list[str]]:
    """Save one image; its row of the label file and those of the box file."""
    name = f"{patient:08d}_{number:03d}.png"
    path = str(folder / "images" / name)
    if not cv2.imwrite(path, phantom.image, [cv2.IMWRITE_PNG_COMPRESSION, 3]):
        raise UserError(f"Could not write {path}: is the disk full?")
    labels = "|".join(lesion.pathology for lesion in phantom.lesions)
    height, width = phantom.image.shape
    row = (
        f"{name},{labels or NO_FINDING},{number},{patient},{','.join(person)},"
        f"{width},{height},0.143,0.143,"
    )
    return row, [_box_row(name, lesion) for lesion in phantom.lesions]


def _box_row(name: str, lesion: Lesion) -> str:
    x1, y1, x2, y2 = lesion.box
    pathology = _BOX_NAMES.get(lesion.pathology, lesion.pathology)
    numbers = ",".join(f"{v:.6f}" for v in (x1, y1, x2 - x1, y2 - y1))
    return f"{name},{pathology},{numbers},,,"


def write_tables(folder: Path, entries: list[str], boxes: list[str]) -> None:
    """Write `Data_Entry_2017.csv` and `BBox_List_2017.csv`."""
    _write_lines(folder / "Data_Entry_2017.csv", _ENTRY_HEADER, entries)
    _write_lines(folder / "BBox_List_2017.csv", _BOX_HEADER, boxes)


def _write_lines(path: Path, header: str, rows: list[str]) -> None:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
