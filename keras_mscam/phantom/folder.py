"""The files of a ChestX-ray14 folder: images and the rows of both tables."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2

from keras_mscam.errors import UserError
from keras_mscam.images.reader import read_grey
from keras_mscam.pathologies import NO_FINDING
from keras_mscam.phantom.backgrounds import Background
from keras_mscam.phantom.lesions import Lesion
from keras_mscam.phantom.patients import sample_visit
from keras_mscam.phantom.plant import plant_lesions, shrink
from keras_mscam.phantom.render import Phantom

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


#: Share of the real patients whose lesions have boxes, and who so are the test set.
BOXED_FRACTION = 0.22


def plan_planted(
    patients: Sequence[Sequence[Background]],
    images: int,
    seed: int,
    size: tuple[int, int],
    folder: Path,
) -> Iterator[tuple]:
    """One task a patient: `(seed, backgrounds, visits, boxed, size, folder)`.

    All patients have equally many images, give or take one. The first ones, of an order
    that is random already, are boxed.
    """
    patients = patients[:images]
    boxed = max(round(BOXED_FRACTION * len(patients)), 1)
    each, more = divmod(images, len(patients))
    for place, backgrounds in enumerate(patients):
        visits = each + (place < more)
        yield seed, tuple(backgrounds[:visits]), visits, place < boxed, size, folder


def write_planted(task: tuple) -> tuple[list[str], list[str]]:
    """Plant and save every visit of one patient; its rows of both files."""
    seed, backgrounds, visits, boxed, size, folder = task
    pictures = [shrink(read_grey(b.path), size) for b in backgrounds]
    entries, boxes = [], []
    for number in range(visits):
        place = number % len(pictures)
        background = backgrounds[place]
        visit = sample_visit(seed, background.patient, number)
        phantom = plant_lesions(pictures[place], background.tracing, visit, size)
        age = "" if background.age is None else f"{background.age:03d}Y"
        person = age, background.sex, background.view
        row, drawn = save_visit(folder, phantom, background.patient, number, person)
        entries.append(row)
        boxes += drawn if boxed else []
    return entries, boxes


def write_backgrounds(
    folder: Path, tasks: Sequence[tuple], refused: Sequence[tuple[str, str]]
) -> None:
    """Write `backgrounds.csv`: name, patient, whether boxed, or why it was refused."""
    rows = [
        (background.path.name, background.patient, int(boxed), "")
        for _, backgrounds, _, boxed, *_ in tasks
        for background in backgrounds
    ]
    rows += [(name, "", "", reason) for name, reason in refused]
    with (folder / "backgrounds.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows(
            [("name", "patient", "boxed", "refused"), *sorted(rows, key=str)]
        )
