"""Write phantoms as a ChestX-ray14 folder: images, label file, box file."""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from keras_mscam.errors import UserError
from keras_mscam.files import check_can_be_made, write_whole_folder
from keras_mscam.images.resize import resize_area
from keras_mscam.parallel.in_order import map_in_order
from keras_mscam.pathologies import NO_FINDING
from keras_mscam.phantom.backgrounds import Background, Backgrounds, read_backgrounds
from keras_mscam.phantom.lesions import Lesion
from keras_mscam.phantom.patients import count_visits, sample_anatomy, sample_visit
from keras_mscam.phantom.plant import plant_lesions
from keras_mscam.phantom.render import Phantom, render_phantom

# NIH's own headers: bracketed names fall into two columns when read as CSV, and the
# label file of 2017 ends every line with a comma.
_ENTRY_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
_BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
_BOX_NAMES = {"Infiltration": "Infiltrate"}
#: One of so many drawn patients has boxes.
_BOXED_PERIOD = 5
#: Share of the real patients whose lesions have boxes, and who so are the test set.
_BOXED_FRACTION = 0.22


def write_phantoms(
    directory: str | os.PathLike,
    images: int,
    seed: int = 0,
    size: tuple[int, int] = (256, 256),
    workers: int | None = None,
    progress: bool = True,
    backgrounds: Sequence[str | os.PathLike] = (),
    max_value: int | None = None,
) -> tuple[str, ...]:
    """Write a synthetic data set in ChestX-ray14's own layout.

    `images/00000001_000.png` (8-bit grey), `Data_Entry_2017.csv` and
    `BBox_List_2017.csv`. The positive images of 20% of the patients have boxes, one for
    each pathology, and no other patient has any: under the rule that boxed patients are
    the test set, nobody boxed is trained on.

    With `backgrounds`, the lesions are planted in real X-rays without findings instead
    of synthetic ones. A patient is then a real patient, whose X-rays are used again and
    again, each time positioned and exposed anew, with other lesions or none; all have
    equally many images, and 22% of them have boxes. `backgrounds.csv` lists the X-rays,
    whether their patient has boxes, and why some were refused.

    The folder appears complete or not at all. The same `images`, `seed`, `size` and
    backgrounds give the same bytes whatever the number of processes.

    Args:
        directory: folder to make; must not exist or be empty.
        images: number of images, at least 1. Drawn patients have one to five.
        seed: of everything, 0 or more.
        size: `(height, width)` in pixels, each at least 32.
        workers: processes; default one per CPU available.
        progress: show a bar on standard error.
        backgrounds: folders of X-rays without findings, see `read_backgrounds`.
        max_value: the grey value of theirs that is white, see `read_xray`.

    Returns:
        A sentence for each kind of background that can't be used or looks odd.

    Raises:
        UserError: the directory is not empty, a number is out of range, or the
            backgrounds are too few.
        DiskError: it can't be written.
    """
    directory = Path(directory)
    check_can_be_made(directory)
    _check(images, seed, size, workers)
    found = Backgrounds()
    if backgrounds:
        found = read_backgrounds(
            backgrounds, images, seed, workers, progress, max_value
        )
    with write_whole_folder(directory) as temporary:
        (temporary / "images").mkdir()
        if backgrounds:
            render, tasks = _plant, list(plan_planted(found.patients, images))
            _write_backgrounds(temporary, tasks, found.refused)
        else:
            render, tasks = _draw, list(_plan(images, seed))
        jobs = [(render, seed, *task, size, temporary) for task in tasks]
        # A patient takes a while: worth a process, if there is more than one chunk.
        apart = workers != 1 and len(jobs) > 16
        results = map_in_order(_write_patient, jobs, workers, apart=apart)
        entries, boxes = [_ENTRY_HEADER], [_BOX_HEADER]
        bar = tqdm(
            total=images,
            desc="Synthetic radiographs",
            unit="image",
            disable=not progress,
        )
        with bar, closing(results):
            for new_entries, new_boxes in results:
                entries += new_entries
                boxes += new_boxes
                bar.update(len(new_entries))
        for name, lines in (("Data_Entry", entries), ("BBox_List", boxes)):
            text = "\n".join(lines) + "\n"
            (temporary / f"{name}_2017.csv").write_text(text, encoding="utf-8")
    return found.problems


def _check(images: int, seed: int, size: tuple[int, int], workers: int | None) -> None:
    if images < 1:
        raise UserError(f"images is {images}: ask for at least one phantom.")
    if seed < 0:
        raise UserError(f"seed is {seed}: it must be 0 or more.")
    if min(size) < 32:
        raise UserError(f"size is {size}: both sides must be at least 32 pixels.")
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}: at least one process is needed.")


