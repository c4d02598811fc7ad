"""The layout of ChestX-ray14: label file, box file, split lists, folders of images."""

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from keras_mscam.data.archives import Member, find_archives, list_members
from keras_mscam.data.chestxray14_tables import BoxRow, read_boxes, read_labels
from keras_mscam.data.records import Box, Dataset, Record, summarize
from keras_mscam.errors import UserError
from keras_mscam.parallel import map_in_order
from keras_mscam.pathologies import PATHOLOGIES

LABEL_FILES = "Data_Entry_2017*.csv*"
_BOX_FILES = "BBox_List_2017*.csv*"
_LIST_FILES = {"train_val": "train_val_list*.txt*", "test": "test_list*.txt*"}
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".dcm"}


def read_chestxray14(
    directory: Path, workers: int | None = 1, progress: bool = False
) -> Dataset:
    """Read a folder in the layout of ChestX-ray14.

    Images lie in `images/`, in the archives' `images_001/images/` and so on, beside
    the label file, or still inside archives there, which are only opened when some
    image lies nowhere else. No pixel is read.

    Args:
        directory: a folder with the files that `read_tables` takes, and images.
        workers: processes that look into archives; `None` takes one a processor.
        progress: whether to show a bar over the archives.

    Returns:
        One record for each image that has a label row. A label row without image, an
        image without label row: counted in `problems`. The pathologies are those of
        the label file, whichever images are there.

    Raises:
        UserError: as `read_tables`, no label row has an image, or an archive is
            damaged.

    Example:
        >>> dataset = read_chestxray14(Path("ChestX-ray14"))
        >>> dataset.records[0].labels

    Reference:
        Wang et al. 2017, ChestX-ray8, in its later release with 14 pathologies.
    """
    directory = Path(directory)
    tables = read_tables(directory)
    named = {record.name for record in tables.records}
    paths, repeated = _find_images(directory)
    if not named <= set(paths):
        packed, again = _find_in_archives(directory, workers, progress)
        repeated += again
        paths = packed | paths
    found = tuple(
        replace(record, path=paths[record.name])
        for record in tables.records
        if record.name in paths
    )
    if not found:
        raise UserError(
            f"{directory}: none of the {len(tables.records)} images of the label file "
            "is there; put them, or their archives, into the folder 'images' beside it."
        )
    missing = [record.name for record in tables.records if record.name not in paths]
    problems = summarize(
        ("label rows without an image file", missing),
        ("image files without a label row", sorted(set(paths) - named)),
        ("image files of a name that another has already", repeated),
    )
    return replace(tables, records=found, problems=tables.problems + problems)


def read_tables(directory: Path) -> Dataset:
    """Read the label and box files of ChestX-ray14 without looking for images.

    Args:
        directory: a folder with `Data_Entry_2017.csv` or `Data_Entry_2017_v2020.csv`
            and perhaps `BBox_List_2017.csv`, `train_val_list.txt` and `test_list.txt`,
            plain or `.gz`.

    Returns:
        One record for each label row, in their order, with the path that its image
        would have in `images/`. Repeated rows and boxes that belong to no row or
        pathology are left out and counted in `problems`.

    Raises:
        UserError: no label file, or several; it is empty or can't be read; a column is
            missing; a row has no patient or a label that isn't known.
    """
    directory = Path(directory)
    label_file = _find_table(directory, LABEL_FILES)
    if label_file is None:
        raise UserError(
            f"{directory} has no Data_Entry_2017.csv; give a folder with the label "
            "file and the images of ChestX-ray14, or in its layout."
        )
    rows, repeated = read_labels(label_file)
    if not rows:
        raise UserError(f"{label_file} has no rows; the label file must be complete.")
    present = frozenset().union(*(row.findings for row in rows))
    pathologies = tuple(name for name in PATHOLOGIES if name in present)
    box_file = _find_table(directory, _BOX_FILES)
    box_rows, box_problems = read_boxes(box_file) if box_file else ([], ())
    boxes, strangers, unlabeled = _match(
        box_rows, {row.name for row in rows}, pathologies
    )
    records = tuple(
        Record(
            name=row.name,
            path=directory / "images" / row.name,
            patient=row.patient,
            view=row.view,
            age=row.age,
            sex=row.sex,
            labels=tuple(float(name in row.findings) for name in pathologies),
            boxes=tuple(boxes.get(row.name, ())),
        )
        for row in rows
    )
    problems = summarize(
        ("repeated label rows, the first of each name kept", repeated),
        ("boxes on images without a label row, left out", strangers),
        ("boxes of a pathology that no image is labelled with, left out", unlabeled),
    )
    lists, list_files = _read_lists(directory)
    return Dataset(
        pathologies,
        records,
        problems + box_problems,
        lists,
        tuple(path for path in (label_file, box_file, *list_files) if path),
    )


