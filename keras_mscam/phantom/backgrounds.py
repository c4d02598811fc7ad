"""Real X-rays without findings, which lesions are planted in."""

import itertools
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from keras_mscam.data.archives import Member
from keras_mscam.data.chestxray14 import LABEL_FILES, list_images, read_chestxray14
from keras_mscam.data.csv_table import find_table
from keras_mscam.data.records import summarize
from keras_mscam.errors import UserError
from keras_mscam.images.grey_values import describe_values
from keras_mscam.images.reader import CRASHED, may_crash, read_grey
from keras_mscam.images.resize import resize_area
from keras_mscam.images.xray import ImageError
from keras_mscam.parallel.in_order import map_in_order
from keras_mscam.phantom.lungs import Tracing, trace_chest

#: One for the test, one that validates, and a few to train on.
FEWEST_PATIENTS = 5
_FRONTAL = ("PA", "AP", "")
#: The size at which grey values are looked at.
_LOOKED_AT = (256, 256)
#: Numbers of persons, each given when it is first asked for.
Strangers = defaultdict[str | Path, int]
_NAME = re.compile(r"(\d{8})_\d{3,}")  # of an image of ChestX-ray14


@dataclass(frozen=True)
class Background:
    """A real X-ray that shows no finding."""

    path: Path  # the file
    patient: int  # number of the person, the same in every image of theirs
    view: str = "PA"  # `PA` or `AP`; `PA` where unknown
    age: int | None = None  # in years; `None` where unknown
    sex: str = ""  # `F` or `M`; empty where unknown
    tracing: Tracing | None = None  # its lungs and heart; `None` until it was looked at
    # its grey value that is white, see `images.reader.read_xray`
    max_value: int | None = None

    def read(self) -> np.ndarray:
        """Read its pixels, uint8 `(height, width)`."""
        return read_grey(self.path, self.max_value)


@dataclass
class Backgrounds:
    """The usable X-rays of each patient, and what was left out of their folders."""

    patients: list[list[Background]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)  # name and reason
    problems: tuple[str, ...] = ()  # a sentence a kind, with its count and an example


def read_backgrounds(
    folders: Sequence[str | os.PathLike],
    most: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = False,
    max_value: int | None = None,
) -> Backgrounds:
    """Find the X-rays in folders that lesions can be planted in.

    A folder in the layout of ChestX-ray14 gives its frontal images labelled
    `No Finding`, with the patients of its table. Of any other folder, every PNG, JPEG
    or DICOM file in it is taken for a normal chest; its patient is in a file name such
    as `00012345_000.png`, else each file is a patient of its own. The same number, or
    other name, is the same patient in every folder, and a file name that occurs again
    is left out.

    Args:
        folders: at least one.
        most: number of images to look at, at most; `None` for all.
        seed: decides who is looked at, and the order of patients, whatever the order of
            folders and files.
        workers: processes that look for lungs; `None` takes one per processor.
        progress: whether to show a bar.
        max_value: of `Background`.

    Raises:
        UserError: a folder isn't there, or has no such image, or the usable ones are of
            fewer than five patients.
    """
    gathered, problems = _gather(folders)
    numbers = sorted({background.patient for background in gathered})
    ranks = np.random.default_rng(seed).permutation(len(numbers)).argsort()
    rank = dict(zip(numbers, ranks, strict=True))
    chosen = sorted(gathered, key=lambda background: rank[background.patient])
    chosen = _take(chosen, most)
    chosen = [replace(background, max_value=max_value) for background in chosen]
    usable, refused, odd = {}, [], {}
    jobs = [(background,) for background in chosen]
    # One X-ray takes a quarter of a second: worth a process, however few there are.
    apart = (workers != 1 and len(jobs) > 16) or may_crash(
        background.path.suffix for background in chosen
    )
    traced = tqdm(
        map_in_order(_trace, jobs, workers, died=(CRASHED, []), apart=apart),
        "backgrounds", len(jobs), unit="image", disable=not progress,
    )  # fmt: skip
    for background, (tracing, said) in zip(chosen, traced, strict=True):
        for sentence in said:
            kind = f'backgrounds with the warning "{sentence}"'
            odd.setdefault(kind, []).append(background.path.name)
        if isinstance(tracing, str):
            refused.append((background.path.name, tracing))
        else:
            background = replace(background, tracing=tracing)
            usable.setdefault(background.patient, []).append(background)
    problems += _describe(refused) + summarize(*sorted(odd.items()))
    fewest = FEWEST_PATIENTS if most is None else min(FEWEST_PATIENTS, most)
    if len(usable) < fewest:
        where = ", ".join(str(folder) for folder in folders)
        raise UserError(
            f"{where}: lesions can be planted in X-rays of {len(usable)} patients, and "
            f"{fewest} at least are needed{''.join(f'; {p}' for p in problems)}."
        )
    return Backgrounds(list(usable.values()), refused, problems)


