"""Write phantoms as a ChestX-ray14 folder: images, label file, box file."""

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from keras_mscam.errors import UserError
from keras_mscam.phantom.backgrounds import Backgrounds, read_backgrounds
from keras_mscam.phantom.folder import (
    plan_planted,
    save_visit,
    write_backgrounds,
    write_planted,
    write_tables,
)
from keras_mscam.phantom.patients import (
    BOXED_FRACTION,
    count_visits,
    sample_anatomy,
    sample_visit,
)
from keras_mscam.phantom.render import render_phantom

_Rows = tuple[list[str], list[str]]


def write_phantoms(
    directory: str | os.PathLike,
    images: int,
    seed: int = 0,
    size: tuple[int, int] = (256, 256),
    workers: int | None = None,
    progress: bool = True,
    backgrounds: Sequence[str | os.PathLike] = (),
) -> tuple[str, ...]:
    """Write a synthetic data set in ChestX-ray14's own layout.

    `images/00000001_000.png` (8-bit grey), `Data_Entry_2017.csv` and
    `BBox_List_2017.csv`. The positive images of 20% of the patients have boxes, one
    for each pathology, and no other patient has any: under the rule that boxed
    patients are the test set, nobody boxed is trained on.

    With `backgrounds`, the lesions are planted in real X-rays without findings instead
    of drawn chests. A patient is then a real patient, whose X-rays are used again and
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
        backgrounds: folders of X-rays without findings, see `read_backgrounds`; none
            for drawn chests.

    Returns:
        A sentence for each kind of background that can't be used, with its count and an
        example.

    Raises:
        UserError: the directory is not empty, a number is out of range, or the
            backgrounds are too few, see `read_backgrounds`.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp()) / "phantom"
        >>> write_phantoms(folder, 3, size=(64, 64), workers=1, progress=False)
        >>> len(list((folder / "images").iterdir()))
        3
    """
    directory = Path(directory)
    _check(directory, images, seed, size, workers)
    found = Backgrounds()
    if backgrounds:
        found = read_backgrounds(backgrounds, images, seed, workers, progress)
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
        if backgrounds:
            tasks = list(plan_planted(found.patients, images, seed, size, temporary))
            entries, boxes = _run(write_planted, tasks, images, workers, progress)
            write_backgrounds(temporary, tasks, found.refused)
        else:
            tasks = list(_plan(images, seed, size, temporary))
            entries, boxes = _run(_write_patient, tasks, images, workers, progress)
        write_tables(temporary, entries, boxes)
        temporary.chmod(0o755)  # mkdtemp makes folders that only the owner can read
        temporary.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return found.problems


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


def _run(
    work: Callable[[tuple], _Rows],
    tasks: list[tuple],
    images: int,
    workers: int | None,
    progress: bool,
) -> _Rows:
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
            collect(map(work, tasks))
        else:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(
                workers, context, initializer=cv2.setNumThreads, initargs=(1,)
            ) as pool:
                chunk = max(1, min(16, len(tasks) // (4 * workers)))
                collect(pool.map(work, tasks, chunksize=chunk))
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
        age = f"{anatomy.age + number:03d}Y"
        row, drawn = save_visit(
            folder, phantom, patient, number, (age, anatomy.sex, visit.view)
        )
        entries.append(row)
        boxes += drawn if boxed else []
    return entries, boxes