def _find_table(directory: Path, pattern: str) -> Path | None:
    if not directory.is_dir():
        raise UserError(
            f"{directory} is not a folder; give one with ChestX-ray14 files."
        )
    found = sorted(directory.glob(pattern))
    if len(found) > 1:
        raise UserError(
            f"{directory} has both {found[0].name} and {found[1].name}; keep the one "
            "to be read."
        )
    return found[0] if found else None


def _read_lists(directory: Path) -> tuple[dict[str, str], list[Path]]:
    """Return which published list names an image, and the files of the lists."""
    lists, files = {}, []
    for name, pattern in _LIST_FILES.items():
        path = _find_table(directory, pattern)
        if path is None:
            continue
        files.append(path)
        try:
            opener = gzip.open if path.suffix == ".gz" else open
            with opener(path, "rt", encoding="utf-8-sig") as file:
                images = [line.strip() for line in file if line.strip()]
        except (OSError, EOFError, ValueError) as error:
            raise UserError(f"{path} can't be read as a list: {error}") from error
        twice = next((image for image in images if lists.get(image, name) != name), "")
        if twice:
            raise UserError(f"{twice} is in both lists, {files[0]} and {path}.")
        lists |= dict.fromkeys(images, name)
    return lists, files


def _find_images(directory: Path) -> tuple[dict[str, Path], list[str]]:
    """Return paths by file name, and the names that occur in a second folder."""
    paths, repeated = {}, []
    for path in _iterate_images(directory):
        if path.name in paths:
            repeated.append(path.name)
        else:
            paths[path.name] = path
    return paths, sorted(repeated)


def _iterate_images(directory: Path) -> Iterator[Path]:
    """Give the image files of every folder that may hold some, in a fixed order."""
    parts = sorted(directory.glob("images_*"))
    folders = [directory / "images", directory]
    folders += [place for part in parts for place in (part / "images", part)]
    for folder in folders:
        if folder.is_dir():
            yield from (
                path
                for path in folder.iterdir()
                if path.suffix.lower() in IMAGE_SUFFIXES
                and not path.name.startswith(".")
            )


def _find_in_archives(
    directory: Path, workers: int | None, progress: bool
) -> tuple[dict[str, Member], list[str]]:
    """Return members by file name, and the names that occur a second time."""
    folders = [path for path in (directory / "images", directory) if path.is_dir()]
    archives = [archive for folder in folders for archive in find_archives(folder)]
    jobs = [(archive,) for archive in archives]
    # One archive takes minutes: worth a process, however few there are.
    lists = map_in_order(list_members, jobs, workers, apart=workers != 1)
    bar = tqdm(
        lists,
        total=len(jobs),
        desc="Looking into archives",
        unit="archive",
        disable=not (progress and jobs),
    )
    members, repeated = {}, []
    for listed in bar:
        for member in listed:
            if member.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            if member.name in members:
                repeated.append(member.name)
            else:
                members[member.name] = member
    return members, repeated


def _match(
    rows: Iterable[BoxRow], names: set[str], pathologies: tuple[str, ...]
) -> tuple[dict[str, list[Box]], list[str], list[str]]:
    """Return boxes by image, and the images of boxes without row or pathology."""
    boxes, strangers, unlabeled = {}, [], []
    for row in rows:
        if row.name not in names:
            strangers.append(row.name)
        elif row.box.pathology not in pathologies:
            unlabeled.append(f"{row.box.pathology} of {row.name}")
        else:
            boxes.setdefault(row.name, []).append(row.box)
    return boxes, strangers, unlabeled