def _take(backgrounds: list[Background], most: int | None) -> list[Background]:
    """Take the first ones, or, where these are of too few patients, a few of each."""
    taken = backgrounds[:most]
    if len({background.patient for background in taken}) >= FEWEST_PATIENTS:
        return taken
    groups = {}
    for background in backgrounds:
        groups.setdefault(background.patient, []).append(background)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*groups.values()))
    return list(filter(None, turns))[:most]


def _trace(background: Background) -> tuple[Tracing | str, list[str]]:
    """The work of a process: lungs and heart, or why there are none; and warnings."""
    try:
        image = background.read()
    except ImageError as error:
        return str(error), []
    said = describe_values(resize_area(image, _LOOKED_AT))
    try:
        return trace_chest(image), said
    except ImageError as error:
        return str(error), said


def _describe(refused: list[tuple[str, str]]) -> tuple[str, ...]:
    kinds: dict[str, list[str]] = {}
    for name, reason in refused:
        kind, _, detail = reason.partition(":")
        kind = f"X-rays not used as backgrounds, each {kind}"
        kinds.setdefault(kind, []).append(f"{name}{detail and f' ({detail.strip()})'}")
    return summarize(*sorted(kinds.items()))


def _gather(
    folders: Sequence[str | os.PathLike],
) -> tuple[list[Background], tuple[str, ...]]:
    """Return what the folders hold, by file name, each patient with a number."""
    found, again, problems = {}, [], ()
    # Below 0, whom neither table nor file name gives a number.
    strangers: Strangers = defaultdict(lambda: -1 - len(strangers))
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder; give one with X-rays.")
        if find_table(folder, LABEL_FILES) is not None:
            here, more = _read_labelled(folder, strangers)
            problems += more
        else:
            named = [(path, _NAME.fullmatch(path.stem)) for path in list_images(folder)]
            here = [
                Background(path, int(name[1]) if name else strangers[path])
                for path, name in named
            ]
        if not here:
            raise UserError(
                f"{folder} has no X-ray without findings to use as a background."
            )
        again += [b.path.name for b in here if b.path.name in found]
        found = {b.path.name: b for b in here} | found
    problems += summarize(("X-rays of a name that another has, left out", again))
    gathered = [found[name] for name in sorted(found)]
    unknown = dict.fromkeys(b.patient for b in gathered if b.patient < 0)
    first = max(0, *(b.patient for b in gathered)) + 1
    numbers = {person: number for number, person in enumerate(unknown, first)}
    return [
        replace(b, patient=numbers.get(b.patient, b.patient)) for b in gathered
    ], problems


def _read_labelled(
    folder: Path, strangers: Strangers
) -> tuple[list[Background], tuple[str, ...]]:
    dataset = read_chestxray14(folder)
    backgrounds, packed, lateral = [], [], []
    for record in dataset.records:
        if any(record.labels):
            continue
        if record.view not in _FRONTAL:
            lateral.append(record.name)
        elif isinstance(record.path, Member):
            packed.append(record.name)
        else:
            name = record.patient
            patient = int(name) if name.isdecimal() else strangers[name]
            age = None if record.age is None else int(record.age)
            backgrounds.append(
                Background(record.path, patient, record.view or "PA", age, record.sex)
            )
    return backgrounds, dataset.problems + summarize(
        ("X-rays that are not frontal, not used as backgrounds", lateral),
        ("X-rays inside archives, not used as backgrounds: unpack them", packed),
    )