def _plan(images: int, seed: int) -> Iterator[tuple[int, int, bool]]:
    """One task a patient: number, visits, and whether boxed.

    In every five patients in a row, one that the seed picks is boxed: exactly 20%.
    """
    patient = 0
    while images > 0:
        group, place = divmod(patient, _BOXED_PERIOD)
        patient += 1
        pick = np.random.default_rng([seed, group, 3_000]).integers(_BOXED_PERIOD)
        visits = min(count_visits(seed, patient), images)
        images -= visits
        yield patient, visits, bool(place == pick)


def _draw(
    seed: int, patient: int, visits: int, size: tuple[int, int]
) -> Iterator[tuple[Phantom, int, str]]:
    """Every visit of a patient, with the number, age, sex and view for the tables."""
    anatomy = sample_anatomy(seed, patient)
    for number in range(visits):
        visit = sample_visit(seed, patient, number)
        person = f"{anatomy.age + number:03d}Y,{anatomy.sex},{visit.view}"
        yield render_phantom(anatomy, visit, size), patient, person


def plan_planted(
    patients: Sequence[Sequence[Background]], images: int
) -> Iterator[tuple[tuple[Background, ...], int, bool]]:
    """One task a patient: backgrounds, visits, and whether boxed.

    All patients have equally many images, give or take one. The first ones, of an order
    that is random already, are boxed.
    """
    patients = patients[:images]
    boxed = max(round(_BOXED_FRACTION * len(patients)), 1)
    each, more = divmod(images, len(patients))
    for place, backgrounds in enumerate(patients):
        visits = each + (place < more)
        yield tuple(backgrounds[:visits]), visits, place < boxed


def _plant(
    seed: int, backgrounds: tuple[Background, ...], visits: int, size: tuple[int, int]
) -> Iterator[tuple[Phantom, int, str]]:
    """As `_draw`, in the X-rays of a real patient, one after the other and again."""
    # Twice the size that is needed: enough to be turned and zoomed.
    twice = 2 * size[0], 2 * size[1]
    pictures = [(b, resize_area(b.read(), twice)) for b in backgrounds]
    for number, (shown, picture) in zip(range(visits), cycle(pictures)):
        visit = sample_visit(seed, shown.patient, number)
        assert shown.tracing is not None
        phantom = plant_lesions(picture, shown.tracing, visit, size)
        age = "" if shown.age is None else f"{shown.age:03d}Y"
        yield phantom, shown.patient, f"{age},{shown.sex},{shown.view}"


def _write_patient(
    render: Callable,
    seed: int,
    source: int | tuple[Background, ...],
    visits: int,
    boxed: bool,
    size: tuple[int, int],
    folder: Path,
) -> tuple[list[str], list[str]]:
    """Save every image of one patient; their rows of the label and the box file."""
    entries, boxes = [], []
    rendered = enumerate(render(seed, source, visits, size))
    for number, (phantom, patient, person) in rendered:
        name = f"{patient:08d}_{number:03d}.png"
        # OpenCV writes no files here, as it does not say why it can't.
        png = cv2.imencode(".png", phantom.image, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
        (folder / "images" / name).write_bytes(png.tobytes())
        labels = "|".join(lesion.pathology for lesion in phantom.lesions) or NO_FINDING
        entries.append(
            f"{name},{labels},{number},{patient},{person},"
            f"{size[1]},{size[0]},0.143,0.143,"
        )
        boxes += [_box_row(name, lesion) for lesion in phantom.lesions if boxed]
    return entries, boxes


def _box_row(name: str, lesion: Lesion) -> str:
    x1, y1, x2, y2 = lesion.box
    pathology = _BOX_NAMES.get(lesion.pathology, lesion.pathology)
    numbers = ",".join(f"{v:.6f}" for v in (x1, y1, x2 - x1, y2 - y1))
    return f"{name},{pathology},{numbers},,,"


def _write_backgrounds(
    folder: Path, tasks: Sequence[tuple], refused: Sequence[tuple[str, str]]
) -> None:
    """Write `backgrounds.csv`: name, patient, whether boxed, or why it was refused."""
    rows: list[tuple[str, object, object, str]] = [
        (background.path.name, background.patient, int(boxed), "")
        for backgrounds, _, boxed in tasks
        for background in backgrounds
    ]
    rows += [(name, "", "", reason) for name, reason in refused]
    path = folder / "backgrounds.csv"
    # A name need not be text.
    with path.open(
        "w", newline="", encoding="utf-8", errors="backslashreplace"
    ) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows(
            [("name", "patient", "boxed", "refused"), *sorted(rows, key=str)]
        )
