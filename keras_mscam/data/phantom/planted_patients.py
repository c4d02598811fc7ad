"""Real patients with planted lesions: how many images of whom, and their files."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from keras_mscam.data.images import read_grey
from keras_mscam.data.phantom.backgrounds import Background
from keras_mscam.data.phantom.files import save_visit
from keras_mscam.data.phantom.patients import sample_visit
from keras_mscam.data.phantom.plant import plant_lesions, shrink

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
