"""Write phantoms as a ChestX-ray14 folder: images, label file, box file."""

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from keras_mscam.data.phantom.lesions import Lesion
from keras_mscam.data.phantom.patients import (
    BOXED_FRACTION,
    count_visits,
    sample_anatomy,
    sample_visit,
)
from keras_mscam.data.phantom.render import render_phantom
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

_Rows = tuple[list[str], list[str]]


def write_phantoms(
    directory: str | os.PathLike,
    images: int,
    seed: int = 0,
    size: tuple[int, int] = (256, 256),
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Write a synthetic data set in ChestX-ray14's own layout.

    `images/00000001_000.png` (8-bit grey), `Data_Entry_2017.csv` and
    `BBox_List_2017.csv`. The positive images of 20% of the patients have boxes, one
    for each pathology, and no other patient has any: under the rule that boxed
    patients are the test set, nobody boxed is trained on.

    The folder appears complete or not at all. The same `images`, `seed` and `size`
    give the same bytes whatever the number of processes.

    Args:
        directory: folder to make; must not exist or be empty.
        images: number of images, at least 1. Patients have one to five.
        seed: of everything, 0 or more.
        size: `(height, width)` in pixels, each at least 32.
        workers: processes; default one per CPU available.
        progress: show a bar on standard error.

    Raises:
        UserError: the directory is not empty, or a number is out of range.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp()) / "phantom"
        >>> write_phantoms(folder, 3, size=(64, 64), workers=1, progress=False)
        >>> len(list((folder / "images").iterdir()))
        3
    """
    directory = Path(directory)
    _check(directory, images, seed, size, workers)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(
            tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent)
        )
    except OSError as error:
        raise UserError(
            f"Cannot write into {directory.parent}: {error.strerror}."
        ) from error
    try:
        (temporary / "images").mkdir()
        tasks = list(_plan(images, seed, size, temporary))
        entries, boxes = _run(tasks, images, workers, progress)
        _write_lines(temporary / "Data_Entry_2017.csv", _ENTRY_HEADER, entries)
        _write_lines(temporary / "BBox_List_2017.csv", _BOX_HEADER, boxes)
        temporary.chmod(0o755)  # mkdtemp makes folders that only the owner can read
        temporary.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check(
    directory: Path, images: int, seed: int, size: tuple[int, int], workers: int | None
) -> None:
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file: give a folder for the phantoms.")
    if directory.is_dir() and any(directory.iterdir()):
        raise UserError(
            f"The folder {directory} is not empty: give a new one or empty it first."
        )
    if images < 1:
        raise UserError(f"images is {images}: ask for at least one phantom.")
    if seed < 0:
        raise UserError(f"seed is {seed}: it must be 0 or more.")
    if min(size) < 32:
        raise UserError(f"size is {size}: both sides must be at least 32 pixels.")
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}: at least one process is needed.")


def _plan(
    images: int, seed: int, size: tuple[int, int], folder: Path
) -> Iterator[tuple]:
    """One task a patient: `(seed, patient, visits, boxed, size, folder)`.

    In every five patients in a row, one that the seed picks is boxed: exactly 20%.
    """
    patient = 0
    period = round(1 / BOXED_FRACTION)
    while images > 0:
        patient += 1
        group, place = divmod(patient - 1, period)
        pick = np.random.default_rng([seed, group, 3_000]).integers(period)
        visits = min(count_visits(seed, patient), images)
        images -= visits
        yield seed, patient, visits, bool(place == pick), size, folder


def _run(tasks: list[tuple], images: int, workers: int | None, progress: bool) -> _Rows:
    """All rows in the order of the patients."""
    workers = min(workers or _count_cpus(), len(tasks))
    entries: list[str] = []
    boxes: list[str] = []
    with tqdm(total=images, desc="phantoms", unit="image", disable=not progress) as bar:

        def collect(results: Iterator[_Rows]) -> None:
            for new_entries, new_boxes in results:
                entries.extend(new_entries)
                boxes.extend(new_boxes)
                bar.update(len(new_entries))

        if workers == 1:
            collect(map(_write_patient, tasks))
        else:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(
                workers, context, initializer=cv2.setNumThreads, initargs=(1,)
            ) as pool:
                chunk = max(1, min(16, len(tasks) // (4 * workers)))
                collect(pool.map(_write_patient, tasks, chunksize=chunk))
    return entries, boxes


def _count_cpus() -> int:
    """CPUs that this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _write_patient(task: tuple) -> _Rows:
    """Render and save every visit of one patient; its rows of both files."""
    seed, patient, visits, boxed, size, folder = task
    anatomy = sample_anatomy(seed, patient)
    entries, boxes = [], []
    for number in range(visits):
        visit = sample_visit(seed, patient, number)
        phantom = render_phantom(anatomy, visit, size)
        name = f"{patient:08d}_{number:03d}.png"
        path = str(folder / "images" / name)
        if not cv2.imwrite(path, phantom.image, [cv2.IMWRITE_PNG_COMPRESSION, 3]):
            raise UserError(f"Could not write {path}: is the disk full?")
        labels = "|".join(lesion.pathology for lesion in phantom.lesions)
        entries.append(
            f"{name},{labels or NO_FINDING},{number},{patient},"
            f"{anatomy.age + number:03d}Y,{anatomy.sex},{visit.view},"
            f"{size[1]},{size[0]},0.143,0.143,"
        )
        if boxed:
            boxes.extend(_box_row(name, lesion) for lesion in phantom.lesions)
    return entries, boxes


def _box_row(name: str, lesion: Lesion) -> str:
    x1, y1, x2, y2 = lesion.box
    pathology = _BOX_NAMES.get(lesion.pathology, lesion.pathology)
    numbers = ",".join(f"{v:.6f}" for v in (x1, y1, x2 - x1, y2 - y1))
    return f"{name},{pathology},{numbers},,,"


def _write_lines(path: Path, header: str, rows: list[str]) -> None:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
